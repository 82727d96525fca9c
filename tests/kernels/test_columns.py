"""Columns: every window of every image is a row of exactly one block, and a block is as large as stays in cache."""

import weakref
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.device import windows
from minigrad.kernels import blocks, columns
from minigrad.kernels.columns import Columns
from minigrad.ops.conv import conv2d_twin
from tests.tools.strict import StrictArray, count_syncs, strict


@dataclass(frozen=True)
class Case:
    """Images (n, h, w, c), and the settings of a kernel that looks at them."""

    shape: tuple[int, int, int, int]
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def settings(self):
        return self.kernel, self.stride, self.padding, self.dilation

    def expected(self, x):
        """Say by the definition what the rows are, as (n, ho, wo, kh kw c)."""
        (ph, pw), (kh, kw) = self.padding, self.kernel
        view = windows(np.pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)]), self.kernel, self.stride, self.dilation)
        return view.reshape(*view.shape[:3], kh * kw * x.shape[3])


#: A batch, images that are cut into rows, images that are cut at every row (or at none, if images are to stay whole).
BYTES = [1 << 20, 1500, 1]


def draw(shape, dtype="float64"):
    """Draw numbers, none of which is 0: a border that was not written, or too wide, shows."""
    x = np.random.default_rng([*shape]).standard_normal(shape) + 10
    return (x * (1 - 2j) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def put_together(cols, k, x):
    """Lay out all blocks, and put their rows where their pixels are."""
    out = np.full((*cols.shape, k), np.nan, x.dtype)
    for i, block in enumerate(cols.blocks):
        rows = cols.block(i)
        part = out[block]
        assert np.isnan(part).all()  # no pixel is in two blocks
        assert rows.flags.c_contiguous
        part[...] = rows.reshape(part.shape)
    return out


def check(case, x, column_bytes, whole_images=False):
    expected = case.expected(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "COLUMN_BYTES", column_bytes)
        patch.setattr(np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))  # what is not written shows
        cols = Columns(x, *case.settings, whole_images=whole_images)
        assert cols.shape == expected.shape[:3]
        np.testing.assert_array_equal(put_together(cols, expected.shape[3], x), expected, strict=True)
    return cols


# The rows are the windows ------------------------------------------------------------------------

CASES = {
    "3x3": Case((2, 5, 6, 2), padding=(1, 1)),
    "3x3 without a border": Case((2, 5, 6, 2)),
    "1x1": Case((2, 5, 6, 2), kernel=(1, 1)),
    "1x1 with a border": Case((2, 5, 6, 2), kernel=(1, 1), padding=(1, 2)),
    "1x3": Case((2, 5, 6, 2), kernel=(1, 3), padding=(0, 1)),
    "3x1": Case((2, 5, 6, 2), kernel=(3, 1), padding=(1, 0)),
    "3x1, dilated": Case((2, 5, 6, 2), kernel=(3, 1), padding=(1, 0), dilation=(2, 1)),
    "1x3, dilated": Case((2, 5, 6, 2), kernel=(1, 3), padding=(0, 1), dilation=(1, 2)),
    "two dilations": Case((2, 8, 9, 2), kernel=(3, 2), padding=(1, 2), dilation=(2, 3)),
    "two strides": Case((2, 8, 9, 2), kernel=(3, 2), padding=(1, 1), stride=(2, 3)),
    "stride, padding and dilation": Case((2, 9, 10, 3), (3, 3), (2, 1), (2, 3), (3, 2)),
    "a border above and below": Case((2, 5, 6, 2), padding=(2, 0)),
    "a border left and right": Case((2, 5, 6, 2), padding=(0, 2)),
    "rows of windows that lie in the border": Case((2, 3, 4, 1), kernel=(2, 2), padding=(6, 5)),
    "such rows, a stride apart": Case((2, 3, 4, 1), kernel=(2, 2), padding=(7, 6), stride=(3, 3)),
    "a stride that jumps over the image": Case((2, 2, 2, 1), kernel=(1, 1), padding=(4, 4), stride=(7, 7)),
    "a stride that leaves rows over": Case((2, 10, 11, 2), kernel=(3, 3), stride=(3, 4)),
    "a stride that leaves rows of the border over": Case((2, 8, 8, 2), kernel=(2, 2), padding=(1, 1), stride=(4, 4)),
    "a stride larger than the kernel": Case((2, 9, 9, 2), kernel=(2, 1), stride=(4, 3)),
    "a kernel as large as the image": Case((3, 4, 5, 2), kernel=(4, 5)),
    "a kernel larger than the image": Case((3, 2, 3, 2), kernel=(4, 5), padding=(1, 1)),
    "no images": Case((0, 5, 6, 2), padding=(1, 1)),
    "no images, and no border": Case((0, 5, 6, 2)),
    "images without rows": Case((2, 0, 3, 2), kernel=(2, 2), padding=(2, 1)),
    "images without columns": Case((2, 3, 0, 2), kernel=(2, 2), padding=(1, 2)),
    "one pixel": Case((1, 1, 1, 1), kernel=(1, 1)),
    "many images": Case((9, 3, 4, 2), padding=(1, 1)),
}


@pytest.mark.parametrize("column_bytes", BYTES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("case", CASES)
def test_the_rows_are_the_windows(case, dtype, column_bytes):
    x = draw(CASES[case].shape, dtype)
    for whole_images in (False, True):
        check(CASES[case], x, column_bytes, whole_images)


@pytest.mark.parametrize("column_bytes", BYTES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "view",
    [
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1, ::-1, ::-1, ::-1],
        lambda x: np.repeat(x, 2, axis=3)[..., ::2],
        lambda x: np.repeat(x, 2, axis=1)[:, 1::2],
        lambda x: np.repeat(x, 3, axis=2)[:, :, ::-3],
        lambda x: np.ascontiguousarray(x.transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0),
        lambda x: np.broadcast_to(x[:1, :1], x.shape) if x.size else x,
    ],
    ids=["Fortran", "reversed", "channels", "rows", "columns", "channels first", "broadcast"],
)
def test_of_views_and_of_what_may_only_be_read(case, view, column_bytes):
    x = view(draw(CASES[case].shape))
    x.flags.writeable = False
    check(CASES[case], x, column_bytes)


@st.composite
def cases(draw):
    pairs = [draw(st.tuples(*[st.integers(*limits)] * 2)) for limits in [(1, 4), (1, 4), (0, 7), (1, 3)]]
    kernel, _, padding, dilation = pairs
    least = [max(0, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)]
    sides = [draw(st.integers(side, side + 8)) for side in least]
    return Case((draw(st.integers(0, 4)), *sides, draw(st.integers(1, 3))), *pairs)


@given(cases(), st.sampled_from([1, 100, 400, 1500, 6000, 1 << 20]), st.booleans())
def test_the_rows_are_the_windows_for_all_settings(case, column_bytes, whole_images):
    check(case, draw(case.shape), column_bytes, whole_images)


def test_whole_blocks_of_the_case_above_do_lie_in_the_border():
    """Above the image and below it, where there is nothing to copy."""
    case = CASES["rows of windows that lie in the border"]
    x = draw(case.shape)
    cols = check(case, x, 1)
    empty = [not case.expected(x)[block].any() for block in cols.blocks]
    assert len(empty) == 2 * 14
    assert empty[:14] == [True] * 5 + [False] * 4 + [True] * 5


@pytest.mark.parametrize("column_bytes", BYTES)
@pytest.mark.parametrize("case", CASES)
def test_on_a_device_they_are_one_block(case, column_bytes, monkeypatch):
    """And nothing is brought to the host."""
    monkeypatch.setattr(blocks, "COLUMN_BYTES", column_bytes)
    x = draw(CASES[case].shape)
    for there in (strict.asarray(x), strict.asarray(x[::-1].copy())[::-1]):
        with count_syncs() as syncs:
            cols = Columns(there, *CASES[case].settings)
            rows = cols.block(0)
        assert syncs.count == 0
        assert type(rows) is StrictArray
        expected = CASES[case].expected(x)
        assert cols.blocks == [(slice(0, len(x)), slice(0, expected.shape[1]))]
        np.testing.assert_array_equal(rows.get(), expected.reshape(-1, expected.shape[3]), strict=True)


# In memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"padding": 1}, {"padding": 1, "stride": 2}])
def test_a_convolution_frees_the_columns_of_a_block_before_it_makes_the_next(settings, monkeypatch):
    """Forward and backward: the next block then gets the same memory, which is in cache."""
    monkeypatch.setattr(blocks, "COLUMN_BYTES", 1500)
    mg.set_num_threads(1)
    earlier, count, block = [], [], Columns.block

    def noted(self, i):
        assert all(cols() is None for cols in earlier)
        cols = block(self, i)
        earlier.append(weakref.ref(cols.base))
        count.append(i)
        return cols

    monkeypatch.setattr(Columns, "block", noted)
    x, w = (mg.Tensor(draw(shape), requires_grad=True) for shape in [(3, 9, 8, 2), (3, 3, 2, 4)])
    out = mg.conv2d(x, w, **settings)
    mg.grad(out, [x, w], np.ones(out.shape))
    assert len(count) > 10


def test_what_looks_over_no_border_is_not_copied_into_one(monkeypatch):
    """Nor the rows in the middle of an image that has a border above and below."""
    monkeypatch.setattr(blocks, "COLUMN_BYTES", 1)
    x = draw((2, 6, 5, 2))
    for padding, shared in [
        ((0, 0), [True] * 4),
        ((2, 0), [False] * 2 + [True] * 4 + [False] * 2),
        ((0, 1), [False] * 4),
    ]:
        cols = Columns(x, (3, 3), (1, 1), padding, (1, 1))
        assert [np.shares_memory(cols._padded(*block), x) for block in cols.blocks] == 2 * shared


def test_a_block_sees_no_more_of_the_image_than_its_windows_do(monkeypatch):
    monkeypatch.setattr(blocks, "COLUMN_BYTES", 1)
    case = Case((1, 20, 7, 2), kernel=(3, 2), stride=(4, 1), padding=(1, 1), dilation=(2, 1))
    cols = Columns(draw(case.shape), *case.settings)
    assert [cols._padded(*block).shape for block in cols.blocks] == [(1, 5, 9, 2)] * 5


@pytest.mark.parametrize(
    ("dilation", "numbers"), [((1, 1), 4 * 2), ((2, 1), 4 * 2), ((1, 2), 2)], ids=["plain", "rows", "columns"]
)
def test_what_stands_together_is_copied_as_one(dilation, numbers, monkeypatch):
    """The row of a window, or a pixel: number by number it would take several times as long."""
    sizes = []

    def noted(shape, dtype, buffer, **strides):
        sizes.append(dtype.itemsize)
        return np.ndarray(shape, dtype, buffer, **strides)

    monkeypatch.setattr(columns, "np", SimpleNamespace(**vars(np) | {"ndarray": noted}))
    case = Case((2, 8, 9, 2), kernel=(3, 4), dilation=dilation)
    check(case, draw(case.shape), 1 << 20)
    assert sizes == [numbers * 8] * 2


# Blocks: small enough for the cache, and every pixel in exactly one ------------------------------

SHAPES = [(0, 3, 3, 2), (0, 150, 140, 4), (1, 150, 140, 4), (2, 151, 140, 4), (3, 5, 4, 2), (40, 18, 17, 8)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("whole_images", [False, True])
def test_blocks_are_as_large_as_fits_and_no_larger(shape, whole_images):
    """Larger blocks are slow, smaller ones, too, and nobody would see why."""
    n, h, _, c = shape
    x = np.empty(shape, "float32")
    cols = Columns(x, (3, 3), (1, 1), (1, 1), (1, 1), whole_images)
    seen = np.zeros((n, h), int)
    for block in cols.blocks:
        seen[block] += 1
    assert (seen == 1).all()
    assert cols.blocks  # also where there are no images: what is added up must have a shape
    row = shape[2] * 9 * c * 4
    sizes = [seen[block].size for block in cols.blocks]
    unit = h if whole_images or h * row <= blocks.COLUMN_BYTES else 1  # what is not cut: an image, or a row
    assert len(cols.blocks) == 1 or 2 * max(sizes) * row + unit * row > blocks.COLUMN_BYTES
    if n and unit == 1:
        assert all(images.stop - images.start == 1 for images, _ in cols.blocks)
        assert (max(sizes) - 1) * row < blocks.COLUMN_BYTES
    else:
        assert all(rows == slice(0, h) for _, rows in cols.blocks)
        assert max(sizes) * row <= max(blocks.COLUMN_BYTES, unit * row)


def test_an_image_that_fits_to_the_last_byte_is_not_cut(monkeypatch):
    x = draw((6, 4, 5, 2))  # 2 x 3 windows each, of 144 bytes
    for column_bytes, expected in [
        (2 * 3 * 144, [(slice(i, i + 1), slice(0, 2)) for i in range(6)]),
        (2 * 3 * 144 - 1, [(slice(i, i + 1), slice(row, row + 1)) for i in range(6) for row in range(2)]),
        (2 * 2 * 3 * 144, [(slice(i, i + 2), slice(0, 2)) for i in (0, 2, 4)]),
        (4 * 2 * 3 * 144 - 1, [(slice(i, i + 3), slice(0, 2)) for i in (0, 3)]),
        (6 * 2 * 3 * 144, [(slice(0, 6), slice(0, 2))]),
    ]:
        monkeypatch.setattr(blocks, "COLUMN_BYTES", column_bytes)
        assert Columns(x, (3, 3), (1, 1), (0, 0), (1, 1)).blocks == expected


@pytest.mark.parametrize(("rows", "fit"), [(rows, fit) for rows in range(2, 16) for fit in range(1, min(rows, 9))])
def test_a_large_image_is_cut_into_an_even_number_of_runs(rows, fit, monkeypatch):
    """Of a single image, two threads have as much each; no run has more rows than fit."""
    x = np.empty((2, rows, 3, 1))
    monkeypatch.setattr(blocks, "COLUMN_BYTES", fit * 3 * 9 * x.itemsize)
    cut = Columns(x, (3, 3), (1, 1), (1, 1), (1, 1)).blocks
    lengths = [part.stop - part.start for _, part in cut]
    runs = len(cut) // 2
    assert lengths[:runs] == lengths[runs:]
    assert max(lengths) <= fit
    assert runs - -(-rows // fit) in (0, 1)
    assert runs % 2 == 0 or runs == rows  # an odd number of single rows cannot be made even


@pytest.mark.parametrize("width", [17, 16])  # of the even one, two neighbouring pixels are made at once
@pytest.mark.parametrize("settings", [{"padding": 1}, {"padding": 1, "stride": 2}])
def test_columns_of_a_convolution_stay_in_cache(settings, width, monkeypatch):
    """In all three products: as large as fits, and not the whole batch at once."""
    sizes, block = [], Columns.block

    def noted(self, i):
        rows = block(self, i)
        sizes.append(rows.nbytes)
        return rows

    monkeypatch.setattr(Columns, "block", noted)
    rng = np.random.default_rng(0)
    x, w = (mg.Tensor(rng.standard_normal(s), requires_grad=True) for s in [(60, 18, width, 8), (3, 3, 8, 4)])
    out = mg.conv2d(x, w, **settings)
    assert blocks.COLUMN_BYTES / 2 < max(sizes) <= blocks.COLUMN_BYTES
    sizes.clear()
    mg.grad(out, [x, w], rng.standard_normal(out.shape))
    assert blocks.COLUMN_BYTES / 2 < max(sizes) <= blocks.COLUMN_BYTES


@pytest.mark.parametrize("settings", [{"padding": 1}, {"padding": 2, "stride": 2}, {"padding": 2, "dilation": 2}])
def test_blocks_of_a_convolution_meet_without_a_seam(settings, monkeypatch):
    """Images, and rows of images, cut wherever they may be."""
    rng = np.random.default_rng(0)
    x, w = (mg.Tensor(rng.standard_normal(s), requires_grad=True) for s in [(3, 9, 8, 2), (3, 3, 2, 4)])
    whole = mg.conv2d(x, w, **settings)
    g = rng.standard_normal(whole.shape)
    pairs = {"stride": (1, 1), "dilation": (1, 1)} | {name: (value, value) for name, value in settings.items()}
    defined = conv2d_twin(x, w, None, **pairs)
    expected = [defined.data, *(d.data for d in mg.grad(defined, [x, w], g))]
    for column_bytes in (1, 2000, 5000, 20_000):
        monkeypatch.setattr(blocks, "COLUMN_BYTES", column_bytes)
        out = mg.conv2d(x, w, **settings)
        for ours, theirs in zip([out, *mg.grad(out, [x, w], g)], expected, strict=True):
            np.testing.assert_allclose(ours.data, theirs, rtol=1e-11, atol=1e-12, equal_nan=False, strict=True)
