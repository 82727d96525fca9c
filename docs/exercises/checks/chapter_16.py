"""Checks of chapter 16, bottlenecks and cost."""

from minigrad import nn
from minigrad.inspect import summary


def check_conv_macs(work):
    """Count the outputs: pixels after stride and padding, times filters. Each output is a sum of one product for each
    tap and for each channel that its filter reads.
    """
    cases = [
        ({"h": 56, "w": 56, "kernel": (3, 3), "c": 64, "o": 64, "padding": 1}, "a layer of ResNet-34"),
        ({"h": 224, "w": 224, "kernel": (7, 7), "c": 3, "o": 64, "stride": 2, "padding": 3}, "the stem of ResNet-34"),
        ({"h": 9, "w": 6, "kernel": (1, 1), "c": 8, "o": 4}, "a 1x1"),
        ({"h": 10, "w": 7, "kernel": (3, 2), "c": 4, "o": 6, "stride": 3}, "stride 3, which does not divide the size"),
        ({"h": 11, "w": 8, "kernel": (2, 5), "c": 6, "o": 9, "padding": 2, "groups": 3}, "three groups"),
    ]
    for case, name in cases:
        h, w, kernel, c, o = (case[key] for key in ("h", "w", "kernel", "c", "o"))
        settings = {key: value for key, value in case.items() if key in ("stride", "padding", "groups")}
        expected = summary(nn.Conv2d(c, o, kernel, rng=0, **settings), (h, w, c)).macs
        got = work.conv_macs(h, w, kernel, c, o, **settings)
        assert got == expected, f"{name}: expected {expected:,}, got {got:,}"


def check_cifar_macs(work):
    """Write down map size, channels in and channels out of each layer. When the maps are halved, the channels are
    doubled: what does this do to the cost of a layer? A few layers have other channels in than out. The fully
    connected layer reads one number for each channel.
    """
    for depth, expected in ((8, 12_239_488), (20, 40_551_040), (110, 252_887_680), (1202, 2_829_238_912)):
        got = work.cifar_macs(depth)
        assert got == expected, f"depth {depth}: expected {expected:,}, got {got:,}, a difference of {got - expected:,}"


def check_middle_width(work):
    """The cost per pixel is c m for the first 1x1, 9 m m for the 3x3, and m c for the second 1x1. It grows with m, so m
    can be found by a formula or by search. Rounding of a square root can be off by one; whole numbers are exact.
    """
    for c, budget in (
        (256, 73_728),
        (256, 69_632),
        (256, 69_631),
        (64, 73_728),
        (512, 10),
        (256, 521),
        (256, 520),
        (7, 0),
    ):
        got = work.middle_width(c, budget)
        assert got in range(c + budget + 1), (
            f"c = {c}, budget {budget:,}: expected a whole number of channels, got {got}"
        )
        for m, fits in ((got, True), (got + 1, False)):
            cost = 2 * c * m + 9 * m * m
            assert (cost <= budget) == fits, (
                f"c = {c}, budget {budget:,}: got {got}, but a middle of {m} channels costs {cost:,}"
            )
