"""Images as arrays: data sets stored as bytes, and photos from files.

Next: :mod:`minigrad.data.transforms`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minigrad.arguments import file
from minigrad.checked import as_written
from minigrad.typing import Array


class ByteImages:
    """A data set of images stored as bytes, which take a quarter of the memory of float32.

    Images are converted when they are indexed.

    Parameters
    ----------
    images : array of shape (n, h, w, c), uint8
    labels : array of shape (n,), int64

    Examples
    --------
    >>> data = ByteImages(np.full((5, 2, 2, 1), 255, np.uint8), np.arange(5))
    >>> images, labels = data[np.array([3, 1])]
    >>> images.shape, images.dtype.name, float(images.max()), labels
    ((2, 2, 2, 1), 'float32', 1.0, array([3, 1]))
    """

    def __init__(self, images: Array, labels: Array) -> None:
        self.images, self.labels = images, labels

    def __repr__(self) -> str:
        return f"{as_written(self)}  # images {self.images.shape}"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Array) -> tuple[Array, Array]:
        """Return the images, as float32 from 0 to 1, and labels at an index, a slice or an array of indices."""
        return np.divide(self.images[index], 255, dtype=np.float32), self.labels[index]


#: Pillow scales the pixels of these PNGs to bytes, but not their transparent colour: 2 or 4 bits of grey, 16 of RGB.
_SCALES = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}


def read_photo(path: str | Path) -> Array:
    """Return a picture from a file as an upright RGB image.

    The file may have any format that Pillow reads. A photo that a camera marked as rotated is turned upright;
    transparent pixels are laid on white; grey, palette, CMYK and 16-bit pictures are converted to RGB.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    array of shape (h, w, 3), uint8

    Raises
    ------
    ValueError
        If the file is not a picture, or is damaged.
    OSError
        If the file does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp()) / "grey.png"
    >>> Image.new("L", (2, 1), 200).save(path)
    >>> read_photo(path)
    array([[[200, 200, 200],
            [200, 200, 200]]], dtype=uint8)
    """
    from PIL import Image, ImageOps

    with file("read_photo", path).open("rb") as stream:
        try:
            opened = Image.open(stream)
            key, scale = opened.info.get("transparency"), _SCALES.get(str(opened.tile[0][3]) if opened.tile else "")
            picture = ImageOps.exif_transpose(opened)
            if scale and key is not None:
                picture.info["transparency"] = tuple(int(k * scale) for k in key) if scale < 1 else key * scale
            if picture.mode.startswith("I"):  # 16 bits of grey
                grey = np.asarray(picture, np.int64)
                picture = Image.fromarray((grey // 256).clip(0, 255).astype(np.uint8))
                picture.putalpha(Image.fromarray(np.where(grey == key, 0, 255).astype(np.uint8)))
            if picture.has_transparency_data:
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
            return np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"read_photo: {path} is not a picture that can be read: {error}") from error


def resize(photo: Array, short_side: int) -> Array:
    """Return a photo scaled so that its short side has a given length.

    Interpolation is bilinear, with antialiasing where the photo shrinks.

    Parameters
    ----------
    photo : array of shape (h, w, 3), uint8
    short_side : int

    Returns
    -------
    array of shape (h', w', 3), uint8

    Raises
    ------
    ValueError
        If `photo` has another shape or dtype, or one side is more than twenty times as long as the other.

    Examples
    --------
    >>> resize(np.zeros((300, 451, 3), "uint8"), 224).shape
    (224, 337, 3)
    """
    from PIL import Image

    h, w = photo.shape[:2]
    if photo.shape[2:] != (3,) or photo.dtype != np.uint8 or not 0 < max(h, w) <= 20 * min(h, w) or short_side < 1:
        raise ValueError(
            "resize: expected a photo (h, w, 3) of uint8, one side at most 20 times the other, and a positive short "
            f"side, got {photo.shape} of {photo.dtype} and {short_side}"
        )
    scale = short_side / min(h, w)
    size = round(w * scale), round(h * scale)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))


def center_square(photo: Array) -> Array:
    """Return the largest square in the middle of a photo.

    Parameters
    ----------
    photo : array of shape (h, w, 3)

    Returns
    -------
    array of shape (side, side, 3)

    Examples
    --------
    >>> center_square(np.zeros((300, 451, 3), "uint8")).shape
    (300, 300, 3)
    """
    h, w = photo.shape[:2]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return photo[top : top + side, left : left + side]
