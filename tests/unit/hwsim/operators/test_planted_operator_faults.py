"""The tests of docs/operators fail when a kernel is wrong, as those of test_planted_kernel_faults do."""

import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from tests.unit.hwsim.operators.planting import (
    Fault,
    Test,
    changed,
    clamped_later,
    constant,
    each,
    far_from_all,
    floored,
    floored_quotient,
    half_away,
    half_up,
    next_row,
    of_result,
    one_more,
    outcomes_of,
    report,
    settle,
    swapped,
    uncounted,
    untied,
)

if __name__ == "__main__":
    settle()

from hwsim.arithmetic import fixedpoint, gemmlowp, scaling, softfloat
from hwsim.operators import lookup, rescale, residual
from hwsim.operators.activation import gelu
from hwsim.operators.activation import table as activation_table
from hwsim.operators.gemm import ordered, product
from hwsim.operators.layernorm import fullyqt, pulp, tflite
from hwsim.operators.layernorm import ibert as ibert_norm
from hwsim.operators.layernorm import rows as norm_rows
from hwsim.operators.softmax import gemmini, gemmlowp_int8, ita, qlinear, table_int16
from hwsim.operators.softmax import ibert as ibert_softmax
from hwsim.operators.softmax import pulp as pulp_softmax
from hwsim.operators.softmax import rows as softmax_rows
from tests.unit.hwsim.operators import test_accumulator_kernels as accumulators
from tests.unit.hwsim.operators import test_activation_kernels as activations
from tests.unit.hwsim.operators import test_layernorm_kernels as norms
from tests.unit.hwsim.operators import test_qlinear_softmax as qlinears
from tests.unit.hwsim.operators import test_scaling_kernels as scalings
from tests.unit.hwsim.operators import test_softfloat as binary32
from tests.unit.hwsim.operators import test_softmax_kernels as softmaxes

USERS = (
    *(fixedpoint, gemmlowp, lookup, residual, scaling, softfloat, ordered),
    *(softmax_rows, gemmini, gemmlowp_int8, ibert_softmax, ita, pulp_softmax, table_int16),
    *(norm_rows, fullyqt, ibert_norm, pulp, tflite, activation_table),
)
"""The modules that a primitive is replaced in."""


# Wrong functions: each takes the right one


def more_shift(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """A value and the shift of its rounding, off by one."""
    value, shift = pair
    return value, min(shift + 1, 62)


def fewer_halvings(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """A reciprocal root and its right shift, off by one."""
    inverse, k = pair
    return inverse, abs(k - 1)


def never_away(rule: int) -> int:
    return fixedpoint.HALF_UP if rule == fixedpoint.HALF_AWAY else rule


def without_rounding(_: Any) -> Callable[..., Any]:
    """The line between two entries cut, not rounded."""

    def interpolate(table: np.ndarray, value: Any) -> np.int64:
        index, offset = 256 + (int(value) >> 7), int(value) & 127
        return np.int64(int(table[index]) + ((int(table[index + 1]) - int(table[index])) * offset >> 7))

    return interpolate


def changed_gamma(right: Any) -> Callable[..., Any]:
    """A normalisation with gamma of the next channel, wherever it takes it."""

    def normalise(*arguments: Any) -> Any:
        first = next(
            i for i, array in enumerate(arguments) if getattr(array, "ndim", 0) == 1 and array.dtype == np.int32
        )
        return right(*arguments[:first], next_row(arguments[first]), *arguments[first + 1 :])

    return normalise


def backwards(right: Any) -> Callable[..., Any]:
    """A sum of the keys, the last one first."""
    return lambda work, lanes: right(work._replace(values=work.values[::-1]), lanes)


def settled_down(_: Any) -> Callable[..., Any]:
    """The quotient of an estimate and its rest, cut."""
    return lambda estimate, rest, divisor: (np.int64(estimate + rest // (2 * divisor)), np.int64(0))


# Where they go, and which tests must fail


@cache
def scheme(name: str, rounding: str = "half_even") -> Test:
    return partial(scalings.test_every_accumulator_around_ties, name, rounding)


@cache
def shifted(rounding: str) -> Test:
    return partial(scalings.test_shift_right_by_every_rounding, scalings.Rounding(rounding), np.int64)


@cache
def added(name: str) -> Test:
    return partial(scalings.test_rescaled_add, name, "half_even")


@cache
def softmax(name: str) -> Test:
    return partial(softmaxes.test_softmax, name)


@cache
def norm(name: str, centred: bool = True) -> Test:
    return partial(norms.test_norm, name, centred)


@cache
def activated(name: str) -> Test:
    return partial(activations.test_gelu, name)


def interpolated() -> None:
    activations.test_every_code_of_an_interpolated_table(activations.STEEP)


def looked_up() -> None:
    activations.test_every_code_of_a_direct_table(8, True)


def float32_inside() -> None:
    scalings.test_requantize_by_scheme("float32_inside", "half_even")


ACCUMULATED = (accumulators.test_accumulators,)
FUNCTIONS = softmaxes.test_functions_of_gemmlowp
Q31 = (scheme("q31_double"), scheme("q31_double_half_up"))
UP = (scheme("q31_single"), scheme("q15"), scheme("narrow_after"), scheme("narrow_before"), scheme("shift", "half_up"))
ROUNDED_ONCE = (*UP, scheme("dyadic"), scheme("nvdla"))
FLOATS = (scheme("float32"), scheme("float32_inside"))
ADDED = (added("q31_double"), added("dyadic"), added("nvdla"), added("float32"))

EVERY_SOFTMAX = tuple(map(softmax, softmaxes.KERNELS))
CLAMPED = (softmax("gemmlowp"), softmax("int16"), softmax("ibert"))
CENTRED = tuple(map(norm, norms.KERNELS))
UNCENTRED = tuple(norm(name, centred=False) for name in norms.KERNELS)

FAULTS = {
    # requantization by scheme
    "half up rounds ties down": Fault(USERS, "half_up_shift", floored, (*UP, shifted("half_up"))),
    "half up rounds ties away": Fault(USERS, "half_up_shift", half_away, (*UP, shifted("half_up"))),
    "half away rounds ties up": Fault(
        USERS, "half_away_shift", half_up, (scheme("nvdla"), scheme("q31_double"), shifted("half_away"))
    ),
    "toward zero rounds down": Fault(USERS, "toward_zero_shift", floored, (scheme("shift", "toward_zero"),)),
    "toward zero rounds to nearest": Fault(USERS, "toward_zero_shift", half_up, (shifted("toward_zero"),)),
    "a shift too many": Fault(USERS, "last_rounding", of_result(more_shift), (*ROUNDED_ONCE, *Q31, *FLOATS, *ADDED)),
    "ties of the wrong sign": Fault(
        USERS, "tie_sign", of_result(lambda sign: -sign), (*ROUNDED_ONCE, *Q31, *FLOATS, *ADDED)
    ),
    "second rounding half up": Fault(
        USERS,
        "last_rounding_rule",
        of_result(never_away),
        (scheme("q31_double"), scheme("nvdla")),
    ),
    "doubling high multiply cut": Fault(
        USERS,
        "doubling_high_multiply",
        lambda _: lambda a, b: np.int64(int(a) * int(b) >> 31),
        (*Q31[:1], FUNCTIONS, norm("tflite"), softmax("int16")),
    ),
    "rounding divide cut": Fault(
        USERS, "rounding_divide", floored, (softmax("gemmlowp"), norm("tflite"), softmax("int16"))
    ),
    "a mantissa of 23 bits": Fault(USERS, "MANTISSA_BITS", constant(lambda bits: bits - 1), FLOATS),
    "product of float32 not rounded": Fault(
        (scaling,), "multiply", lambda _: lambda x, m: np.int64(int(x) * int(m)), FLOATS[:1]
    ),
    "sum of float32 not rounded": Fault(
        (scaling,),
        "add_integer",
        lambda _: lambda value, shift, z: (np.int64(value + (int(z) << min(int(shift), 40))), min(shift, 40)),
        (float32_inside,),
    ),
    # rescaled sums
    "operands of a rescaled sum swapped": Fault((residual,), "SUMS", each(swapped(0, 1)), ADDED),
    "left shift of a rescaled sum off by one": Fault(
        (residual,),
        "SUMS",
        each(changed(2, lambda terms: terms._replace(left_shift=terms.left_shift + 1))),
        ADDED,
    ),
    "ties of a rescaled sum not counted": Fault((residual,), "scale_and_tie", untied, ADDED),
    # softmaxes
    "maximum over masked scores": Fault(USERS, "distances", far_from_all, EVERY_SOFTMAX),
    "saturation of probabilities lost": Fault((softmax_rows,), "clamp_and_change", clamped_later, CLAMPED),
    "saturation of probabilities not counted": Fault((softmax_rows,), "clamp_and_change", untied, CLAMPED),
    "exponential of a code too few": Fault(
        (gemmlowp_int8,), "exp_on_negative", changed(0, lambda a: a + (1 << 24)), (softmax("gemmlowp"),)
    ),
    "exponential loses its greatest factor": Fault(
        (gemmlowp,), "EXP_OF_BIT", constant(lambda factors: (*factors[:-1], gemmlowp.Q31_ONE)), (FUNCTIONS,)
    ),
    "sum of gemmlowp a bit short": Fault(
        (gemmlowp_int8,), "SUM_BITS", constant(lambda bits: bits + 1), (softmax("gemmlowp"),)
    ),
    "reciprocal a step short": Fault(
        (gemmlowp,), "RECIPROCAL_STEPS", constant(lambda n: n - 1), (FUNCTIONS, softmax("gemmlowp"))
    ),
    "interpolation cut": Fault(USERS, "interpolate", without_rounding, (softmax("int16"), interpolated)),
    "sums of I-BERT rounded up": Fault((ibert_softmax,), "half_even_shift", half_up, (softmax("ibert"),)),
    "I-BERT's exponential stops too soon": Fault(
        (ibert_softmax,), "MAX_HALVINGS", constant(lambda n: n - 1), (softmax("ibert"),)
    ),
    "I-BERT's denominator clamp not counted": Fault((ibert_softmax,), "raise_totals", uncounted, (softmax("ibert"),)),
    "ITA's distances cut": Fault(
        (ita,), "_halvings", lambda _: lambda d, shift: np.int64(d) >> shift, (softmax("itamax"),)
    ),
    "ITA's groups a key longer": Fault(
        (ita,), "softmax_rows", changed(2, lambda c: c._replace(group=c.group + 1)), (softmax("itamax"),)
    ),
    "ITA's sum starts at zero": Fault((ita,), "ONE", constant(lambda one: one - 1), (softmax("itamax"),)),
    "Gemmini's ln2 off by one": Fault(
        (gemmini,), "softmax_rows", changed(2, lambda c: c._replace(ln2=c.ln2 + 1)), (softmax("gemmini"),)
    ),
    "Gemmini's product cut": Fault(
        (gemmini,), "half_even_shift", lambda _: lambda value, shift: np.int64(value) >> shift, (softmax("gemmini"),)
    ),
    "binary32 sum in another order": Fault((qlinear,), "_add_up", backwards, (qlinears.test_the_sum_has_an_order,)),
    "binary32 sum cut": Fault((softfloat,), "half_even_shift", floored, (binary32.test_sums,)),
    "subnormal numbers a step off": Fault(
        (softfloat,), "LEAST_POWER", constant(lambda power: power - 1), (binary32.test_bits_are_numbers,)
    ),
    "QLinearSoftmax's zero point is 0": Fault(
        (qlinear,),
        "QLinearDivision",
        lambda right: lambda m, lo, hi: right(m, 0, hi),
        (qlinears.test_extreme_rows_and_masks,),
    ),
    "QLinearSoftmax's codes cut": Fault((qlinear,), "settle", settled_down, (qlinears.test_ties,)),
    "QLinearSoftmax divides too far": Fault(
        (qlinear,), "FURTHEST_POWER", constant(lambda gap: gap - 2), (qlinears.test_far_keys_have_nothing,)
    ),
    "QLinearSoftmax's saturation lost": Fault(
        (softmax_rows,), "clamp_and_change", clamped_later, (qlinears.test_clamp,)
    ),
    # layer normalisations
    "mean of I-BERT cut": Fault((ibert_norm,), "half_even_divide", floored_quotient, (norm("ibert"),)),
    "mean rounded down": Fault((pulp,), "divide_toward_zero", floored_quotient, (norm("pulp"),)),
    "mean kept": Fault((ibert_norm, pulp, tflite, fullyqt), "row_sum", changed(3, lambda _: False), CENTRED),
    "mean of RMSNorm taken": Fault(
        (ibert_norm, pulp, tflite, fullyqt),
        "row_sum",
        changed(3, lambda _: True),
        (*UNCENTRED, norms.test_rms_of_fullyqt),
    ),
    "root of the variance to nearest": Fault((ibert_norm, pulp), "isqrt", one_more, (norm("ibert"), norm("pulp"))),
    "deviation clamp of I-BERT not counted": Fault((ibert_norm,), "raise_to_one", uncounted, (norm("ibert"),)),
    "last rounding of a norm not counted": Fault((rescale,), "scale_and_tie", untied, (norm("ibert"), norm("tflite"))),
    "saturation of a norm lost": Fault((pulp,), "clamp_and_change", clamped_later, (norm("pulp"),)),
    "quotients of a norm rounded": Fault((pulp,), "floor_divide", of_result(lambda q: q + 1), (norm("pulp"),)),
    "saturation of a rescaled norm lost": Fault(
        (rescale,), "clamp_and_change", clamped_later, (norm("ibert"), norm("tflite"))
    ),
    "gamma of the next channel": Fault(
        (ibert_norm, tflite), "normalise_rows", changed_gamma, (norm("ibert"), norm("tflite"))
    ),
    "gamma of PULP's next channel": Fault((pulp,), "normalise_rows", changed(1, next_row), (norm("pulp"),)),
    "reciprocal root off by one bit": Fault((tflite,), "inverse_sqrt", of_result(fewer_halvings), (norm("tflite"),)),
    "reciprocal root a step short": Fault(
        (gemmlowp,), "INVERSE_SQRT_STEPS", constant(lambda n: n - 2), (FUNCTIONS, norm("tflite"))
    ),
    "last bits of TFLite cut": Fault((tflite,), "_HALF", constant(lambda half: 0), (norm("tflite"),)),
    # activations
    "I-BERT's GELU loses a bit more": Fault(
        (gelu,), "_CONSTANT_BITS", constant(lambda bits: bits + 1), (activated("ibert"),)
    ),
    "GELU bends a code later": Fault(
        (gelu,),
        "_polynomial",
        lambda right: lambda v, b, c: right(v, b + 1, c),
        (*map(activated, ("ibert", "ita", "pulp")), activations.test_gelu_by_hand),
    ),
    "entries of a table off by one": Fault((activations,), "table_lookup", changed(1, next_row), (looked_up,)),
    # accumulators
    "a tile a product longer": Fault((product,), "dot_ordered", changed(6, lambda tile: tile + 1), ACCUMULATED),
    "wrapped for saturated": Fault((product,), "dot_ordered", changed(5, lambda wraps: not wraps), ACCUMULATED),
    "events of tiles not counted": Fault((product,), "dot_ordered", uncounted, ACCUMULATED),
    "extremes without the bias": Fault((product,), "running_extremes", changed(3, np.zeros_like), ACCUMULATED),
    "first overflow a bit too soon": Fault((product,), "first_event", changed(5, lambda bits: bits - 1), ACCUMULATED),
    "sums fitted to a bit less": Fault((ordered,), "_fit", changed(2, lambda hi: hi // 2), ACCUMULATED),
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[str]]:
    return outcomes_of("tests.unit.hwsim.operators.test_planted_operator_faults")


def test_all_tests_pass_with_no_fault(outcomes: dict[str, list[str]]) -> None:
    assert set(outcomes["none"]) == {"passed"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_every_test_of_it(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes[name] == ["failed"] * len(FAULTS[name].tests)


if __name__ == "__main__":
    print(json.dumps(report(FAULTS)))
