"""The examples of every docstring run."""

import doctest
import importlib
import inspect
import re

import numpy as np
import pytest

import minigrad as mg
import models.predict
import models.pretrained
from minigrad import data, distributed, nn, optim, train
from minigrad import inspect as summaries
from minigrad.train import checkpoint, report
from tests import house


def public():
    """List everything that users call, by name."""
    found = {}
    modules = [mg, nn, nn.init, optim, data, data.transforms, data.images, data.fetch, train, checkpoint, report]
    modules += [distributed, summaries, models]
    for module in modules:
        for name in getattr(module, "__all__", vars(module)):
            thing = getattr(module, name)
            if hasattr(module, "__all__") or inspect.getmodule(thing) is module:
                found[f"{module.__name__}.{name}"] = thing
    for module in (models.predict, models.pretrained):
        found |= {f"{module.__name__}.{n}": t for n, t in vars(module).items() if inspect.getmodule(t) is module}
    return {
        name: thing
        for name, thing in found.items()
        if callable(thing)
        and not name.split(".")[-1].startswith("_")
        and inspect.getmodule(thing) is not None
        and inspect.getmodule(thing).__name__.startswith(("minigrad", "models"))
    }


PUBLIC = public()

#: What functions with examples give back or use, and commands.
WITHOUT_EXAMPLE = {
    "minigrad.distributed.Shards",
    "minigrad.distributed.size",
    "minigrad.distributed.sum_gradients",
    "minigrad.distributed.world",
    "minigrad.inspect.Graph",
    "minigrad.inspect.GraphNode",
    "minigrad.inspect.Moments",
    "minigrad.inspect.Response",
    "minigrad.inspect.Row",
    "minigrad.inspect.Summary",
    "minigrad.train.report.Report",
    "minigrad.train.report.main",
    "models.pretrained.Pretrained",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_runs(name, request):
    if re.fullmatch(r"models\.(plain|resnet|vgg)\d+", name):  # they show shapes and counts
        request.getfixturevalue("no_draws")
    thing = PUBLIC[name]
    if name in WITHOUT_EXAMPLE or (isinstance(thing, type) and issubclass(thing, Exception)):
        assert thing.__doc__
        return
    assert run_examples(thing, name, inspect.getmodule(thing)) > 0, f"{name} has no example"


@pytest.mark.parametrize("name", [name for name in house.paths() if not name.endswith("__main__")])
def test_the_examples_of_what_is_not_public_run(name):
    module, public = importlib.import_module(name), [*map(id, PUBLIC.values())]
    for thing in filter(callable, vars(module).values()):
        if inspect.getmodule(thing) is module and hasattr(thing, "__name__") and id(thing) not in public:
            run_examples(thing, f"{name}.{thing.__name__}", module)


def run_examples(thing, name, module):
    """Run the examples in a docstring, and in those of a class's methods; return how many there are."""
    namespace = {"np": np, "mg": mg} | vars(module)
    tests = doctest.DocTestFinder(recurse=True, exclude_empty=True).find(thing, name, globs=namespace)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failures = []
    for test in tests:
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)
    return sum(len(test.examples) for test in tests)


def test_there_is_no_name_without_documentation():
    for name, thing in PUBLIC.items():
        assert thing.__doc__, name
        for method, f in vars(thing).items() if isinstance(thing, type) else ():
            if inspect.isfunction(f) and not method.startswith("_"):
                assert f.__doc__, f"{name}.{method}"
