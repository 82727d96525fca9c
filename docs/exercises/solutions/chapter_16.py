"""Solutions of chapter 16, bottlenecks and cost."""

import math


def conv_macs(h, w, kernel, c, o, stride=1, padding=0, groups=1):
    """Multiply the number of outputs by the number of terms of each."""
    kh, kw = kernel
    pixels = ((h + 2 * padding - kh) // stride + 1) * ((w + 2 * padding - kw) // stride + 1)
    return pixels * kh * kw * (c // groups) * o


def cifar_macs(depth):
    """Use rule (ii): every 3x3 layer costs the same, except the first layer and two layers that cost half."""
    n = depth // 6
    layer = 32 * 32 * 9 * 16 * 16
    first = 32 * 32 * 9 * 3 * 16
    return first + (6 * n - 2) * layer + 2 * (layer // 2) + 64 * 10


def middle_width(c, budget):
    """Solve 9 m^2 + 2 c m = budget: m = (sqrt(c^2 + 9 budget) - c) / 9, rounded down."""
    return (math.isqrt(c * c + 9 * budget) - c) // 9
