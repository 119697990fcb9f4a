"""Strict accumulators that overflow: values and events against docs/operators/accumulator.md, in integers."""

import pytest
import torch

from hwsim.formats import Accumulator, Granularity, Overflow
from reference.quantize.strict.matmul import matmul_ordered


def py_accumulate(products: list[int], bias: int, accumulator: Accumulator) -> tuple[int, int]:
    events, k = 0, len(products)

    def fit(t: int) -> int:
        nonlocal events
        if accumulator.min <= t <= accumulator.max:
            return t
        events += 1
        if accumulator.overflow is Overflow.SATURATE:
            return min(max(t, accumulator.min), accumulator.max)
        return (t - accumulator.min) % 2**accumulator.bits + accumulator.min

    length = {Granularity.MAC: 1, Granularity.TILE: accumulator.tile, Granularity.END: max(k, 1)}
    acc = fit(bias)
    for first in range(0, k, length[accumulator.granularity]):
        acc = fit(acc + sum(products[first : first + length[accumulator.granularity]]))
    return acc, events


@pytest.mark.parametrize("granularity", list(Granularity))
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
@pytest.mark.parametrize(("bits", "top", "tile"), [(8, 9, 1), (10, 9, 7), (16, 128, 16), (63, 2**16, 1000)])
def test_accumulators_are_brought_into_range_when_the_page_says(granularity, overflow, bits, top, tile):
    torch.manual_seed(bits)
    accumulator = Accumulator(bits=bits, overflow=overflow, granularity=granularity, tile=tile)
    a, b = torch.randint(-top + 1, top, (2, 3, 75)), torch.randint(-top + 1, top, (5, 75))
    bias = torch.tensor([0, accumulator.max, accumulator.min, accumulator.max + 2, accumulator.max // 2])
    acc, events = matmul_ordered(a.float() + 5, b.float() - 3, bias, 5, -3, accumulator)
    want = [
        py_accumulate([x * y for x, y in zip(p, q, strict=True)], int(z), accumulator)
        for p in a.flatten(0, 1).tolist()
        for q, z in zip(b.tolist(), bias, strict=True)
    ]
    assert acc.flatten().tolist() == [value for value, _ in want]
    assert events == sum(count for _, count in want) > 0


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
def test_an_accumulator_that_only_few_sums_leave_in_the_middle(overflow):
    torch.manual_seed(4)
    accumulator = Accumulator(bits=20, overflow=overflow)
    a, b = torch.randint(-128, 128, (2, 3, 70)), torch.randint(-128, 128, (11, 70))
    a[1, 2, 30:50], b[4, 30:50], b[4, 50:] = 127, 5000, -5000
    acc, events = matmul_ordered(a.float(), b.float(), None, 0, 0, accumulator)
    want = [
        py_accumulate([x * y for x, y in zip(p, q, strict=True)], 0, accumulator)
        for p in a.flatten(0, 1).tolist()
        for q in b.tolist()
    ]
    assert acc.flatten().tolist() == [value for value, _ in want]
    assert events == sum(count for _, count in want) > 0
    assert 0 < sum(count > 0 for _, count in want) < len(want) // 4


def test_wrapping_is_the_same_for_all_granularities_and_a_tile_of_the_row_is_the_end():
    torch.manual_seed(0)
    a, b = torch.randint(-128, 128, (2, 4, 6, 50)).float(), torch.randint(-128, 128, (2, 4, 7, 50)).float()
    for overflow in (Overflow.SATURATE, Overflow.WRAP):
        every = [
            matmul_ordered(a, b, None, 0, 0, Accumulator(bits=14, overflow=overflow, granularity=g, tile=tile))
            for g, tile in ((Granularity.END, 1), (Granularity.TILE, 64), (Granularity.MAC, 1), (Granularity.TILE, 1))
        ]
        assert torch.equal(every[0][0], every[1][0]) and every[0][1] == every[1][1]
        assert torch.equal(every[2][0], every[3][0]) and every[2][1] == every[3][1]
        assert torch.equal(every[0][0], every[2][0]) == (overflow is Overflow.WRAP)
