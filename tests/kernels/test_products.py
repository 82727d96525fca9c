"""Matrix products: right in all blocks and small products, and bit-equal for every number of threads."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import blas, blocks, products
from tests.tools.strict import strict

# Products on the threads -----------------------------------------------------------------------


@pytest.fixture
def counts(monkeypatch):
    """Note into how many tasks each piece of work is cut."""
    seen, run = [], products.run
    monkeypatch.setattr(products, "run", lambda task, count: (seen.append(count), run(task, count))[1])
    return seen


@pytest.mark.parametrize(
    ("m", "k", "n", "rows", "columns"),
    [
        (40_000, 24, 24, 15, 1),  # tall: as many rows at a time as stay in cache beside their results
        (200_000, 3, 3, 2, 1),  # or as many as are worth a thread
        (40_000, 3, 3, 1, 1),
        (49, 512, 2048, 1, 4),  # flat: one block of rows, so the columns are cut
        (49, 512, 64, 1, 2),  # or as many parts as are worth a thread
        (1, 1024, 1024, 1, 1),
        (200, 512, 512, 2, 2),  # both
        (400, 512, 512, 4, 1),
        (0, 3, 4, 1, 1),
        (3, 0, 4, 1, 1),
        (3, 4, 0, 1, 1),
        (3, 0, 0, 1, 1),
    ],
)
def test_a_product_is_cut_into_rows_and_columns(m, k, n, rows, columns, counts):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    product = products.matmul(a, b)
    np.testing.assert_allclose(product, a @ b, rtol=1e-11, atol=1e-11, strict=True)
    assert counts == [rows * columns]
    out = np.full((m, n), np.nan)
    assert products.matmul(a, b, out) is out
    np.testing.assert_array_equal(out, product)
    for threads in (1, 3):
        mg.set_num_threads(threads)
        np.testing.assert_array_equal(products.matmul(a, b), product)


def test_stacks_vectors_and_two_dtypes_are_one_call_with_blas_on_one_thread(counts, monkeypatch):
    noted = []
    monkeypatch.setattr(blas, "libraries", lambda: [blas.Library(lambda: 7, noted.append, None)])
    rng = np.random.default_rng(0)
    stack, matrix, vector = (rng.standard_normal(shape) for shape in [(2, 3, 4), (4, 5), 4])
    for a, b in [(stack, stack.swapaxes(1, 2)), (matrix.T, stack.swapaxes(1, 2)), (stack[0], vector), (vector, matrix)]:
        noted.clear()
        product = products.matmul(a, b)
        np.testing.assert_allclose(product, np.matmul(a, b), rtol=1e-12, strict=True)
        assert noted == [1, 7]
        assert products.matmul(a, b, out := np.empty_like(product)) is out
    mixed = products.matmul(stack[0].astype("float32"), matrix)
    assert mixed.dtype == np.float64
    assert counts == []


@pytest.mark.parametrize("stack", [(2, 3, 4), (2, 0, 4), (3, 2, 1, 0)])
def test_a_stack_times_a_matrix_is_the_product_of_its_rows(stack, counts):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(stack).swapaxes(0, 1)
    b = rng.standard_normal((stack[-1], 5))
    np.testing.assert_allclose(products.matmul(a, b), np.matmul(a, b), rtol=1e-12, strict=True)
    rows = a.reshape(np.prod(a.shape[:-1]), a.shape[-1])
    assert counts == [1]  # on the threads, as one matrix
    np.testing.assert_array_equal(products.matmul(a, b).reshape(len(rows), 5), products.matmul(rows, b), strict=True)
    out = np.full((*a.shape[:-1], 5), np.nan)
    assert products.matmul(a, b, out) is out
    np.testing.assert_allclose(out, np.matmul(a, b), rtol=1e-12, strict=True)
    with pytest.raises(ValueError, match="matmul"):
        products.matmul(a, b[:-1] if len(b) else np.ones((1, 5)))


# Sums of products ------------------------------------------------------------------------------


def test_a_sum_of_products_does_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((50, 7)).astype("f") for _ in range(43)]
    totals = []
    for threads in (1, 2, 3, 4, 9, 20, 65):
        mg.set_num_threads(threads)
        totals.append(products.sum_products(lambda i: (blocks[i], blocks[i]), len(blocks)))
    for total in totals:
        np.testing.assert_array_equal(total, totals[0])
    np.testing.assert_allclose(totals[0], sum(b.T.astype("d") @ b for b in blocks), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 11, 100])
def test_there_are_few_partial_sums_and_each_has_its_share_of_the_blocks(n, counts):
    """The numbers of the blocks are summands so different that the order of additions can be read from the sum."""
    seen = []
    mg.set_num_threads(1)
    one = np.ones((1, 1))
    total = products.sum_products(lambda i: (seen.append(i), (one, i * one))[1], n)
    assert seen == list(range(n))
    assert total == sum(range(n))
    assert len(counts) == 1
    assert counts[0] == -(-n // -(-n // blocks.PARTIAL_SUMS))
    assert counts[0] <= blocks.PARTIAL_SUMS


def test_partial_sums_are_added_in_order():
    numbers = [1.0, 2.0**53, -(2.0**53), 1.0, 3.0, 2.0**53, 5.0, -(2.0**53)]  # no addition is exact
    one = np.ones((1, 1))
    total = products.sum_products(lambda i: (one, numbers[i] * one), len(numbers))
    pairs = [numbers[i] + numbers[i + 1] for i in range(0, 8, 2)]
    assert total == ((pairs[0] + pairs[1]) + pairs[2]) + pairs[3]


def test_a_sum_of_products_on_a_device():
    a, b = (strict.asarray(np.arange(start, start + 6.0).reshape(2, 3)) for start in (0.0, 6.0))
    blocks = [a, b, a, b, a]  # two for each partial sum, and one
    total = products.sum_products(lambda i: (blocks[i], blocks[i]), len(blocks))
    np.testing.assert_array_equal(total.get(), 3 * a.get().T @ a.get() + 2 * b.get().T @ b.get())


# Small products --------------------------------------------------------------------------------


@pytest.fixture
def stacks(monkeypatch):
    """Note how many products each call of NumPy's matmul makes at once."""
    counts, matmul = [], np.matmul

    def noted(a, b, out=None):
        counts.append(len(a) if a.ndim == 3 else 1)
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", noted)
    return counts


def whole_numbers(*shape, dtype="float32", seed=0):
    """Draw small whole numbers: their sums of products are exact, in whatever order they are added up."""
    return np.random.default_rng([seed, *shape]).integers(-3, 4, shape).astype(dtype)


#: (m, k, n) -> the number of small products in `multiply` and in `multiply_transposed`, where there are small kernels.
NARROW = {
    (1000, 144, 16): (2, 2),  # 432 rows each, and a remainder
    (864, 144, 16): (2, 2),
    (865, 144, 16): (2, 2),
    (433, 144, 16): (1, 1),
    (432, 144, 16): (0, 0),  # it is a small product itself
    (3000, 27, 9): (0, 0),
    (9000, 27, 9): (2, 2),
    (200, 576, 64): (8, 0),  # 24 rows: too few for products that are added up
    (300, 325, 64): (6, 6),  # 48 rows
    (200, 676, 64): (0, 0),  # 20 rows
    (1000, 144, 8): (0, 0),
    (1000, 144, 65): (0, 0),
    (100, 20_000, 64): (0, 0),  # not a single row
    (0, 144, 16): (0, 0),
    (1000, 0, 16): (0, 0),
    (1000, 144, 0): (0, 0),
    (0, 0, 0): (0, 0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("sizes", NARROW)
def test_narrow_products_are_the_plain_ones(sizes, dtype, small_kernels, stacks):
    (m, k, n), fast = sizes, small_kernels and dtype in ("float32", "float64")
    a, b, c = (whole_numbers(*shape, dtype=dtype, seed=i) for i, shape in enumerate([(m, k), (k, n), (m, n)]))
    out = np.full((m, n), np.nan, dtype)
    assert products.multiply(a, b, out) is out
    np.testing.assert_array_equal(out, np.dot(a, b), strict=True)
    assert max(stacks) == max(NARROW[sizes][0] * fast, 1)
    stacks.clear()
    np.testing.assert_array_equal(products.multiply_transposed(a, c), np.dot(a.T, c), strict=True)
    assert max(stacks) == max(NARROW[sizes][1] * fast, 1)


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        lambda x: x[::-1].copy()[::-1],
        lambda x: x[:, ::-1].copy()[:, ::-1],
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.repeat(x, 2, axis=0)[1::2],
    ],
    ids=["Fortran", "rows reversed", "columns reversed", "columns", "rows"],
)
def test_narrow_products_of_views(view, small_kernels):
    """Each of the arrays is a view in turn, the result among them."""
    m, k, n = 1000, 144, 16
    plain = [whole_numbers(m, k), whole_numbers(k, n, seed=1), whole_numbers(m, n, seed=2)]
    product, transposed = plain[0] @ plain[1], plain[0].T @ plain[2]
    for i in range(4):
        a, b, c = (view(x) if i == j else x for j, x in enumerate(plain))
        out = np.full_like(product, np.nan)
        if i == 3:
            out = view(out)
            assert not out.flags.c_contiguous
        assert products.multiply(a, b, out) is out
        np.testing.assert_array_equal(out, product, strict=True)
        np.testing.assert_array_equal(products.multiply_transposed(a, c), transposed, strict=True)


def test_columns_beside_a_result_are_not_written(small_kernels):
    """As where columns are cut: a reshaped copy of the result would be filled, and discarded."""
    a, b = whole_numbers(1000, 144), whole_numbers(144, 16, seed=1)
    wide = np.full((1000, 40), 7.0, "float32")
    products.multiply(a, b, wide[:, 8:24])
    np.testing.assert_array_equal(wide[:, 8:24], a @ b)
    assert (np.delete(wide, np.s_[8:24], axis=1) == 7.0).all()


def test_narrow_products_on_a_device(small_kernels):
    a, b, c = whole_numbers(1000, 144), whole_numbers(144, 16, seed=1), whole_numbers(1000, 16, seed=2)
    there = [strict.asarray(x) for x in (a, b, c)]
    out = strict.asarray(np.zeros((1000, 16), "float32"))
    products.multiply(there[0], there[1], out)
    np.testing.assert_array_equal(out.get(), a @ b, strict=True)
    np.testing.assert_array_equal(products.multiply_transposed(there[0], there[2]).get(), a.T @ c, strict=True)


def test_matmul_multiplies_blocks_of_rows_as_small_products(small_kernels, stacks):
    """Not where columns are cut, too: the rows of such a block are not contiguous."""
    for m, k, n, count in [(5000, 144, 16, 2), (1100, 400, 64, 1)]:
        a, b = whole_numbers(m, k), whole_numbers(k, n, seed=1)
        for right in (b, np.asfortranarray(b)):
            np.testing.assert_array_equal(products.matmul(a, right), np.dot(a, b), strict=True)
            assert max(stacks) == (count if small_kernels else 1)
            stacks.clear()


def test_a_sum_of_narrow_products(small_kernels):
    """Of blocks of several lengths."""
    blocks = [
        (whole_numbers(m, 144, seed=m), whole_numbers(m, 16, seed=m + 1)) for m in (2000, 1000, 432, 3, 500, 0, 900)
    ]
    total = products.sum_products(blocks.__getitem__, len(blocks))
    np.testing.assert_array_equal(total, sum(a.T @ b for a, b in blocks), strict=True)


SMALL = [
    # rows, k, columns, least -> rows of a small product
    (10_000, 144, 16, 24, 432),  # the largest number with at most a million multiply-adds, and divisible by 4
    (10_000, 144, 8, 24, 0),  # up to 8 columns, and from 65 on, there is nothing to gain
    (10_000, 144, 9, 24, 768),
    (10_000, 144, 64, 24, 108),
    (10_000, 144, 65, 24, 0),
    (10_000, 100, 10, 24, 1000),  # a million
    (10_000, 77, 13, 24, 996),
    (10_000, 576, 64, 24, 24),
    (10_000, 576, 64, 25, 0),
    (10_000, 325, 64, 48, 48),
    (10_000, 325, 64, 49, 0),
    (10_000, 650, 64, 24, 24),
    (10_000, 652, 64, 24, 0),
    (10_000, 20_000, 64, 24, 0),
    (433, 144, 16, 24, 432),  # one small product, and a row
    (432, 144, 16, 24, 0),
    (431, 144, 16, 24, 0),
    (0, 144, 16, 24, 0),
    (10_000, 0, 16, 24, 0),
    (2_000_000, 0, 16, 24, 0),  # more rows than the limit of multiply-adds
    (10_000, 144, 0, 24, 0),
]


@pytest.mark.parametrize(("m", "k", "n", "least", "expected"), SMALL)
def test_the_number_of_rows_of_a_small_product(m, k, n, least, expected, small_kernels):
    for dtype in "fd":
        assert products._rows_of_small_product(np.empty((m, k), dtype), n, least) == expected * small_kernels
    if expected:
        assert expected % 4 == 0
        assert expected * k * n <= 10**6 < (expected + 4) * k * n


def test_only_contiguous_matrices_of_real_numbers_on_the_host_become_small_products(monkeypatch):
    """Each of these differs in one thing from a matrix that does."""
    monkeypatch.setattr(products, "has_small_kernels", lambda: True)
    a = np.zeros((1000, 144), "float32")
    others = [np.asfortranarray(a), a[::-1], np.zeros((1000, 288), "float32")[:, ::2], strict.asarray(a)]
    others += [a.astype(dtype) for dtype in ("float16", "longdouble", "complex64", "complex128", "int32", "int64")]
    assert products._rows_of_small_product(a, 16, 24) == 432
    assert [products._rows_of_small_product(other, 16, 24) for other in others] == [0] * len(others)
