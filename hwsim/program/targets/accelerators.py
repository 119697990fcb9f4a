"""Targets that are hardware, or the code of its libraries: ita, pulp, deeploy, gemmini, nvdla."""

from msgspec.structs import replace

from hwsim.formats import Accumulator, Overflow
from hwsim.program.targets.records import Bound, Limits, Operator, Source, Target, Trait
from hwsim.program.targets.shared import DATAPATH, FULLYQT_LAYERNORM, TABLE_SOFTMAX

_INT32 = (1 << 31) - 1
_RESIDUAL_RANGE = 0.5
"""The integer LayerNorm of PULP has a deviation in whole codes: int8 sums that span their outliers leave it too few."""
_DEEPLOY = Source("Deeploy", "bf64cfa", "compiled")
_DEEPLOY_READ = Source("Deeploy", "bf64cfa", "read")
_PULP_NN = Source("pulp-nn-mixed", "b69ec23", "compiled")
_ITA = Source("ITA", "40564cf", "compiled")
_ITA_HEAD = Source("ITA", "ba96519", "compiled")
_GEMMINI_C = Source("gemmini-rocc-tests", "180c468", "compiled")
_GEMMINI = Source("Gemmini", "8a9c423", "read")
_NVDLA = Source("nvdla/hw", "8e06b1b", "compiled")
_NVDLA_READ = Source("nvdla/hw", "8e06b1b", "read")


def _ita(name: str, source: Source, score_shift: int) -> Target:
    """ITA, whose published RTL and head differ in B."""
    return Target(
        name=name,
        requantization="narrow_after",
        multiplier_bits=8,
        softmax="itamax",
        layernorm="pulp",
        layernorm_overflow=Overflow.WRAP,
        residual="clip_each",
        residual_requantization="narrow_before",
        accumulator=Accumulator(bits=26),
        residual_bits=8,
        residual_range=_RESIDUAL_RANGE,
        granularity="per_tensor",
        itamax_group=16,
        heads="projected",
        operators=DATAPATH
        | {
            "requantization": Operator("ita_requantizer.sv; a second one follows the activation", None, source),
            "residual": Operator("requantized addition of its cluster", "pulp", _PULP_NN),
            "softmax": Operator("ita_softmax_top.sv, streaming in groups of 16", None, source),
            "layernorm": Operator("integer LayerNorm of its compiler", "deeploy", _DEEPLOY),
            "mask": Operator("it has none: rows are multiples of 64 keys, padding takes part", "fullyqt", source),
        },
        limits=Limits(
            multiplier=Bound(high=255, where="ita_requantizer.sv, 8 bits, 0 too", source=source),
            shift=Bound(high=34, where="ita_requantizer.sv: from 36 the rounding bit is outside", source=source),
            shifts=Bound(low=1, high=1, where="one multiplier and one shift a layer", source=source),
            bias_bits=Bound(high=24, where="ita_accumulator.sv", source=source),
            bias=Trait(value="added to the accumulator", where="ita_accumulator.sv", source=source),
            add=Trait(value="int8, after the shift", where="ita_requantizer.sv", source=source),
            softmax_keys=Bound(high=2047, where="ita_softmax.sv: a sum of 19 bits", source=source),
            score_scale=Bound(
                low=score_shift, high=score_shift, where="SoftmaxShift of ita_softmax_top.sv", source=source
            ),
            masks=Trait(value="none", where="ita_softmax_top.sv", source=source),
            operand_bits=Bound(high=8, where="pulp_nn_add of its cluster", source=_PULP_NN),
        ),
    )


ITA = _ita("ita", _ITA, 5)
ITA_HEAD = _ita("ita-head", _ITA_HEAD, 0)

_PULP_LIMITS = Limits(
    product_bits=Bound(high=32, where="RequantShift: acc * mul + add is an int32", source=_DEEPLOY),
    multiplier=Bound(low=-_INT32 - 1, high=_INT32, where="RequantShift, int32", source=_DEEPLOY),
    shift=Bound(high=31, where="RequantShift", source=_DEEPLOY),
    shifts=Bound(low=1, high=1, where="RequantShift: one log2D a layer; mul and add are per channel", source=_DEEPLOY),
    bias_bits=Bound(high=32, where="RequantShift, folded into add", source=_DEEPLOY),
    bias=Trait(value="multiplied into add, before the shift", where="RequantShift", source=_DEEPLOY),
    add=Trait(value="any int32, before the shift", where="RequantShift", source=_DEEPLOY),
    gamma=Bound(low=-_INT32 - 1, high=_INT32, where="iLayerNorm, iRMSNorm: int32 weights", source=_DEEPLOY),
    masks=Trait(value="none", where="iSoftmax, ITAMax", source=_DEEPLOY_READ),
    operand_bits=Bound(high=8, where="pulp_nn_add, RQAdd", source=_PULP_NN),
)

DEEPLOY = Target(
    name="deeploy",
    requantization="narrow_before",
    multiplier_bits=16,
    softmax="itamax",
    layernorm="pulp",
    layernorm_overflow=Overflow.WRAP,
    residual="clip_each",
    residual_bits=8,
    residual_range=_RESIDUAL_RANGE,
    operators=DATAPATH
    | {
        "requantization": Operator("RequantShift_s8.c of the Generic platform", None, _DEEPLOY),
        "residual": Operator("RQAdd: pulp_nn_add", None, _PULP_NN),
        "softmax": Operator("ITAMax_s8 of the Generic platform, single pass", None, _DEEPLOY),
        "layernorm": Operator("Layernorm_s8.c of the Generic platform, cast without a clamp", None, _DEEPLOY),
        "mask": Operator("it has none", "fullyqt", _DEEPLOY_READ),
    },
    limits=replace(
        _PULP_LIMITS,
        score_scale=Bound(low=5, high=5, where="ITAMax_s8: (d + 16) >> 5", source=_DEEPLOY),
    ),
)
PULP = replace(
    DEEPLOY,
    name="pulp",
    softmax="pulp",
    least_score_bits=8,
    operators={
        **DEEPLOY.operators,
        "requantization": Operator("RequantShift; in its products the same integers", None, _DEEPLOY),
        "softmax": Operator("iSoftmax of the PULPOpen platform, PULPSoftmax_i8_u8", None, _DEEPLOY),
        "layernorm": Operator("PULPOpen has iRMSNorm only; iLayerNorm of the Generic platform", "deeploy", _DEEPLOY),
    },
    limits=_PULP_LIMITS,
)

GEMMINI = Target(
    name="gemmini",
    requantization="float32",
    multiplier_bits=24,
    softmax="gemmini",
    least_score_bits=8,
    layernorm="gemmini",
    residual="clip_each",
    residual_bits=8,
    granularity="per_tensor",
    operators=DATAPATH
    | {
        "requantization": Operator("ACC_SCALE, binary32, rounded right below powers of two", None, _GEMMINI_C),
        "residual": Operator("tiled_resadd: MVIN_SCALE saturates each operand, then ACC_SCALE", None, _GEMMINI_C),
        "softmax": Operator(
            "SOFTMAX of its C library; the hardware's exponential up to 8a9c423, none from 2916cde on", None, _GEMMINI_C
        ),
        "layernorm": Operator("LAYERNORM of its C library; gamma and beta as a diagonal product", None, _GEMMINI_C),
        "mask": Operator("it has none", "fullyqt", _GEMMINI),
    },
    limits=Limits(
        multiplier=Bound(low=1, high=(1 << 24) - 1, where="ACC_SCALE, the mantissa of a binary32", source=_GEMMINI_C),
        bias_bits=Bound(high=32, where="mvin of the accumulator", source=_GEMMINI_C),
        bias=Trait(value="added to the accumulator", where="mvin of the accumulator", source=_GEMMINI_C),
        add=Trait(value="none", where="ACC_SCALE", source=_GEMMINI_C),
        gamma=Bound(low=-128, high=127, where="an operand of the array", source=_GEMMINI_C),
        masks=Trait(value="none", where="SOFTMAX of matmul_cpu", source=_GEMMINI_C),
        operand_bits=Bound(high=8, where="MVIN_SCALE", source=_GEMMINI_C),
    ),
)

_NVDLA_NATIVE = Target(
    name="nvdla",
    requantization="nvdla",
    multiplier_bits=15,
    softmax="table",
    layernorm="fullyqt",
    residual="round_each",
    accumulator=Accumulator(bits=34),
    activation_bits=(8, 16),
    weight_bits=(8, 16),
    operators=DATAPATH
    | {
        "requantization": Operator("CACC into 32 bits, then SDP X", None, _NVDLA),
        "residual": Operator("SDP Y: each operand converted, 32-bit sum", None, _NVDLA),
        "softmax": TABLE_SOFTMAX,
        "layernorm": FULLYQT_LAYERNORM,
    },
    limits=Limits(
        multiplier=Bound(low=-(1 << 15), high=(1 << 15) - 1, where="SDP X, int16", source=_NVDLA),
        shift=Bound(high=63, where="SDP X, 6 bits", source=_NVDLA),
        shifts=Bound(low=1, high=1, where="SDP X: one register a layer; multipliers may be per channel", source=_NVDLA),
        bias_bits=Bound(high=16, where="SDP X ALU", source=_NVDLA_READ),
        bias_shift=True,
        bias=Trait(value="after CACC, int16 with one left shift a layer", where="SDP X ALU", source=_NVDLA_READ),
        add=Trait(value="an offset before the multiplication", where="SDP converters", source=_NVDLA),
    ),
)
NVDLA = replace(_NVDLA_NATIVE, wide=replace(_NVDLA_NATIVE, accumulator=Accumulator(bits=48)))
