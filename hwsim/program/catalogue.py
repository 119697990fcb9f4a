"""The catalogue of requantization schemes: validated records of how machines scale an integer. No arithmetic here.

docs/operators/requantization.md defines each; `hwsim.arithmetic.scaling` computes them. A scheme encodes a ratio of
scales as multiplier / 2^shift, whatever its arithmetic makes of it.
"""

from typing import Literal, NamedTuple

import msgspec

from hwsim.formats import Rounding, Scaling

MAX_SHIFT = 62
MAX_MULTIPLIER = (1 << 31) - 1


class Limits(NamedTuple):
    """What the hardware encodes: least and greatest multiplier, least and greatest shift, |x| to 2^input_bits.

    `product_bits`: signed width of x * m, with the zero point and the half that are added before the shift.
    """

    low: int
    high: int
    least_shift: int = 0
    greatest_shift: int = MAX_SHIFT
    input_bits: int = 63
    product_bits: int = 64

    @property
    def multiplier_bits(self) -> int:
        return self.high.bit_length()


class SchemeRecord(NamedTuple):
    """One scheme of the catalogue, in words and limits."""

    name: str
    formula: str
    rounding: str
    zero_point: Literal["after the rounding", "before the shift", "inside the float sum"]
    limits: Limits
    users: str
    source: str


class Requantization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """multiplier / 2^shift by the scheme of the subclass. A string names a constant with one value per channel.

    Raises
    ------
    ValueError
        If a multiplier or shift is outside what the scheme's hardware encodes.
    """

    multiplier: int | str
    shift: int | str

    def __post_init__(self) -> None:
        limits, name = self.record().limits, self.record().name
        if isinstance(self.multiplier, int) and not limits.low <= self.multiplier <= limits.high:
            raise ValueError(f"{name}: multiplier {self.multiplier}; allowed are {limits.low} to {limits.high}")
        if isinstance(self.shift, int) and not limits.least_shift <= self.shift <= limits.greatest_shift:
            raise ValueError(f"{name}: shift {self.shift}; allowed are {limits.least_shift} to {limits.greatest_shift}")

    @classmethod
    def record(cls) -> SchemeRecord:
        """The catalogue's entry."""
        return CATALOGUE[str(cls.__struct_config__.tag)]

    @property
    def scaling(self) -> Scaling:
        """The arithmetic that kernels use."""
        return _SCALING[type(self)]


class Q31Double(Requantization, tag="q31_double", frozen=True):
    """(R2)."""


class Q31DoubleHalfUp(Requantization, tag="q31_double_half_up", frozen=True):
    """(R3)."""


class Q31Single(Requantization, tag="q31_single", frozen=True):
    """(R4)."""


class Q15(Requantization, tag="q15", frozen=True):
    """(R5)."""


class Dyadic(Requantization, tag="dyadic", frozen=True):
    """(R6), and (1) of docs/numerics.md."""


class NarrowAfter(Requantization, tag="narrow_after", frozen=True):
    """(R7), 8-bit multiplier, zero point after the shift."""


class NarrowBefore(Requantization, tag="narrow_before", frozen=True):
    """(R7), zero point before the shift."""


class Shift(Requantization, tag="shift", frozen=True):
    """(R8): no multiplier, any of the five roundings."""

    multiplier: int | str = 1
    rounding: Rounding = Rounding.HALF_EVEN

    @property
    def scaling(self) -> Scaling:
        return Scaling[self.rounding.name]


class Nvdla(Requantization, tag="nvdla", frozen=True):
    """(R8n)."""


class Float32(Requantization, tag="float32", frozen=True):
    """(R9), zero point outside."""


class Float32Inside(Requantization, tag="float32_inside", frozen=True):
    """(R9), zero point inside."""


AnyRequantization = (
    Dyadic
    | Q31Double
    | Q31DoubleHalfUp
    | Q31Single
    | Q15
    | NarrowAfter
    | NarrowBefore
    | Shift
    | Nvdla
    | Float32
    | Float32Inside
)
"""The tagged union of a program file."""

_SCALING: dict[type[Requantization], Scaling] = {
    Q31Double: Scaling.Q31_DOUBLE,
    Q31DoubleHalfUp: Scaling.Q31_DOUBLE_HALF_UP,
    Q31Single: Scaling.HALF_UP,
    Q15: Scaling.HALF_UP,
    Dyadic: Scaling.HALF_EVEN,
    NarrowAfter: Scaling.HALF_UP,
    NarrowBefore: Scaling.HALF_UP,
    Nvdla: Scaling.HALF_AWAY,
    Float32: Scaling.FLOAT32,
    Float32Inside: Scaling.FLOAT32_INSIDE,
}

_Q31 = Limits(1 << 30, (1 << 31) - 1, input_bits=31)
_DOUBLE = "S(x * 2^max(31-e, 0), m), then "

CATALOGUE: dict[str, SchemeRecord] = {
    record.name: record
    for record in (
        SchemeRecord(
            "q31_double",
            _DOUBLE + "HALF_AWAY(y / 2^max(e-31, 0))",
            "HALF_UP, then HALF_AWAY",
            "after the rounding",
            _Q31,
            "TFLM, CMSIS-NN (default), TOSA DOUBLE_ROUND, Ethos-U",
            "gemmlowp fixedpoint.h; tensorflow lite MultiplyByQuantizedMultiplier",
        ),
        SchemeRecord(
            "q31_double_half_up",
            _DOUBLE + "HALF_UP(y / 2^max(e-31, 0))",
            "HALF_UP, then HALF_UP",
            "after the rounding",
            _Q31,
            "Arm NEON, LiteRT optimised kernels",
            "Arm NEON SQRDMULH and SRSHL",
        ),
        SchemeRecord(
            "q31_single",
            "HALF_UP(x * m / 2^e)",
            "HALF_UP",
            "after the rounding",
            _Q31._replace(least_shift=1),
            "TOSA SINGLE_ROUND, CMSIS-NN (flag)",
            "TOSA specification, apply_scale_32",
        ),
        SchemeRecord(
            "q15",
            "HALF_UP(x * m / 2^e)",
            "HALF_UP",
            "after the rounding",
            Limits(1 << 14, (1 << 15) - 1, input_bits=47),
            "TFLM and CMSIS-NN with int16 activations",
            "tensorflow lite MultiplyByQuantizedMultiplier, int64 accumulator",
        ),
        SchemeRecord(
            "dyadic",
            "HALF_EVEN(x * m / 2^e)",
            "HALF_EVEN",
            "after the rounding",
            Limits(1, MAX_MULTIPLIER),
            "I-BERT, HAWQ-V3, hwsim's default (16-bit m)",
            "Yao et al., HAWQ-V3 (2021); Kim et al., I-BERT (2021)",
        ),
        SchemeRecord(
            "narrow_after",
            "HALF_UP(x * m / 2^e)",
            "HALF_UP",
            "after the rounding",
            Limits(0, (1 << 8) - 1, greatest_shift=34),
            "ITA",
            "Islamoglu et al., ITA (2023)",
        ),
        SchemeRecord(
            "narrow_before",
            "HALF_UP((x * m + z * 2^e) / 2^e)",
            "HALF_UP",
            "before the shift",
            Limits(1, MAX_MULTIPLIER, greatest_shift=31, input_bits=31, product_bits=32),
            "PULP, Deeploy",
            "Deeploy RequantShift kernels",
        ),
        SchemeRecord(
            "shift",
            "x / 2^e",
            "any of the five",
            "after the rounding",
            Limits(1, 1),
            "sqrt(d_head), power-of-two scales",
            "Tierno (2024)",
        ),
        SchemeRecord(
            "nvdla",
            "HALF_AWAY((x - offset) * m / 2^e)",
            "HALF_AWAY",
            "after the rounding",
            Limits(1, (1 << 15) - 1, input_bits=31),
            "NVDLA SDP output converter",
            "NVDLA hardware manual, CVT",
        ),
        SchemeRecord(
            "float32",
            "HALF_EVEN(fl32(fl32(x) * m/2^e))",
            "HALF_EVEN, in binary32",
            "after the rounding",
            Limits(1, (1 << 24) - 1, input_bits=31),
            "ONNX Runtime, FBGEMM, Gemmini",
            "ONNX Runtime MLAS requantization; Gemmini accumulator scale",
        ),
        SchemeRecord(
            "float32_inside",
            "HALF_EVEN(fl32(fl32(fl32(x) * m/2^e) + z))",
            "HALF_EVEN, in binary32",
            "inside the float sum",
            Limits(1, (1 << 24) - 1, input_bits=31),
            "oneDNN, QONNX",
            "oneDNN quantization documentation",
        ),
    )
}
"""Every scheme by name. `shift` carries its rounding in the record of the operation."""


def scaling_of(scheme: type[Requantization]) -> Scaling:
    """The arithmetic of a scheme that has only one (`shift` has five)."""
    return _SCALING[scheme]


def scheme_type(name: str) -> type[Requantization]:
    """The record type of a scheme; the error lists the known ones."""
    known: list[type[Requantization]] = [*_SCALING, Shift]
    for scheme in known:
        if scheme.record().name == name:
            return scheme
    raise ValueError(f"unknown requantization scheme {name!r}; known: {', '.join(CATALOGUE)}")
