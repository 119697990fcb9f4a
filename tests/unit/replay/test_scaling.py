"""Requantization of one integer: the equations of every scheme, and what narrower registers make of it."""

import random

import pytest

from hwsim.program.catalogue import CATALOGUE
from tests.oracle.scaling import Ratio as OracleRatio
from tests.oracle.scaling import code_before_clamp
from tests.replay.scaling import SCHEMES, Ratio, requantizer, scaler
from tests.replay.widths import WIDTHS
from tests.unit.replay import wide

LOW_SHIFTS = {"q31_double": (25, 40), "q31_double_half_up": (25, 40), "q31_single": (28, 40)}


def drawn(rng: random.Random, scheme: str) -> tuple[int, Ratio]:
    """An accumulator and a ratio that the scheme can have; few bits in the multiplier, so that ties occur."""
    limits = CATALOGUE[scheme].limits
    m = rng.randrange(limits.low, limits.high + 1) & ~((1 << rng.randrange(max(limits.multiplier_bits - 1, 1))) - 1)
    m = max(m, limits.low)
    e = rng.randint(*LOW_SHIFTS.get(scheme, (0, 20)))
    x = rng.randrange(-(2**25), 2**25) >> rng.randrange(24)
    rounding = rng.choice(["half_up", "half_away", "half_even", "floor", "toward_zero"])
    return x, Ratio(scheme, m, e, rounding)


def test_every_scheme_of_the_catalogue_is_there() -> None:
    assert SCHEMES.keys() == CATALOGUE.keys()


@pytest.mark.parametrize("scheme", CATALOGUE)
def test_in_wide_registers_a_scheme_is_its_equation(scheme: str) -> None:
    rng = random.Random(scheme)
    for _ in range(400):
        x, ratio = drawn(rng, scheme)
        zero = rng.randrange(-128, 128)
        expected = code_before_clamp(x, OracleRatio(*ratio), zero).value
        assert scaler(ratio, wide.CONVERTER, zero)(x) == expected, (x, ratio, zero)


HELD = [
    # Deeploy's RequantShift on the int32 accumulator 59200 wraps to -64; 64 is what 64-bit products give
    ("pulp", "narrow_before", 58752, 36283, 25, 0, -64),
    ("fullyqt", "dyadic", 58752, 36283, 25, 0, 64),
    # the zero point stands in the same register: (129 + 127) * 2^23 is 2^31
    ("pulp", "narrow_before", 129 * 2**13, 2**10, 23, 127, -256),
    # ITA's multipliers have 8 bits: of 257 is left 1
    ("ita", "narrow_after", 100, 257, 0, 0, 100),
    # no bit of the 35-bit product lies below a shift of 40: minus nothing is -1, where HALF_UP gives 0
    ("ita", "narrow_after", -1, 1, 40, 0, -1),
    ("ita", "narrow_after", -1, 1, 35, 0, 0),
    # 26-bit accumulators: 2^25 is -2^25
    ("ita", "narrow_after", 2**25, 1, 20, 0, -32),
    # NVDLA: what CACC holds beyond 32 bits saturates on its way to SDP, and once more behind its shift
    ("nvdla", "nvdla", 2**32 - 1, 1, 24, 0, 256),
    ("nvdla", "nvdla", -(2**31), 2**14, 0, 0, -(2**31)),
    # TFLM: the left shift is one of an int32
    ("tflm", "q31_double", 2**30, 2**30, 30, 0, -(2**30)),
]


def test_the_first_case_by_hand() -> None:
    """Sum and product: 58752 * 36283 = 2131698816 is an int32, with 2^24 beside it 2148476032 is none."""
    assert 58752 * 36283 + 2**24 == 2148476032
    assert (2148476032 - 2**32) >> 25 == -64


@pytest.mark.parametrize(("target", "scheme", "x", "m", "e", "zero", "code"), HELD)
def test_what_the_hardware_of_a_target_makes_of_an_accumulator(
    target: str, scheme: str, x: int, m: int, e: int, zero: int, code: int
) -> None:
    assert scaler(Ratio(scheme, m, e), WIDTHS[target].converter, zero)(x) == code


def test_codes_are_clamped_last() -> None:
    code = requantizer(Ratio("narrow_before", 1, 0), WIDTHS["pulp"].converter, 3, -128, 127)
    assert [code(-200), code(-131), code(0), code(124), code(125)] == [-128, -128, 3, 127, 127]


def test_a_scheme_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no replay of the scheme 'q63'; there are q31_double, "):
        scaler(Ratio("q63", 1, 1), wide.CONVERTER)
