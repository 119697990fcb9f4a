"""The last rounding of all elements of a tensor at once: a `Stage` whose numbers are arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.proof.divergence.element import Values
from analysis.proof.divergence.stage import INT32_MAX, MANTISSA, SCALINGS
from hwsim.formats import IntFormat
from hwsim.program import Program
from hwsim.program.catalogue import Requantization
from hwsim.program.operations import Add, LayerNorm, Operation, Requantize, ShiftRight, Softmax

Int = NDArray[np.int64]
Array = NDArray[Any]

_UP_AT_TIES: dict[str, Callable[[Array, Array], Any]] = {
    "half_up": lambda n, below: True,
    "half_down": lambda n, below: False,
    "half_away": lambda n, below: n > 0,
    "half_toward_zero": lambda n, below: n < 0,
    "half_even": lambda n, below: below % 2 == 1,
    "half_odd": lambda n, below: below % 2 == 0,
}
_UP: dict[str, Callable[[Array], Any]] = {
    "floor": lambda n: False,
    "ceiling": lambda n: True,
    "toward_zero": lambda n: n < 0,
}


def rounded(name: str, n: Array, d: Array | int) -> Int:
    """n/d to integers by a name of `stage.ROUNDINGS`; integers with 0 < d <= 2^62, or exact float64 with d = 1."""
    below = n // d
    rest = n - below * d
    if name in _UP:
        return np.asarray(below + ((rest > 0) & _UP[name](n)), np.int64)
    up = (2 * rest > d) | ((2 * rest == d) & _UP_AT_TIES[name](n, below))
    return np.asarray(below + up, np.int64)


class Columns(NamedTuple):
    """As `Stage`; its numbers are int64 arrays of shapes that fit each other.

    Attributes
    ----------
    terms
        Of a sum, the integers that are added; empty for everything else.
    """

    integer: Int
    multiplier: Int
    shift: Int
    scaling: str
    zero_point: int
    format: IntFormat
    divisor: Int | int = 1
    lowest: int | None = None
    terms: tuple[Int, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether int64 holds what is on the way, and the last rounding of all elements is by one rule."""
        least, greatest_shift = int(self.shift.min()), int(self.shift.max())
        if self.scaling in SCALINGS:
            is_mixed = self.scaling.startswith("q31") and least <= 31 < greatest_shift
            return self.is_encodable and not is_mixed
        if np.min(self.divisor) < 1:
            return False
        greatest = int(np.abs(self.integer).max(initial=0)) * int(self.multiplier.max())
        return greatest < 1 << 63 and int(np.max(self.divisor)) << greatest_shift <= 1 << 62

    @property
    def is_encodable(self) -> bool:
        """Whether the scaling takes the numbers of all elements."""
        if self.scaling not in SCALINGS:
            return True
        if np.any(self.divisor != 1):
            return False
        if self.scaling.startswith("q31"):
            moved = self.integer << np.maximum(31 - self.shift, 0)
            return bool((moved >= -INT32_MAX - 1).all() and (moved <= INT32_MAX).all())
        return bool((np.abs(self.integer) <= 1 << 31).all() and (self.multiplier < 1 << MANTISSA).all())

    @property
    def _quotient(self) -> tuple[Array, Array | int, str, int]:
        x, m, e = self.integer, self.multiplier, self.shift
        if self.scaling not in SCALINGS:
            return x * m, self.divisor << e, self.scaling, self.zero_point
        if self.scaling.startswith("q31"):
            product = (x << np.maximum(31 - e, 0)) * m
            if (e <= 31).all():
                return product, 1 << 31, "half_up", self.zero_point
            high = np.minimum(rounded("half_up", product, 1 << 31), INT32_MAX)
            rule = "half_away" if self.scaling == "q31_double" else "half_up"
            return high, 1 << np.maximum(e - 31, 0), rule, self.zero_point
        value = _binary32(_binary32(x.astype(np.float64)) * m / 2.0**e)
        if self.scaling == "float32":
            return value, 1, "half_even", self.zero_point
        return _binary32(value + self.zero_point), 1, "half_even", 0

    @property
    def last_rule(self) -> str:
        return self._quotient[2]

    @property
    def unclamped(self) -> Int:
        """Rounded, the zero point added."""
        n, d, rule, zero = self._quotient
        return rounded(rule, n, d) + zero

    def fit(self, value: Int) -> Int:
        """Clamped to the format, and raised."""
        clamped = np.clip(value, self.format.min, self.format.max)
        return clamped if self.lowest is None else np.maximum(clamped, self.lowest)

    @property
    def code(self) -> Int:
        return self.fit(self.unclamped)

    def by(self, rule: str) -> Int:
        """The code by another last rounding."""
        n, d, _, zero = self._quotient
        return self.fit(rounded(rule, n, d) + zero)

    def scaled(self, scaling: str) -> Int | None:
        """The code by another scaling, None if that does not take the numbers."""
        other = self._replace(scaling=scaling)
        is_taken = other.is_encodable if scaling in SCALINGS else other.is_exact
        return other.code if is_taken else None

    def each(self, rule: str) -> Int:
        """The code of a sum whose operands are rounded before they are added."""
        parts = [rounded(rule, term, self.divisor << self.shift) for term in self.terms]
        return self.fit(np.sum(parts, axis=0) + self.zero_point)

    @property
    def wrapped(self) -> Int:
        """The low bits of the rounded value."""
        bits, value = self.format.bits, self.unclamped
        lowest = -(1 << (bits - 1)) if self.format.signed else 0
        return (value - lowest) % (1 << bits) + lowest

    def between(self, low: int, high: int) -> Int:
        """The rounded value clamped to another range."""
        return np.clip(self.unclamped, low, high)


def _binary32(values: Array) -> Array:
    """The nearest binary32, held in binary64."""
    return values.astype(np.float32).astype(np.float64)


# --- of operations ----------------------------------------------------------------------------------------------------


def columns(program: Program, operation: Operation, site: str, values: Values) -> Columns | None:
    """The last rounding of a tensor that an operation makes; None where only `stages` knows it."""
    find = _COLUMNS.get(type(operation))
    found = None if find is None else find(_Tensor(program, site, values), operation)
    return found if found is not None and found.is_exact else None


class _Tensor(NamedTuple):
    program: Program
    site: str
    values: Values

    def of(self, name: str) -> Int:
        return np.asarray(self.values[name], np.int64)

    def constant(self, field: int | str) -> Int:
        """One for all channels, or one for each."""
        return np.asarray(self.program.constants[field] if isinstance(field, str) else [field], np.int64)

    def scaled(
        self, integer: Int, scheme: Requantization, divisor: Int | int = 1, lowest: int | None = None
    ) -> Columns:
        info = self.program.tensors[self.site]
        multiplier, shift = self.constant(scheme.multiplier), self.constant(scheme.shift)
        name = scheme.scaling.name.lower()
        return Columns(integer, multiplier, shift, name, info.zero_point, info.format, divisor, lowest)

    def shifted(self, integer: Int, shift: int, rule: str, terms: tuple[Int, ...] = ()) -> Columns:
        info, one = self.program.tensors[self.site], np.ones(1, np.int64)
        return Columns(integer, one, shift * one, rule, info.zero_point, info.format, terms=terms)


def _requantize(at: _Tensor, operation: Requantize) -> Columns:
    return at.scaled(at.of(operation.input), operation.requantization)


def _shift_right(at: _Tensor, operation: ShiftRight) -> Columns:
    return at.shifted(at.of(operation.input), operation.shift, operation.rounding.value)


def _add(at: _Tensor, operation: Add) -> Columns:
    a, b = (at.of(name) - at.program.tensors[name].zero_point for name in (operation.a, operation.b))
    terms = a * operation.a_multiplier, b * operation.b_multiplier
    return at.shifted(terms[0] + terms[1], operation.shift, "half_even", terms)


def _softmax(at: _Tensor, operation: Softmax) -> Columns | None:
    numerators = at.of(operation.numerator)
    if at.site == operation.denominator:
        total = numerators.sum(-1, keepdims=True)
        return at.scaled(total, operation.denominator_requantization, lowest=1)
    if at.site == operation.output:
        return at.scaled(numerators, operation.output_requantization, at.of(operation.denominator))
    return None


def _layernorm(at: _Tensor, operation: LayerNorm) -> Columns | None:
    if at.site == operation.numerator:
        x = at.of(operation.input)
        return at.scaled(x.shape[-1] * x - x.sum(-1, keepdims=True), operation.numerator_requantization)
    if at.site == operation.quotient:
        divisor = at.of(operation.denominator)
        return at.scaled(at.of(operation.numerator), operation.quotient_requantization, divisor)
    if at.site == operation.output:
        gamma, beta = at.constant(operation.gamma), at.constant(operation.beta)
        return at.scaled(at.of(operation.quotient) * gamma + beta, operation.output_requantization)
    return None  # a denominator is a root


_COLUMNS: dict[type[Operation], Callable[[_Tensor, Any], Columns | None]] = {
    Requantize: _requantize,
    ShiftRight: _shift_right,
    Add: _add,
    Softmax: _softmax,
    LayerNorm: _layernorm,
}
