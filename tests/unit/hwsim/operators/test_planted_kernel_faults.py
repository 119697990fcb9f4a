"""The exactness tests fail when a kernel is wrong: faults are planted in interpreted kernels, and the tests are run."""

import json

import numpy as np
import pytest

from tests.unit.hwsim.operators.planting import (
    Fault,
    Test,
    changed,
    clamped_later,
    floored,
    half_away,
    half_up,
    limited_to_one_less,
    nearest_of_all,
    next_row,
    of_result,
    one_more,
    outcomes_of,
    report,
    saturated_at_the_end,
    settle,
    settled_half_up,
    swap_entries,
    swapped,
    uncounted,
    unlimited,
    untied,
    without_last,
    zero_forgotten,
)

if __name__ == "__main__":
    settle()

from hwsim.arithmetic import division, fixedpoint
from hwsim.operators import embedding, quotients, requantize, rescale, residual
from hwsim.operators.gemm import operand, ordered, product, proven
from hwsim.operators.layernorm import fullyqt
from hwsim.operators.softmax import rows, table
from tests.unit.hwsim.operators import kernel_checks
from tests.unit.hwsim.operators import test_kernels_exhausted as exhausted
from tests.unit.hwsim.operators import test_kernels_properties as properties

USERS = (fixedpoint, division, embedding, fullyqt, quotients, requantize, rescale, residual, rows, table, ordered)
"""The modules that a primitive of `fixedpoint` is replaced in."""


# Where they go, and which tests must fail


def overflowing(rule: str) -> Test:
    return lambda: properties.test_products_that_overflow(properties.Overflow(rule))


def requantized() -> None:
    exhausted.test_requantize_by_every_shift(np.int32)


def shifted() -> None:
    exhausted.test_shift_right_by_every_shift(np.int32)


def added() -> None:
    exhausted.test_add((3, 2), 2, (-128, 5), exhausted.TIES_AND_SATURATIONS)


def embedded() -> None:
    exhausted.test_embed_every_code_at_every_position(*exhausted.EMBEDDINGS[2])


def softmax_of_two() -> None:
    exhausted.test_softmax_of_two_scores((True, True), [properties.Counter.SATURATION, properties.Counter.POSITIVE_TIE])


def softmax_of_one() -> None:
    exhausted.test_softmax_of_two_scores((False, True), [])


P, E = properties, exhausted
HELD = (added, embedded, requantized, P.test_add, P.test_softmax, P.test_layernorm)
ROUNDED = (requantized, shifted, added, embedded, softmax_of_two, E.test_shifts, P.test_layernorm, P.test_requantize)
SATURATED = (softmax_of_two, E.test_counted_clamps, P.test_layernorm)
SETTLED = (softmax_of_two, P.test_softmax, P.test_layernorm)
PROVEN, WRAPPED, CLIPPED = (
    P.test_proven_products_are_equal_in_every_engine,
    overflowing("wrap"),
    overflowing("saturate"),
)

FAULTS = {
    "tie half up": Fault(USERS, "half_even_shift", half_up, ROUNDED),
    "tie half away from zero": Fault(USERS, "half_even_shift", half_away, (*ROUNDED, P.test_embed, P.test_add)),
    "rounding lost": Fault(USERS, "half_even_shift", floored, ROUNDED),
    "tie of a quotient half up": Fault(USERS, "settle", settled_half_up, SETTLED),
    "ties of quotients not counted": Fault(USERS, "settle", untied, SETTLED),
    "ties not counted": Fault(USERS, "is_shift_tie", lambda _: lambda *_: False, ROUNDED),
    "ties counted by the wrong sign": Fault(
        USERS, "tie_sign", of_result(lambda sign: -sign), (shifted, added, embedded, P.test_layernorm)
    ),
    "clamp of a loop lost": Fault(USERS, "clamp_and_change", clamped_later, HELD),
    "clamp of a loop not counted": Fault(USERS, "clamp_and_change", untied, HELD),
    "clamp of a loop one below the greatest code": Fault(USERS, "clamp_and_change", limited_to_one_less, HELD),
    "saturation lost": Fault(USERS, "saturate", unlimited, SATURATED),
    "saturation not counted": Fault(USERS, "saturate", uncounted, SATURATED),
    "saturation one below the greatest code": Fault(USERS, "saturate", limited_to_one_less, SATURATED),
    "saturation of requantize lost": Fault((rescale,), "clamp_and_change", clamped_later, (requantized,)),
    "saturation of requantize one too low": Fault(
        (rescale,), "clamp_and_change", limited_to_one_less, (requantized, P.test_requantize)
    ),
    "relu lost": Fault((kernel_checks,), "relu", lambda _: np.copy, (lambda: E.test_relu(np.int32),)),
    "square root to nearest": Fault(USERS, "isqrt", one_more, (E.test_square_roots, P.test_layernorm)),
    "denominator clamp not counted": Fault(USERS, "raise_to_one", uncounted, (P.test_softmax, P.test_layernorm)),
    "swapped entries of the exp table": Fault(
        (table,), "softmax_rows", changed(2, swap_entries), (softmax_of_two, P.test_softmax)
    ),
    "maximum over masked scores": Fault((rows, table), "greatest", nearest_of_all, (softmax_of_one, P.test_softmax)),
    "everything allowed": Fault((table,), "row_of_mask", lambda _: lambda *_: -1, (softmax_of_one, P.test_softmax)),
    "position off by one": Fault((embedding,), "embed_rows", changed(3, next_row), (embedded, P.test_embed)),
    "token off by one": Fault((embedding,), "embed_rows", changed(1, next_row), (embedded, P.test_embed)),
    "multiplier of the next token": Fault((embedding,), "embed_rows", changed(2, next_row), (embedded, P.test_embed)),
    "operands of a sum swapped": Fault((residual,), "add_flat", swapped(0, 1), (added, P.test_add)),
    "shift of the next channel": Fault(
        (requantize,), "rescale", changed(2, next_row), (requantized, P.test_requantize)
    ),
    "gamma off by one": Fault((fullyqt,), "normalise_rows", changed(1, next_row), (P.test_layernorm,)),
    "eps forgotten": Fault((fullyqt,), "normalise_rows", changed(3, lambda _: 0), (P.test_layernorm,)),
    "last product lost": Fault((operand,), "pack_batch", changed(0, without_last), (PROVEN,)),
    "last product of int64 lost": Fault((proven,), "dot_wide", changed(0, without_last), (PROVEN,)),
    "last ordered product lost": Fault((product,), "dot_ordered", changed(0, without_last), (PROVEN, WRAPPED, CLIPPED)),
    "zero points of a product swapped": Fault((proven,), "dot_wide", swapped(1, 3), (PROVEN,)),
    "bias of bytes forgotten": Fault((proven,), "multiply_quads", changed(2, np.zeros_like), (PROVEN,)),
    "bias of words forgotten": Fault((proven,), "multiply_pairs", changed(2, np.zeros_like), (PROVEN,)),
    "zero point of the first operand forgotten": Fault((proven,), "fold", zero_forgotten, (PROVEN,)),
    "zero point of the second operand forgotten": Fault((operand,), "pack_batch", changed(1, lambda _: 0), (PROVEN,)),
    "wrapped for saturated": Fault((product,), "dot_ordered", changed(5, lambda wraps: not wraps), (WRAPPED, CLIPPED)),
    "saturated at the end": Fault((product,), "dot_ordered", saturated_at_the_end, (CLIPPED,)),
    "accumulator a bit short": Fault((product,), "dot_ordered", changed(4, lambda bits: bits - 1), (WRAPPED, CLIPPED)),
    "overflows not counted": Fault((product,), "dot_ordered", uncounted, (WRAPPED, CLIPPED)),
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[str]]:
    return outcomes_of("tests.unit.hwsim.operators.test_planted_kernel_faults")


def test_all_tests_pass_with_no_fault(outcomes: dict[str, list[str]]) -> None:
    assert set(outcomes["none"]) == {"passed"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_every_test_of_it(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes[name] == ["failed"] * len(FAULTS[name].tests)


if __name__ == "__main__":
    print(json.dumps(report(FAULTS)))
