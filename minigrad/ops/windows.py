"""Settings of windows: stride, padding, kernel and dilation, checked.

Next: :mod:`minigrad.ops.conv`.
"""

from __future__ import annotations

from typing import Any

from minigrad.typing import Pair


def pair(name: str, setting: str, value: Any, least: int) -> Pair:
    """Take an int, or a pair of ints, along height and width."""
    values: Any = tuple(value) if hasattr(value, "__len__") else (value, value)
    if len(values) != 2 or any(isinstance(v, bool) or not hasattr(v, "__index__") or v < least for v in values):
        raise ValueError(
            f"{name}: expected {setting} to be an int of at least {least}, or a pair of them, got {value!r}"
        )
    return int(values[0]), int(values[1])


def check_window(name: str, shape: tuple[int, ...], kernel: Pair, padding: Pair, dilation: Pair) -> None:
    """Refuse a kernel that is larger than the padded image (n, h, w, c)."""
    for axis, side in ((0, "height"), (1, "width")):
        span, size = dilation[axis] * (kernel[axis] - 1) + 1, shape[1 + axis] + 2 * padding[axis]
        if kernel[axis] < 1 or size < span:
            raise ValueError(
                f"{name}: the kernel spans {span} pixels of {side}, but the padded image has {size} (x {shape}, kernel "
                f"{kernel}, padding {padding}, dilation {dilation}); use a smaller kernel or more padding"
            )
