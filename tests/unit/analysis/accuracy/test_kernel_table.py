"""The table of kernels: no code differs from torch, errors are those of the page, and a planted fault is seen."""

import math
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from analysis.accuracy import kernel_trials as kernel_trials
from analysis.accuracy.kernel_errors import WIDTHS, KernelRow, kernel_table, measure
from reference.quantize.strict import exact

Table = dict[tuple[str, int], KernelRow]
ELEMENTWISE = ("requantize", "shift", "residual add")


@pytest.fixture(scope="module")
def table() -> Table:
    return {(row.kernel, row.bits): row for row in kernel_table(1)}


def test_every_kernel_at_every_width_equals_torch(table: Table) -> None:
    names = ["matrix product", "requantize", "shift", "softmax", "LayerNorm", "ReLU", "residual add"]
    assert list(table) == [(name, bits) for name in names for bits in WIDTHS]
    assert all(row.codes_different == 0 and row.codes_compared >= row.inputs for row in table.values())


def test_exhausted_domains_are_whole(table: Table) -> None:
    assert {name for name, bits in table if table[name, bits].exhausted} == {*ELEMENTWISE, "ReLU"}
    for bits in WIDTHS:
        sums = 2 * 256 * (2**bits - 1) * 2 ** (bits - 1) + 1
        assert table["residual add", bits].inputs == 2 ** (2 * bits)
        assert table["shift", bits].inputs == 2 * 64 * 2 ** (bits - 1) * 2 ** (bits - 1) + 1
        assert table["ReLU", bits].inputs == table["ReLU", bits].codes_compared == sums
        assert table["requantize", bits].inputs == table["requantize", bits].codes_compared == 2 * sums


def test_errors_are_those_of_one_rounding(table: Table) -> None:
    for bits in WIDTHS:
        for name in ("matrix product", "ReLU"):
            row = table[name, bits]
            assert (row.max_error_lsb, row.mean_error_lsb, row.sqnr_db) == (0.0, 0.0, math.inf)
        for name in ELEMENTWISE:
            row = table[name, bits]
            assert row.max_error_lsb == pytest.approx(0.5, abs=2**-4) and row.max_error_lsb < 0.5 + 1e-6
            assert row.mean_error_lsb == pytest.approx(0.25, abs=0.02)


def test_a_bit_is_worth_six_decibels(table: Table) -> None:
    for name in ("requantize", "softmax", "LayerNorm"):
        ratios = [table[name, bits].sqnr_db for bits in WIDTHS]
        steps = -np.diff(ratios) / -np.diff(WIDTHS)
        assert (steps > 4.0).all() and (steps < 8.0).all(), (name, ratios)


def test_the_histogram_holds_every_error(table: Table) -> None:
    for row in table.values():
        results = sum(row.error_counts)
        centres = np.array(row.error_lsb)
        assert len(centres) == len(row.error_counts) and (np.diff(centres) == 1 / 32).all()
        assert row.error_counts[0] and row.error_counts[-1]
        if row.kernel not in ("softmax", "LayerNorm"):
            assert results + row.clamped == row.codes_compared
        mean = float((np.abs(centres) * row.error_counts).sum()) / results
        assert mean == pytest.approx(row.mean_error_lsb, abs=1 / 64)
        assert float(np.abs(centres).max()) == pytest.approx(row.max_error_lsb, abs=1 / 64 + 1e-9)


def experiment(name: str, seed: int) -> KernelRow:
    for make in kernel_trials.EXPERIMENTS:
        made = make(4, np.random.default_rng(seed))
        if made.kernel == name:
            return measure(4, made)
    raise ValueError(name)


def test_the_seed_alone_decides() -> None:
    for name in ("softmax", "LayerNorm", "residual add"):
        assert experiment(name, 5) == experiment(name, 5) != experiment(name, 6)


def test_a_planted_fault_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference that rounds ties up instead of to even differs exactly at ties: every fourth of k = 3 bits."""

    def half_up(acc: Tensor, k: int) -> Tensor:
        return (acc * 2.0**-k + 0.5).floor()

    sound = experiment("shift", 1)
    monkeypatch.setattr(exact, "shift_right", half_up)
    broken = experiment("shift", 1)
    assert broken.codes_different == sum(1 for acc in range(-4096, 4097) if acc % 16 == 4)
    assert broken.codes_compared == sound.codes_compared and broken.max_error_lsb == sound.max_error_lsb


def test_a_fault_of_the_kernel_shows_in_codes_and_error(monkeypatch: pytest.MonkeyPatch) -> None:
    relu = kernel_trials.kernels.relu
    monkeypatch.setattr(kernel_trials.kernels, "relu", lambda acc: relu(acc) + (acc == 7) * 2)
    row: Any = experiment("ReLU", 1)
    assert (row.codes_different, row.max_error_lsb) == (1, 2.0)
    assert row.mean_error_lsb == pytest.approx(2 / row.codes_compared)
