"""What flows through a model: mean, deviation and norm of each layer's output, and of its gradient.

Next: :mod:`minigrad.inspect.graph`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from minigrad.autograd.tensor import Tensor, array_of
from minigrad.device import is_array
from minigrad.inspect.summary import is_layer
from minigrad.nn.module import Module
from minigrad.typing import Array


class Moments(NamedTuple):
    """What is said of an array: three numbers.

    Attributes
    ----------
    mean, std : float
        Over all elements.
    norm : float
        The square root of the sum of squares.
    """

    mean: float
    std: float
    norm: float


@dataclass
class Response:
    """What a layer gave when it was called once, and the gradient that came back to it.

    Attributes
    ----------
    name : str
        The path of its attributes.
    kind : str
        Its class.
    output : Moments
        Of what it gave.
    gradient : Moments or None
        Of the gradient of that output; None before backward, and where no gradient flows.
    """

    name: str
    kind: str
    output: Moments
    gradient: Moments | None = None


@contextmanager
def statistics(model: Module) -> Iterator[list[Response]]:
    """Record what each layer gives, and the gradient that reaches it.

    Parameters
    ----------
    model : Module
        Runs as it is, in training or evaluation mode.

    Yields
    ------
    list of Responses
        One is appended whenever a layer of the model is called within the context: a Module without parts, or with
        parameters of its own. Its gradient is filled in by backward, within the context or later.

    Raises
    ------
    TypeError
        If `model` is no Module.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> net = nn.Sequential(nn.Linear(2, 4, rng=0), nn.ReLU())
    >>> with statistics(net) as responses:
    ...     net(mg.Tensor([[1.0, 2.0]])).sum().backward()
    >>> [(r.name, r.kind) for r in responses]
    [('0', 'Linear'), ('1', 'ReLU')]
    >>> responses[1].gradient
    Moments(mean=1.0, std=0.0, norm=2.0)
    """
    if not isinstance(model, Module):
        raise TypeError(f"statistics: expected a Module, got {type(model).__name__}")
    names = {id(module): name for name, module in model.named_modules()}
    responses: list[Response] = []

    def note(module: Module, out: Any) -> None:
        if is_array(array_of(out)):
            response = Response(names[id(module)], type(module).__name__, _moments(array_of(out)))
            responses.append(response)
            if isinstance(out, Tensor) and out.requires_grad:
                out.hook(lambda g: setattr(response, "gradient", _moments(g.data)))

    ends = [module.hook(note) for _, module in model.named_modules() if is_layer(module)]
    try:
        yield responses
    finally:
        for end in ends:
            end()


def _moments(array: Array) -> Moments:
    """Return mean, deviation and norm, computed in float64: the square of what explodes must not overflow."""
    array = array.astype("float64")
    return Moments(float(array.mean()), float(array.std()), float((array * array).sum()) ** 0.5)
