"""Predictions averaged over views of an image and over nets: 10-crop, multi-scale, ensembles.

A net gives logits; their softmax is a probability for each class. The paper gets its best numbers by averaging the
softmax over several *views* of an image, over several nets, or over both. (Averaging the logits would give another
result.)

- Single crop: the middle of the image. It is the simplest test, and gives the highest error.
- 10-crop (Tables 2 and 3): four corners and the middle, and their mirror images.
- Multi-scale (Tables 4 and 5): the whole image with its short side at 224, 256, 384, 480 and 640 pixels. Convolutions
  and global average pooling take any size: the net is "fully convolutional".
- Ensemble (Table 5): several nets, here with the same views.

:func:`predict` does all of these. Compare only figures of the same kind: one crop and ten crops differ by two points.

Next: :mod:`models.pretrained`.
"""

from __future__ import annotations

from collections.abc import Sequence

import minigrad as mg
from minigrad import nn
from minigrad.device import is_array
from minigrad.nn.module import evaluation
from minigrad.typing import Array


def predict(nets: nn.Module | Sequence[nn.Module], views: Array | Sequence[Array]) -> Array:
    """Return the probabilities of the classes: the mean softmax over all nets and all views.

    Parameters
    ----------
    nets : Module or sequence of Modules
        Each maps images to logits of the same classes. They run in evaluation mode; afterwards every layer has its
        previous mode.
    views : array of shape (n, h, w, c), or sequence of such arrays
        The same n images in each, preprocessed as the nets expect; sizes may differ from view to view.

    Returns
    -------
    array of shape (n, classes)

    Raises
    ------
    TypeError
        If a view is not an array of floating-point numbers.
    ValueError
        If nets or views are missing, or their shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> nets = [nn.Sequential(nn.GlobalAvgPool2d(), nn.Linear(3, 5, rng=seed)) for seed in (0, 1)]
    >>> images = np.ones((2, 8, 8, 3), "float32")
    >>> predict(nets, [images, images[:, :, ::-1]]).sum(axis=1)
    array([1., 1.], dtype=float32)
    """
    nets = [nets] if isinstance(nets, nn.Module) else list(nets)
    views = list(views) if isinstance(views, Sequence) else [views]
    for view in views:
        if not is_array(view) or view.dtype.kind != "f":
            kind = view.dtype if is_array(view) else type(view).__name__
            raise TypeError(f"predict: expected arrays of floats, preprocessed as the nets expect, got {kind}")
    shapes = [tuple(view.shape) for view in views]
    if not nets or not views or any(len(shape) != 4 or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(
            f"predict: expected nets, and views (n, h, w, c) of the same n images, got {len(nets)} nets and views of "
            f"shape {', '.join(map(str, shapes)) or '(none)'}"
        )
    scores = []
    with evaluation(*nets), mg.no_grad():
        for net in nets:
            scores += [mg.softmax(net(mg.Tensor(view).to(net.device)).numpy()) for view in views]  # (n, classes) each
    if len({score.shape for score in scores}) > 1:
        raise ValueError(
            "predict: expected nets with the same classes, got scores of shape "
            + " and ".join(map(str, dict.fromkeys(score.shape for score in scores)))
        )
    return sum(scores[1:], scores[0]) / len(scores)


def ten_crop(images: Array, size: int) -> list[Array]:
    """Return ten views of square crops: the middle, the four corners, and the mirror images of these five.

    Parameters
    ----------
    images : array of shape (n, h, w, c)
    size : int
        Height and width of a crop.

    Returns
    -------
    list of ten arrays of shape (n, size, size, c)

    Examples
    --------
    >>> import numpy as np
    >>> views = ten_crop(np.arange(16.0).reshape(1, 4, 4, 1), 2)
    >>> views[0].squeeze(), views[5].squeeze()
    (array([[ 5.,  6.],
           [ 9., 10.]]), array([[ 6.,  5.],
           [10.,  9.]]))
    """
    if images.ndim != 4 or not 0 < size <= min(images.shape[1:3]):
        raise ValueError(
            f"ten_crop: expected images (n, h, w, c) with sides of at least size={size} pixels, got {images.shape}"
        )
    h, w = images.shape[1] - size, images.shape[2] - size
    places = [(h // 2, w // 2), (0, 0), (0, w), (h, 0), (h, w)]
    crops = [images[:, top : top + size, left : left + size] for top, left in places]
    return crops + [crop[:, :, ::-1] for crop in crops]
