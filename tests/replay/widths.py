"""How wide the hardware of each target is, register by register, and where that was read.

Written from the accelerators' sources by hand, and not from the records that the planner obeys. A stage that a target
borrows is as wide as the hardware that it is borrowed from.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tests.replay.registers import INT32, INT64, Register, unsigned


class Converter(NamedTuple):
    """What stands between an accumulator and a code.

    Attributes
    ----------
    source
        Where the widths were read.
    accumulator
        What is rescaled.
    multiplier
        The constant it is multiplied by.
    product
        Their product, and the rounding that is added to it.
    result
        What the shift leaves, the zero point not yet added, and the clamp to come.
    greatest_shift
        What the field of the shift encodes.
    one_shift
        Whether a layer has one shift for all its channels.
    """

    source: str
    accumulator: Register
    multiplier: Register
    product: Register
    result: Register
    greatest_shift: int = 62
    one_shift: bool = False


class Sum(NamedTuple):
    """A residual sum: what rescales an operand, what holds it, and what holds the sum."""

    converter: Converter
    operand: Register
    total: Register


class Softmax(NamedTuple):
    """A softmax: one exponential, the sum of a row, quotient or product, and a code that is cut, not clamped."""

    source: str
    exponential: Register
    total: Register
    product: Register
    code: Register | None = None


class LayerNorm(NamedTuple):
    """A LayerNorm: sum of a row, deviation from the mean, sum of squares, product with gamma, its sum with the bias.

    `converter` makes codes of that where the operation says by which ratio. `gamma` and `bias` hold the constants.
    """

    source: str
    total: Register
    deviation: Register
    squares: Register
    product: Register
    affine: Register
    converter: Converter
    gamma: Register = INT64
    bias: Register = INT64


class Widths(NamedTuple):
    """A target's hardware, stage by stage; a softmax or LayerNorm is found in `rows` by its operation's tag.

    `bias_mantissa` are the bits of a bias under one left shift a layer.
    """

    accumulator: Register
    bias: Register
    converter: Converter
    residual: Sum
    embedding: Converter
    generator: Converter
    rows: Mapping[str, Softmax | LayerNorm]
    bias_mantissa: int | None = None


INT8 = Register(8, "saturate")

_64 = "docs/numerics.md, sections 0 and 13: all intermediates in 64 bits"
_DYADIC = Converter(_64, INT64, unsigned(16), INT64, INT64)

GEMMLOWP = Converter(
    "gemmlowp fixedpoint.h (16e8662), MultiplyByQuantizedMultiplier: int32 but for one int64 product",
    *(INT32, INT32, INT64, INT32),
)
_REDUCED = Converter(
    "tflite-micro MultiplyByQuantizedMultiplier of int64 (90b983c), CMSIS-NN arm_nn_requantize_s64 (99f736a): sums "
    "in int64 below 2^47, a multiplier of 16 bits, int64 product, shifts of 15 less -31 to 7, int32 result",
    *(INT64, Register(16), INT64, INT32),
    greatest_shift=46,
)
_RESCALE = Converter(
    "TOSA specification, apply_scale_32: int32 value and multiplier, int64 product, int32 result",
    *(INT32, INT32, INT64, INT32),
    greatest_shift=62,
)

_ITA = Converter(
    "ITA ita_requantizer.sv (35225e2): 26-bit accumulators times 8 bits into 35, shifted into 34; its add is int8",
    *(Register(26), unsigned(8), Register(35), Register(34)),
    greatest_shift=255,
    one_shift=True,
)
_REQUANT_SHIFT = Converter(
    "Deeploy RequantShift (bf64cfa), pulp-nn-mixed (b69ec23): acc * mul + add in int32, one log2D a layer",
    *(INT32, INT32, INT32, INT32),
    greatest_shift=31,
    one_shift=True,
)
_REQUANTIZED_ADD = Sum(_REQUANT_SHIFT, operand=INT8, total=INT32)
_ACC_SCALE = Converter(
    "Gemmini ACC_SCALE (8c3f992): int32 to binary32, product in binary32, int8 by saturation",
    *(INT32, unsigned(24), INT64, INT64),
)
_IBERT = Converter(
    "Yao et al., HAWQ-V3 (2021): int32 accumulators times an int32 multiplier into int64",
    *(INT32, INT32, INT64, INT64),
)
_SDP = Converter(
    "nvdla/hw (8e06b1b): 32 bits of CACC and of the bias sum to 33, unclamped (NV_NVDLA_SDP_HLS_X_int_alu.v); times an "
    "int16, shifted into 32 by saturation, one shift",
    *(Register(33), Register(16), Register(49), Register(32, "saturate")),
    greatest_shift=63,
    one_shift=True,
)

_BINARY32 = Converter(
    "ONNX Runtime QLinearMatMul, MLAS requantization: int32 to binary32, product in binary32",
    *(INT32, unsigned(24), INT64, INT64),
)

_DEEPLOY_SOFTMAX = Softmax(
    "Deeploy ITAMax (Generic) and iSoftmax (PULPOpen) (bf64cfa): int32 exponentials, uint32 sums and products",
    *(INT32, unsigned(32), unsigned(32)),
)
_ITAMAX = Softmax(
    "ITA ita_softmax.sv (07771e9): exponentials of 9 bits, sums of 19, the low 8 bits of the shifted inverse; "
    "ita_serdiv.sv (6a0bad5): a division by zero gives ones",
    *(unsigned(9), unsigned(19), unsigned(19), unsigned(8)),
)
ROWS: dict[str, Softmax | LayerNorm] = {
    "softmax": Softmax(_64, exponential=unsigned(16), total=INT64, product=INT64),
    "gemmlowp_softmax": Softmax(
        "tflite-micro reference softmax (90b983c), CMSIS-NN arm_softmax_s8 (99f736a): Q0.31, sum of Q12.19, both int32",
        *(INT32, INT32, INT64),
    ),
    "int16_softmax": Softmax(
        "tflite-micro SoftmaxInt16 (90b983c), CMSIS-NN arm_softmax_s16 (99f736a): int16 exponentials, int32 sum",
        *(Register(16), INT32, INT32, Register(16)),
    ),
    "ibert_softmax": Softmax(
        "Kim et al., I-BERT (2021), Algorithm 2; its code holds integers in float: no register narrower than 64 bits",
        *(INT64, INT64, INT64),
    ),
    "itamax": _DEEPLOY_SOFTMAX,
    "pulp_softmax": _DEEPLOY_SOFTMAX,
    "gemmini_softmax": Softmax(
        "gemmini-rocc-tests (180c468), tiled_norm in C: int32 exponentials and sums, quotient and product in binary32",
        *(INT32, INT32, INT64),
    ),
    "qlinear_softmax": Softmax(
        "ONNX Runtime qlinear_softmax.cc (07d59c0): table and sum in binary32; E * Y has 24 + 9 bits of a binary64",
        *(unsigned(24), unsigned(24), unsigned(53)),
    ),
    "layernorm": LayerNorm(_64, *[INT64] * 5, _DYADIC),
    "ibert_layernorm": LayerNorm(
        "Kim et al., I-BERT (2021), Algorithm 4: sum of squares in 32 bits, the rest as wide as float carries it",
        *(INT64, INT64, unsigned(32), INT64, INT64, _IBERT, Register(2)),
    ),
    "pulp_layernorm": LayerNorm(
        "Deeploy iLayerNorm and iRMSNorm (bf64cfa): int32 throughout, weights and bias too",
        *([INT32] * 5),
        _REQUANT_SHIFT,
        gamma=INT32,
        bias=INT32,
    ),
    "tflite_layernorm": LayerNorm(
        "TensorFlow Lite tensor_utils ApplyLayerNorm: sums and products int64, what the inverse root multiplies int32",
        *(INT64, INT32, INT64, INT64, INT64, GEMMLOWP),
        gamma=Register(16),
        bias=INT32,
    ),
    "gemmini_layernorm": LayerNorm(
        "gemmini-rocc-tests (180c468), tiled_norm in C: int32 sums, int8 quotients, int32 affine",
        *([INT32] * 5),
        _ACC_SCALE,
        gamma=Register(8),
        bias=INT32,
    ),
}
"""Softmax and LayerNorm by operation, each as wide as the hardware that it is native in."""

_FULLYQT = Widths(
    accumulator=INT32,
    bias=INT32,
    converter=_DYADIC,
    residual=Sum(_DYADIC, operand=INT64, total=INT64),
    embedding=_DYADIC,
    generator=_DYADIC,
    rows=ROWS,
)
_TFLITE = _FULLYQT._replace(converter=GEMMLOWP, residual=Sum(GEMMLOWP, operand=INT32, total=INT32))
_PULP = _FULLYQT._replace(converter=_REQUANT_SHIFT, residual=Sum(_REQUANT_SHIFT, operand=INT8, total=INT32))
_ITA_WIDTHS = _PULP._replace(
    accumulator=Register(26), bias=Register(24), converter=_ITA, rows=ROWS | {"itamax": _ITAMAX}
)

WIDTHS: dict[str, Widths] = {
    "fullyqt": _FULLYQT,
    "tflm": _TFLITE,
    "cmsis-nn": _TFLITE,
    "tosa": _FULLYQT._replace(converter=_RESCALE, residual=Sum(_RESCALE, operand=INT32, total=INT32)),
    "ita": _ITA_WIDTHS,
    "ita-head": _ITA_WIDTHS,
    "pulp": _PULP,
    "deeploy": _PULP,
    "gemmini": _FULLYQT._replace(converter=_ACC_SCALE, residual=Sum(_ACC_SCALE, operand=INT8, total=INT32)),
    "ibert": _FULLYQT._replace(converter=_IBERT, residual=Sum(_IBERT, operand=INT64, total=INT64)),
    "nvdla": _FULLYQT._replace(
        accumulator=Register(34, "saturate"),
        converter=_SDP,
        residual=Sum(_SDP, operand=Register(32, "saturate"), total=Register(33)),
        bias_mantissa=16,
    ),
    "onnxruntime": _FULLYQT._replace(converter=_BINARY32),
}
"""Every target's hardware by name."""

_TFLITE_INT16 = _TFLITE._replace(accumulator=INT64, bias=INT64, converter=_REDUCED)
WIDE: dict[str, Widths] = {
    "tflm": _TFLITE_INT16,
    "cmsis-nn": _TFLITE_INT16,
    "nvdla": WIDTHS["nvdla"]._replace(accumulator=Register(48, "saturate")),
}
"""Where products of activations of more than 8 bits have another hardware."""


def widths_of(target: str, activation_bits: int = 8) -> Widths:
    """The hardware of a target for products of activations of this width; the error lists the known ones."""
    if target not in WIDTHS:
        raise ValueError(f"no widths of target {target!r}; known: {', '.join(WIDTHS)}")
    return WIDE.get(target, WIDTHS[target]) if activation_bits > 8 else WIDTHS[target]
