"""Why a code may differ from stock torch's: the schemes of docs/operators/requantization.md, in rationals."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from hwsim.formats import IntFormat, Scaling
from reference.quantize.plan.constants import Quantizer
from reference.quantize.plan.snap import Snapped

UNIT = Fraction(1, 1 << 24)
"""Half a unit in the last place of float32, relative."""
HALF = Fraction(1, 2)
EQUAL = "in doubt, equal"
TIE_RULE = "tie rule"
DOUBLE_ROUNDING = "double rounding"
OPERANDS = "operands rounded"
SCHEME_FLOAT = "float32 of the scheme"
FLOAT_ERROR = "float error of torch"

Where = tuple[int, ...]


def tie_distance(value: Fraction) -> Fraction:
    """How far a number is from the nearest point halfway between two integers."""
    return abs(value - (math.floor(value) + HALF))


def half_up(value: Fraction) -> int:
    return math.floor(value + HALF)


def half_away(value: Fraction) -> int:
    return half_up(value) if value >= 0 else -half_up(-value)


def second_shift(e: int) -> int:
    """r of (R2): what the second rounding divides by, 2^r; the first leaves x*m / 2^(e-r)."""
    return max(e - 31, 0)


def q31_double(x: int, m: int, e: int) -> int:
    r = second_shift(e)
    return half_away(Fraction(half_up(Fraction(x * m, 1 << (e - r))), 1 << r))


def float32(x: int, m: int, e: int) -> int:
    return round(float(np.float32(x) * np.float32(math.ldexp(m, -e))))


SCHEMES: dict[Scaling, Callable[[int, int, int], int]] = {
    Scaling.HALF_EVEN: lambda x, m, e: round(Fraction(x * m, 1 << e)),
    Scaling.HALF_UP: lambda x, m, e: half_up(Fraction(x * m, 1 << e)),
    Scaling.HALF_AWAY: lambda x, m, e: half_away(Fraction(x * m, 1 << e)),
    Scaling.Q31_DOUBLE: q31_double,
    Scaling.FLOAT32: float32,
}
"""scale(x; m, e) of every arithmetic that a target has."""


def excess(scaling: Scaling, x: int, m: int, e: int) -> Fraction:
    """How far beyond half an LSB a scheme may err: the bounds of the page, section 1, less 1/2."""
    if scaling is Scaling.Q31_DOUBLE:
        r = second_shift(e)
        return Fraction(1, 2 << r) if r else Fraction(0)
    return abs(Fraction(x * m, 1 << e)) * 2 * UNIT if scaling is Scaling.FLOAT32 else Fraction(0)


def _at(values: Tensor, where: Where) -> int:
    return int(values[where[-1] if values.numel() > 1 else 0])


@dataclass(frozen=True, kw_only=True)
class Rescaled:
    """x * m / 2^e of every element; `mass` is the sum of the magnitudes that x is made of."""

    x: Tensor
    mass: Tensor
    multiplier: Tensor
    shift: Tensor

    def at(self, where: Where) -> tuple[int, int, int]:
        return int(self.x[where]), _at(self.multiplier, where), _at(self.shift, where)

    @property
    def approximate(self) -> Tensor:
        """In float64; exact where x is of 53 bits and m is a power of two."""
        return torch.ldexp(self.x * self.multiplier, -self.shift.double())

    def value(self, where: Where) -> Fraction:
        x, m, e = self.at(where)
        return Fraction(x * m, 1 << e)

    def magnitude(self, where: Where) -> Fraction:
        _, m, e = self.at(where)
        return Fraction(int(self.mass[where]) * m, 1 << e)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One way from real numbers to codes: what torch computes in float32, and the integers that it stands for.

    One operand is a product or a sum of one rounding. Two are (R10): each is rescaled, saturates to `clip` if there is
    one, and so is their sum rescaled, if there is an output ratio. Where `exact`, float32 carries all that torch
    computes.
    """

    site: str
    real: Tensor
    operands: tuple[Rescaled, ...]
    output: Snapped | None = None
    clip: IntFormat | None = None
    scaling: Scaling
    exact: Tensor
    terms: int

    @property
    def condition(self) -> Tensor:
        """Condition A: torch is exact, and the scheme is one exact HALF_EVEN (binary32 is, of 24 bits)."""
        even = self.scaling in (Scaling.HALF_EVEN, Scaling.FLOAT32) and len(self.operands) == 1
        return self.exact if even else torch.zeros_like(self.exact)

    @property
    def in_doubt(self) -> Tensor:
        """Where torch is exact, and the scheme may leave the nearest even integer: such codes are all explained."""
        values = [each.approximate for each in self.operands]
        fractional = torch.stack([value != value.floor() for value in values]).any(0)
        if len(values) > 1 and self.output is None:
            return self.exact & fractional
        if len(values) > 1:
            near = self._near_a_tie(sum(values) * self.output.ratio, torch.tensor(self.output.shift))
            return self.exact & (fractional | near)
        return self.exact & self._near_a_tie(values[0], self.operands[0].shift)

    def _near_a_tie(self, value: Tensor, shift: Tensor) -> Tensor:
        """Where a scheme's last rounding, of a value that float64 carries, may not be HALF_EVEN."""
        if self.scaling in (Scaling.HALF_EVEN, Scaling.FLOAT32):
            return torch.zeros_like(self.exact)
        doubled = self.scaling is Scaling.Q31_DOUBLE
        reach = torch.where(shift > 31, torch.exp2(30 - shift.double()), 0) if doubled else 0
        return (value - value.floor() - 0.5).abs() <= reach

    def value(self, where: Where) -> Fraction:
        """The exact number that is rounded."""
        return self._through(sum((each.value(where) for each in self.operands), Fraction(0)))

    def scaled(self, where: Where) -> int:
        """What the scheme makes of it."""
        total = self._total(where)
        return total if self.output is None else SCHEMES[self.scaling](total, *self.output)

    def _total(self, where: Where) -> int:
        """The sum of the rescaled operands."""
        codes = [SCHEMES[self.scaling](*each.at(where)) for each in self.operands]
        return sum(codes if self.clip is None else [min(max(x, self.clip.min), self.clip.max) for x in codes])

    def own_error(self, where: Where) -> Fraction:
        """How far beyond half an LSB of the exact value the scheme's result may be.

        An operand's rounding errs by 1/2 + excess, times the output ratio if there is one; the last rounding's own 1/2
        is not counted.
        """
        errors = [HALF + excess(self.scaling, *each.at(where)) for each in self.operands]
        if self.output is None:
            return sum(errors, -HALF)
        return self._through(sum(errors, Fraction(0))) + excess(self.scaling, self._total(where), *self.output)

    def torch_error(self, where: Where) -> Fraction:
        """How far float32 may take the number before torch rounds it.

        x, w and the bias are off by at most 2 units each, every product and sum by one, the division by the scale by 3.
        """
        if bool(self.exact[where]):
            return Fraction(0)
        magnitude = sum((each.magnitude(where) for each in self.operands), Fraction(0))
        return (self.terms + 12) * UNIT * self._through(magnitude)

    def reason(self, where: Where) -> str:
        """Why the scheme's result is not the nearest even integer."""
        if any(each.value(where).denominator > 1 for each in self.operands) and len(self.operands) > 1:
            return OPERANDS
        if tie_distance(self.value(where)) == 0:
            return TIE_RULE
        return SCHEME_FLOAT if self.scaling is Scaling.FLOAT32 else DOUBLE_ROUNDING

    def _through(self, value: Fraction) -> Fraction:
        return value if self.output is None else value * self.output.multiplier / (1 << self.output.shift)


def explain(stage: Stage, where: Where, ours: int, stock: int, to: Quantizer) -> str:
    """Prove one code of the machine and one of torch right, each by its own rounding; why they differ, or EQUAL.

    The machine's must be the scheme's, within the scheme's bound of the exact value. Torch's must be the nearest even
    integer, or the exact value so near a tie that float32 cannot tell the side. They are at most one step apart, and
    more only by the whole steps that the scheme's bound has beyond a half: where operands are rounded in steps of a
    scale that is coarser than the sum's.

    Raises
    ------
    AssertionError
        If one of them is not; it names the site and the element.
    """
    value, made = stage.value(where), stage.scaled(where)
    nearest, distance, own = round(value), tie_distance(value), stage.own_error(where)

    def here() -> str:
        return f"{stage.site} at {where}: {float(value):.9g} + {to.zero_point}, {float(distance):.3g} from a tie"

    assert ours == _clamp(made, to), f"{here()}; the scheme makes it {_clamp(made, to)}, the machine {ours}"
    assert abs(made - value) <= HALF + own, f"{here()}; beyond the scheme's bound, {float(own):.3g} more than a half"
    if stock != _clamp(nearest, to):
        error = stage.torch_error(where)
        assert distance <= error < HALF and error > 0, f"{here()}; torch makes it {stock}, erring {float(error):.3g}"
    assert abs(ours - stock) <= 1 + math.floor(own), f"{here()}; {ours} and {stock} are {abs(ours - stock)} apart"
    if ours == stock:
        return EQUAL
    return FLOAT_ERROR if made == nearest else stage.reason(where)


def _clamp(value: int, to: Quantizer) -> int:
    return min(max(value + to.zero_point, to.format.min), to.format.max)
