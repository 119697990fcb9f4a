"""N:M skipping: how many weights stay, which tiles cut no group, and whose weights may be skipped."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.accelerator.cost.estimate import estimate
from hwsim.accelerator.events import Operand
from hwsim.accelerator.layers import Phase, Workload
from hwsim.accelerator.lowered import check_sparsity
from hwsim.accelerator.lowered.sparsity import _check_rows
from hwsim.accelerator.options import Options, Sparsity, Tiles
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.tiling import Tiling, plan
from hwsim.accelerator.tiling.candidates import axes
from hwsim.accelerator.tiling.problem import problem_of
from hwsim.accelerator.workloads.blocks import product_layer
from hwsim.program import Program
from hwsim.program.operations import MatMul
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program
from tests.unit.hwsim.accelerator.machine import array, gemm, machine

KEPT = [  # k, N:M, kept: whole groups, and of the rest as many or all
    (6, 2, 4, 4), (2, 2, 4, 2), (1, 2, 4, 1), (3, 2, 4, 2), (8, 2, 4, 4), (100, 8, 64, 16), (70, 8, 64, 14),
    (7, 1, 3, 3), (5, 3, 8, 3), (3, 7, 64, 3), (9, 1, 2, 5), (12, 3, 5, 8),
]  # fmt: skip


@pytest.mark.parametrize(("k", "kept", "group", "most"), KEPT)
def test_what_a_row_keeps(k: int, kept: int, group: int, most: int) -> None:
    sparsity = Sparsity(kept, group)
    assert sparsity.keeps(k) == most
    assert sparsity.keeps(np.array([k, k])).tolist() == [most, most]
    assert str(sparsity) == f"{kept}:{group}"


@pytest.mark.parametrize(("k", "kept", "group", "most"), [row for row in KEPT if row[0] < 13])
def test_the_densest_row_that_the_check_passes_keeps_as_many(k: int, kept: int, group: int, most: int) -> None:
    """All rows of k weights are tried."""

    def passes(row: tuple[int, ...]) -> bool:
        try:
            _check_rows("w", np.array([row]) != 0, Sparsity(kept, group))
        except ValueError:
            return False
        return True

    assert max(sum(row) for row in product((0, 1), repeat=k) if passes(row)) == most


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.integers(2, 30))
def test_tiles_sum_to_the_whole(k: int, kept: int, beyond: int, tile: int) -> None:
    sparsity = Sparsity(kept, kept + beyond)
    tile *= sparsity.group
    sizes = [min(tile, k - at) for at in range(0, k, tile)]
    assert sum(map(sparsity.keeps, sizes)) == sum(at % sparsity.group < kept for at in range(k))


def test_a_layer_streams_and_fetches_what_is_kept() -> None:
    """100 weights a column at 8:64: 16 stay, each of 8 bits with 6 of index: 28 bytes, for 3 columns."""
    layers = (product_layer("one", gemm(5, 100, 3)),)
    work = Workload(name="w", scheme="int8", phases=(Phase(name="forward", tokens=1, layers=layers),))
    total = estimate(work, hardware("edge-256"), Options(sparsity=Sparsity(8, 64))).total
    assert total.cost.executed_macs == 5 * 16 * 3
    (fetched,) = (e.count for e in total.layers[0].events if e.level == "dram" and e.operand is Operand.WEIGHT)
    assert fetched == 28 * 3


def test_a_weight_has_its_own_sparsity_or_the_mappings() -> None:
    of, tile = machine(array(2, 2)), Tiling(tm=3, tk=8, tn=4, order="mkn")
    own = gemm(3, 8, 4, sparsity=Sparsity(1, 4))
    for weight, options, kept in (
        (own, Options(), 2), (own, Options(sparsity=Sparsity(1, 4)), 2), (gemm(3, 8, 4), Options(), 8),
        (gemm(3, 8, 4), Options(sparsity=Sparsity(2, 4)), 4),
    ):  # fmt: skip
        assert plan(weight, of, options, tile).macs == 3 * kept * 4
    with pytest.raises(ValueError, match=r"^its weights are 1:4 sparse, but the mapping skips 2:4$"):
        plan(own, of, Options(sparsity=Sparsity(2, 4)), tile)
    with pytest.raises(ValueError, match=r"^1:4 sparsity of kv_cache; only weights are skipped$"):
        gemm(3, 8, 4, sparsity=Sparsity(1, 4), b=Operand.KV_CACHE)


@pytest.mark.parametrize(
    ("dataflow", "tiles", "sizes"),
    [  # of k = 24 with groups of 3: array rows of 4 are in step at 12; any multiple of 3; divisors that 3 divides
        ("ws", Tiles.ARRAY, [12, 24]),
        ("os", Tiles.ARRAY, [3, 6, 9, 12, 24]),
        ("ws", Tiles.DIVISORS, [3, 6, 12, 24]),
    ],
)
def test_no_tile_that_is_tried_cuts_a_group(dataflow: str, tiles: Tiles, sizes: list[int]) -> None:
    options, of = Options(sparsity=Sparsity(1, 3), tiles=tiles), machine(array(4, 2, dataflow))
    assert axes(problem_of(gemm(2, 24, 2), of, options))[1].tolist() == sizes
    whole = axes(problem_of(gemm(2, 25, 2), of, options))[1].tolist()
    assert whole[-1] == 25 and all(size % 3 == 0 for size in whole[:-1])


def test_a_tile_that_cuts_a_group_is_refused() -> None:
    options, of = Options(sparsity=Sparsity(2, 4)), machine(array(2, 2))
    with pytest.raises(ValueError, match=r"^tiles of 6 along k cut groups of 4 weights; allowed are multiples and 10$"):
        plan(gemm(3, 10, 4), of, options, Tiling(tm=3, tk=6, tn=4, order="mkn"))
    for size in (4, 8, 10, 11):
        assert plan(gemm(3, 10, 4), of, options, Tiling(tm=3, tk=size, tn=4, order="mkn")).macs == 3 * 6 * 4


def pruned(program: Program, kept: int, group: int) -> Program:
    """The program with the first `kept` of every `group` weights along K, and zeros for the others."""
    changed = {}
    for _, operation in program.operations():
        if isinstance(operation, MatMul) and operation.b in program.constants:
            codes = program.constants[operation.b]
            along_k = codes.T if operation.transpose_b else codes
            along_k[:, np.arange(along_k.shape[1]) % group >= kept] = program.constant_info[operation.b].zero_point
            changed[operation.b] = codes
    return Program(program.manifest, program.constants | changed)


@pytest.mark.parametrize(("kept", "group"), [(1, 2), (2, 4), (1, 4), (3, 5), (7, 64)])
def test_a_program_that_is_sparse_passes(kept: int, group: int) -> None:
    check_sparsity(pruned(tiny_program(preset("int8")), kept, group), Sparsity(kept, group))


@pytest.mark.parametrize(("kept", "group"), [(1, 4), (2, 5)])
def test_one_group_too_full_is_named(kept: int, group: int) -> None:
    program = pruned(tiny_program(preset("int8")), kept, group)
    weights = [op.b for _, op in program.operations() if isinstance(op, MatMul) and op.b in program.constants]
    name = weights[len(weights) // 2]
    changed = np.where(program.constants[name] == 0, 0, 1)
    changed.reshape(-1)[: kept + 1] = 1
    program = Program(program.manifest, program.constants | {name: changed})
    with pytest.raises(ValueError, match=rf"weight {name}: {kept + 1} of {group} entries along K are not zero"):
        check_sparsity(program, Sparsity(kept, group))


def test_a_short_last_group_may_be_full() -> None:
    """Of 6 rows 2:4 keeps 2 of the first 4 and both of the rest; 3 of 4, and 2 of 2 at 1:4, are too many."""
    _check_rows("w", np.array([[1, 1, 0, 0, 1, 1]]) != 0, Sparsity(2, 4))
    for row, sparsity, message in (
        ([0, 1, 1, 1, 0, 0], Sparsity(2, 4), "weight w: 3 of 4 entries along K are not zero; 2:4 skipping keeps 2"),
        ([0, 0, 1, 0, 1, 1], Sparsity(1, 4), "weight w: 2 of 2 entries along K are not zero; 1:4 skipping keeps 1"),
    ):
        with pytest.raises(ValueError) as caught:
            _check_rows("w", np.array([[0] * 6, row]) != 0, sparsity)
        assert str(caught.value) == message
