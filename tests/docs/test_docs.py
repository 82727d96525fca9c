"""The examples run: every docstring of the public interface, and the README's code."""

import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import models.predict
import models.pretrained
from minigrad import checkpoint, data, nn, optim, report, train
from minigrad import inspect as summaries

ROOT = Path(__file__).parents[2]


def public():
    """List everything that users call, by name."""
    found = {}
    modules = [mg, nn, nn.init, optim, data, data.transforms, data.fetch, checkpoint, summaries, report, train, models]
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

#: What functions with examples give back or use, and a command.
WITHOUT_EXAMPLE = {
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
def test_every_public_name_has_an_example_that_runs(name):
    thing = PUBLIC[name]
    if name in WITHOUT_EXAMPLE or (isinstance(thing, type) and issubclass(thing, Exception)):
        assert thing.__doc__
        return
    namespace = {"np": np, "mg": mg} | vars(inspect.getmodule(thing))
    tests = doctest.DocTestFinder(recurse=True, exclude_empty=True).find(thing, name, globs=namespace)
    assert sum(len(test.examples) for test in tests) > 0, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failures = []
    for test in tests:
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_there_is_no_name_without_documentation():
    for name, thing in PUBLIC.items():
        assert thing.__doc__, name
        for method, f in vars(thing).items() if isinstance(thing, type) else ():
            if inspect.isfunction(f) and not method.startswith("_"):
                assert f.__doc__, f"{name}.{method}"


README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("i", range(len(re.findall(r"```python\n", README))))
def test_the_code_of_the_readme_runs_and_prints_what_it_says(i, capsys, monkeypatch, tmp_path):
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[i]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"README example {i}", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"print\(.*\)  # (.*)", code)
    assert promised
    for line, promise in zip(printed, promised, strict=True):
        if "about" not in promise:
            assert line == promise


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+?)\)", README) + re.findall(r'(?:src|href)="([^"]+)"', README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
