"""Snapping: real scales become what multipliers and shifts encode (docs/numerics.md, section 12)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

MAX_SHIFT = 62
WIDTH = 16
"""Bits of a multiplier where no target says otherwise."""


class Snapped(NamedTuple):
    """multiplier / 2^shift."""

    multiplier: int
    shift: int

    @property
    def ratio(self) -> float:
        return math.ldexp(self.multiplier, -self.shift)


class SharedSnapped(NamedTuple):
    """Several multipliers under one shift."""

    multipliers: list[int]
    shift: int


def round_up(value: float, bits: int) -> int:
    """The least integer >= value (at least 1) with at most `bits` significant bits."""
    whole = max(1, math.ceil(value))
    drop = max(0, whole.bit_length() - bits)
    return -(-whole >> drop) << drop


def round_down(value: float, bits: int) -> int:
    """The greatest integer <= value with at most `bits` significant bits."""
    whole = math.floor(value)
    drop = max(0, whole.bit_length() - bits)
    return whole >> drop << drop


def snap_up(site: str, ratio: float, bits: int, width: int = WIDTH) -> Snapped:
    """The least multiplier of `width` bits, `bits` of them significant, with multiplier / 2^shift >= ratio.

    It has fewer bits where a shift of 62 leaves it no more: the least of all is 1 / 2^62.
    """
    multipliers, shift = snap_together(site, [ratio], bits, width)
    return Snapped(multipliers[0], shift)


def snap_down(site: str, ratio: float, bits: int, width: int = WIDTH) -> Snapped:
    """The greatest multiplier of `width` bits, `bits` of them significant, with multiplier / 2^shift <= ratio."""
    shift = _shift(site, ratio, width)
    multiplier = round_down(min(math.ldexp(ratio, shift), (1 << width) - 1), bits)
    if not multiplier:
        raise ValueError(
            f"site {site}: a scale ratio of {ratio:.3g} is below 2^-{MAX_SHIFT}; give its inputs a greater range"
        )
    return Snapped(multiplier, shift)


def snap_together(site: str, ratios: Sequence[float], bits: int, width: int = WIDTH) -> SharedSnapped:
    """Multipliers under one shift, each rounded up, the largest of `width` bits unless that takes a shift above 62."""
    shift = _shift(site, max(ratios), width)
    multipliers = [round_up(math.ldexp(ratio, shift), bits) for ratio in ratios]
    if max(multipliers).bit_length() > width:
        shift -= 1
        multipliers = [round_up(math.ldexp(ratio, shift), bits) for ratio in ratios]
    if shift < 0 or max(multipliers).bit_length() > width:
        raise _out_of_range(site, max(ratios), width)
    return SharedSnapped(multipliers, shift)


def snap_around(
    site: str, anchor: float, others: Sequence[float], bits: int, advice: Callable[[], str] | None = None
) -> SharedSnapped:
    """Multipliers under one shift, the first of an anchor whose scale stands still: the scale of the sum moves.

    Ratios are to the sum's scale as wanted. The anchor's multiplier m is rounded down, so that the sum's scale grows to
    anchor's scale * 2^shift / m; the others are rounded up from their ratios to that. `advice` ends a refusal.
    """
    shift = snap_together(site, [anchor, *others], bits).shift
    multiplier = round_down(math.ldexp(anchor, shift), bits)
    if not multiplier:
        ending = f"; {advice()}" if advice else ""
        raise ValueError(
            f"site {site}: one input has a scale {max(others) / anchor:.3g} times the other's, beyond a 16-bit "
            f"multiplier{ending}"
        )
    ratio = multiplier / anchor  # 2^shift over how much the sum's scale grows
    return SharedSnapped([multiplier, *(round_up(other * ratio, bits) for other in others)], shift)


def _shift(site: str, ratio: float, width: int) -> int:
    """The shift that brings a ratio to [2^(width-1), 2^width), or the nearest to it that there is."""
    if not (0 < ratio < math.inf):
        raise ValueError(f"site {site}: a scale ratio of {ratio} has no multiplier")
    return max(0, min(MAX_SHIFT, width - math.frexp(ratio)[1]))


def _out_of_range(site: str, ratio: float, width: int) -> ValueError:
    return ValueError(
        f"site {site}: a scale ratio of {ratio:.3g} is outside what a {width}-bit multiplier and a shift of "
        f"0..{MAX_SHIFT} encode; give it a greater range"
    )
