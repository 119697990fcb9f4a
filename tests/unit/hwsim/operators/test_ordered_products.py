"""The engine of accumulators that saturate or wrap, at the edges of its lanes, blocks and short cuts."""

import numpy as np
import pytest

from hwsim.formats import Accumulator, Counter, Granularity, Overflow
from hwsim.operators.gemm import matmul
from hwsim.operators.gemm.ordered import COLUMNS, ROWS, VECTOR, lanes, transposed
from tests.unit.hwsim.operators.kernel_cases import Product
from tests.unit.hwsim.operators.kernel_checks import Events, assert_occurred, int32, int64, no_events
from tests.unit.hwsim.operators.test_accumulator_kernels import LIMITED, check_accumulator

MAC, TILE, END = Granularity.MAC, Granularity.TILE, Granularity.END
rules = pytest.mark.parametrize("rule", LIMITED)


def alike(k: int, x: int, y: int, bias: list[int], zero: int = 1000) -> Product:
    """k products x * y in one row, k of -x * y in the other, the same in each column."""
    a = int32([[zero + x] * k, [zero - x] * k])
    return Product(a, np.full((len(bias), k), y, np.int32), int64(bias), (zero, 0))


def check(case: Product, bits: int, rule: Overflow, granularity: Granularity, tile: int = 1) -> Events:
    return check_accumulator(case, Accumulator(bits=bits, overflow=rule, granularity=granularity, tile=tile))


# Lanes of int32 are enough for 2^(bits-1) and 2^30 more at 31 bits


def test_the_limit_by_hand() -> None:
    assert 33025 * 32513 == 13 * 33025 * 2501 == 2**30 + 1
    assert lanes(1, 31, 2**30).dtype == np.int32
    assert lanes(1, 31, 2**30 + 1).dtype == np.int64
    assert lanes(1, 16, 2**31 - 2**15).dtype == np.int32
    assert lanes(1, 16, 2**31 - 2**15 + 1).dtype == np.int64
    assert lanes(1, 32, 1).dtype == np.int64


@rules
@pytest.mark.parametrize("factors", [(32768, 32768), (33025, 32513)])
def test_a_product_at_the_limit(factors: tuple[int, int], rule: Overflow) -> None:
    """From 2^30 - 1 a product of 2^30 leads to 2^31 - 1, and one of 2^30 + 1 to what int32 takes for -2^31."""
    for k in (1, 3, 4, 9):
        case = alike(k, *factors, [2**30 - 1, -(2**30), 0])
        assert_occurred(check(case, 31, rule, MAC), Counter.OVERFLOW)


@rules
@pytest.mark.parametrize("factors", [(32768, 2520), (33025, 2501)])
def test_a_tile_at_the_limit(factors: tuple[int, int], rule: Overflow) -> None:
    """13 products that reach 2^30 - 2^17 or 2^30 + 1, to a full accumulator."""
    for k in (13, 14, 27):
        case = alike(k, *factors, [2**30 - 1, -(2**30), 0])
        assert_occurred(check(case, 31, rule, TILE, 13), Counter.OVERFLOW)


@rules
def test_a_tile_is_no_longer_than_the_products(rule: Overflow) -> None:
    """A tile of 2^20 has as many products as there are."""
    case = alike(5, 200, 300, [2**15 - 1, -(2**15), 0])
    assert_occurred(check(case, 16, rule, TILE, 2**20), Counter.OVERFLOW)


# Sums in any order: where none can leave the accumulator, or at the end


@rules
@pytest.mark.parametrize("granularity", list(Granularity))
@pytest.mark.parametrize(("bias", "events"), [(27, 0), (-27, 0), (28, 1), (-28, 0), (-29, 1)])
def test_a_sum_at_the_edge_of_the_accumulator(bias: int, events: int, granularity: Granularity, rule: Overflow) -> None:
    """Two products of 50 of the sign of the bias, in 8 bits: 127 and -128 are inside, 128 and -129 are not."""
    case = Product(int32([[5, 5]]), int32([[10 if bias > 0 else -10] * 2]), int64([bias]), (0, 0))
    counters = no_events()
    acc = Accumulator(bits=8, overflow=rule, granularity=granularity)
    result = int(matmul(case.a, case.b, case.bias, accumulator=acc, counters=counters)[0, 0])
    edge = 127 if bias > 0 else -128
    exact = bias + (100 if bias > 0 else -100)
    assert result == (exact if not events else edge if rule is Overflow.SATURATE else -exact + (exact < 0) * -2)
    assert counters[Counter.OVERFLOW] == events
    check(case, 8, rule, granularity)


@rules
@pytest.mark.parametrize("bias", [[2**30 - 1], [1], [0]])
@pytest.mark.parametrize("k", [1, 2])
def test_an_end_at_the_limit(k: int, bias: list[int], rule: Overflow) -> None:
    """2^30 or 2^31 and a bias, at the end: 2^31 - 1 is summed in int32, 2^31 is not."""
    low = np.full((1, k), -(2**15), np.int32)
    case = Product(low, low, int64(bias), (0, 0))
    assert_occurred(check(case, 31, rule, END), Counter.OVERFLOW)


@rules
@pytest.mark.parametrize("granularity", list(Granularity))
def test_a_bias_out_of_range_counts_once_for_each_result(granularity: Granularity, rule: Overflow) -> None:
    """Two of three columns, two batches of three rows, products that are 0: 12 events, and the same with products."""
    acc = Accumulator(bits=8, overflow=rule, granularity=granularity, tile=2)
    a, b = np.zeros((2, 3, 5), np.int32), np.ones((2, 3, 5), np.int32)
    counters = no_events()
    result = matmul(a, b, int64([200, -129, -128]), accumulator=acc, counters=counters)
    assert result[1, 2].tolist() == ([127, -128, -128] if rule is Overflow.SATURATE else [-56, 127, -128])
    assert counters[Counter.OVERFLOW] == 12
    a += int32([[1], [60], [-60]])
    check_accumulator(Product(a, b, int64([200, -129, -128]), (0, 0)), acc)


# Blocks


def spread(m: int, n: int, k: int, batch: int = 1) -> Product:
    """Different numbers everywhere, of both signs, whose sums leave 10 bits and come back."""
    numbers = np.arange(batch * m * k, dtype=np.int32) * 37 % 31 - 15
    others = np.arange(batch * n * k, dtype=np.int32) * 53 % 61 - 30
    return Product(numbers.reshape(batch, m, k), others.reshape(batch, n, k), int64(np.arange(n) * 75 % 509), (3, -2))


def large(case: Product) -> Product:
    """The same with sums of 21 bits more: a product of 18 * 2^11 and 32 * 2^10 needs lanes of int64."""
    return Product(case.a << 11, case.b << 10, case.bias << 21, (3 << 11, -2 << 10))


@rules
@pytest.mark.parametrize(("granularity", "tile"), [(MAC, 1), (TILE, 2), (TILE, 4), (TILE, 5), (TILE, 9), (END, 1)])
def test_tiles_and_columns_that_fill_no_block(granularity: Granularity, tile: int, rule: Overflow) -> None:
    """Rows beside four, columns beside a vector, tiles that leave a rest; lanes of int32 and of int64."""
    for m, n, k in ((1, 3, 7), (3, 15, 4), (4, 16, 5), (6, 17, 11), (9, 33, 8)):
        case = spread(m, n, k, batch=2)
        assert_occurred(check(case, 10, rule, granularity, tile), Counter.OVERFLOW)
        assert_occurred(check(large(case), 31, rule, granularity, tile), Counter.OVERFLOW)
        assert_occurred(check(case, 40, rule, granularity, tile))


@rules
@pytest.mark.parametrize(("granularity", "tile"), [(MAC, 1), (TILE, 3), (TILE, 4), (END, 1)])
def test_more_than_a_block(granularity: Granularity, tile: int, rule: Overflow) -> None:
    """A row and a column more, in lanes of int32 and of int64."""
    tall, wide = spread(ROWS + 1, 2, 5), spread(5, COLUMNS + 1, 5)
    for case in (tall, wide):
        assert_occurred(check(case, 10, rule, granularity, tile), Counter.OVERFLOW)
        assert_occurred(check(large(case), 31, rule, granularity, tile), Counter.OVERFLOW)


def test_columns_are_centred_and_filled_up() -> None:
    """Three rows of two codes, zero point 10: whole vectors, zeros where there is no row."""
    columns = transposed(int32([[[11, 9], [10, 12], [7, 10]]]), 10)
    assert columns.tolist() == [[[1, 0, -3] + [0] * 13, [-1, 2, 0] + [0] * 13]]
    assert columns.dtype == np.int32
    assert transposed(np.zeros((2, VECTOR, 3), np.int32), 0).shape == (2, 3, VECTOR)
    assert transposed(np.zeros((1, VECTOR + 1, 0), np.int32), 0).shape == (1, 0, 2 * VECTOR)
