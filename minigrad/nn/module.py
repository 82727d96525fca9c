"""Module: parameters, buffers and a forward pass, under names.

A Module is an ordinary object. Its attributes are found by their type, alone or in lists, tuples and dicts: a
:class:`Parameter` is trained; a :class:`Buffer` is saved with the parameters but not trained (the running statistics of
batch norm); a Module is a child. Names are paths of attributes, ``layer1.0.conv1.weight``.

Next: :mod:`minigrad.nn.layers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableSequence, Sequence, Set
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from minigrad.arguments import expect, flag
from minigrad.autograd.modes import once
from minigrad.autograd.tensor import Tensor, array_of
from minigrad.checked import as_written
from minigrad.device import is_array, namespace, on_host, to_device, to_host
from minigrad.typing import Array, Number

V = TypeVar("V")


class Parameter(Tensor):
    """A Tensor that requires a gradient, and that a Module finds among its attributes.

    Examples
    --------
    >>> Parameter([1.0, 2.0])
    Tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Array | Number | Sequence[Any]) -> None:
        super().__init__(data, requires_grad=True)


class Buffer:
    """An array that a Module saves and moves together with its parameters, but that is not trained.

    Parameters
    ----------
    data : array

    Attributes
    ----------
    data : array
        It may be written into, or replaced.

    Examples
    --------
    >>> mean = Buffer(np.zeros(2))
    >>> mean.data += 0.5
    >>> mean
    Buffer([0.5 0.5])
    """

    __slots__ = ("data",)

    def __init__(self, data: Array) -> None:
        expect(is_array(data), "Buffer", "an array", type(data).__name__, error=TypeError)
        self.data = data

    def __repr__(self) -> str:
        return f"Buffer({self.data})"


class Module:
    """The parent class of layers and nets: define ``__init__`` and ``forward``.

    Attributes
    ----------
    training : bool
        Whether layers behave as in training (batch norm, dropout). See :meth:`train` and :meth:`eval`.

    Examples
    --------
    >>> import minigrad as mg
    >>> class Scale(Module):
    ...     def __init__(self, c):
    ...         self.gain = Parameter([1.0] * c)
    ...
    ...     def forward(self, x):
    ...         return x * self.gain
    >>> scale = Scale(3)
    >>> [name for name, _ in scale.named_parameters()]
    ['gain']
    """

    training = True

    #: Computes the output from the inputs. Every Module defines it, with inputs of its own: hence `...` and `Any`.
    forward: Callable[..., Any]

    def __call__(self, *inputs: Any) -> Tensor:
        """Return the output, after calling the hooks with it."""
        out: Tensor = self.forward(*inputs)
        for f in tuple(vars(self).get("_hooks", ())):
            once(lambda f=f: f(self, out))  # type: ignore[misc]
        return out

    def hook(self, f: Callable[[Self, Tensor], object]) -> Callable[[], None]:
        """Call ``f(module, output)`` after every forward pass; return a function that removes this hook.

        Examples
        --------
        >>> import minigrad as mg
        >>> layer, seen = mg.nn.ReLU(), []
        >>> end = layer.hook(lambda module, output: seen.append(output.shape))
        >>> out = layer(mg.Tensor([1.0]))
        >>> end()
        >>> seen
        [(1,)]
        """
        hooks, own = vars(self).setdefault("_hooks", []), partial(f)  # equal to no other, also if `f` is hooked twice
        hooks.append(own)
        return lambda: hooks.remove(own) if own in hooks else None

    # What it holds ---------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the child Modules with their names, in the order in which they were set."""
        return ((name, value) for name, value in self._attributes() if isinstance(value, Module))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this Module and all Modules in it with their paths, a shared Module only once."""
        seen, ahead = set(), [("", self)]
        while ahead:
            path, module = ahead.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                ahead += [(_join(path, name), part) for name, part in reversed(list(module.named_children()))]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with their paths, a shared parameter only once."""
        return ((path, value) for path, value in self._values() if isinstance(value, Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """Yield the parameters."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield the buffers with their paths, a shared buffer only once."""
        return ((path, value) for path, value in self._values() if isinstance(value, Buffer))

    def buffers(self) -> Iterator[Buffer]:
        """Yield the buffers."""
        return (b for _, b in self.named_buffers())

    def _values(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        """Yield parameters and buffers with their paths; refuse attributes in which they would be overlooked."""
        seen = set()
        for path, module in self.named_modules():
            for name, value in module._attributes():
                if is_array(value) and not name.startswith("_"):
                    raise TypeError(
                        f"{type(module).__name__}.{name}: an array alone is neither saved nor moved; wrap it: "
                        "nn.Buffer(array), or, if it is to be neither, begin its name with an underscore"
                    )
                if isinstance(value, Parameter | Buffer) and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), value

    # What is done to all of it ---------------------------------------------------------------

    def apply(self, f: Callable[[Module], object]) -> Self:
        """Call `f` on this Module and all Modules in it; return this Module."""
        for _, module in self.named_modules():
            f(module)
        return self

    def train(self, training: bool = True) -> Self:
        """Make every layer behave as in training."""
        training = flag("train", "training", training)
        return self.apply(lambda module: setattr(module, "training", training))

    def eval(self) -> Self:
        """Make every layer behave as in evaluation."""
        return self.train(False)

    @property
    def device(self) -> str:
        """The device of the parameters, on which inputs must be, too; ``"cpu"`` if there are no parameters."""
        return next((p.device for p in self.parameters()), "cpu")

    def to(self, device: str) -> Self:
        """Move parameters and buffers to a device; gradients are dropped."""
        for _, value in self._values():
            value.data = to_device(value.data, device)
            if isinstance(value, Parameter):
                value.grad = None
        return self

    # State -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers, on the host, by path.

        Examples
        --------
        >>> import minigrad as mg
        >>> {name: a.shape for name, a in mg.nn.Linear(3, 2, rng=0).state_dict().items()}
        {'weight': (3, 2), 'bias': (2,)}
        """
        return {name: np.array(to_host(held.data)) for name, held in self._held().items()}

    def check_state_dict(self, state: Mapping[str, Array]) -> None:
        """Raise what :meth:`load_state_dict` would raise, and change nothing."""
        self._matched(state, True)

    def load_state_dict(self, state: Mapping[str, Array], strict: bool = True) -> Unmatched:
        """Copy arrays into the parameters and buffers of the same paths.

        Their ``.data`` become new arrays: the old ones, which the tape may store, are not written into. Paths of
        earlier versions are understood, too: see :meth:`renamed`.

        Parameters
        ----------
        state : dict of arrays
            By path, as :meth:`state_dict` returns them.
        strict : bool
            Whether the state must have exactly the paths of this model. With False the arrays of common paths are
            loaded. Their shapes must fit in any case.

        Returns
        -------
        Unmatched
            The paths that only the model has, and those that only the state has: both empty if `strict`.

        Raises
        ------
        ValueError
            If names, shapes or kinds of numbers do not fit, or if no path is common. The message lists every
            mismatch, and nothing is loaded.

        Examples
        --------
        Weights of another net, under a new head:

        >>> from minigrad import nn
        >>> trained = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Linear(3, 10, rng=1)).state_dict()
        >>> net = nn.Sequential(nn.Linear(4, 3, rng=2), nn.ReLU(), nn.Linear(3, 2, rng=3))
        >>> net.load_state_dict(trained, strict=False)
        Unmatched(missing_keys=['2.weight', '2.bias'], unexpected_keys=['1.weight', '1.bias'])
        """
        pairs, unmatched = self._matched(state, flag("load_state_dict", "strict", strict))
        for held, array in pairs:
            held.data = array
        return unmatched

    def _matched(
        self, state: Mapping[str, Array], strict: bool
    ) -> tuple[list[tuple[Parameter | Buffer, Array]], Unmatched]:
        """Return each parameter and buffer with its new array, a copy of its dtype, on its device; and other paths."""
        expect(isinstance(state, Mapping), "load_state_dict", "arrays by name", f"{state!r:.80}", error=TypeError)
        # Which paths are common? Without `strict`, one common path is enough.
        mine, given = self._held(), self.at_present(state, self._held())
        other = Unmatched([name for name in mine if name not in given], [name for name in given if name not in mine])
        faults = [f"missing: {name}" for name in other.missing_keys] if strict or len(other[1]) == len(given) else []
        faults += [f"unexpected: {name}" for name in other.unexpected_keys] if strict or faults else []
        # For each, the new array is made, but not yet put in: if one does not fit, the model stays as it is.
        pairs = []
        for name in [name for name in mine if name in given]:
            array, value = mine[name].data, _as_array(given[name])
            if array.shape != value.shape:
                faults.append(f"{name}: expected shape {array.shape}, got {value.shape}")
            elif not np.can_cast(value.dtype, array.dtype, "same_kind"):
                faults.append(f"{name}: expected numbers for {array.dtype}, got {value.dtype}")
            else:
                value = to_host(value) if on_host(array) else value
                pairs.append((mine[name], namespace(array).array(value, dtype=array.dtype)))
        if faults:
            others = "; leave the others out of the state" * (len(pairs) + len(other.missing_keys) < len(mine))
            rest = f"\nstrict=False loads what has common names{others}" if pairs else ""
            raise ValueError("load_state_dict: the state does not fit this model:\n  " + "\n  ".join(faults) + rest)
        return pairs, other

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """Yield the random generators that the layers draw from, as those of dropout, each with its path and place.

        Examples
        --------
        >>> from minigrad import nn
        >>> [name for name, rng in nn.Sequential(nn.ReLU(), nn.Dropout(rng=0)).named_generators()]
        ['1.rng.0']
        """
        for path, module in self.named_modules():
            for name, value in module._attributes():
                if isinstance(value, np.random.Generator):
                    yield f"{path}.{name}" if "." in name else f"{path}.{name}.0", value

    def at_present(self, state: Mapping[str, V], mine: Container[str]) -> dict[str, V]:
        """Return a state with the present paths, `mine`, in place of those of an earlier version."""

        def today(name: str) -> str:
            new = self.renamed(str(name))
            return new if name not in mine and new in mine and new not in state else name

        return {today(name): value for name, value in state.items()}

    def renamed(self, path: str) -> str:
        """Return the present path of a parameter or buffer, given its path in a file of an earlier version.

        Examples
        --------
        >>> Module().renamed("head.layers.0.w")  # through a Sequential, whose list had a name in the path
        'head.0.weight'
        """
        above, dot, own = re.sub(r"(?<![^.])layers\.", "", path).rpartition(".")
        return above + dot + {"w": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}.get(own, own)

    def _attributes(self) -> Iterator[tuple[str, Any]]:
        """Yield what the attributes hold, each with its path; those in lists, tuples and dicts one by one."""
        return (found for name, value in vars(self).items() for found in self._walk(name, value))

    def _walk(self, name: str, value: object, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
        """Yield what an attribute holds; refuse parameters, buffers and modules in other containers, such as sets."""
        # Lists, tuples and dicts are walked, at any depth.
        inside = (*above, id(value))
        if id(value) in above:  # a list may hold itself
            return
        walked: Iterable[tuple[object, object]] | None = enumerate(value) if isinstance(value, list | tuple) else None
        if isinstance(value, Mapping) and all(isinstance(key, str) and "." not in key for key in value):
            walked = value.items()
        if walked is not None:
            for key, part in walked:
                yield from self._walk(f"{name}.{key}", part, inside)
        # Other containers are not: a parameter inside would never be trained.
        elif isinstance(value, Mapping | Set | MutableSequence):
            parts = value.values() if isinstance(value, Mapping) else value
            found = (thing for part in parts for _, thing in self._walk(name, part, inside))
            if any(isinstance(thing, Parameter | Buffer | Module) for thing in found):
                what = f"a {type(value).__name__}" + " with such keys" * isinstance(value, Mapping)
                raise TypeError(
                    f"{type(self).__name__}.{name}: parameters, buffers and modules are found among attributes, in "
                    f"lists, tuples and dicts whose keys are texts without a dot, not in {what}; use a list"
                )
        else:
            yield name, value

    def _held(self) -> dict[str, Parameter | Buffer]:
        """Return the parameters, and then the buffers, by path."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def __repr__(self) -> str:
        parts = [f"  ({name}): " + repr(part).replace("\n", "\n  ") for name, part in self.named_children()]
        if parts:
            return f"{type(self).__name__}(\n" + "\n".join(parts) + "\n)"
        own = [value for _, value in self._attributes() if isinstance(value, Parameter)]
        dtype = np.float32 if not own or own[0].dtype == np.float32 else own[0].dtype.name
        return as_written(self, dtype=dtype, bias=getattr(self, "bias", None) is not None)


class Unmatched(NamedTuple):
    """The paths that :meth:`Module.load_state_dict` did not load.

    Attributes
    ----------
    missing_keys : list of str
        Paths that only the model has.
    unexpected_keys : list of str
        Paths that only the state has.

    Examples
    --------
    >>> from minigrad import nn
    >>> missing, unexpected = nn.Linear(3, 2, rng=0).load_state_dict({"weight": np.ones((3, 2))}, strict=False)
    >>> missing
    ['bias']
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


def _as_array(value: Any) -> Array:
    """Return the array of a Tensor or of numbers; of anything else an object array, which fits no parameter."""
    value = array_of(value)
    try:
        return value if is_array(value) else np.asarray(value)
    except (TypeError, ValueError):
        return np.array(None)


@contextmanager
def evaluation(*models: Module) -> Iterator[None]:
    """Put models into evaluation mode inside the context; at the end restore the mode of every layer.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = mg.nn.Sequential(mg.nn.ReLU())
    >>> with evaluation(net):
    ...     print(net.training)
    False
    >>> net.training
    True
    """
    modes = [(module, module.training) for model in models for _, module in model.named_modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _join(path: str, name: str) -> str:
    """Return the path of an attribute of the Module at `path`."""
    return f"{path}.{name}" if path else name
