"""Bad calls, made at random: valid calls of all public names, in which some arguments become something else.

Whatever a user passes, the answer is a right result or an error that names the function that was called. So each call
ends in one of these:

accepted
    It returns, what it makes works, and an operator's result is that of its definition.
named
    An error, whose message holds the name of the function.
unnamed
    An error that does not say which call was wrong.
raw
    An unnamed error of Python or NumPy, about an attribute, a truth value, a hash ...
wrong
    It returns, but what it made does not work, or the result is not that of the definition.
hung
    It does not return.

``python -m tests.tools.bad_calls --count 10000 --seed 1`` counts them, and prints the first of each kind.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import re
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
import models
from minigrad import data, nn, optim, train
from minigrad.data import transforms
from tests.records import RECORDS
from tests.records.record import Sample

Call = tuple[Callable[..., Any], list[Any], dict[str, Any]]

# Valid calls ---------------------------------------------------------------------------------


def images(*shape: int) -> mg.Tensor:
    """Make a Tensor of normal numbers."""
    return mg.Tensor(np.random.default_rng(0).standard_normal(shape).astype("float32"), requires_grad=True)


def net() -> nn.Module:
    """Make a small net for the digits."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))


def sgd() -> optim.SGD:
    """Make an optimizer."""
    return optim.SGD(net().parameters(), 0.1)


def loader() -> data.DataLoader:
    """Make batches of digits."""
    return data.DataLoader(data.Subset(data.Digits(), range(32)), 16, rng=0)


def run() -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a short training."""
    model = net()
    settings = {"optimizer": optim.SGD(model.parameters(), 0.1), "iterations": 2, "epochs": None}
    return [model, loader()], settings | {"loss": mg.cross_entropy, "metrics": None, "on_record": None}


def square(x: Any) -> Any:
    """Return x ** 2."""
    return x * x


def _on(shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """Use a layer on images of a shape, and differentiate."""

    def use(layer: Any) -> None:
        out = layer(images(*shape))
        out.sum().backward()

    return use


#: Constructors and functions: arguments of a valid call, and how to use what it returns.
PLAIN: dict[
    str, tuple[Callable[..., Any], Callable[[], tuple[list[Any], dict[str, Any]]], Callable[[Any], Any] | None]
] = {
    "Tensor": (mg.Tensor, lambda: ([[1.0, 2.0]], {"requires_grad": True}), lambda t: t.data.copy()),
    "set_num_threads": (mg.set_num_threads, lambda: ([mg.get_num_threads()], {}), None),
    "grad": (mg.grad, lambda: ((x := images(2)) and [square(x).sum(), [x]] if False else _graph(), {}), None),
    "elementwise": (mg.elementwise, lambda: ([_cube], {}), None),
    "operator": (mg.operator, lambda: ([_cube], {}), None),
    "recompute": (mg.recompute, lambda: ([square, images(3)], {}), None),
    "gradcheck": (
        mg.gradcheck,
        lambda: ([square, [np.array([1.0, 2.0])]], {"eps": 1e-5, "atol": 1e-7, "rtol": 1e-5, "rng": 0}),
        None,
    ),
    "gradgradcheck": (
        mg.gradgradcheck,
        lambda: ([square, [np.array([1.0, 2.0])]], {"eps": 1e-5, "atol": 1e-7, "rtol": 1e-5, "rng": 0}),
        None,
    ),
    "adjoint_check": (
        mg.adjoint_check,
        lambda: ([lambda x: x * 2.0, [np.array([1.0, 2.0])]], {"rtol": 1e-12, "rng": 0}),
        None,
    ),
    "complex_step_check": (
        mg.complex_step_check,
        lambda: ([square, [np.array([1.0, 2.0])]], {"rtol": 1e-12, "rng": 0}),
        None,
    ),
    "taylor_check": (mg.taylor_check, lambda: ([mg.exp, [np.array([0.1, 0.2])]], {"rng": 0}), None),
    "check_operator": (
        mg.check_operator,
        lambda: ([mg.exp, [[np.array([0.1, 0.2])]]], {"analytic": False, "linear": False}),
        None,
    ),
    "AvgPool2d": (nn.AvgPool2d, lambda: ([2], {"stride": 2, "padding": 0}), _on((1, 8, 8, 3))),
    "MaxPool2d": (nn.MaxPool2d, lambda: ([2], {"stride": 2, "padding": 0}), _on((1, 8, 8, 3))),
    "BatchNorm2d": (nn.BatchNorm2d, lambda: ([3], {"momentum": 0.1, "eps": 1e-5, "dtype": np.float32}), None),
    "Buffer": (nn.Buffer, lambda: ([np.zeros(3)], {}), None),
    "Parameter": (nn.Parameter, lambda: ([[1.0, 2.0]], {}), lambda t: t.sum().backward()),
    "Conv2d": (
        nn.Conv2d,
        lambda: (
            [3, 4, 3],
            {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": True, "rng": 0, "dtype": np.float32},
        ),
        None,
    ),
    "Linear": (nn.Linear, lambda: ([3, 4], {"bias": True, "rng": 0, "dtype": np.float32}), None),
    "LeakyReLU": (nn.LeakyReLU, lambda: ([0.1], {}), _on((2, 8))),
    "LayerNorm": (nn.LayerNorm, lambda: ([8], {"eps": 1e-5, "dtype": np.float32}), None),
    "GroupNorm": (nn.GroupNorm, lambda: ([2, 8], {"eps": 1e-5, "dtype": np.float32}), None),
    "Embedding": (nn.Embedding, lambda: ([9, 4], {"rng": 0, "dtype": np.float32}), lambda e: e(np.zeros(3, int))),
    "ConvTranspose2d": (
        nn.ConvTranspose2d,
        lambda: (
            [3, 4, 3],
            {"stride": 2, "padding": 1, "output_padding": 1, "bias": True, "rng": 0, "dtype": np.float32},
        ),
        None,
    ),
    "Dropout": (nn.Dropout, lambda: ([0.5], {"rng": 0}), _on((2, 8))),
    "Sequential": (nn.Sequential, lambda: ([nn.ReLU(), nn.Flatten()], {}), _on((2, 2, 2, 1))),
    "fold_batch_norm": (nn.fold_batch_norm, lambda: ([net()], {}), None),
    "he_normal": (nn.init.he_normal, lambda: ([(3, 4)], {"rng": 0, "dtype": np.float32}), lambda a: a + 1),
    "he_uniform": (nn.init.he_uniform, lambda: ([(3, 4)], {"rng": 0, "dtype": np.float32}), lambda a: a + 1),
    "glorot_uniform": (nn.init.glorot_uniform, lambda: ([(3, 4)], {"rng": 0, "dtype": np.float32}), lambda a: a + 1),
    "SGD": (
        optim.SGD,
        lambda: ([net().parameters(), 0.1], {"momentum": 0.9, "weight_decay": 0.0, "nesterov": False}),
        lambda o: _steps(o),
    ),
    "Adam": (
        optim.Adam,
        lambda: ([net().parameters(), 0.1], {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
        lambda o: _steps(o),
    ),
    "AdamW": (
        optim.AdamW,
        lambda: ([net().parameters(), 0.1], {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
        lambda o: _steps(o),
    ),
    "clip_grad_norm": (optim.clip_grad_norm, lambda: ([net().parameters(), 1.0], {}), None),
    "CosineLR": (optim.CosineLR, lambda: ([sgd(), 10], {}), lambda s: _steps(s)),
    "MultiStepLR": (optim.MultiStepLR, lambda: ([sgd(), [1, 2]], {"gamma": 0.1}), lambda s: _steps(s)),
    "ReduceOnPlateau": (
        optim.ReduceOnPlateau,
        lambda: ([sgd()], {"figure": "test_error", "patience": 5, "gamma": 0.1}),
        None,
    ),
    "Warmup": (optim.Warmup, lambda: ([optim.MultiStepLR(sgd(), [3]), 2], {}), lambda s: _steps(s)),
    "WarmupUntil": (
        optim.WarmupUntil,
        lambda: ([optim.MultiStepLR(sgd(), [3])], {"error": 0.8, "gamma": 0.1}),
        lambda s: _steps(s),
    ),
    "Checkpoint": (
        train.Checkpoint,
        lambda: ([Path("nowhere")], {"every": 10.0, "resume": False, "config": {"depth": 3}}),
        None,
    ),
    "evaluate": (train.evaluate, lambda: ([net(), loader()], {"loss": mg.cross_entropy, "metrics": None}), None),
    "refresh_statistics": (train.refresh_statistics, lambda: ([net(), loader()], {}), None),
    "fit": (train.fit, run, None),
    "DataLoader": (
        data.DataLoader,
        lambda: ([data.Digits(), 16], {"rng": 0, "transform": None, "prefetch": 2}),
        lambda b: next(iter(b)),
    ),
    "Digits": (data.Digits, lambda: ([True], {}), lambda d: d[0]),
    "TensorDataset": (data.TensorDataset, lambda: ([np.ones((3, 2)), np.arange(3)], {}), lambda d: d[0]),
    "Subset": (data.Subset, lambda: ([data.Digits(), [0, 1]], {}), lambda d: d[: len(d)]),
    "split": (data.split, lambda: ([data.Digits(), 10, 0], {}), lambda pair: pair[0][0]),
    "Normalize": (transforms.Normalize, lambda: ([0.5, 0.5], {}), None),
    "RandomCrop": (transforms.RandomCrop, lambda: ([4], {"padding": 1}), None),
    "RandomHorizontalFlip": (transforms.RandomHorizontalFlip, lambda: ([0.5], {}), None),
    "CenterCrop": (transforms.CenterCrop, lambda: ([4], {}), None),
    "Resize": (transforms.Resize, lambda: ([(4, 6)], {}), None),
    "ToFloat": (transforms.ToFloat, lambda: ([], {}), lambda t: t(np.ones((2, 8, 8, 3), "uint8"))),
    "ColorJitter": (
        transforms.ColorJitter,
        lambda: ([], {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}),
        lambda t: t(np.ones((2, 8, 8, 3), "float32"), np.random.default_rng(0)),
    ),
    "RandomErasing": (
        transforms.RandomErasing,
        lambda: ([0.5], {"scale": (0.1, 0.3)}),
        lambda t: t(np.ones((2, 8, 8, 3), "float32"), np.random.default_rng(0)),
    ),
    "RandomAffine": (
        transforms.RandomAffine,
        lambda: ([10], {"translate": 0.1, "scale": (0.9, 1.1)}),
        lambda t: t(np.ones((2, 8, 8, 3), "float32"), np.random.default_rng(0)),
    ),
    "Compose": (transforms.Compose, lambda: ([[transforms.RandomHorizontalFlip()]], {}), None),
    "draw_graph": (mg.inspect.draw_graph, lambda: ([square(images(2))], {"names": {"x": images(2)}}), None),
    "statistics": (mg.inspect.statistics, lambda: ([net()], {}), None),
    "summary": (mg.inspect.summary, lambda: ([net(), (1, 8, 8, 1)], {}), str),
    "cifar_plain": (models.cifar_plain, lambda: ([8], {"width": 2, "num_classes": 10, "rng": 0}), None),
    "cifar_preact_resnet": (
        models.cifar_preact_resnet,
        lambda: ([8], {"width": 2, "num_classes": 10, "rng": 0}),
        None,
    ),
    "cifar_resnet": (
        models.cifar_resnet,
        lambda: ([8], {"shortcut": "A", "width": 2, "num_classes": 10, "rng": 0}),
        None,
    ),
}


def _graph() -> list[Any]:
    x = images(2)
    return [square(x).sum(), [x]]


#: Methods, each of an object that is made anew: a call may release a tape, or load a state.
METHODS: dict[str, Callable[[], Call]] = {
    "load_state_dict": lambda: (net().load_state_dict, [net().state_dict()], {}),
    "train": lambda: (net().train, [True], {}),
    "reshape": lambda: (images(2, 3).reshape, [3, 2], {}),
    "transpose": lambda: (images(2, 3).transpose, [1, 0], {}),
    "backward": lambda: (square(images(2)).backward, [np.ones(2, "float32")], {"retain_graph": True}),
}

PLAIN["grad"] = (mg.grad, lambda: (_graph(), {"create_graph": False, "retain_graph": None}), None)


def _cube(x: Any, /) -> Any:
    return x**3


def _steps(thing: Any) -> None:
    """Take three steps of an optimizer or a schedule."""
    optimizer = getattr(thing, "optimizer", thing)
    for group in optimizer.groups:
        for p in group["params"]:
            p.grad = mg.Tensor(np.ones(p.shape, p.dtype))
    for _ in range(3):
        thing.step()


def calls() -> dict[str, Callable[[], Call]]:
    """Return valid calls by their names; each is made anew."""
    found: dict[str, Callable[[], Call]] = {}
    for name, record in RECORDS.items():
        for key, sample in record.samples.items():
            found[f"{name}-{key}"] = lambda name=name, sample=sample: _captured(name, sample)
    for name, (f, arguments, _) in PLAIN.items():
        found[name] = lambda f=f, arguments=arguments: (f, *arguments())
    return found | METHODS


def _captured(name: str, sample: Sample) -> Call:
    """Return what an operator is called with in a sample."""
    got: list[Any] = []
    inputs = [mg.Tensor(x.astype("float32"), requires_grad=True) for x in map(np.asarray, sample.inputs)]
    sample.apply(lambda *args, **settings: got.extend([list(args), dict(settings)]), inputs)
    return getattr(mg, name), got[0], got[1]


# What arguments become -----------------------------------------------------------------------


class Strange:
    """An object without any meaning."""


#: What a user might pass by mistake; each is made anew.
ODD: list[Callable[[], Any]] = [
    *(lambda value=value: value for value in (
        None, True, False, -1, 0, 1, 2, 7, 99, -(2**63), 2**70, 0.0, -0.5, 0.5, 1.5, float("nan"), float("inf"),
        1j, "", "abc", b"abc", (), (1,), (1, 2), (-1, 1), (1, 2, 3), range(3), len, print, Ellipsis, slice(None), np,
        Strange, NotImplemented, ValueError, np.float64(0.3), np.int8(2), np.bool_(True), np.datetime64("2020"),
        np.float32, "float32", "f4", "int", np.dtype("int32"), nn.ReLU, Path("nowhere"),
    )),
    list, dict, set, object, Strange,
    lambda: [0, 0], lambda: ["a"], lambda: [None], lambda: {"a": 1}, lambda: {1, 2}, lambda: [[1.0, 2.0], [3.0]],
    lambda: iter([1, 2]), lambda: (x for x in [1.0]), lambda: lambda: 1, lambda: io.BytesIO(b"x"),
    lambda: ValueError("x"),
    lambda: np.array(1.7), lambda: np.array(3), lambda: np.zeros(0, "float32"), lambda: np.ones(3, "float32"),
    lambda: np.ones((2, 3), "float32"), lambda: np.ones((2, 4, 4, 3), "float32"), lambda: np.ones((2, 3)),
    lambda: np.ones((2, 3), "float16"), lambda: np.arange(6).reshape(2, 3), lambda: np.arange(3, dtype="uint8"),
    lambda: np.ones(3, "complex64"), lambda: np.array(["a", "b"]), lambda: np.array([None, 1], object),
    lambda: np.array([True, False]), lambda: np.ma.masked_array([1.0, 2.0], [0, 1]), lambda: np.ones((2, 2), ">f4"),
    lambda: np.array([("a", 1)], [("x", "U1"), ("y", "i4")]), lambda: np.random.default_rng(0),
    lambda: np.random.RandomState(0), lambda: mg.Tensor(1.0), lambda: mg.Tensor([1.0, 2.0], requires_grad=True),
    lambda: images(2, 4, 4, 3), lambda: images(2, 3), lambda: mg.Tensor(np.array(1.0)),
    lambda: mg.Tensor(np.ones((2, 3))), lambda: [mg.Tensor(1.0)], lambda: [np.ones(2), mg.Tensor([1.0, 2.0])],
    net, sgd, loader, data.Digits,
]  # fmt: skip


def odd(rng: np.random.Generator) -> Any:
    """Return something that a user might pass by mistake."""
    return ODD[rng.integers(len(ODD))]()


def changed(call: Call, rng: np.random.Generator) -> Call:
    """Return a call in which one argument, or two or three, became something else, are missing, or too many."""
    f, args, settings = call
    args, settings = list(args), dict(settings)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places: list[Any] = [*range(len(args)), *settings]
        what = rng.random()
        if what < 0.03 and args:
            args.pop()
        elif what < 0.05:
            args.append(odd(rng))
        elif what < 0.07:
            settings[str(rng.choice(["axis", "foo", "keepdims", "dim", "rng", "dtype", "stride"]))] = odd(rng)
        elif places:
            place = places[rng.integers(len(places))]
            (args if isinstance(place, int) else settings)[place] = odd(rng)  # type: ignore[index,call-overload]
    return f, args, settings


# What comes of it ----------------------------------------------------------------------------

#: What Python and NumPy say about things that were not checked.
RAW = re.compile(
    "has no attribute|truth value|not callable|unhashable|PathLike|not iterable|unsupported operand|unpack"
    "|not subscriptable|has no len|cannot be interpreted|index out of range|must be a |ufunc|not supported between"
    "|could not be broadcast"
)


#: How long a call may take.
SECONDS = 10


class Outcome(NamedTuple):
    """What came of a call.

    Attributes
    ----------
    kind : str
    text : str
        The call, and the error.
    """

    kind: str
    text: str


class _Hung(BaseException):
    """The call took too long."""


def outcome(name: str, call: Call) -> Outcome:
    """Make a call, and judge what comes of it."""
    f, args, settings = call
    text = f"{name}({', '.join([*map(brief, args), *(f'{k}={brief(v)}' for k, v in settings.items())])})"
    base = name.partition("-")[0]

    def hang(*_: object) -> None:
        raise _Hung

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                result = f(*args, **settings)
            except _Hung:
                huge = name == "fit" and settings.get("iterations", 0) >= 10**6  # it was asked to take its time
                return Outcome("accepted" if huge else "hung", text)
            except Exception as error:
                return judged(base, error, text)
            wrong = misused(base, result, args, settings)
            return Outcome("wrong", f"{text}: {wrong}") if wrong else Outcome("accepted", text)
    finally:
        signal.alarm(0)


def judged(name: str, error: Exception, text: str) -> Outcome:
    """Judge an error by its message."""
    message = str(error)
    text = f"{text}: {type(error).__name__}: {message}"
    if isinstance(error, mg.GradientError) or _is_users(error, name):
        return Outcome("named", text)
    if re.search(rf"\b_?{re.escape(name)}\b", message) and not re.search("^module|object has no attribute", message):
        return Outcome("named", text)
    if not isinstance(error, ValueError | TypeError | mg.GradientError) or RAW.search(message):
        return Outcome("raw", text)
    return Outcome("unnamed", text)


#: Functions that call a function or a model of the user: its errors pass through them as they are.
CALLING = {
    "recompute",
    "evaluate",
    "fit",
    "summary",
    "statistics",
    "refresh_statistics",
    "fold_batch_norm",
    "DataLoader",
}
CALLING |= {"gradcheck", "gradgradcheck", "adjoint_check", "complex_step_check", "taylor_check", "Sequential"}

#: What the user's functions and models say if they are called with something else than they take.
USERS = r"^(linear|reshape|matmul): |positional argument|takes exactly one|^exp: expected exp|f must return|has no len"
USERS += "|has no attribute '(sum|backward|shape)'|scalar index"


def _is_users(error: Exception, name: str) -> bool:
    """Whether an error was raised by the user's function or model, or names the operator that the model called."""
    frames = traceback.extract_tb(error.__traceback__)
    own = frames[-1].filename == __file__ and len(frames) > 2
    return own or (name in CALLING and re.search(USERS, str(error)) is not None)


def misused(name: str, result: Any, args: list[Any], settings: dict[str, Any]) -> str:
    """Use what a call returned; return what is wrong with it."""
    try:
        if name in PLAIN and (use := PLAIN[name][2]):
            use(result)
        if name in {*PLAIN, *METHODS}:
            return ""
    except Exception as error:
        return "" if about_the_input(error) else f"fails in use: {type(error).__name__}: {error}"
    if name == "dropout" or any(isinstance(x, np.ma.MaskedArray | Iterator) for x in [*args, *settings.values()]):
        return ""  # random; a mask, which NumPy treats in its own ways; used up
    try:
        plain = [
            x.data
            if isinstance(x, mg.Tensor)
            else [y.data if isinstance(y, mg.Tensor) else y for y in x]
            if isinstance(x, list | tuple)
            else x
            for x in args
        ]
        expected = np.asarray(RECORDS[name].definition(*plain, **settings))
    except Exception:
        return ""  # the definition takes less
    if expected.dtype.kind == "u" or any(isinstance(x, int) and abs(x) >= 2**63 for x in plain):
        return ""
    got = np.asarray(result.data if isinstance(result, mg.Tensor) else result)
    if got.shape != expected.shape:
        return f"shape {got.shape}, by the definition {expected.shape}"
    with np.errstate(all="ignore"):
        if got.dtype.kind not in "biufc" or expected.dtype.kind not in "biufc":
            return ""
        same = np.allclose(got.astype(complex), expected.astype(complex), rtol=2e-3, atol=1e-4, equal_nan=True)
    return "" if same else f"{brief(got)}, by the definition {brief(expected)}"


def about_the_input(error: Exception) -> bool:
    """Say whether an error in use is about the input, not about a setting that ought to have been refused."""
    return (
        re.search(rf"{USERS}|pool2d: the kernel spans|^DataLoader: expected a data set|too large", str(error))
        is not None
    )


def brief(value: Any) -> str:
    """Write a value in a few words."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"array{value.shape} {value.dtype}"
    if isinstance(value, mg.Tensor) and value.size > 4:
        return f"Tensor{value.shape} {value.dtype}"
    return re.sub(r"\s+", " ", repr(value))[:60]


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """Make so many bad calls, and judge each."""
    rng = np.random.default_rng(seed)
    valid = calls()
    names = list(valid)
    families = sorted({name.partition("-")[0] for name in names})
    members = {family: [n for n in names if n.partition("-")[0] == family] for family in families}
    for _ in range(count):
        family = members[families[rng.integers(len(families))]]
        name = family[rng.integers(len(family))]
        yield outcome(name, changed(valid[name](), rng))


def main() -> None:
    """Count the outcomes, and print examples."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=3, help="examples of each kind and function")
    given = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    shown: collections.Counter[tuple[str, str]] = collections.Counter()
    for kind, text in outcomes(given.count, given.seed):
        counts[kind] += 1
        key = kind, re.split(r"[-(]", text)[0]
        if kind not in ("accepted", "named") and shown[key] < given.show:
            shown[key] += 1
            print(f"{kind:8} {text}"[:300], flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main()
