"""Modes where calls do not nest: asyncio tasks, generators, coroutines, and contexts that end in any order."""

import asyncio
import contextlib
import gc
import itertools
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd.modes import enable_grad

CONTEXTS = {"no_grad": ("recording", False), "detect_anomaly": ("anomaly", True)}
each_context = pytest.mark.parametrize("name", CONTEXTS)


def modes():
    """Return what holds now: whether operators are recorded, and whether NaNs are searched for."""
    recording = (mg.Tensor([1.0], requires_grad=True) * 2.0).requires_grad
    try:
        with np.errstate(invalid="ignore"):
            mg.log(mg.Tensor([-1.0]))
    except FloatingPointError:
        return {"recording": recording, "anomaly": True}
    return {"recording": recording, "anomaly": False}


DEFAULT = {"recording": True, "anomaly": False}


def changed(name):
    """Return the modes inside a context."""
    return DEFAULT | dict([CONTEXTS[name]])


@each_context
@pytest.mark.parametrize("decorated", [False, True])
def test_a_task_that_waits_does_not_change_the_mode_of_others(name, decorated):
    context = getattr(mg, name)()

    async def inside(entered, go_on):
        entered.set()
        await go_on.wait()
        return modes()

    async def within(*events):
        with context:
            return await inside(*events)

    async def main():
        entered, go_on = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task((context(inside) if decorated else within)(entered, go_on))
        await entered.wait()
        seen = [modes(), await asyncio.to_thread(modes)]
        with mg.no_grad(), mg.detect_anomaly():
            go_on.set()
            return [*seen, await task, modes()]

    *others, inner, both = asyncio.run(main())
    assert others == [DEFAULT, DEFAULT]
    assert inner == changed(name)
    assert both == {"recording": False, "anomaly": True}
    assert modes() == DEFAULT


@each_context
def test_a_thread_that_a_task_waits_for_has_the_mode_of_the_task(name):
    async def main():
        with getattr(mg, name)():
            return await asyncio.to_thread(modes)

    assert asyncio.run(main()) == changed(name)


@each_context
def test_a_decorated_generator_changes_the_mode_only_while_it_runs(name):
    """Values, errors and the end go in and out as without the decorator; so does the generator's own context."""

    @getattr(mg, name)()
    def generator(first):
        assert modes() == changed(name)
        received = yield first
        try:
            yield received, modes()
        except ZeroDivisionError:
            assert modes() == changed(name)
            with mg.no_grad(), mg.detect_anomaly():
                yield modes()
        try:
            yield "last"
        finally:
            ends.append(modes())
        return "result"

    ends = []
    generated = generator("first")
    assert next(generated) == "first"
    assert modes() == DEFAULT
    assert generated.send("given") == ("given", changed(name))
    assert modes() == DEFAULT
    assert generated.throw(ZeroDivisionError()) == {"recording": False, "anomaly": True}
    assert next(generated) == "last"
    with pytest.raises(StopIteration) as end:
        next(generated)
    assert end.value.value == "result"
    closed = generator("first")
    next(closed), next(closed), closed.close()
    left = generator("first")
    next(left), next(left)
    del left
    gc.collect()
    assert ends == [changed(name)]
    assert modes() == DEFAULT


def test_contexts_that_do_not_nest_each_take_back_their_own_change():
    names = ["no_grad", "detect_anomaly", "no_grad"]
    for order in itertools.permutations(range(3)):
        contexts = [getattr(mg, name)() for name in names]
        for context in contexts:
            context.__enter__()
        left = set(range(3))
        for i in order:
            contexts[i].__exit__(None, None, None)
            left.remove(i)
            expected = dict(DEFAULT)
            for j in left:
                expected |= changed(names[j]).items() - DEFAULT.items()
            assert modes() == expected


def test_generators_that_are_suspended_inside_a_context_may_end_in_any_order():
    """A stated convention, as with NumPy's errstate: the context stays in force while the generator is suspended."""

    def generator():
        with mg.no_grad():
            yield modes()

    for closing in itertools.permutations(range(3)):
        generators = [generator() for _ in range(3)]
        assert [next(g) for g in generators] == [changed("no_grad")] * 3
        for i in closing:
            assert modes() == changed("no_grad")
            generators[i].close()
        assert modes() == DEFAULT

    @contextlib.contextmanager
    def inference():
        with mg.no_grad():
            yield

    with inference():
        assert modes() == changed("no_grad")
    assert modes() == DEFAULT


@each_context
def test_a_generator_that_ends_in_another_thread_leaves_the_modes_there(name):
    def generator():
        with getattr(mg, name)():
            yield

    generated, seen = generator(), []

    def end_it():
        with mg.no_grad():
            generated.close()
            seen.append(modes())

    asyncio.run(asyncio.to_thread(next, generated))
    thread = threading.Thread(target=end_it)
    thread.start()
    thread.join()
    assert seen == [changed("no_grad")]
    assert modes() == DEFAULT


@each_context
def test_one_context_may_be_used_again_also_inside_itself(name):
    context = getattr(mg, name)()
    for _ in range(2):
        with context:
            with context, mg.no_grad(), context:
                pass
            assert modes() == changed(name)
        assert modes() == DEFAULT

    @context
    @context
    def f(depth):
        """Doc."""
        assert modes() == changed(name)
        return f(depth - 1) if depth else "result"

    assert f(3) == "result"
    assert (f.__name__, f.__doc__) == ("f", "Doc.")
    assert modes() == DEFAULT


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_of_several_uses_of_one_context_the_last_ends_first(uses):
    """The last of all contexts that are open decides; when it ends, the one before it does, again."""
    off, on = mg.no_grad(), enable_grad()
    with contextlib.ExitStack() as opened:
        for _ in range(uses):
            opened.enter_context(off)
            opened.enter_context(on)
        for context in (off, on, mg.no_grad()):
            with context:
                assert modes()["recording"] == (context is on)
            assert modes()["recording"]
    assert modes() == DEFAULT


def test_a_decorated_coroutine_passes_on_results_and_errors():
    @mg.no_grad()
    async def double(x):
        await asyncio.sleep(0)
        if x is None:
            raise ZeroDivisionError
        return 2 * x, modes()

    async def main():
        with pytest.raises(ZeroDivisionError):
            await double(None)
        return [modes(), *await double(3), modes()]

    assert asyncio.run(main()) == [DEFAULT, 6, changed("no_grad"), DEFAULT]
    assert asyncio.iscoroutinefunction(double)


def test_what_cannot_be_decorated_is_refused():
    async def asynchronous():
        yield

    for wrong in (asynchronous, mg.nn.Linear, 3):
        with pytest.raises(TypeError, match="no_grad, detect_anomaly: expected a function, generator or coroutine"):
            mg.no_grad()(wrong)
    assert mg.no_grad()(mg.nn.ReLU())(mg.Tensor([-1.0, 1.0])).data.tolist() == [0.0, 1.0]
