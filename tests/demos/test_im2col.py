"""All ways give the same convolution, to the last bits allowed; blocks take the memory of a block."""

import json

import numpy as np
import pytest

import minigrad as mg
from demos import im2col

K = 3 * 3 * 16


@pytest.mark.parametrize("seed", [4001, 4002])
def test_the_claims(tmp_path, capsys, seed):
    result = im2col.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    assert set(result["off"]) == {*(str(2**i) for i in range(10)), "minigrad", "loops"}
    assert all(0 < off < 20 for name, off in result["off"].items() if name != "loops")  # of the 144 that are allowed
    assert result["off"]["loops"] < 1e-6  # computed in float64
    assert result["batch"] == 16 * 32 * 32 * 16 * 4
    assert max(result["sizes"].values()) == 9 * result["batch"]
    for name, size in result["sizes"].items():  # columns and result, and little else
        assert size + result["batch"] <= result["memory"][name] < size + result["batch"] + 50_000
    assert result["memory"]["minigrad"] < result["memory"]["512"] / 2
    assert set(result["times"]) == set(result["off"])
    assert min(result["times"][name] for name in result["sizes"]) == 1  # minigrad may be faster than the best of these
    assert "all columns at once" in capsys.readouterr().out
    saved = json.loads((tmp_path / "im2col.json").read_text())
    assert saved["memory"] == result["memory"]


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 16])
def test_blocks_are_the_convolution(rows):
    rng = np.random.default_rng(4001)
    x, w = rng.standard_normal((4, 6, 7, 3)), rng.standard_normal((3, 3, 3, 5))
    expected = mg.conv2d(x, w)
    np.testing.assert_allclose(im2col.blocks(x, w, rows), expected, rtol=1e-12, atol=1e-12, strict=True)
    np.testing.assert_allclose(im2col.loops(x[0], w), expected[:1], rtol=1e-12, atol=1e-12, strict=True)


def test_threads_are_given_back_and_time_is_counted():
    before = mg.get_num_threads()
    seen = []
    seconds = im2col.fastest({"a": lambda: seen.append(mg.get_num_threads())}, 3)
    assert (seen, mg.get_num_threads(), list(seconds)) == ([1, 1, 1], before, ["a"])
    assert 0 <= seconds["a"] < 1


def test_memory_is_measured_at_its_peak():
    assert 8_000_000 <= im2col.peak(lambda: np.ones(1_000_000).sum()) < 8_100_000


def test_the_figure_shows_windows_and_times():
    from demos import style

    _, (left, right) = style.panels(2)
    im2col.draw_columns(left)
    cells = [text.get_text() for text in left.texts]
    image, columns = cells[:16], np.array(cells[17:53]).reshape(4, 9)
    assert (image, cells[16], cells[53]) == ([str(i) for i in range(16)], "image", "columns")
    pixels = np.arange(16).reshape(4, 4)
    windows = [pixels[y : y + 3, x : x + 3].ravel() for y in range(2) for x in range(2)]
    np.testing.assert_array_equal(columns.astype(int), windows)
    shaded = [mesh.get_array().ravel() > 0 for mesh in left.collections]
    assert set(np.arange(16)[shaded[0]]) == {int(pixel) for pixel in columns.ravel()[shaded[1]]} == set(windows[1])
    np.testing.assert_array_equal(shaded[3].reshape(4, 2)[:, 0], [False, True, False, False])
    im2col.draw_times(right, {"1": 100, "2": 200}, {"1": 1.5, "2": 1.0, "loops": 9.0})
    np.testing.assert_array_equal(right.lines[0].get_xydata(), [[100, 1.5], [200, 1.0]])
