"""Pooling: global average pooling (windowed pooling joins it here).

Next: :mod:`minigrad.ops.norm`.
"""

from __future__ import annotations

from typing import Any

from minigrad.ops.reduction import mean


def global_avg_pool2d(x: Any) -> Any:
    """Average each channel over the whole image.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)

    Returns
    -------
    Tensor or array of shape (n, c)

    Raises
    ------
    ValueError
        If `x` has no four axes, or no pixels.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.global_avg_pool2d(mg.Tensor([[[[1.0], [3.0]]]]))
    Tensor([[2.]])
    """
    if x.ndim != 4:
        raise ValueError(f"global_avg_pool2d: expected images (n, h, w, c), got shape {tuple(x.shape)}")
    return mean(x, axis=(1, 2))
