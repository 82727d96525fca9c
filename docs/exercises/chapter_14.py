"""Exercises of chapter 14, plain nets and the degradation problem."""

import numpy as np


def identity_kernel(k, c):
    """Return float32 weights (k, k, c, c) with which a convolution returns its input.

    k is odd; the convolution has stride 1 and padding k // 2.
    """
    raise NotImplementedError


def diagnosis(shallow, deep):
    """Return what is wrong with a deep net, compared with a shallow net: "degradation", "overfitting" or "nothing".

    `shallow` and `deep` are pairs (training error, test error) at the end of training. If the deep net has the higher
    training error, it suffers from degradation, whatever its test error is. Otherwise, if it has the higher test error,
    it suffers from overfitting.
    """
    raise NotImplementedError


def neutral_batch_norm(x, eps):
    """Return gamma (c,) and beta (c,) with which batch norm in training mode returns its input x (n, h, w, c).

    In training mode, batch norm subtracts the mean of each channel over the batch, and divides by the square root of
    (its variance + eps).
    """
    raise NotImplementedError
