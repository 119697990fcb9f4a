"""Layers whose rows share one shift, and products of a whole layer that fit their register."""

import msgspec
import pytest

from hwsim.program import Program
from hwsim.program.validate import validate
from reference.lower import lower
from reference.quantize.plan import make_plan
from reference.quantize.plan.planner import Planner
from reference.quantize.scheme import scheme_for
from tests.unit.reference.quantize.plans import calibrated, plan_of

SITE = "encoder.0.self_attention.key"


@pytest.mark.parametrize(
    ("ratios", "reaches", "multipliers", "shift"),
    [
        # w bits: 2^(w-1) and 2^(w-5) over 2^(w+5); 2^20 * 2^(w-5) + 2^(w+4) < 2^31 up to w = 15, 2^10 * 2^(w-1) longer
        ([2**-6, 2**-10], [2**10, 2**20], [2**14, 2**10], 20),
        ([2**-10, 2**-6], [2**20, 2**10], [2**10, 2**14], 20),
        # here all 16 bits fit
        ([2**-6, 2**-10], [2**10, 2**10], [2**15, 2**11], 21),
        # shifts end at 31
        ([2**-20, 2**-22], [4, 4], [2**11, 2**9], 31),
    ],
)
def test_multipliers_of_a_layer_are_narrowed_together(
    ratios: list[float], reaches: list[int], multipliers: list[int], shift: int
) -> None:
    model, seen = calibrated()
    assert Planner(model, plan_of("pulp"), seen).snap_up_together(SITE, ratios, reaches) == (multipliers, shift)


def test_a_layer_that_has_no_multipliers_is_refused_by_its_widest_row() -> None:
    model, seen = calibrated()
    with pytest.raises(ValueError, match=f"site {SITE}: integers to 2147483648 leave no multiplier for the ratio 0.5 "):
        Planner(model, plan_of("pulp"), seen).snap_up_together(SITE, [0.25, 0.5], [7, 2**31])


@pytest.mark.parametrize("target", ["pulp", "deeploy", "nvdla"])
def test_rows_have_multipliers_of_their_own_and_one_shift(target: str) -> None:
    layers = [one for one in plan_of(target).linear.values() if len(one.multipliers) > 1]
    assert layers
    assert all(len(set(one.shifts.tolist())) == 1 for one in layers)
    lengths = [{m.bit_length() for m in one.multipliers.tolist()} for one in layers]
    assert any(len(of_layer) > 1 for of_layer in lengths), "rows of one magnitude would have one shift anyway"


def test_a_scheme_beyond_that_limit_has_a_shift_a_row() -> None:
    model, seen = calibrated()
    plan = make_plan(model, scheme_for("pulp", name="x", beyond=["shifts"]), seen)
    assert any(len(set(one.shifts.tolist())) > 1 for one in plan.linear.values())
    program = lower(model, plan, name="x")
    assert program.manifest.beyond == ["shifts"]


def test_a_program_of_two_shifts_in_a_layer_is_refused() -> None:
    model, seen = calibrated()
    free = lower(model, make_plan(model, scheme_for("pulp", name="x", beyond=["shifts"]), seen), name="x")
    validate(free)
    silent = Program(msgspec.structs.replace(free.manifest, beyond=msgspec.UNSET), free.constants)
    said = r"key: 2 shifts in a layer; the limit `shifts` is 1 \(RequantShift: one log2D a layer; mul and add are per "
    with pytest.raises(ValueError, match=said):
        validate(silent)
