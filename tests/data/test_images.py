"""Photos: whatever says in a picture which pixels are transparent, they are laid on white."""

import os
import struct
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minigrad as mg
from minigrad.data.images import read_photo


def png(bits, colour, row, transparent=b"", palette=b""):
    """Write out a PNG of one row of two pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0)),
        (b"PLTE", palette),
        (b"tRNS", transparent),
    ]
    body = [chunk(name, data) for name, data in chunks if data]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


WHITE = [255, 255, 255]

#: Files, and their two pixels as they should be. The first pixel is transparent.
TRANSPARENT = {
    "1 bit of grey": (png(1, 0, b"\x40", b"\0\0"), [WHITE, WHITE]),
    "2 bits of grey": (png(2, 0, b"\x60", b"\0\1"), [WHITE, [170] * 3]),
    "4 bits of grey": (png(4, 0, b"\x1a", b"\0\1"), [WHITE, [170] * 3]),
    "8 bits of grey": (png(8, 0, bytes([10, 200]), b"\0\x0a"), [WHITE, [200] * 3]),
    "16 bits of grey": (png(16, 0, struct.pack(">HH", 1000, 40000), struct.pack(">H", 1000)), [WHITE, [156] * 3]),
    "16 bits, nearly the same": (png(16, 0, struct.pack(">HH", 1000, 1001), struct.pack(">H", 1000)), [WHITE, [3] * 3]),
    "RGB": (png(8, 2, bytes([10, 20, 30, 200, 100, 50]), struct.pack(">HHH", 10, 20, 30)), [WHITE, [200, 100, 50]]),
    "16 bits of RGB": (
        png(16, 2, struct.pack(">6H", 1000, 2000, 3000, 40000, 50000, 60000), struct.pack(">HHH", 1000, 2000, 3000)),
        [WHITE, [156, 195, 234]],
    ),
    "grey with alpha": (png(8, 4, bytes([10, 0, 200, 255])), [WHITE, [200] * 3]),
    "16 bits of grey with alpha": (png(16, 4, struct.pack(">4H", 1000, 0, 40000, 65535)), [WHITE, [156] * 3]),
    "RGB with alpha": (png(8, 6, bytes([10, 20, 30, 0, 200, 100, 50, 255])), [WHITE, [200, 100, 50]]),
    "palette": (png(8, 3, bytes([0, 1]), b"\0", bytes([10, 20, 30, 200, 100, 50])), [WHITE, [200, 100, 50]]),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparent_pixels_are_laid_on_white(tmp_path, kind):
    content, expected = TRANSPARENT[kind]
    (tmp_path / "x.png").write_bytes(content)
    assert_array_equal(read_photo(tmp_path / "x.png"), np.array([expected], np.uint8), strict=True)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_without_transparency_is_opaque(tmp_path, bits):
    (tmp_path / "x.png").write_bytes(png(bits, 0, bytes(4)))
    assert_array_equal(read_photo(tmp_path / "x.png"), np.zeros((1, 2, 3), np.uint8), strict=True)


@pytest.mark.parametrize("read", [mg.load, read_photo])
def test_a_number_is_no_path(read, tmp_path):
    """Python takes it for an open file, and closes that."""
    handle = os.open(tmp_path / "open", os.O_CREAT | os.O_RDWR)
    with pytest.raises(TypeError, match=rf"^{read.__name__}: expected the path of a file, got {handle}"):
        read(handle)
    os.close(handle)  # it was open still
