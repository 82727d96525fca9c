"""What a record holds: samples, definition, counterparts, refusals, and what a record must not lack."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg


class Absent(NamedTuple):
    """Marks a part of a record that does not exist for an operator, and says why."""

    reason: str


@dataclass(frozen=True)
class Sample:
    """One call of an operator.

    Attributes
    ----------
    inputs : tuple of float64 arrays
        All are differentiated. Small, so that the full Jacobian is compared; away from kinks.
    settings : dict
    call : callable, optional
        How to call the operator where that is not ``op(*inputs, **settings)``. The definition and PyTorch's
        counterpart are called in the same way.
    affine : bool
        Whether the result of a linear operator holds a constant here: a bias, a border other than 0.
    mixes : bool
        Whether neighbours are mixed before they are separated again: a number then changes the rounding of results that
        do not depend on it, and denormal numbers lose digits.
    """

    inputs: tuple[Any, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    call: Callable[..., Any] | None = None
    affine: bool = False
    mixes: bool = False

    def apply(self, op: Callable[..., Any], inputs: Any) -> Any:
        """Call `op` on these inputs, be they arrays, Tensors of minigrad, or tensors of PyTorch."""
        if self.call is not None:
            return self.call(op, *inputs, **self.settings)
        return op(*inputs, **self.settings)

    def function(self, name: str) -> Callable[..., Any]:
        """Return minigrad's operator of that name, called as this sample says, as a function of the inputs."""
        return lambda *inputs: self.apply(getattr(mg, name), inputs)

    def linear_maps(self, f: Callable[..., Any], linear: str) -> list[tuple[Callable[..., Any], Sequence[Any]]]:
        """Return the linear functions that `f` consists of, with their inputs: itself, or one for each input alone."""
        if linear == "jointly":
            return [(f, self.inputs)]
        held = self.inputs
        return [(lambda x, i=i: f(*held[:i], x, *held[i + 1 :]), [x]) for i, x in enumerate(held)]


def sample(*inputs: Any, call: Callable[..., Any] | None = None, affine: bool = False, **settings: Any) -> Sample:
    """Make a sample: inputs, then settings by name."""
    return Sample(inputs, settings, call, affine)


class Many(NamedTuple):
    """A small call that is cut into many blocks where blocks are small: see tests/tools/cuts.py.

    Attributes
    ----------
    sample : Sample
    sizes : tuple of int
        Bytes of a block. Under one of them at least, the value and each gradient alone is made of at least eight
        blocks, one shorter than others.
    small_product : int
        The largest number of multiply-adds of a small product, or 0 if the call has none.
    uncut : tuple of int
        The inputs whose gradients are not cut.
    smooth : bool
        Whether finite differences exist: not where elements tie.
    """

    sample: Sample
    sizes: tuple[int, ...]
    small_product: int = 0
    uncut: tuple[int, ...] = ()
    smooth: bool = True


@dataclass(frozen=True)
class Large:
    """A call in float32 that is as large as in use: of many blocks, where the operator cuts its work.

    Attributes
    ----------
    shapes : tuple of shapes
        Of inputs that are drawn from a normal distribution.
    terms : tuple of int
        How many rounded numbers are added up in each number of the value, and of the gradient of each input. The error
        may be proportional to it: see `bound` in tests/ops/test_many_blocks.py.
    settings : dict
    call : callable, optional
        As in a sample.
    blocks : int
        At least so many blocks make the value.
    """

    shapes: tuple[tuple[int, ...], ...]
    terms: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    call: Callable[..., Any] | None = None
    blocks: int = 8

    @property
    def numbers(self) -> int:
        """How many numbers the inputs consist of."""
        return sum(map(math.prod, self.shapes))

    def sample(self, seed: int = 1) -> Sample:
        """Draw the inputs, in float32; not by the seed of the cotangent, which would equal the first input."""
        rng = np.random.default_rng(seed)
        inputs = tuple(rng.standard_normal(shape, "float32") for shape in self.shapes)
        return Sample(inputs, self.settings, self.call)


class Refusal(NamedTuple):
    """A wrong call, a pattern in the error's message after ``operator: ``, and the type of the error."""

    call: Callable[[], Any]
    message: str
    error: type[Exception] = ValueError


def type_error(call: Callable[[], Any], message: str) -> Refusal:
    """Make a refusal by TypeError."""
    return Refusal(call, message, TypeError)


class Kink(NamedTuple):
    """A point without a derivative: a call, where it is made, and the slope that the docstring promises there."""

    call: Callable[..., Any]
    at: Any
    slope: Any


class Elementwise(NamedTuple):
    """What Hypothesis needs for an operator that works element by element.

    Attributes
    ----------
    draw : callable
        ``draw(rng, shape)``: numbers at which it is differentiable, or has a convention.
    gradients : callable
        In NumPy alone: ``gradients(g, *inputs)``, one for each input, not yet summed back to its shape.
    """

    draw: Callable[..., Any]
    gradients: Callable[..., tuple[Any, ...]]


class Reduction(NamedTuple):
    """What Hypothesis needs for a reduction.

    Attributes
    ----------
    draw : callable
        ``draw(rng, shape)``.
    slope : callable
        In NumPy alone: ``slope(x, axes)``, the derivatives of each result in the elements it was computed from.
    of_nothing : bool
        Whether it has a value for an empty array.
    """

    draw: Callable[..., Any]
    slope: Callable[..., Any]
    of_nothing: bool = False


class Convention(NamedTuple):
    """What an operator does with special values: a call at them, its value and slope, and the docstring's words.

    The slope is the gradient for this cotangent, in every element.
    """

    call: Callable[..., Any]
    at: Any
    value: Any
    slope: Any
    says: str
    cotangent: float = 1.0


@dataclass(frozen=True)
class Special:
    """What an operator does with NaN, infinities, zeros of both signs, denormals, huge numbers and ties.

    The kinds of special values are those of tests/tools/special_values.py. ``Special()`` says that values are those of
    the definition, and gradients those of PyTorch, for all of them.

    Attributes
    ----------
    definition : callable, optional
        A definition that holds for special values, too, where that of the record overflows.
    torch : callable, optional
        PyTorch's counterpart for special values, where that of the record does not serve.
    unlike_definition, unlike_torch : dict of str to str
        The kinds for which values differ from the definition, gradients from PyTorch's, each with the reason.
    conventions : dict of str to Convention
        What the docstring says about them; at least one where gradients differ from PyTorch's by choice.
    border : str
        What the docstring says where zeros of a border are multiplied: zero times infinity is NaN in the definition.
    leaks : dict of str to str
        Samples in which special values reach elements that do not depend on them, as strict expected failures, each
        with the reason. The test comes first: "values 3x3", "gradients 3x3", "inputs 3x3", "cotangents 3x3".
    """

    definition: Callable[..., Any] | None = None
    torch: Callable[..., Any] | None = None
    unlike_definition: dict[str, str] = field(default_factory=dict)
    unlike_torch: dict[str, str] = field(default_factory=dict)
    conventions: dict[str, Convention] = field(default_factory=dict)
    border: str = ""
    leaks: dict[str, str] = field(default_factory=dict)


#: What a record cannot do without: what to write there.
REQUIRED = {
    "definition": "what it computes, in NumPy alone",
    "samples": "small calls by name: {'vector': sample(randn(3)), ...}",
    "analytic": "True if it is made of analytic functions, so that it takes complex numbers; else False",
    "torch": "the same in PyTorch, or Absent('why there is none')",
    "refuses": "wrong calls by name: {'axis': Refusal(call, message), ...}, or Absent('why every call is right')",
    "offset": "a call of float32 numbers around 1e4 with its bounds (records/offsets.py), or Absent('why it has none')",
    "drawn": "how to draw a call of any size: a function in tests/records/sizes.py or windows.py",
    "special": "Special(), or Special(...) that says where special values are treated otherwise, and why",
}


@dataclass(frozen=True)
class OperatorRecord:
    """All facts about one operator that the generic tests need.

    Attributes
    ----------
    definition : callable
        What it computes, in NumPy alone, as one would explain it on a blackboard.
    samples : dict of str to Sample
        By readable names. Together the samples cover the operator's settings.
    analytic : bool
        Whether the operator is made of analytic functions: then complex steps give derivatives to machine precision.
    torch : callable or Absent
        The same in PyTorch, in minigrad's layout.
    refuses : dict of str to Refusal, or Absent
        Easy mistakes, and what the error says.
    linear : {"jointly", "each", None}
        Whether it is linear in all inputs together, or in each while the others are held.
    fused : bool
        Whether it has a rule on arrays, and beside it a twin: its definition in simpler operators.
    elementwise : Elementwise, optional
    reduction : Reduction, optional
    scipy : callable, optional
        The same in SciPy, where SciPy has it.
    many : dict of str to Many
        Of every operator that cuts its work into blocks: small calls, and the sizes of small blocks.
    large : dict of str to Large
        Calls as large as in use.
    gradients : callable, optional
        Of an operator that has large calls: ``gradients(g, *inputs, **settings)``, one for each input, in NumPy alone.
    numbers : dict of str to callable
        For settings that are numbers: ``f(kind, x, *vectors)`` makes a call in which each of them is given as
        ``kind(number)``, of `x` (4, 3) and vectors (3,).
    accepts : dict of str to callable
        Calls on arrays that are just within the limits, and must not be refused.
    kinks : dict of str to Kink
        For operators that are not analytic: the points without a derivative, and the slope that is used there.
    drawn : callable
        ``drawn(sizes)``: a call whose sizes are drawn, far beyond those of the samples. Operators that are neither
        linear nor analytic are linear within 0.01 of its inputs.
    offset : Offset or Absent
        A call in float32 of numbers around 10,000, and how far its value and gradients may be from float64.
    special : Special
        What it does with NaN, infinities, zeros of both signs and ties.
    """

    definition: Callable[..., Any] | None = None
    samples: dict[str, Sample] = field(default_factory=dict)
    analytic: bool | None = None
    torch: Callable[..., Any] | Absent | None = None
    refuses: dict[str, Refusal] | Absent = field(default_factory=dict)
    linear: str | None = None
    fused: bool = False
    elementwise: Elementwise | None = None
    reduction: Reduction | None = None
    scipy: Callable[..., Any] | None = None
    many: dict[str, Many] = field(default_factory=dict)
    large: dict[str, Large] = field(default_factory=dict)
    gradients: Callable[..., tuple[Any, ...]] | None = None
    numbers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    accepts: dict[str, Callable[[], Any]] = field(default_factory=dict)
    kinks: dict[str, Kink] | Absent = field(default_factory=dict)
    drawn: Callable[..., Sample] | None = None
    offset: Any = None
    special: Special | None = None


def lacks(name: str, op: Callable[..., Any], record: OperatorRecord | None) -> list[str]:
    """Say what is missing in the record of an operator, one sentence for each thing."""
    if record is None:
        return [f"{name}: has no record; add one in tests/records"]
    missing = {key: what for key, what in REQUIRED.items() if getattr(record, key) in (None, {})}
    if record.analytic is False and record.kinks == {}:
        missing["kinks"] = "its points without a derivative by name, or Absent('why it has none')"
    if not (record.large or record.elementwise or record.reduction):
        missing["large"] = "calls as large as in use, in float32"
    if record.large and record.gradients is None:
        missing["gradients"] = "those of its large calls, in NumPy alone"
    numbers = [key for key, p in inspect.signature(op).parameters.items() if isinstance(p.default, float)]
    if numbers and not record.numbers:
        missing["numbers"] = f"a call with NumPy scalars for {', '.join(numbers)}"
    return [f"{name}: its record lacks {key}: {what}" for key, what in missing.items()]
