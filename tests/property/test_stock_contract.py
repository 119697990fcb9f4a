"""Plain torch fake-quant agrees: exactly where it must, and every other code differs for a reason that is proved."""

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch

from hwsim.formats import IntFormat, Scaling
from hwsim.machine.kernels import KERNELS, accumulators
from hwsim.operators import residual
from hwsim.program.operations import RescaledAdd
from hwsim.program.targets import DEFAULT_TARGET, TARGETS, Target
from reference.quantize.plan.constants import Quantizer
from reference.quantize.scheme import scheme_for
from tests.property import stock
from tests.property.equality import prepare
from tests.property.explain import (
    DOUBLE_ROUNDING,
    EQUAL,
    FLOAT_ERROR,
    OPERANDS,
    SCHEME_FLOAT,
    SCHEMES,
    TIE_RULE,
    Rescaled,
    Stage,
    explain,
)
from tests.property.stock import EXACT, Tally, check_prepared, fake_quantized_codes
from tests.property.stock_run import ordinary, powers_of_two, run
from tests.small.models import TINY
from tests.strategies import EFFORT, Case, Weights

KINDS = {"query", "key", "value", "hidden", "output", "scores", "shifted", "context", "residual", "logits"}
EVEN = {Scaling.HALF_EVEN, Scaling.FLOAT32}
REASONS = {
    Scaling.HALF_EVEN: set[str](),
    Scaling.FLOAT32: set[str](),
    Scaling.HALF_UP: {TIE_RULE},
    Scaling.HALF_AWAY: {TIE_RULE},
    Scaling.Q31_DOUBLE: {TIE_RULE, DOUBLE_ROUNDING},
}
"""Why a scheme's codes must be seen to differ from torch's, where torch is exact."""
FIXED_SCALES = {"itamax", "gemmini", "pulp"}
"""Softmaxes whose probabilities or scores have scales that are no powers of two."""


def examples(target: str) -> int:
    return EFFORT.max_examples // (5 if target == DEFAULT_TARGET else 22)


def allowed(target: Target) -> set[str]:
    """Every reason that a target's codes may have."""
    own = {SCHEME_FLOAT} if target.scaling is Scaling.FLOAT32 else set()
    rounds = {OPERANDS} if target.residual != "one_rounding" else set()
    return REASONS[target.scaling] | own | rounds | {EQUAL, FLOAT_ERROR}


def check(tally: Tally, target: Target) -> None:
    """What holds of any tally: nothing under condition A, nothing unexplained, the machine like strict fake-quant."""
    assert tally.different_in_condition == 0
    assert tally.different == tally.reasons.total() - tally.reasons[EQUAL]
    assert set(tally.reasons) <= allowed(target)
    assert tally.unlike_strict == 0
    assert tally.examples >= 9


@pytest.mark.parametrize("name", TARGETS)
def test_powers_of_two_differ_only_by_the_scheme(name: str) -> None:
    """Torch is exact: the machine differs where its scheme is no HALF_EVEN, exactly there, and is seen to."""
    target, tally = TARGETS[name], run(name, True, examples(name))
    check(tally, target)
    assert set(tally.stages) == KINDS
    assert tally.exact > 60_000
    if target.softmax not in FIXED_SCALES:
        assert tally.exact > 0.99 * tally.codes
        assert FLOAT_ERROR not in tally.reasons
    if target.scaling in EVEN:
        assert tally.condition > 0.5 * tally.codes
        assert tally.condition_rows > 1_000
    for reason in REASONS[target.scaling]:
        assert tally.reasons[reason] > 500
    if target.scaling in EVEN and target.residual == "one_rounding":
        assert tally.different == 0
        assert tally.condition > 0.99 * tally.codes


@pytest.mark.parametrize("name", TARGETS)
def test_other_scales_differ_only_where_it_is_certified(name: str) -> None:
    """By the scheme's bound, or where float32 cannot tell the side of a tie; one step, but in sums that clip operands.

    Those round each operand in steps of the coarser operand's scale, of which one may be many of the sum's.
    """
    target, tally = TARGETS[name], run(name, False, examples(name))
    check(tally, target)
    assert set(tally.stages) >= KINDS - {"logits"}
    assert tally.codes > 50_000
    assert 0 < tally.reasons[FLOAT_ERROR] < 0.01 * tally.codes
    if target.residual in ("round_each", "clip_each"):
        assert tally.reasons[OPERANDS] > 500
    if target.residual == "clip_each":
        assert tally.reasons[OPERANDS] <= tally.stages["residual"]
        assert tally.different - tally.reasons[OPERANDS] < 0.01 * tally.codes
    else:
        assert tally.different < 0.05 * tally.codes


# --- planted faults -------------------------------------------------------------------------------------------------

CASE = Case(
    config=replace(TINY, vocabulary_size=24, d_model=16, d_head=16, d_ff=24),
    weights=Weights(seed=5, magnitudes=(0.3, 0.1), zero_rows=0.1, constant_layernorm=False, eps=1e-5),
    scheme=scheme_for(DEFAULT_TARGET, name="fault"),
    pairs=(([5, 6, 7, 8, 3], [9, 10, 11, 3]), ([12, 3], [13, 14, 15, 16, 17, 3])),
    calibration=2,
)
WRONG_TIE = {
    Scaling.HALF_EVEN: Scaling.HALF_UP,
    Scaling.HALF_UP: Scaling.HALF_AWAY,
    Scaling.HALF_AWAY: Scaling.HALF_EVEN,
    Scaling.Q31_DOUBLE: Scaling.Q31_DOUBLE_HALF_UP,
    Scaling.FLOAT32: Scaling.HALF_AWAY,
}
ROUND_EACH = [name for name, target in TARGETS.items() if target.residual in ("round_each", "clip_each")]


def of_target(name: str, exact: bool = True) -> Case:
    case = replace(CASE, scheme=scheme_for(name, name="fault", residual_bits=8))
    return powers_of_two(case) if exact else ordinary(case)


@pytest.mark.parametrize("name", TARGETS)
def test_a_wrong_tie_of_the_machine_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it agrees with torch by the fault: HALF_EVEN in place of HALF_AWAY."""
    prepared, sound = prepare(of_target(name)), accumulators.rescaled
    check_prepared(prepared)

    def wrong(rule: int, *types: Any) -> Any:
        return sound(int(WRONG_TIE[Scaling(rule)]), *types)

    monkeypatch.setattr(accumulators, "rescaled", wrong)
    with pytest.raises(AssertionError, match="the scheme makes it"):
        check_prepared(prepared)


@pytest.mark.parametrize("name", ROUND_EACH)
@pytest.mark.parametrize("exact", [True, False])
def test_a_wrong_rounding_of_an_operand_is_found(name: str, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, sound = prepare(of_target(name, exact)), residual.rescaled_add
    check_prepared(prepared)

    def wrong(*operands: Any, **scalars: Any) -> Any:
        return sound(*operands, **(scalars | {"scaling": Scaling.FLOOR}))

    monkeypatch.setitem(KERNELS, RescaledAdd, lambda builder, operation: None)  # so that the checked function runs
    monkeypatch.setattr(residual, "rescaled_add", wrong)
    with pytest.raises(AssertionError, match=r"residual at .* the scheme makes it"):
        check_prepared(prepared)


def test_a_wrong_tie_of_torch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side is held to its rule too: were torch to round half up, nothing would excuse it."""

    def half_up(real: torch.Tensor, quantizer: Quantizer, fmt: IntFormat) -> torch.Tensor:
        codes = torch.floor(real.double() / quantizer.scale + 0.5) + quantizer.zero_point
        return codes.clamp(fmt.min, fmt.max)

    prepared = prepare(of_target(DEFAULT_TARGET))
    monkeypatch.setattr(stock, "fake_quantized_codes", half_up)
    with pytest.raises(AssertionError, match="torch makes it"):
        check_prepared(prepared)


# --- what the contract rests on -------------------------------------------------------------------------------------


def test_torch_rounds_half_to_even_before_the_zero_point() -> None:
    """With an odd zero point a tie goes to the even quotient, not to the even code."""
    to = Quantizer(format=IntFormat(bits=8), scale=0.5, zero_point=3)
    real = torch.tensor([0.25, 0.75, -0.25, -0.75, 1.25])
    assert fake_quantized_codes(real, to, to.format).tolist() == [3, 5, 3, 1, 5]


def _stage(x: int, m: int, e: int, scaling: Scaling, exact: bool = True) -> Stage:
    mass, one = torch.tensor([EXACT // 8]), torch.tensor([1])
    rescaled = Rescaled(x=torch.tensor([float(x)]).double(), mass=mass, multiplier=m * one, shift=e * one)
    return Stage(
        site="made up",
        real=torch.zeros(1),
        operands=(rescaled,),
        scaling=scaling,
        exact=torch.tensor([exact]),
        terms=8,
    )


CODES = Quantizer(format=IntFormat(bits=8), scale=1.0)


@pytest.mark.parametrize(
    ("scaling", "x", "ours", "stock", "reason"),
    [
        (Scaling.HALF_EVEN, 2, 0, 0, EQUAL),
        (Scaling.HALF_UP, 2, 1, 0, TIE_RULE),
        (Scaling.HALF_UP, -6, -1, -2, TIE_RULE),
        (Scaling.HALF_UP, 3, 1, 1, EQUAL),
        (Scaling.HALF_AWAY, -2, -1, 0, TIE_RULE),
        (Scaling.Q31_DOUBLE, 1, 1, 0, DOUBLE_ROUNDING),
        (Scaling.Q31_DOUBLE, -2, -1, 0, TIE_RULE),
        (Scaling.FLOAT32, -2, 0, 0, EQUAL),
    ],
)
def test_reasons(scaling: Scaling, x: int, ours: int, stock: int, reason: str) -> None:
    """x / 4; under (R2) a quarter becomes a half of 2^1, which its first rounding takes up."""
    m, e = (1 << 30, 32) if scaling is Scaling.Q31_DOUBLE else (1, 2)
    stage = _stage(x, m, e, scaling)
    assert explain(stage, (0,), ours, stock, CODES) == reason
    assert bool(stage.in_doubt) == (reason != EQUAL)
    with pytest.raises(AssertionError, match="the scheme makes it"):
        explain(stage, (0,), ours + 1, stock, CODES)
    with pytest.raises(AssertionError, match="torch makes it"):
        explain(stage, (0,), ours, stock + 1, CODES)


def test_float_error_is_excused_only_near_a_tie() -> None:
    near = functools.partial(_stage, m=1, e=10, scaling=Scaling.HALF_EVEN)
    assert explain(near(512, exact=False), (0,), 0, 1, CODES) == FLOAT_ERROR
    for stage in (near(512), near(256, exact=False)):
        with pytest.raises(AssertionError, match="torch makes it"):
            explain(stage, (0,), 0, 1, CODES)
    with pytest.raises(AssertionError, match="apart"):
        explain(near(512, exact=False), (0,), 0, 2, CODES)


def test_schemes_agree_with_worked_examples_of_the_page() -> None:
    """x = 3, m/2^e = 1/8: (R2) gives 1, where 3/8 is nearest to 0."""
    assert SCHEMES[Scaling.Q31_DOUBLE](3, 1 << 30, 33) == 1
    halves = {
        Scaling.HALF_UP: [-1, 0, 1, 2],
        Scaling.HALF_AWAY: [-2, -1, 1, 2],
        Scaling.HALF_EVEN: [-2, 0, 0, 2],
        Scaling.FLOAT32: [-2, 0, 0, 2],
    }
    for scaling, rounded in halves.items():
        assert [SCHEMES[scaling](x, 1, 1) for x in (-3, -1, 1, 3)] == rounded
