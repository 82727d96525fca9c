"""Exercises of chapter 12, plain nets and the degradation problem."""

import numpy as np


def identity_kernel(k, c):
    """Return weights (k, k, c, c), float32, with which a convolution gives back its input.

    k is odd; the convolution has stride 1 and a padding of k // 2.
    """
    raise NotImplementedError


def diagnosis(shallow, deep):
    """Say what is wrong with a deep net, compared with a shallow one: "degradation", "overfitting" or "nothing".

    `shallow` and `deep` are pairs (training error, test error) at the end of training. A deep net that is worse on the
    images it was trained on suffers from degradation, whatever its test error; one that is not, but is worse on the
    test images, from overfitting.
    """
    raise NotImplementedError


def neutral_batch_norm(x, eps):
    """Return gamma (c,) and beta (c,) with which batch norm in training mode gives x (n, h, w, c) back.

    In training mode, batch norm subtracts each channel's mean over the batch, and divides by the square root of its
    variance plus eps.
    """
    raise NotImplementedError
