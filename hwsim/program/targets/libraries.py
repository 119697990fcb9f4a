"""Targets that are papers, specifications and libraries: fullyqt, ibert, tosa, tflm, cmsis-nn, onnxruntime."""

from msgspec.structs import replace

from hwsim.formats import Accumulator
from hwsim.program.targets.records import Bound, Limits, Operator, Source, Target, Trait
from hwsim.program.targets.shared import DATAPATH, FULLYQT_LAYERNORM, TFLITE_LAYERNORM

_TFLM = Source("TensorFlow Lite Micro", "90b983c", "compiled")
_CMSIS = Source("CMSIS-NN", "99f736a", "compiled")
_TOSA = Source("tosa-tools", "2026.8.0", "installed")
_ONNXRUNTIME = Source("ONNX Runtime", "1.32.0", "installed")
_IBERT = Source("Hugging Face transformers, models.ibert", "5.23.0", "installed")
_PRATO = Source("Prato et al.", "2020", "read")
_KIM = Source("Kim et al.", "2021", "read")

_ALL_WIDTHS = (8, *(bits for bits in range(2, 17) if bits != 8))
_PRODUCT_48 = 64
"""An accumulator of 48 bits times a multiplier of 15 is an int64."""

FULLYQT = Target(
    name="fullyqt",
    requantization="dyadic",
    multiplier_bits=16,
    softmax="table",
    layernorm="fullyqt",
    residual="one_rounding",
    weight_bits=_ALL_WIDTHS,
    activation_bits=_ALL_WIDTHS,
    zero_point_bits=16,
    sqrt_mode="shift",
    operators={
        "requantization": Operator("16-bit dyadic multiplier, docs/numerics.md section 1"),
        "residual": Operator("one rounding, docs/numerics.md section 7"),
        "softmax": Operator("quantized numerator, denominator, output", None, _PRATO),
        "layernorm": Operator("quantized numerator, denominator, quotient, output", None, _PRATO),
        "mask": Operator("masked keys take no part in a softmax"),
        "activation": Operator("ReLU on the accumulator"),
        "embedding": Operator("one rounding, docs/numerics.md section 8"),
        "generator": Operator("INT32 logits of one scale, docs/numerics.md section 9"),
    },
)

IBERT = Target(
    name="ibert",
    requantization="dyadic",
    multiplier_bits=31,
    softmax="ibert",
    least_score_bits=8,
    layernorm="ibert",
    residual="round_each",
    operators=DATAPATH
    | {
        "requantization": Operator("dyadic 31-bit multiplier", None, _IBERT),
        "residual": Operator("each operand dyadic, then added (its 22 bits are 16 here)", None, _IBERT),
        "softmax": Operator("Algorithm 2", None, _IBERT),
        "layernorm": Operator("Algorithm 4", None, _IBERT),
        "mask": Operator("added to the scores as a large negative number", "fullyqt", _KIM),
    },
)

TOSA = Target(
    name="tosa",
    requantization="q31_single",
    multiplier_bits=31,
    softmax="gemmlowp",
    layernorm="fullyqt",
    residual="tflite",
    weight_bits=(8, 4),
    activation_bits=(8, 16),
    zero_point_bits=8,
    operators=DATAPATH
    | {
        "requantization": Operator("RESCALE with SINGLE_ROUND", None, _TOSA),
        "residual": Operator("RESCALE, ADD, RESCALE, as TensorFlow legalises an int8 ADD", None, _TOSA),
        "softmax": Operator("TOSA has no softmax; the integers that its TFLite source means", "tflm"),
        "layernorm": FULLYQT_LAYERNORM,
    },
    limits=Limits(
        shift=Bound(low=2, high=62, where="RESCALE, apply_scale_32", source=_TOSA),
        multiplier=Bound(high=(1 << 31) - 1, where="RESCALE, apply_scale_32", source=_TOSA),
    ),
)


def _tflite_like(
    name: str, source: Source, files: tuple[str, str, str], wide_files: tuple[str, str, str], *, clamps_softmax: bool
) -> Target:
    """TFLM and CMSIS-NN compute the same integers but for one clamp; `files`: product, sum and softmax."""
    product, addition, softmax = files
    native = Target(
        name=name,
        requantization="q31_double",
        multiplier_bits=31,
        softmax="gemmlowp",
        clamps_softmax=clamps_softmax,
        layernorm="tflite",
        residual="tflite",
        weight_bits=(8, 4),
        activation_bits=(8, 16),
        zero_point_bits=8,
        operators=DATAPATH
        | {
            "requantization": Operator(product, None, source),
            "residual": Operator(addition, None, source),
            "softmax": Operator(softmax, None, source),
            "layernorm": TFLITE_LAYERNORM,
            "mask": Operator("an ADD of the mask in a model; the kernel has none", "fullyqt", source),
        },
        limits=Limits(
            shift=Bound(high=62, where=product, source=source),
            softmax_keys=Bound(high=511, where=f"{softmax}: 512 exponentials of 1 are undefined", source=source),
            bias_bits=Bound(high=32, where=product, source=source),
            bias=Trait(value="added to the accumulator", where=product, source=source),
            masks=Trait(value="none", where=softmax, source=source),
        ),
    )
    product, addition, softmax = wide_files
    wide = replace(
        native,
        requantization="q15",
        residual_requantization="q31_double",
        multiplier_bits=15,
        softmax="int16",
        accumulator=Accumulator(bits=48),
        weight_bits=(8,),
        activation_bits=(16,),
        zero_point_bits=0,
        operators={
            **native.operators,
            "requantization": Operator(product, None, source),
            "residual": Operator(addition, None, source),
            "softmax": Operator(softmax, None, source),
        },
        limits=Limits(
            product_bits=Bound(high=_PRODUCT_48, where=f"{product}: |acc| to 2^47", source=source),
            shift=Bound(low=8, high=46, where=f"{product}: shift 7 at most", source=source),
            bias_bits=Bound(high=64, where=product, source=source),
            bias=Trait(value="added to the accumulator", where=product, source=source),
            masks=Trait(value="none", where=softmax, source=source),
        ),
    )
    return replace(native, wide=wide)


TFLM = _tflite_like(
    "tflm",
    _TFLM,
    ("MultiplyByQuantizedMultiplier", "reference ADD", "reference softmax, int8"),
    ("MultiplyByQuantizedMultiplier of int64", "reference ADD, int16", "SoftmaxInt16"),
    clamps_softmax=True,
)
CMSIS_NN = _tflite_like(
    "cmsis-nn",
    _CMSIS,
    ("arm_nn_requantize", "arm_elementwise_add_s8", "arm_softmax_s8"),
    ("arm_nn_requantize_s64", "arm_elementwise_add_s16", "arm_softmax_s16, without a last clamp"),
    clamps_softmax=False,
)

ONNXRUNTIME = Target(
    name="onnxruntime",
    requantization="float32",
    multiplier_bits=24,
    softmax="qlinear",
    layernorm="fullyqt",
    residual="one_rounding",
    zero_point_bits=8,
    operators=DATAPATH
    | {
        "requantization": Operator("QLinearMatMul, QGemm", None, _ONNXRUNTIME),
        "residual": Operator("QLinearAdd is float and 8 bit; one rounding of a 16-bit sum", "fullyqt"),
        "softmax": Operator("QLinearSoftmax, sums in binary32", None, _ONNXRUNTIME),
        "layernorm": FULLYQT_LAYERNORM,
    },
)
