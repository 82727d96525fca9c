"""statistics: mean, standard deviation and norm of each layer's output and of its gradient.

Next: :mod:`minigrad.inspect.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from minigrad.autograd.tensor import Tensor, array_of
from minigrad.checked import checked
from minigrad.device import is_array
from minigrad.inspect.summary import on_layers
from minigrad.nn.module import Module
from minigrad.typing import Array


class Moments(NamedTuple):
    """Three numbers that describe an array.

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
    """The output of one call of a layer, and the gradient that came back to it.

    Attributes
    ----------
    name : str
        The layer's path of attributes.
    kind : str
        Its class.
    output : Moments
        Of the output.
    gradient : Moments or None
        Of the output's gradient; None before backward, and where no gradient flows.
    """

    name: str
    kind: str
    output: Moments
    gradient: Moments | None = None


@contextmanager
@checked
def statistics(model: Module) -> Iterator[list[Response]]:
    """Record the moments of each layer's output, and of the gradient that reaches it.

    Parameters
    ----------
    model : Module
        Runs in the mode in which it is, training or evaluation.

    Yields
    ------
    list of Responses
        One is appended whenever a layer is called within the context: a Module without parts, or with parameters of
        its own. Backward fills in its gradient, within the context or later.

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
    responses: list[Response] = []

    def note(name: str, layer: Module, out: object) -> None:
        array = array_of(out)
        if is_array(array):
            response = Response(name, type(layer).__name__, _moments(array))
            responses.append(response)
            if isinstance(out, Tensor) and out.requires_grad:
                out.hook(lambda g: setattr(response, "gradient", _moments(g.data)))

    with on_layers(model, note):
        yield responses


def _moments(array: Array) -> Moments:
    """Return mean, standard deviation and norm, computed in float64, in which the squares of large numbers fit."""
    array = array.astype("float64")
    return Moments(float(array.mean()), float(array.std()), float((array * array).sum()) ** 0.5)
