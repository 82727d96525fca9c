"""Large calls of the operators that cut their work: of eight, and of 32 and more blocks of the usual size."""

from __future__ import annotations

from typing import Any

from tests.records.draw import by_winograd
from tests.records.many import with_statistics
from tests.records.record import Large


def _conv(x: Any, w: Any, pixels: int, bias: bool = True, call: Any = None, blocks: int = 8, **settings: Any) -> Large:
    """Name the shapes, and the pixels of the result, each of which is a term of dw and of db."""
    kh, kw, c, o = w
    taps, per_group = kh * kw, o // settings.get("groups", 1)
    terms = (taps * c + bias, taps * per_group, pixels) + bias * (pixels,)
    return Large((x, w) + bias * ((o,),), terms, settings, call, blocks)


def _product(m: int, k: int, n: int, bias: bool = False) -> Large:
    return Large(((m, k), (k, n)) + bias * ((n,),), (k + bias, n, m) + bias * (m,))


def _norm(*shape: int, training: bool = True) -> Large:
    """The sums of a channel are divided by their number, so they are one term more."""
    c, pixels = shape[-1], shape[0] * shape[1] * shape[2]
    return Large((shape, (c,), (c,)), (16, 16, pixels, pixels), {"training": training}, with_statistics)


LARGE: dict[str, dict[str, Large]] = {
    "relu": {
        f"{count}": Large(((count,),), (0, 0), blocks=count // 250_000)  # exact
        for count in (70_001, 530_001, 2_300_003, 8_700_001)
    },
    "matmul": {
        "blocks": _product(3700, 500, 210),
        "narrow": _product(180_003, 24, 24),
        "columns": Large(((49, 512), (512, 2048)), (512, 2048, 49), blocks=4),  # one block of rows
    },
    "linear": {"blocks": _product(3000, 500, 210, bias=True)},
    "conv2d": {
        "3x3": _conv((260, 18, 17, 16), (3, 3, 16, 16), 260 * 18 * 17, padding=1),
        "rows-of-images": _conv((3, 180, 141, 4), (3, 3, 4, 8), 3 * 180 * 141, padding=1),
        "pairs-of-pixels": _conv((150, 32, 32, 3), (3, 3, 3, 16), 150 * 32 * 32, padding=1),
        "3x3-stride2": _conv((260, 33, 32, 8), (3, 3, 8, 16), 260 * 17 * 16, padding=1, stride=2),
        "rows-stride2": _conv((9, 161, 160, 8), (3, 3, 8, 8), 9 * 81 * 80, padding=1, stride=2),
        "dilation2": _conv((150, 18, 17, 8), (3, 3, 8, 8), 150 * 18 * 17, bias=False, padding=2, dilation=2),
        "1x1": _conv((150, 18, 17, 16), (1, 1, 16, 32), 150 * 18 * 17),
        "1x1-many-blocks": _conv((570, 18, 17, 16), (1, 1, 16, 32), 570 * 18 * 17),
        "1x1-stride2": _conv((650, 18, 17, 16), (1, 1, 16, 32), 650 * 9 * 9, stride=2),
        "winograd": _conv((8, 58, 57, 32), (3, 3, 32, 40), 8 * 58 * 57, padding=1, call=by_winograd),
        "winograd-of-some-tiles": _conv((24, 15, 17, 260), (3, 3, 260, 64), 24 * 13 * 15, call=by_winograd, blocks=4),
        "groups2": _conv((80, 18, 17, 32), (3, 3, 16, 32), 80 * 18 * 17, padding=1, groups=2),
    },
    "conv_transpose2d": {
        "stride2": Large(((200, 16, 15, 16), (2, 2, 16, 8), (8,)), (17, 32, 48_000, 192_000), {"stride": 2}),
    },
    "max_pool2d": {
        "overlapping": Large(((150, 33, 32, 16),), (0, 9), {"kernel": 3, "stride": 2, "padding": 1}),
        "many-blocks": Large(((520, 33, 32, 16),), (0, 1), {"kernel": 2}),
    },
    "batch_norm": {
        "blocks": _norm(150, 30, 31, 16),
        "many-blocks": _norm(560, 30, 31, 16),
        "evaluation": _norm(150, 30, 31, 16, training=False),
    },
}
