"""The engine's messages: signatures of operators, and errors that name the operator, the fault and the fix.

Next: :mod:`minigrad.ops.functions`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.arguments import not_half
from minigrad.checked import explained
from minigrad.device import device_name, is_array, namespace
from minigrad.typing import Array, DType, Gradient, Settings, Shape

if TYPE_CHECKING:  # for type checkers only: these files import this one
    from minigrad.autograd.operator import Operator
    from minigrad.autograd.tape import Entry, Node


def public_signature(op: Operator) -> inspect.Signature:
    """Return the signature that ``help`` shows: the forward's, but its inputs may be Tensors, and so may the result."""
    forward = inspect.signature(op.forward)
    parameters = [
        p.replace(annotation="Tensor | Array") if p.name in op.inputs or p.kind is p.VAR_POSITIONAL else p
        for p in forward.parameters.values()
    ]
    return forward.replace(parameters=parameters, return_annotation="Tensor | Array")


def signature(op: Operator) -> str:
    """Return an operator's name and parameters, without their types."""
    parameters = inspect.signature(op.forward).parameters.values()
    return f"{op.name}({', '.join(str(p.replace(annotation=p.empty)) for p in parameters)})"


def expect_alike(op: Operator, args: Sequence[Any]) -> None:
    """Raise if Tensors differ in dtype or device. The dtype to convert to is a parameter's, if one is among them."""
    tensors = [arg for arg in args if hasattr(arg, "requires_grad")]
    layer = next((x for x in tensors if x.requires_grad and x.is_leaf), tensors[0])
    for x in tensors:
        if x.dtype != layer.dtype:
            raise mixed_dtypes(op, layer.dtype, x.dtype)
    devices = list(dict.fromkeys(device_name(x.data) for x in tensors))
    if len(devices) > 1:  # equal dtypes may be different objects
        got = " and ".join(devices)
        raise TypeError(f"{op.name}: expected Tensors on one device, got {got}; move one with .to(device)")


def mixed_dtypes(op: Operator, expected: DType, got: DType) -> TypeError:
    """Return the error for arrays of different dtypes."""
    if expected.kind in "iub":
        fix = f"convert the integers first, with .astype({'float32' if got.char == 'e' else str(got)!r})"
        return TypeError(f"{op.name}: gives {got} for {expected}; {fix}")
    fix = f"convert the {got} array or Tensor with .astype({str(expected)!r})"
    return TypeError(f"{op.name}: expected one dtype, got {expected} and {got}; {fix}")


def dtype_asked_for(op: Operator, expected: DType, arrays: list[Any], settings: Settings, out: Array) -> DType:
    """Return the dtype of a result that differs from the Tensors': a setting `dtype` must ask for it."""
    if "dtype" in settings and settings["dtype"] == out.dtype:
        return out.dtype
    raise mixed_dtypes(op, expected, next((a.dtype for a in arrays if is_array(a) and a.dtype != expected), out.dtype))


def result_of_arrays(op: Operator, arrays: list[Any], settings: Settings, out: Any) -> Any:
    """Return a result, for which the rule of Tensors holds: its dtype is that of an argument.

    So integers do not become floating-point numbers: of int8, NumPy makes float16, after sums in int8. But a sum of
    integers is a wider integer, as NumPy's.
    """
    dtypes = [a.dtype.newbyteorder("=") for a in arrays if is_array(a)]
    if dtypes and out.dtype.newbyteorder("=") in dtypes:
        not_half(op.name, out.dtype)
    elif dtypes and out.dtype.kind not in "iub":
        dtype_asked_for(op, dtypes[0], arrays, settings, out)
    return out


def failed_forward(op: Operator, error: Exception, arrays: list[Any], settings: Settings) -> Exception:
    """Return the error for a forward that failed: it names the operator and the shapes."""
    devices = list(dict.fromkeys(device_name(a) for a in [*arrays, *settings.values()] if is_array(a)))
    if len(devices) > 1:
        got = " and ".join(devices)
        return TypeError(f"{op.name}: expected arrays on one device, got {got}; move them with .to(device)")
    shapes = [tuple(a.shape) for a in arrays if is_array(a)]
    if other := next((a.dtype for a in arrays if is_array(a) and a.dtype.kind not in "biufc"), None):
        return TypeError(f"{op.name}: expected arrays of numbers, got one of {other}")
    if isinstance(error, OverflowError):  # a number that the dtype of an array does not hold
        return OverflowError(f"{op.name}: {error}")
    if not isinstance(error, ValueError) or str(error).startswith(op.name):
        ours = op.forward.__module__.startswith("minigrad.")  # an operator of the user's has errors of its own
        return explained(op.forward, error, arrays, settings, op.name) if ours else error
    if op.broadcasts and broadcast_shape(*shapes) is None:
        rule = "aligned at the right, sizes must be equal or 1"
        return ValueError(f"{op.name}: shapes {' and '.join(map(str, shapes))} do not broadcast: {rule}")
    return ValueError(f"{op.name}: {error} (got arrays of shape {', '.join(map(str, shapes))})")


def broadcast_shape(*shapes: Shape) -> Shape | None:
    """Return the shape that `shapes` broadcast to, or None if they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def misfit(entry: Entry, edge: Node, gradient: Gradient) -> RuntimeError:
    """Return the error for a rule's gradient that has the wrong shape or dtype."""
    op, i = entry.operator, entry.edges.index(edge)
    name = op.inputs[i] if i < len(op.inputs) else f"input {i}"
    got = f"{tuple(gradient.shape)} {gradient.dtype}" if hasattr(gradient, "dtype") else type(gradient).__name__
    return RuntimeError(f"{op.name}: its rule gave a gradient of {got} for {name}, which has {edge.shape} {edge.dtype}")


def released(entry: Entry) -> RuntimeError:
    """Return the error for an entry whose arrays were released."""
    return RuntimeError(
        f"{entry.operator.name}: the tape was released by an earlier backward or grad through it; "
        "pass retain_graph=True to the earlier call, or compute the output again"
    )


def refuse_nan_result(op: Operator, result: Array, inputs: Sequence[object]) -> None:
    """Raise if the result of an operator holds a NaN."""
    if _has_nan(result):
        held = "NaNs already" if any(map(_has_nan, inputs)) else "none"
        place = f"its result of shape {tuple(result.shape)}"
        raise FloatingPointError(f"{op.name}: made the first NaN, in {place}; its inputs held {held}")


def refuse_nan_gradient(op: Operator, g: Array, gradient: Array, total: Array) -> None:
    """Raise if the gradient that a rule returned, or the sum of the gradients to which it was added, holds a NaN."""
    if _has_nan(total):
        held = "NaNs already" if _has_nan(g) else "none"
        made = "its rule" if _has_nan(gradient) else "the sum of its rule's gradient and others (inf - inf)"
        place = f"a gradient of shape {tuple(gradient.shape)}"
        raise FloatingPointError(f"{op.name}: {made} made the first NaN, in {place}; its cotangent held {held}")


def _has_nan(array: object) -> bool:
    """Whether a value is an array with a NaN."""
    return is_array(array) and bool(namespace(array).isnan(array).any())
