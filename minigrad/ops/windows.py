"""The check that the window of a convolution or a pooling fits into the image.

Next: :mod:`minigrad.ops.pool`.
"""

from __future__ import annotations

from minigrad.typing import Pair, Shape


def check_window(name: str, shape: Shape, kernel: Pair, padding: Pair, dilation: Pair) -> None:
    """Refuse a kernel that is larger than the padded image (n, h, w, c)."""
    for axis, side in ((0, "height"), (1, "width")):
        span, size = dilation[axis] * (kernel[axis] - 1) + 1, shape[1 + axis] + 2 * padding[axis]
        if kernel[axis] < 1 or size < span:
            raise ValueError(
                f"{name}: the kernel spans {span} pixels of {side}, but the padded image has {size} (x {shape}, kernel "
                f"{kernel}, padding {padding}, dilation {dilation}); use a smaller kernel or more padding"
            )
