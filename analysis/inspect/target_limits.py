"""The limits of a target in words: its record's, and where that has none, what the scheme of requantization encodes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from hwsim.formats import Scaling
from hwsim.program.catalogue import CATALOGUE
from hwsim.program.targets import TARGETS, Bound, Target, Trait
from reference.quantize.scheme import GAMMA_BITS

_UNKNOWN = "none known"
_FLOATS = (Scaling.FLOAT32, Scaling.FLOAT32_INSIDE)


class Limit(NamedTuple):
    """One limit. `where` it stands, and in which version, are empty where the target's record does not have it."""

    name: str
    value: str
    where: str = ""
    source: str = ""


def records(one: Target) -> list[tuple[str, Target]]:
    """What a target has for 8-bit and for 16-bit activations, each with its name; or one record for both."""
    if one.wide is None:
        return [(one.name, one)]
    return [(f"{one.name}, int8", one), (f"{one.name}, int16", one.wide)]


def activations(one: Target) -> list[int]:
    """Widths of activations that a record is for: those above 8 bits have their own where it has a `wide`."""
    if one.wide is not None:
        return [bits for bits in one.activation_bits if bits <= 8]
    is_wide = TARGETS[one.name].wide is not None
    return [bits for bits in one.activation_bits if bits > 8 or not is_wide]


def limits(one: Target) -> list[Limit]:
    """Every limit, in the order in which an accumulator meets it."""
    return [*_products(one), *_rows(one)]


def _products(one: Target) -> Iterator[Limit]:
    own, scheme = one.limits, CATALOGUE[one.requantization]
    product = "binary32" if one.scaling in _FLOATS else f"{scheme.limits.product_bits} bits"
    greatest = min(scheme.limits.high, (1 << one.multiplier_bits) - 1)
    each = "layer" if one.granularity == "per_tensor" else "channel"
    yield Limit("accumulator", f"{one.accumulator.bits} bits, {one.accumulator.overflow.value}")
    yield _bound("bias", own.bias_bits, lambda b: _bits(b) + ", shifted left" * own.bias_shift, _UNKNOWN)
    yield _trait("bias is", own.bias, "added to the accumulator")
    yield _bound("product", own.product_bits, _bits, product)
    yield _bound("multiplier", own.multiplier, _range, f"{scheme.limits.low:,} to {greatest:,}")
    yield Limit("multipliers", f"one a {each}")
    yield _bound("shift", own.shift, _range, f"{scheme.limits.least_shift} to {scheme.limits.greatest_shift}")
    yield _bound("shifts", own.shifts, lambda _: "one a layer", f"one a {each}")
    yield _trait("added", own.add, f"zero point, {scheme.zero_point}" if one.zero_point_bits else "nothing")


def _rows(one: Target) -> Iterator[Limit]:
    own = one.limits
    yield _bound("residual operands", own.operand_bits, lambda b: f"saturate to {_bits(b)}", "do not saturate")
    if one.softmax == "itamax":
        yield _bound("B", own.score_scale, lambda b: f"{b.high}, scores of scale ln(2)/2^{b.high}", "any")
    yield _bound("softmax row", own.softmax_keys, lambda b: f"to {b.high:,} keys", _UNKNOWN)
    yield _trait("masks", own.masks, "native" if one.operators["mask"].native else _UNKNOWN)
    gamma = 1 << (GAMMA_BITS.get(one.layernorm, one.weight_bits[0]) - 1)
    yield _bound("gamma", own.gamma, _range, "a sign" if one.layernorm == "ibert" else f"{-gamma:,} to {gamma - 1:,}")


def _bound(name: str, bound: Bound | None, words: Callable[[Bound], str], otherwise: str) -> Limit:
    return Limit(name, otherwise) if bound is None else Limit(name, words(bound), bound.where, str(bound.source))


def _trait(name: str, trait: Trait | None, otherwise: str) -> Limit:
    return Limit(name, otherwise) if trait is None else Limit(name, trait.value, trait.where, str(trait.source))


def _bits(bound: Bound) -> str:
    return f"{bound.high} bits"


def _range(bound: Bound) -> str:
    return f"{bound.low:,} to {bound.high:,}"
