"""Records of the poolings: minigrad/ops/pool.py."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes, windows
from tests.records.draw import F, channels_first, channels_last, distinct, ones, randn, t, torch
from tests.records.large import LARGE
from tests.records.many import MANY, max_pool2d_gradients
from tests.records.record import Convention, Kink, OperatorRecord, Refusal, Special, sample


def pool_by_loops(x: Any, kernel: Any, *, largest: bool, stride: Any = None, padding: Any = 0) -> Any:
    """Pool window by window; the border is less than all pixels, or it is 0."""
    stride = kernel if stride is None else stride
    (kh, kw), (sh, sw), (ph, pw) = (v if isinstance(v, tuple) else (v, v) for v in (kernel, stride, padding))
    least = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else x.dtype.kind != "b" and -np.inf  # False for booleans
    x = np.pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], constant_values=least if largest else 0)
    rows = [
        [x[:, y : y + kh, z : z + kw] for z in range(0, x.shape[2] - kw + 1, sw)]
        for y in range(0, x.shape[1] - kh + 1, sh)
    ]
    return np.stack([np.stack([(v.max if largest else v.mean)((1, 2)) for v in row], 1) for row in rows], 1)


def _max_pool_by_torch(x: Any, kernel: Any, stride: Any = None, padding: Any = 0) -> Any:
    pairs = [v if isinstance(v, tuple) else (v, v) for v in (kernel, kernel if stride is None else stride, padding)]
    if all(2 * p <= k for k, _, p in zip(*pairs, strict=True)):
        return channels_last(F.max_pool2d(channels_first(x), *pairs))
    rows, columns = (  # more than PyTorch's pooling pads: window by window
        [slice(max(i, 0), i + k) for i in range(-p, size + p - k + 1, s)]
        for size, k, s, p in zip(x.shape[1:3], *pairs, strict=True)
    )
    return torch.stack([torch.stack([x[:, y, z].flatten(1, 2).max(1).values for z in columns], 1) for y in rows], 1)


def _avg_pool_by_torch(x: Any, kernel: Any, stride: Any = None, padding: Any = 0) -> Any:
    ph, pw = padding if isinstance(padding, tuple) else (padding, padding)
    return channels_last(F.avg_pool2d(F.pad(channels_first(x), (pw, pw, ph, ph)), kernel, stride))


X = t(2, 6, 5, 3)
IMAGES = ones(2, 4, 5, 2)
_ties = np.array([[1.0, 3.0, 3.0], [3.0, 0.0, 0.0]]).reshape(1, 2, 3, 1)


def _marks(*rows: list[int]) -> Any:
    return np.array(rows, float)[None, :, :, None]


RECORDS = {
    "max_pool2d": OperatorRecord(
        drawn=windows.pool(sizes.Sizes.spread),
        offset=offsets.Offset(sample(offsets.near(2, 6, 7, 3), kernel=3, stride=2, padding=1)),
        special=Special(
            unlike_torch={"mixed": "PyTorch takes the last of several NaNs"},
            conventions={
                "nan": Convention(
                    lambda x: mg.max_pool2d(x, (1, 4)),
                    np.array([np.inf, np.nan, 2.0, np.nan]).reshape(1, 1, 4, 1),
                    [[[[np.nan]]]],
                    np.array([0.0, 1.0, 0.0, 0.0]).reshape(1, 1, 4, 1),
                    "A NaN counts as larger than any number",
                )
            },
        ),
        definition=partial(pool_by_loops, largest=True),
        samples={
            "2x2": sample(distinct(1, 4, 6, 2), kernel=2),
            "overlapping": sample(distinct(2, 5, 4, 1), kernel=3, stride=2, padding=1),
            "stride-of-width": sample(distinct(1, 5, 6, 1), kernel=(2, 3), stride=(1, 2)),
            "gaps": sample(distinct(1, 5, 5, 1), kernel=2, stride=3),
            "padding-but-for-one-pixel": sample(distinct(1, 3, 4, 1), kernel=(3, 2), stride=1, padding=(2, 1)),
        },
        analytic=False,
        fused=True,
        torch=_max_pool_by_torch,
        many=MANY["max_pool2d"],
        large=LARGE["max_pool2d"],
        gradients=max_pool2d_gradients,
        accepts={
            "kernel-of-the-image": lambda: mg.max_pool2d(IMAGES, (4, 5)),
            "padding-but-for-one-pixel": lambda: mg.max_pool2d(IMAGES, 2, padding=1),
        },
        refuses={
            "one-image": Refusal(
                lambda: mg.max_pool2d(t(6, 5, 3), 2), r"expected images \(n, h, w, c\), got .*\(6, 5, 3\)"
            ),
            "one-array": Refusal(lambda: mg.max_pool2d(IMAGES[0], 2), "expected images"),
            "height": Refusal(lambda: mg.max_pool2d(IMAGES, (5, 1)), "5 pixels of height, but the padded image has 4"),
            "width": Refusal(lambda: mg.max_pool2d(X, 6), "the kernel spans 6 pixels of width"),
            "kernel0": Refusal(lambda: mg.max_pool2d(X, 0), "expected kernel .*at least 1.*got 0"),
            "stride0": Refusal(lambda: mg.max_pool2d(IMAGES, 2, stride=0), "expected stride"),
            "padding-negative": Refusal(lambda: mg.max_pool2d(IMAGES, 2, padding=-1), "expected padding"),
            "padding": Refusal(lambda: mg.max_pool2d(X, 2, padding=2), "padding .* smaller than the kernel"),
            "padding-height": Refusal(lambda: mg.max_pool2d(IMAGES, (2, 3), padding=2), "smaller than the kernel"),
            "padding-width": Refusal(lambda: mg.max_pool2d(IMAGES, (3, 2), padding=2), "smaller than the kernel"),
            "padding-height-alone": Refusal(
                lambda: mg.max_pool2d(IMAGES, 2, padding=(2, 0)), "smaller than the kernel"
            ),
            "padding-width-alone": Refusal(lambda: mg.max_pool2d(IMAGES, 2, padding=(0, 2)), "smaller than the kernel"),
        },
        kinks={
            "tie": Kink(lambda x: mg.max_pool2d(x, 2), ones(1, 2, 2, 1), _marks([1, 0], [0, 0])),
            "tie-in-one-window": Kink(lambda x: mg.max_pool2d(x, (2, 3)), _ties, _marks([0, 1, 0], [0, 0, 0])),
            "tie-in-two-windows": Kink(lambda x: mg.max_pool2d(x, 2, stride=1), _ties, _marks([0, 2, 0], [0, 0, 0])),
        },
    ),
    "avg_pool2d": OperatorRecord(
        drawn=windows.pool(),
        offset=offsets.Offset(sample(offsets.near(2, 6, 7, 3), kernel=3, stride=2), 9, 9),
        special=Special(),
        definition=partial(pool_by_loops, largest=False),
        samples={
            "2x2": sample(distinct(1, 4, 6, 2), kernel=2),
            "overlapping": sample(distinct(2, 5, 4, 1), kernel=3, stride=2, padding=1),
            "stride-of-width": sample(distinct(1, 5, 6, 1), kernel=(2, 3), stride=(1, 2)),
            "gaps": sample(distinct(1, 5, 5, 1), kernel=2, stride=3),
        },
        analytic=True,
        linear="jointly",
        torch=_avg_pool_by_torch,
        refuses={
            "one-image": Refusal(lambda: mg.avg_pool2d(t(6, 5, 3), 2), "expected images"),
            "width": Refusal(lambda: mg.avg_pool2d(IMAGES, (1, 6)), "6 pixels of width, but the padded image has 5"),
            "stride0": Refusal(lambda: mg.avg_pool2d(X, 2, stride=0), "expected stride .*got 0"),
        },
    ),
    "global_avg_pool2d": OperatorRecord(
        drawn=windows.images,
        offset=offsets.Offset(sample(offsets.near(2, 6, 7, 3)), 42),
        special=Special(),
        definition=lambda x: x.mean((1, 2)),
        samples={"images": sample(randn(2, 3, 2, 2))},
        analytic=True,
        linear="jointly",
        torch=lambda x: F.adaptive_avg_pool2d(channels_first(x), 1).flatten(1),
        refuses={
            "features": Refusal(lambda: mg.global_avg_pool2d(t(2, 3)), r"expected images .*got shape \(2, 3\)"),
            "5-axes": Refusal(lambda: mg.global_avg_pool2d(ones(2, 3, 4, 5, 6)), "expected images"),
            "no-pixels": Refusal(lambda: mg.global_avg_pool2d(t(2, 0, 3, 1)), "nothing to reduce"),
        },
    ),
}
