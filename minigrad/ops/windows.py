"""Checks of the settings of a convolution or a pooling.

Next: :mod:`minigrad.ops.pool`.
"""

from __future__ import annotations

from typing import Literal

from minigrad.arguments import expect, pair
from minigrad.typing import Padding, Pair, Shape


def check_window(name: str, shape: Shape, kernel: Pair, padding: Pair, dilation: Pair) -> None:
    """Refuse a kernel that is larger than the padded image (n, h, w, c)."""
    for axis, side in ((0, "height"), (1, "width")):
        span, size = dilation[axis] * (kernel[axis] - 1) + 1, shape[1 + axis] + 2 * padding[axis]
        if kernel[axis] < 1 or size < span:
            raise ValueError(
                f"{name}: the kernel spans {span} pixels of {side}, but the padded image has {size} (x {shape}, kernel "
                f"{kernel}, padding {padding}, dilation {dilation}); use a smaller kernel or more padding"
            )


def padding_of(name: str, padding: Padding, stride: Pair) -> Pair | Literal["same"]:
    """Return the padding of a convolution as a pair, or as "same"; refuse everything else, and "same" with a stride."""
    if not isinstance(padding, str):
        return pair(name, "padding", padding, 0)
    expect(padding == "same", name, 'padding to be an int, a pair of ints or "same"', repr(padding))
    expect(stride == (1, 1), name, 'stride 1 with padding="same"', stride, "give the padding in numbers")
    return "same"
