"""Snapping rounds to what a multiplier and a shift encode, always to the asked side."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference.quantize.plan.snap import (
    MAX_SHIFT,
    Snapped,
    round_down,
    round_up,
    snap_around,
    snap_down,
    snap_together,
    snap_up,
)

RATIOS = st.floats(2.0**-46, 2.0**15)
"""Well inside what 16 bits and a shift of 0 to 62 encode."""
BITS = st.integers(1, 16)


def ratio_of(multiplier: int, shift: int) -> Fraction:
    return Fraction(multiplier, 1 << shift)


def significant_bits(value: int) -> int:
    return (value // (value & -value)).bit_length()


def assert_encodable(multipliers: list[int], shift: int, bits: int) -> None:
    assert 0 <= shift <= MAX_SHIFT
    for multiplier in multipliers:
        assert 1 <= multiplier <= 65535
        assert significant_bits(multiplier) <= bits


# --- rounding to significant bits -----------------------------------------------------------------------------------


@given(st.integers(1, 2**20), BITS)
def test_rounding_to_significant_bits_is_the_nearest_on_its_side(value: int, bits: int) -> None:
    up, down = round_up(value, bits), round_down(value, bits)
    assert down <= value <= up
    assert significant_bits(up) <= bits >= significant_bits(down)
    assert not any(significant_bits(between) <= bits for between in range(max(down + 1, value - 300), value))
    assert not any(significant_bits(between) <= bits for between in range(value + 1, min(up, value + 300)))


def test_rounding_reals() -> None:
    assert [round_up(x, 16) for x in (0.0001, 1.0, 1.5, 65534.5)] == [1, 1, 2, 65535]
    assert [round_down(x, 16) for x in (0.9, 1.0, 1.5, 65535.9)] == [0, 1, 1, 65535]
    assert [round_up(x, 1) for x in (3, 4, 5, 33000)] == [4, 4, 8, 65536]
    assert [round_down(x, 2) for x in (3, 5, 7, 65535)] == [3, 4, 6, 49152]


# --- one ratio ------------------------------------------------------------------------------------------------------


@given(RATIOS, BITS)
def test_up_is_at_least_the_ratio_and_near(ratio: float, bits: int) -> None:
    snapped = snap_up("a.site", ratio, bits)
    assert_encodable([snapped.multiplier], snapped.shift, bits)
    above = ratio_of(*snapped) / Fraction(ratio)
    assert 1 <= above < 1 + Fraction(2, 1 << bits)


@given(RATIOS, BITS)
def test_down_is_at_most_the_ratio_and_near(ratio: float, bits: int) -> None:
    snapped = snap_down("a.site", ratio, bits)
    assert_encodable([snapped.multiplier], snapped.shift, bits)
    below = ratio_of(*snapped) / Fraction(ratio)
    assert 1 - Fraction(2, 1 << bits) < below <= 1


@given(RATIOS)
def test_sixteen_bits_are_within_one_part_in_32768(ratio: float) -> None:
    for snapped in (snap_up("a.site", ratio, 16), snap_down("a.site", ratio, 16)):
        assert abs(ratio_of(*snapped) / Fraction(ratio) - 1) <= Fraction(1, 1 << 15)


@given(st.integers(-46, 15), BITS)
def test_powers_of_two_are_exact(power: int, bits: int) -> None:
    ratio = 2.0**power
    assert snap_up("a.site", ratio, bits).ratio == snap_down("a.site", ratio, bits).ratio == ratio


@given(st.integers(1, 65535), st.integers(0, 40))
def test_what_is_encodable_stays(multiplier: int, shift: int) -> None:
    """A scale that was snapped once does not move again."""
    ratio = multiplier / (1 << shift)
    assert snap_up("a.site", ratio, 16).ratio == snap_down("a.site", ratio, 16).ratio == ratio


def test_the_ratio_of_a_snapped_pair() -> None:
    assert Snapped(3, 4).ratio == 0.1875


# --- several under one shift ----------------------------------------------------------------------------------------


@given(st.lists(RATIOS, min_size=1, max_size=5), BITS)
def test_together_every_ratio_is_covered(ratios: list[float], bits: int) -> None:
    multipliers, shift = snap_together("a.site", ratios, bits)
    assert_encodable(multipliers, shift, bits)
    for multiplier, ratio in zip(multipliers, ratios, strict=True):
        above = ratio_of(multiplier, shift) - Fraction(ratio)
        step = max(Fraction(1, 1 << shift), Fraction(ratio) * Fraction(2, 1 << bits))
        assert 0 <= above <= 2 * step
    assert max(multipliers) >= 1 << 15 or bits < 16


@given(st.floats(1e-6, 1e3), st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=4), BITS)
def test_around_an_anchor_the_total_grows(anchor: float, others: list[float], bits: int) -> None:
    assume(max(others) / anchor < 2**14)
    multipliers, shift = snap_around("a.site", anchor, others, bits)
    assert_encodable(multipliers, shift, bits)
    total = Fraction(anchor) / ratio_of(multipliers[0], shift)  # the sum's scale, which was 1
    assert 1 <= total <= 2
    for multiplier, other in zip(multipliers[1:], others, strict=True):
        assert ratio_of(multiplier, shift) * total >= Fraction(other) * (1 - Fraction(1, 10**12))


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snap", [snap_up, snap_down], ids=["up", "down"])
@pytest.mark.parametrize("ratio", [0.0, -1.0, float("inf"), float("nan")])
def test_no_ratio_at_all(snap, ratio: float) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"site encoder\.x: a scale ratio of .* has no multiplier"):
        snap("encoder.x", ratio, 16)


@pytest.mark.parametrize("ratio", [65536.0, 1e9, 1e300])
def test_a_ratio_out_of_reach_names_the_site_and_what_to_do(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"site encoder\.x: .* outside what a 16-bit multiplier .*greater range"):
        snap_up("encoder.x", ratio, 16)
    assert snap_down("encoder.x", ratio, 16) == (65535, 0)  # (12a)


@pytest.mark.parametrize("ratio", [2.0**-63, 1e-300, 5e-324])
def test_a_ratio_below_all_is_the_least_or_none(ratio: float) -> None:
    assert snap_up("encoder.x", ratio, 16) == (1, 62)  # (12a)
    assert snap_together("encoder.x", [ratio, ratio], 16) == ([1, 1], 62)
    with pytest.raises(
        ValueError, match=r"site encoder\.x: a scale ratio of .* is below 2\^-62; give its inputs a greater range"
    ):
        snap_down("encoder.x", ratio, 16)


@pytest.mark.parametrize("power", [-48, -60, -62])
def test_small_ratios_have_narrow_multipliers(power: int) -> None:
    for snap in (snap_up, snap_down):
        assert snap("a.site", 2.0**power, 16) == (1 << 62 + power, 62)


@pytest.mark.parametrize(("ratio", "shift"), [(65535.0, 0), (1.0, 15), (2.0**-47, 62)])
def test_the_ends_of_the_reach(ratio: float, shift: int) -> None:
    assert snap_up("a.site", ratio, 16).shift == snap_down("a.site", ratio, 16).shift == shift


def test_rounding_up_at_the_top_of_the_reach() -> None:
    """65535.5 rounds up to 2^16, which only half the shift would hold, and there is none left."""
    assert snap_down("a.site", 65535.5, 16) == (65535, 0)
    with pytest.raises(ValueError, match=r"site a\.site"):
        snap_up("a.site", 65535.5, 16)
    assert snap_up("a.site", 32767.75, 16) == (32768, 0)


def test_an_anchor_beyond_reach() -> None:
    with pytest.raises(ValueError, match=r"site a\.site: one input has a scale 1e\+06 times the other's.*; do that$"):
        snap_around("a.site", 1e-6, [1.0], 16, lambda: "do that")
