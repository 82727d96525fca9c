"""Random inputs for the records, and helpers that call operators and move arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import minigrad as mg
from tests.records.record import Kink, Sample, sample

# Small arrays for samples ----------------------------------------------------------------------


def randn(*shape: int, seed: int = 0, away: float = 0.0) -> Any:
    """Draw normal numbers that keep a distance from 0."""
    x = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return x + np.sign(x) * away


def positive(*shape: int, seed: int = 0) -> Any:
    """Draw numbers from 0.5 to 2."""
    return np.random.default_rng([seed, *shape]).uniform(0.5, 2.0, shape)


def distinct(*shape: int, seed: int = 0) -> Any:
    """Draw numbers that are all at least 0.1 apart, so that no maximum is near a tie."""
    x = 0.1 * np.arange(1, np.prod(shape, dtype=int) + 1)
    signs = np.where(np.arange(x.size) % 2, 1.0, -1.0)
    return np.random.default_rng(seed).permutation(x * signs).reshape(shape)


def ones(*shape: int, dtype: str = "float64") -> Any:
    """Return an array of ones."""
    return np.ones(shape, dtype)


def t(*shape: int, dtype: str = "float32") -> mg.Tensor:
    """Return a Tensor of ones; a leaf where its dtype can have a gradient."""
    return mg.Tensor(ones(*shape, dtype=dtype), requires_grad=dtype.startswith("float"))


#: Pairs of shapes that broadcast.
BROADCASTS = {
    "equal": ((2, 3), (2, 3)),
    "scalar-right": ((2, 3), ()),
    "scalar-left": ((), (3,)),
    "missing-axis": ((3,), (2, 3)),
    "stretched": ((2, 1, 3), (4, 1)),
    "both-stretched": ((2, 1), (1, 3)),
    "ones": ((1,), (1, 1)),
    "empty": ((0, 3), (1, 3)),
}


def binary(draw: Callable[..., Any] = randn) -> dict[str, Sample]:
    """Make the samples of an elementwise operator of two inputs."""
    pairs = {name: sample(draw(*a, seed=1), draw(*b, seed=2)) for name, (a, b) in BROADCASTS.items()}
    return pairs | {
        "number-right": sample(draw(2, 3), call=lambda op, x: op(x, 2.5), affine=True),
        "number-left": sample(draw(2, 3), call=lambda op, x: op(2.5, x), affine=True),
    }


def unary(draw: Callable[..., Any] = randn) -> dict[str, Sample]:
    """Make the samples of an elementwise operator of one input."""
    shapes = {"0-d": (), "vector": (3,), "matrix": (2, 3), "empty": (0, 2)}
    return {name: sample(draw(*shape)) for name, shape in shapes.items()}


# Arrays of any shape for Hypothesis -------------------------------------------------------------


def normal(rng: np.random.Generator, shape: Any) -> Any:
    """Draw normal numbers."""
    return np.asarray(rng.standard_normal(shape))


def uniform(rng: np.random.Generator, shape: Any) -> Any:
    """Draw numbers from 0.5 to 2."""
    return np.asarray(rng.uniform(0.5, 2.0, shape))


def tied(rng: np.random.Generator, shape: Any) -> Any:
    """Draw from few values, so that many are equal."""
    return np.asarray(rng.integers(-2, 3, shape) / 2)


# How operators are called -----------------------------------------------------------------------


def as_list(op: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
    """Call an operator that takes its inputs in a list."""
    return op(list(inputs), **settings)


def beside(x: Any, array: Any) -> Any:
    """Copy a host array to the library and the device of `x`; an array of floats also gets the dtype of `x`."""
    if type(x).__module__ == "torch":
        return torch.tensor(array, dtype=x.dtype if array.dtype.kind == "f" else None)
    data = x.data if isinstance(x, mg.Tensor) else x
    if isinstance(data, list):
        return array.copy()
    return mg.device.namespace(data).asarray(array.astype(data.dtype) if array.dtype.kind == "f" else array)


def kink(call: Callable[..., Any], at: float, slope: float) -> Kink:
    """Return the record of a kink of a function of one number."""
    return Kink(call, np.array([at]), np.array([slope]))


# PyTorch and SciPy ------------------------------------------------------------------------------


class Lazy:
    """A module that is imported when something in it is first used: PyTorch takes seconds, and may be absent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        module: ModuleType = importlib.import_module(self.name)
        return getattr(module, attribute)


torch: Any = Lazy("torch")
F: Any = Lazy("torch.nn.functional")
special: Any = Lazy("scipy.special")
signal: Any = Lazy("scipy.signal")


def channels_first(x: Any) -> Any:
    """Turn PyTorch's tensor (n, h, w, c) into (n, c, h, w)."""
    return x.movedim(-1, 1)


def channels_last(x: Any) -> Any:
    """Turn PyTorch's tensor (n, c, h, w) into (n, h, w, c)."""
    return x.movedim(1, -1)


# Algorithms ------------------------------------------------------------------------------------


def by_winograd(op: Any, *inputs: Any, **settings: Any) -> Any:
    """Call an operator where Winograd's algorithm is used for whatever it can do."""
    with mg.conv_algorithm("winograd"):
        return op(*inputs, **settings)
