"""Records of the operators that rearrange elements: minigrad/ops/shape.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes
from tests.records.draw import F, as_list, ones, randn, t, torch
from tests.records.record import OperatorRecord, Refusal, Special, sample, type_error


def _getitem(x: Any, index: Any) -> Any:
    """Index PyTorch's tensor, also with negative steps, which PyTorch does not support."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts):
        places = np.arange(x.numel()).reshape(x.shape)[index]
        return x.reshape(-1)[torch.tensor(places.copy())]
    # PyTorch takes uint8 for a mask, knows few kinds of integers, and does not broadcast a number with arrays
    if any(isinstance(p, list | np.ndarray) for p in parts):
        parts = tuple([p] if isinstance(p, int) else p for p in parts)
    parts = tuple(torch.tensor(np.asarray(p, "int64")) if isinstance(p, list | np.ndarray) else p for p in parts)
    return x[parts]


def _reversed_axes(x: Any, axes: Any) -> Any:
    return tuple(reversed(range(x.ndim))) if axes is None else axes


def _flipped_axes(x: Any, axis: Any) -> Any:
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def _embed(op: Any, w: Any, indices: Any) -> Any:
    return op(indices, w)


_x = randn(4, 3, 2)

RECORDS = {
    "reshape": OperatorRecord(
        drawn=sizes.reshape,
        offset=offsets.one(shape=(30, 8)),
        special=Special(),
        definition=lambda x, shape: x.reshape(shape),
        samples={
            "matrix": sample(randn(2, 3, 2), shape=(6, 2)),
            "flat": sample(randn(2, 3, 2), shape=(-1,)),
            "int": sample(randn(2, 3, 2), shape=12),
            "rest": sample(randn(2, 3, 2), shape=(2, -1)),
            "ones": sample(randn(2, 3, 2), shape=(1, 12, 1)),
            "list": sample(randn(2, 3, 2), shape=[4, 3]),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, shape: x.reshape(shape),
        accepts={"list": lambda: mg.reshape(ones(6), [2, 3])},
        refuses={
            "float": type_error(lambda: t(2, 3).reshape(2.0), "expected an int or a tuple of ints, got 2.0"),
            "size": Refusal(lambda: t(2, 3).reshape(4), r"shape \(2, 3\)"),
            "two-rests": Refusal(lambda: t(2, 3).reshape(-1, -1), r"shape \(2, 3\)"),
        },
    ),
    "transpose": OperatorRecord(
        drawn=sizes.transpose,
        offset=offsets.one(axes=(1, 0)),
        special=Special(),
        definition=lambda x, axes: x.transpose(axes),
        samples={
            "default": sample(randn(2, 3, 4), axes=None),
            "rotated": sample(randn(2, 3, 4), axes=(1, 2, 0)),
            "last-two": sample(randn(2, 3, 4), axes=(0, 2, 1)),
            "negative": sample(randn(2, 3, 4), axes=(-1, 0, 1)),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, axes=None: x.permute(_reversed_axes(x, axes)),
        refuses={
            "axis-twice": Refusal(lambda: t(2, 3).transpose(0, 0), r"axis \(0, 0\) names an axis twice"),
            "one-of-two": Refusal(
                lambda: t(2, 3).transpose(0), r"expected a tuple of all 2 axes, got .*shape \(2, 3\)"
            ),
            "one-of-two-of-an-array": Refusal(lambda: mg.transpose(ones(2, 3), (0,)), "expected a tuple of all 2 axes"),
            "list": Refusal(lambda: mg.transpose(ones(2, 3), [1, 0]), "expected a tuple of all 2 axes"),
            "array": Refusal(lambda: t(2, 3).transpose(np.array([1, 0])), "expected a tuple of all 2 axes, got"),
            "empty-list": Refusal(lambda: t(2, 3).transpose([]), "expected a tuple of all 2 axes, got"),
            "no-axis": Refusal(lambda: t(2, 3).transpose(0, 2), r"axis \(0, 2\) is not an axis"),
        },
    ),
    "broadcast_to": OperatorRecord(
        drawn=sizes.broadcast_to,
        offset=offsets.Offset(sample(offsets.near(30), shape=(8, 30)), gradients=8),
        special=Special(),
        definition=np.broadcast_to,
        samples={
            "new-axis": sample(randn(3), shape=(2, 3)),
            "stretched": sample(randn(2, 1), shape=(2, 3)),
            "0-d": sample(randn(), shape=(2, 2)),
            "same": sample(randn(2, 3), shape=(2, 3)),
            "both": sample(randn(1, 1), shape=(4, 2, 3)),
            "empty": sample(randn(1, 3), shape=(0, 3)),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, shape: torch.broadcast_to(x, shape),
        refuses={"shape": Refusal(lambda: mg.broadcast_to(t(2, 3), (2, 2)), r"\(2, 3\)")},
    ),
    "squeeze": OperatorRecord(
        drawn=sizes.squeeze,
        offset=offsets.Offset(sample(offsets.near(1, 30), axis=0)),
        special=Special(),
        definition=np.squeeze,
        samples={
            "first": sample(randn(1, 3, 1), axis=0),
            "last": sample(randn(1, 3, 1), axis=-1),
            "both": sample(randn(1, 3, 1), axis=(0, 2)),
            "all": sample(randn(1, 3, 1)),
            "none": sample(randn(3, 2)),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, axis=None: torch.squeeze(x) if axis is None else torch.squeeze(x, axis),
        refuses={
            "size": Refusal(lambda: mg.squeeze(t(2, 1), 0), r"only axes of size 1 .*axis 0 of shape \(2, 1\)"),
            "size-of-one-of-two": Refusal(lambda: mg.squeeze(ones(1, 2), (0, 1)), "only axes of size 1"),
            "no-axis": Refusal(lambda: mg.squeeze(t(2, 1), 2), "axis 2 is not an axis of an array with 2 axes"),
        },
    ),
    "expand_dims": OperatorRecord(
        drawn=sizes.expand_dims,
        offset=offsets.one(axis=1),
        special=Special(),
        definition=np.expand_dims,
        samples={
            "first": sample(randn(2, 3), axis=0),
            "middle": sample(randn(2, 3), axis=1),
            "last": sample(randn(2, 3), axis=2),
            "last-negative": sample(randn(2, 3), axis=-1),
            "first-negative": sample(randn(2, 3), axis=-3),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, axis: torch.unsqueeze(x, axis),
        accepts={"first": lambda: mg.expand_dims(ones(2), -2), "last": lambda: mg.expand_dims(ones(2), 1)},
        refuses={
            "far-above": Refusal(lambda: mg.expand_dims(t(2), 3), "expected an axis from -2 to 1, got 3"),
            "above": Refusal(lambda: mg.expand_dims(ones(2), 2), "expected an axis from -2 to 1"),
            "below": Refusal(lambda: mg.expand_dims(ones(2), -3), "expected an axis from -2 to 1"),
            "float": Refusal(lambda: mg.expand_dims(ones(2), 0.5), "expected an axis from -2 to 1, got 0.5"),
        },
    ),
    "concatenate": OperatorRecord(
        drawn=sizes.concatenate,
        offset=offsets.listed(8, 30, axis=1),
        special=Special(),
        definition=np.concatenate,
        samples={
            "three": sample(randn(2, 3), randn(2, 1), randn(2, 2), call=as_list, axis=1),
            "empty-part": sample(randn(2, 3), randn(2, 0), call=as_list, axis=-1),
            "one": sample(randn(3), call=as_list),
        },
        analytic=True,
        linear="jointly",
        torch=lambda arrays, axis=0: torch.cat(arrays, axis),
        refuses={
            "none": type_error(lambda: mg.concatenate(None), "expected a list or tuple .*got NoneType"),
            "nothing": Refusal(lambda: mg.concatenate([]), "expected at least one array, got none"),
            "shapes": Refusal(lambda: mg.concatenate([t(2, 3), t(2, 2)]), r"\(2, 3\), \(2, 2\)"),
            "no-axis": Refusal(lambda: mg.concatenate([t(2), t(2)], axis=1), "axis 1 is not an axis"),
            "dtypes": type_error(lambda: mg.concatenate([t(2), t(2, dtype="float64")]), "expected one dtype"),
        },
    ),
    "stack": OperatorRecord(
        drawn=sizes.stack,
        offset=offsets.listed(8, 30, axis=1),
        special=Special(),
        definition=np.stack,
        samples={
            "first": sample(randn(2, 3), randn(2, 3, seed=1), call=as_list, axis=0),
            "middle": sample(randn(2, 3), randn(2, 3, seed=1), call=as_list, axis=1),
            "last": sample(randn(2, 3), randn(2, 3, seed=1), call=as_list, axis=-1),
        },
        analytic=True,
        linear="jointly",
        torch=lambda arrays, axis=0: torch.stack(arrays, axis),
        accepts={"last-axis": lambda: mg.stack([ones(2)], 1)},
        refuses={
            "shapes": Refusal(lambda: mg.stack([t(2), t(3)]), r"expected arrays of one shape, got \(2,\), \(3,\)"),
            "nothing": Refusal(lambda: mg.stack([]), "expected arrays of one shape, got none"),
            "above": Refusal(lambda: mg.stack([ones(2), ones(2)], 2), "axis 2 is not an axis of an array with 2 axes"),
            "below": Refusal(
                lambda: mg.stack([ones(2), ones(2)], -3), "axis -3 is not an axis of an array with 2 axes"
            ),
        },
    ),
    "pad": OperatorRecord(
        drawn=sizes.pad,
        offset=offsets.one(pad_width=[(1, 2), (3, 0)]),
        special=Special(),
        definition=lambda x, pad_width, constant_values=0.0: np.pad(x, pad_width, constant_values=constant_values),
        samples={
            "one-side": sample(randn(2, 3), pad_width=[(1, 0), (0, 2)]),
            "nothing": sample(randn(2, 3), pad_width=[(0, 0), (0, 0)]),
            "all-sides": sample(randn(2, 3), pad_width=[(2, 1), (1, 1)]),
            "constant": sample(randn(2), pad_width=[(1, 1)], constant_values=-3.0, affine=True),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, pad_width, constant_values=0.0: F.pad(
            x, [n for pair in reversed(pad_width) for n in pair], value=constant_values
        ),
        numbers={"constant": lambda kind, x: mg.pad(x, [(1, 1), (0, 2)], kind(1))},
        refuses={
            "too-many-pairs": Refusal(lambda: mg.pad(t(2), [(1, 1), (0, 0)]), "expected a pair .* for each of 1 axes"),
            "too-few-pairs": Refusal(lambda: mg.pad(ones(2, 3), [(1, 1)]), "expected a pair"),
            "triple": Refusal(lambda: mg.pad(ones(2), [(1, 1, 1)]), "expected a pair"),
            "negative-before": Refusal(lambda: mg.pad(t(2), [(-1, 0)]), "expected a pair .*non-negative"),
            "negative-after": Refusal(lambda: mg.pad(ones(2), [(0, -1)]), "expected a pair"),
            "float": Refusal(lambda: mg.pad(ones(2), [(0.5, 0)]), "expected a pair"),
            "int": Refusal(lambda: mg.pad(t(2), 1), "expected a pair .* got 1"),
            "border-of-integers": Refusal(
                lambda: mg.pad(ones(2, dtype="int8"), [(1, 1)], -np.inf), "expected an integer for the border of int8"
            ),
            "fraction-beside-integers": Refusal(lambda: mg.pad(ones(2, dtype="int64"), [(1, 1)], 1.5), "got 1.5"),
        },
    ),
    "flip": OperatorRecord(
        drawn=sizes.flip,
        offset=offsets.one(axis=1),
        special=Special(),
        definition=np.flip,
        samples={
            "all": sample(randn(2, 3), axis=None),
            "first": sample(randn(2, 3), axis=0),
            "last": sample(randn(2, 3), axis=-1),
            "both": sample(randn(2, 3), axis=(0, 1)),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, axis=None: torch.flip(x, _flipped_axes(x, axis)),
        refuses={"no-axis": Refusal(lambda: mg.flip(t(2), 1), "axis 1 is not an axis")},
    ),
    "getitem": OperatorRecord(
        drawn=sizes.getitem,
        offset=offsets.one(index=[0, 3, 3, 3, 7], gradients=3),
        special=Special(),
        definition=lambda x, index: x[index],
        samples={
            "int": sample(_x, index=1),
            "negative": sample(_x, index=-1),
            "slice": sample(_x, index=slice(1, 3)),
            "backwards": sample(_x, index=slice(None, None, -1)),
            "every-second-backwards": sample(_x, index=slice(3, 0, -2)),
            "second-axis": sample(_x, index=(slice(None), 1)),
            "ellipsis": sample(_x, index=(..., 0)),
            "new-axes": sample(_x, index=(None, slice(0, 2), ..., None)),
            "list-repeats": sample(_x, index=[0, 2, 0]),
            "list-between-slices": sample(_x, index=(slice(None), [1, 1, 0], slice(None))),
            "two-lists": sample(_x, index=([0, 1, 0], [2, 2, 2])),
            "empty": sample(_x, index=slice(2, 2)),
            "one-element": sample(_x, index=(1, 2, 1)),
            "tuple-in-a-tuple": sample(_x, index=((0, 0, 2),)),
            "tuple-and-slice": sample(_x, index=((0, 0), slice(None))),
            "array": sample(_x, index=np.array([[3, 0], [1, 3]])),
            "array-beside-a-slice": sample(_x, index=(slice(1, None), np.array([2, 0]))),
        },
        analytic=True,
        linear="jointly",
        torch=_getitem,
        refuses={
            "out-of-bounds": Refusal(lambda: t(2)[5], r"index 5 is out of bounds.*shape \(2,\), index 5", IndexError),
            "too-many": Refusal(lambda: t(2)[0, 0], r"shape \(2,\)", IndexError),
            "float": Refusal(lambda: t(2)[1.5], "index 1.5", IndexError),
            "mask-of-another-shape": Refusal(lambda: t(2)[np.ones(3, bool)], "boolean index", IndexError),
            "tensor": type_error(lambda: t(2)[mg.Tensor([0])], "index is a setting.*tensor.data"),
        },
    ),
    "embedding": OperatorRecord(
        drawn=sizes.embedding,
        offset=offsets.Offset(sample(offsets.near(8, 30), call=_embed, indices=np.array([0, 3, 3, 3, 7])), gradients=3),
        special=Special(),
        definition=lambda indices, w: w[indices],
        samples={
            "list": sample(randn(4, 2), call=_embed, indices=[0, 3, 0]),
            "array": sample(randn(3, 2), call=_embed, indices=np.array([[2, 1], [0, 2]])),
            "number": sample(randn(3, 2), call=_embed, indices=np.array(1)),
            "none": sample(randn(3, 2), call=_embed, indices=np.array([], "int32")),
        },
        analytic=True,
        linear="jointly",
        torch=lambda indices, w: w[torch.tensor(np.asarray(indices, "int64"))],
        accepts={
            "first-and-last": lambda: mg.embedding([0, 1], ones(2, 3)),
            "tensor": lambda: mg.embedding(mg.Tensor(np.array([1, 0])), ones(2, 3)),
        },
        refuses={
            "above": Refusal(lambda: mg.embedding([0, 2], t(2, 3)), "indices from 0 to 1, .* got 0 to 2", IndexError),
            "below": Refusal(lambda: mg.embedding([-1], t(2, 3)), "indices from 0 to 1, .* got -1 to -1", IndexError),
            "floats": type_error(lambda: mg.embedding([0.0], t(2, 3)), "indices of integers, got float64"),
            "booleans": type_error(lambda: mg.embedding(np.array([True]), t(2, 3)), "indices of integers, got bool"),
            "vector": Refusal(lambda: mg.embedding([0], t(2)), r"w of shape \(rows, features\), got \(2,\)"),
        },
    ),
}
