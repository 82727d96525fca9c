"""Exercises of chapter 15, CIFAR-10 to the letter."""

import numpy as np


def learning_rate(iteration):
    """Return the paper's learning rate in an iteration from 0 to 63,999."""
    raise NotImplementedError


def one_view(image, mean, top, left, mirrored):
    """Return one view (32, 32, 3) of an image (32, 32, 3) as the paper's nets see it.

    The mean image is subtracted; 4 pixels of zeros are put on each side; the 32x32 window that begins at row `top` and
    column `left` is cut out; and if `mirrored`, left and right are swapped.
    """
    raise NotImplementedError


def epoch_order(n, seed, epoch):
    """Return the order of n images in an epoch: a permutation that depends on seed and epoch alone.

    Other seeds and other epochs give other orders, also where seed + epoch is the same. No call changes what another
    one gives, and NumPy's global generator is not touched. Use ``np.random.SeedSequence(seed, spawn_key=(...))``.
    """
    raise NotImplementedError
