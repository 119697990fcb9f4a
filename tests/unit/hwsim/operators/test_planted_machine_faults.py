"""The tests of what single machines have fail when a kernel is wrong, as those of test_planted_operator_faults do."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.unit.hwsim.operators.planting import (
    Fault,
    changed,
    clamped_later,
    constant,
    each,
    floored_quotient,
    half_up,
    next_row,
    of_result,
    one_more,
    outcomes_of,
    report,
    settle,
    unlimited,
)

if __name__ == "__main__":
    settle()

from hwsim.operators import converters, mean, residual
from hwsim.operators.gemm import heads
from hwsim.operators.layernorm import gemmini as gemmini_norm
from hwsim.operators.softmax import gemmini, table_int16
from hwsim.operators.softmax import pulp as pulp_softmax
from tests.unit.hwsim.operators import test_activation_kernels as activations
from tests.unit.hwsim.operators import test_converters as conversions
from tests.unit.hwsim.operators import test_gemmini_layernorm as gemmini_norms
from tests.unit.hwsim.operators import test_heads_kernel as projected
from tests.unit.hwsim.operators import test_scaling_kernels as scalings
from tests.unit.hwsim.operators import test_softmax_kernels as softmaxes
from tests.unit.hwsim.operators.edges import INT16

# Wrong functions


def negated(right: Any) -> Callable[..., Any]:
    return lambda *arguments, **numbers: -right(*arguments, **numbers)


def with_bias(right: Any) -> Callable[..., Any]:
    """A product that takes the first bias it was given for every later one."""
    known: list[Any] = []

    def matmul(a: Any, b: Any, bias: Any, **rest: Any) -> Any:
        known.append(bias)
        return right(a, b, known[0], **rest)

    return matmul


def unheld(terms: Any) -> Any:
    """A rescaled sum whose operands are not clamped."""
    return terms._replace(operand_lo=-(2**62), operand_hi=2**62)


def floored_unit(_: Any) -> Any:
    return lambda x, by: (np.int64(int(x) // int(by.divisor)), np.int64(0))


# Which tests must fail


def requant_shifted() -> None:
    conversions.test_requant_shift(conversions.Rounding.HALF_UP, np.int32)


def unclamped_int16() -> None:
    softmaxes.test_a_row_of_one_key_is_one(False, -(2**15))


pulp = partial(softmaxes.test_softmax, "pulp")
PULPS = (pulp, softmaxes.test_pulp_by_hand)
GEMMINI_NORM = (gemmini_norms.test_layernorm, gemmini_norms.test_every_pair_of_small_codes)
LONE = (gemmini_norms.test_a_lone_element_saturates_before_gamma,)
CONVERTED = (requant_shifted, conversions.test_nvdla_convert)

FAULTS = {
    "operands of a sum not held": Fault(
        (residual,),
        "SUMS",
        each(changed(2, unheld)),
        (scalings.test_operands_saturate_before_they_are_added,),
    ),
    "Gemmini's factor a step greater": Fault(
        (gemmini,),
        "divide_integers",
        of_result(lambda factor: (factor[0] + 1, factor[1])),
        (softmaxes.test_gemmini_multiplies_by_a_factor_of_binary32,),
    ),
    "PULP's ln2 off by one": Fault(
        (pulp_softmax,), "softmax_rows", changed(2, lambda c: c._replace(ln2=c.ln2 + 1)), PULPS
    ),
    "PULP's exponential stops too soon": Fault((pulp_softmax,), "MAX_HALVINGS", constant(lambda n: n - 20), (pulp,)),
    "CMSIS-NN's codes wrap a bit later": Fault(
        (table_int16,), "wrap", changed(1, lambda bits: bits + 1), (unclamped_int16,)
    ),
    "Gemmini's mean kept": Fault((gemmini_norm,), "row_sum", changed(3, lambda _: False), GEMMINI_NORM),
    "Gemmini's mean rounded down": Fault((gemmini_norm,), "divide_toward_zero", floored_quotient, GEMMINI_NORM),
    "Gemmini's quotients cut": Fault((gemmini_norm,), "multiply", floored_unit, GEMMINI_NORM),
    "Gemmini's root to nearest": Fault((gemmini_norm,), "isqrt", one_more, GEMMINI_NORM[1:]),
    "Gemmini's deviations not held": Fault(
        (gemmini_norm,), "clamp_and_change", clamped_later, (gemmini_norms.test_a_lone_element_saturates_before_gamma,)
    ),
    "Gemmini's gamma of the next channel": Fault((gemmini_norm,), "normalise_rows", changed(2, next_row), GEMMINI_NORM),
    "Gemmini's GELU has the other sign": Fault(
        (activations,), "gemmini_gelu", negated, (activations.test_gelu_by_hand,)
    ),
    "a mean of another zero point": Fault(
        (mean,), "_mean", changed(1, lambda zero: zero + 1), (activations.test_mean,)
    ),
    "a bit more is kept of PULP's product": Fault(
        (converters,), "PRODUCT_BITS", constant(lambda bits: bits + 1), (requant_shifted,)
    ),
    "PULP's ties are not counted": Fault((converters,), "_count_tie", lambda _: lambda *_: None, CONVERTED),
    "saturation of a converter lost": Fault((converters,), "saturate", unlimited, CONVERTED),
    "NVDLA's halves go up": Fault((converters,), "half_away_shift", half_up, (conversions.test_nvdla_convert,)),
    "NVDLA's far shifts are nearer": Fault(
        (converters,), "ZERO_TRUNCATE", constant(lambda bits: bits - 5), (conversions.test_nvdla_convert,)
    ),
    "offset of NVDLA's converter added": Fault(
        (converters,), "_nvdla_convert", changed(1, lambda offset: -offset), (conversions.test_nvdla_convert,)
    ),
    "bias of the next channel": Fault(
        (conversions,), "add_bias", changed(1, next_row), (conversions.test_a_bias_is_added_and_saturates,)
    ),
    "every head has the bias": Fault(
        (heads,), "matmul", with_bias, (projected.test_only_the_first_head_has_the_bias_and_each_its_ratio,)
    ),
    "a head's saturation lost": Fault(
        (heads,), "rescale", changed(4, lambda _: INT16), (projected.test_codes_saturate_before_they_are_added,)
    ),
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[str]]:
    return outcomes_of("tests.unit.hwsim.operators.test_planted_machine_faults")


def test_all_tests_pass_with_no_fault(outcomes: dict[str, list[str]]) -> None:
    assert set(outcomes["none"]) == {"passed"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_every_test_of_it(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes[name] == ["failed"] * len(FAULTS[name].tests)


if __name__ == "__main__":
    print(json.dumps(report(FAULTS)))
