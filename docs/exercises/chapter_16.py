"""Exercises of chapter 16, bottlenecks and cost."""

import math


def conv_macs(h, w, kernel, c, o, stride=1, padding=0, groups=1):
    """Return the multiply-adds of a convolution of one image (h, w, c) with `kernel` = (kh, kw) and o filters.

    With groups, each filter reads c / groups channels. If the stride does not divide a size, round the number of
    windows down.
    """
    raise NotImplementedError


def cifar_macs(depth):
    """Return the multiply-adds of the paper's CIFAR net of 6n + 2 layers for one image of 32x32, without building it.

    Its shortcuts (option A) cost nothing; the fully connected layer, with ten classes, counts.
    """
    raise NotImplementedError


def middle_width(c, budget):
    """Return the largest m for which a bottleneck (1x1 to m, 3x3, 1x1 back to c) costs at most `budget`.

    c is the number of channels at both ends, and the budget is in multiply-adds per pixel. The smallest m is 0.
    """
    raise NotImplementedError
