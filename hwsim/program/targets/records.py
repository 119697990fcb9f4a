"""What a target is: a record that names an operator for every stage, where each was read, and the hardware's limits."""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from hwsim.formats import Accumulator, IntFormat, Overflow, Scaling
from hwsim.program.catalogue import Requantization, scaling_of, scheme_type

SoftmaxMethod = Literal["table", "gemmlowp", "int16", "ibert", "itamax", "gemmini", "pulp", "qlinear"]
LayerNormMethod = Literal["fullyqt", "ibert", "pulp", "tflite", "gemmini"]
ResidualMethod = Literal["one_rounding", "round_each", "clip_each", "tflite"]
Granularity = Literal["per_tensor", "per_channel"]
Heads = Literal["merged", "projected"]
LimitName = Literal["shift", "shifts", "bias_bits", "gamma", "softmax_keys", "score_scale", "operand_bits"]
"""Limits that a program may break if it says so. Multipliers and products are the scheme's, which allows no more; the
rest of `Limits` only say what there is."""


class Source(msgspec.Struct, frozen=True):
    """A published version, and how far hwsim was held against it.

    `checked`: `compiled` where the authors' code was compiled and run against hwsim (tests/golden/authors), `installed`
    where a package is run against it (tests/conformance), `read` where lines were only read.
    """

    project: str
    version: str
    checked: Literal["compiled", "installed", "read"]

    def __str__(self) -> str:
        return f"{self.project} {self.version}, {self.checked}"


class Operator(msgspec.Struct, frozen=True):
    """Whether an operator is the accelerator's own, and where it was read.

    `borrowed_from` names a target or, where no target has it as its own, a library (`tflite`: TensorFlow Lite).
    """

    what: str
    borrowed_from: str | None = None
    version: Source | None = None

    @property
    def native(self) -> bool:
        return self.borrowed_from is None

    @property
    def source(self) -> str:
        return self.what if self.version is None else f"{self.what}; {self.version}"

    def __str__(self) -> str:
        return f"native ({self.source})" if self.native else f"borrowed from {self.borrowed_from} ({self.source})"


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that is a number: least and greatest value, where it stands, and in which version."""

    low: int = 0
    high: int
    where: str
    source: Source

    def holds(self, least: int, most: int) -> bool:
        return self.low <= least and most <= self.high

    def __str__(self) -> str:
        return f"{self.high:,}" if self.low in (0, self.high) else f"{self.low:,} to {self.high:,}"


class Trait(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that is not a number, in words."""

    value: str
    where: str
    source: Source

    def __str__(self) -> str:
        return self.value


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the hardware holds. The planner chooses within the bounds, validation proves them; None: none is known.

    Attributes
    ----------
    product_bits
        Signed width of acc * multiplier + add, its rounding included.
    multiplier, shift
        What its registers encode.
    shifts
        High 1: one shift for all channels of a layer.
    bias_bits, bias
        Width of a bias, and where it is added. A bias may be its width times a power of two where `bias_shift` is set.
    add
        What can be added before the shift, or after it.
    gamma
        Range of a LayerNorm's weight codes.
    softmax_keys
        Longest row of a softmax whose result is defined.
    score_scale
        B of an ITAMax whose scores have the scale ln(2) / 2^B.
    masks
        Whether keys can be masked.
    operand_bits
        Width to which each operand of a residual sum saturates before the sum.
    """

    product_bits: Bound | None = None
    multiplier: Bound | None = None
    shift: Bound | None = None
    shifts: Bound | None = None
    bias_bits: Bound | None = None
    bias_shift: bool = False
    bias: Trait | None = None
    add: Trait | None = None
    gamma: Bound | None = None
    softmax_keys: Bound | None = None
    score_scale: Bound | None = None
    masks: Trait | None = None
    operand_bits: Bound | None = None

    def __iter__(self) -> Iterator[tuple[str, Bound | Trait]]:
        """(name, limit) of those that there are."""
        for name in self.__struct_fields__:
            limit = getattr(self, name)
            if isinstance(limit, Bound | Trait):
                yield name, limit

    def bound(self, name: LimitName) -> Bound | None:
        """A limit that a program may break."""
        limit = getattr(self, name)
        assert limit is None or isinstance(limit, Bound)
        return limit


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One accelerator's arithmetic.

    Attributes
    ----------
    requantization
        Scheme of the catalogue for every matrix product but the generator's, whose logits leave the integer datapath.
    residual_requantization
        That of residual sums, where it is another.
    multiplier_bits
        Width of its multipliers.
    layernorm_overflow
        What becomes of a LayerNorm's code beyond its format.
    weight_bits, activation_bits
        Widths that the hardware has; the first is its native configuration.
    residual_bits
        Width of the residual sum in the native configuration.
    residual_range
        Share of its calibrated range that a residual sum spans in the native configuration; the rest saturates.
    granularity
        Finest granularity of weight scales.
    zero_point_bits
        Widest activation that may have a zero point; 0 where all are symmetric.
    itamax_group
        Keys that arrive at once at an ITAMax; 0 is the whole row.
    clamps_softmax
        Whether the int16 table softmax clamps its result, as (S9) does.
    heads
        Whether heads are merged and multiplied at once, or projected one by one, requantized and summed, (R14).
    least_score_bits
        Scores stay this wide in narrower configurations: coarser than ln 2 the exponential has no polynomial.
    operators
        Provenance of requantization, residual, softmax, layernorm, mask, activation, embedding and generator.
    limits
        Of the hardware.
    wide
        The record for activations of more than 8 bits, where the machine computes these in another way.
    """

    name: str
    requantization: str
    residual_requantization: str | None = None
    multiplier_bits: int
    softmax: SoftmaxMethod
    layernorm: LayerNormMethod
    layernorm_overflow: Overflow = Overflow.SATURATE
    residual: ResidualMethod
    accumulator: Accumulator = Accumulator()
    weight_bits: tuple[int, ...] = (8,)
    activation_bits: tuple[int, ...] = (8,)
    residual_bits: int = 16
    residual_range: float = 1.0
    granularity: Granularity = "per_channel"
    zero_point_bits: int = 0
    sqrt_mode: Literal["shift", "merged"] = "merged"
    itamax_group: int = 0
    clamps_softmax: bool = True
    heads: Heads = "merged"
    least_score_bits: int = 2
    operators: Mapping[str, Operator]
    limits: Limits = Limits()
    wide: "Target | None" = None

    def at(self, activation_bits: int) -> "Target":
        """The record for activations of this width."""
        return self.wide if self.wide is not None and activation_bits > 8 else self

    def softmax_at(self, site: str) -> SoftmaxMethod:
        """The softmax that makes a site: one for all."""
        return self.softmax

    def layernorm_at(self, site: str) -> LayerNormMethod:
        """The LayerNorm that makes a site: one for all."""
        return self.layernorm

    @property
    def scheme(self) -> type[Requantization]:
        """Record type of the requantization."""
        return scheme_type(self.requantization)

    @property
    def scaling(self) -> Scaling:
        """Its arithmetic."""
        return scaling_of(self.scheme)

    @property
    def operand(self) -> IntFormat | None:
        """What each operand of a residual sum saturates to, if it does."""
        bound = self.limits.operand_bits
        return None if bound is None else IntFormat(bits=bound.high)

    @property
    def borrowed(self) -> dict[str, str]:
        """Operator -> target or library that it is borrowed from."""
        return {name: op.borrowed_from for name, op in self.operators.items() if op.borrowed_from is not None}
