"""Exercises of chapter 17, CIFAR-10 to the letter."""

import numpy as np


def learning_rate(iteration):
    """Return the paper's learning rate for an iteration from 0 to 63,999."""
    raise NotImplementedError


def one_view(image, mean, top, left, mirrored):
    """Return one view (32, 32, 3) of an image (32, 32, 3) as the paper's nets see it.

    Subtract the mean image; add 4 pixels of zeros on each side; cut out the 32x32 window that begins at row `top` and
    column `left` of the padded image; and if `mirrored`, swap left and right.
    """
    raise NotImplementedError


def epoch_order(n, seed, epoch):
    """Return the order of n images in an epoch: a permutation that depends only on seed and epoch.

    Other seeds and other epochs give other orders, even if seed + epoch is the same. No call changes the result of
    another call, and NumPy's global generator is not used. Use ``np.random.SeedSequence(seed, spawn_key=(...))``.
    """
    raise NotImplementedError
