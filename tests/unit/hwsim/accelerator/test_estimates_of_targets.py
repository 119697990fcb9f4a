"""Estimates of the programs of targets: sums, MACs, batches, and what has no price."""

import pytest

from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.lowered import program_workload
from hwsim.accelerator.presets import hardware
from hwsim.program import Program
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program
from tests.unit.hwsim.accelerator.target_terms import C, terms
from tests.unit.hwsim.program.program_edits import native


def priced(program: Program, lengths: list[tuple[int, int]]) -> Estimate:
    return estimate(program_workload(program, lengths), hardware("edge-256"))


@pytest.mark.parametrize("name", ["native", "w4a8"])
@pytest.mark.parametrize("target", TARGETS)
def test_an_estimate_of_a_target_adds_up(target: str, name: str) -> None:
    result = priced(tiny_program(preset(name, target)), [(4, 6), (9, 3)])
    total = result.total.cost
    assert total.energy_aj == sum(phase.cost.energy_aj for phase in result.phases) > 0
    assert total.energy_aj == sum(layer.cost.energy_aj for layer in result.total.layers)
    assert total.low_aj < total.energy_aj < total.high_aj
    events = [event for layer in result.total.layers for event in layer.events]
    assert all(event.count > 0 and 0 <= event.bits <= 128 and 0 <= event.second_bits <= 64 for event in events)


@pytest.mark.parametrize("target", TARGETS)
def test_targets_multiply_alike(target: str) -> None:
    """MACs are the model's, whatever the arithmetic around them."""
    own, default = (priced(native(name), [(5, 5)]).total.cost.macs for name in (target, "fullyqt"))
    assert own == default > 0


@pytest.mark.parametrize("target", ["tflm", "ita", "ibert", "gemmini"])
def test_a_batch_of_two_counts_twice_on_the_datapath(target: str) -> None:
    program = native(target)
    one, two = (terms(program, "encode", {"batch": b, "source": 4}) for b in (1, 2))
    for (_, single), (_, double) in zip(one, two, strict=True):
        assert double.count == 2 * single.count


def test_what_a_target_needs_is_priced_or_listed() -> None:
    listed = {C.REQUANTIZE_SHIFT, C.COMPARE, C.CLAMP, C.TABLE_READ, C.DIVIDE, C.SQUARE_ROOT, C.REGISTER, C.HOP}
    for target in TARGETS:
        missing = {entry.component for entry in priced(native(target), [(3, 2)]).total.cost.not_modelled}
        assert missing <= listed
        assert (C.TABLE_READ in missing) == (TARGETS[target].softmax in ("table", "qlinear"))
