"""Solutions of chapter 17, CIFAR-10 to the letter."""

import numpy as np


def learning_rate(iteration):
    """Multiply by 0.1 for each milestone that has been reached."""
    return 0.1 * 0.1 ** sum(milestone <= iteration for milestone in (32_000, 48_000))


def one_view(image, mean, top, left, mirrored):
    """Subtract, pad, cut, mirror."""
    padded = np.pad(image - mean, 4)[:, :, 4:-4]  # (40, 40, 3): no channels are added
    window = padded[top : top + 32, left : left + 32]
    return window[:, ::-1] if mirrored else window


def epoch_order(n, seed, epoch):
    """Make a new Generator from the seed and the epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(n)
