"""Targets: the arithmetic of particular accelerators, as bundles of operators. Data only.

Every operator of a target is `native`, read in the accelerator's own sources, or `borrowed` from another target, or
from the library named, because this one has none or computes it in float. A width that the hardware does not have is
`extended`: hwsim runs it by the same equations. Tables and reports print both. docs/targets.md is made from these
records.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from hwsim.formats import Accumulator, Scaling
from hwsim.program.catalogue import Requantization, scaling_of, scheme_type

SoftmaxMethod = Literal["table", "gemmlowp", "ibert", "itamax", "gemmini"]
LayerNormMethod = Literal["fullyqt", "ibert", "pulp", "tflite"]
ResidualMethod = Literal["one_rounding", "round_each", "tflite"]
Granularity = Literal["per_tensor", "per_channel"]


class Operator(msgspec.Struct, frozen=True):
    """Whether an operator is the accelerator's own, and where it was read.

    `borrowed_from` names a target or, where no target has it as its own, a library (`tflite`: TensorFlow Lite).
    """

    source: str
    borrowed_from: str | None = None

    @property
    def native(self) -> bool:
        return self.borrowed_from is None

    def __str__(self) -> str:
        return f"native ({self.source})" if self.native else f"borrowed from {self.borrowed_from} ({self.source})"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One accelerator's arithmetic.

    Attributes
    ----------
    requantization
        Scheme of the catalogue for every matrix product but the generator's, whose logits leave the integer datapath.
    multiplier_bits
        Width of its multipliers.
    weight_bits, activation_bits
        Widths that the hardware has; the first is its native configuration.
    residual_bits
        Width of the residual sum in the native configuration.
    granularity
        Finest granularity of weight scales.
    zero_point_bits
        Widest activation that may have a zero point; 0 where all are symmetric.
    itamax_group
        Keys that arrive at once at an ITAMax; 0 is the whole row.
    least_score_bits
        Scores stay this wide in narrower configurations: coarser than ln 2 the exponential has no polynomial.
    operators
        Provenance of requantization, residual, softmax, layernorm, activation, embedding and generator.
    """

    name: str
    requantization: str
    multiplier_bits: int
    softmax: SoftmaxMethod
    layernorm: LayerNormMethod
    residual: ResidualMethod
    accumulator: Accumulator = Accumulator()
    weight_bits: tuple[int, ...] = (8,)
    activation_bits: tuple[int, ...] = (8,)
    residual_bits: int = 16
    granularity: Granularity = "per_channel"
    zero_point_bits: int = 0
    sqrt_mode: Literal["shift", "merged"] = "merged"
    itamax_group: int = 0
    least_score_bits: int = 2
    operators: Mapping[str, Operator]

    @property
    def scheme(self) -> type[Requantization]:
        """Record type of the requantization."""
        return scheme_type(self.requantization)

    @property
    def scaling(self) -> Scaling:
        """Its arithmetic."""
        return scaling_of(self.scheme)

    @property
    def borrowed(self) -> dict[str, str]:
        """Operator -> target or library that it is borrowed from."""
        return {name: op.borrowed_from for name, op in self.operators.items() if op.borrowed_from is not None}


_ALL_WIDTHS = (8, *(bits for bits in range(2, 17) if bits != 8))
_DATAPATH = {
    "activation": Operator("ReLU on the accumulator"),
    "embedding": Operator("one rounding, docs/numerics.md section 8", "fullyqt"),
    "generator": Operator("INT32 logits of one scale, docs/numerics.md section 9", "fullyqt"),
}
_FULLYQT_LAYERNORM = Operator("four quantized parts, docs/numerics.md section 5", "fullyqt")
_TABLE_SOFTMAX = Operator("its own is float; table and divider, docs/numerics.md section 4", "fullyqt")
_TFLITE_LAYERNORM = Operator("integer LSTM layer normalisation of TensorFlow Lite, int16", "tflite")


def _tflite_like(name: str, source: str) -> Target:
    """TFLM and CMSIS-NN compute the same integers from different code."""
    return Target(
        name=name,
        requantization="q31_double",
        multiplier_bits=31,
        softmax="gemmlowp",
        layernorm="tflite",
        residual="tflite",
        weight_bits=(8, 4),
        activation_bits=(8, 16),
        zero_point_bits=8,
        operators=_DATAPATH
        | {
            "requantization": Operator(source),
            "residual": Operator(source),
            "softmax": Operator(source),
            "layernorm": _TFLITE_LAYERNORM,
        },
    )


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
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
                "softmax": Operator("Prato et al. (2020): quantized numerator, denominator, output"),
                "layernorm": Operator("Prato et al. (2020): quantized numerator, denominator, quotient, output"),
                "activation": Operator("ReLU on the accumulator"),
                "embedding": Operator("one rounding, docs/numerics.md section 8"),
                "generator": Operator("INT32 logits of one scale, docs/numerics.md section 9"),
            },
        ),
        _tflite_like("tflm", "TensorFlow Lite Micro reference kernels"),
        _tflite_like("cmsis-nn", "CMSIS-NN arm_nn_requantize, arm_elementwise_add, arm_softmax_s8"),
        Target(
            name="tosa",
            requantization="q31_single",
            multiplier_bits=31,
            softmax="gemmlowp",
            layernorm="fullyqt",
            residual="tflite",
            weight_bits=(8, 4),
            activation_bits=(8, 16),
            zero_point_bits=8,
            operators=_DATAPATH
            | {
                "requantization": Operator("TOSA specification, RESCALE with SINGLE_ROUND"),
                "residual": Operator("RESCALE, ADD, RESCALE, as TensorFlow legalises an int8 ADD"),
                "softmax": Operator("TOSA has no softmax; the integers that its TFLite source means", "tflm"),
                "layernorm": _FULLYQT_LAYERNORM,
            },
        ),
        Target(
            name="ita",
            requantization="narrow_after",
            multiplier_bits=8,
            softmax="itamax",
            layernorm="pulp",
            residual="round_each",
            accumulator=Accumulator(bits=26),
            residual_bits=8,
            granularity="per_tensor",
            itamax_group=16,
            operators=_DATAPATH
            | {
                "requantization": Operator("ITA requantizer: 8-bit multiplier, shift, add; 26-bit accumulators"),
                "residual": Operator("PULP cluster's requantized addition", "pulp"),
                "softmax": Operator("ITAMax, streaming in groups of 16"),
                "layernorm": Operator("PULP cluster's integer LayerNorm", "pulp"),
            },
        ),
        Target(
            name="pulp",
            requantization="narrow_before",
            multiplier_bits=16,
            softmax="itamax",
            layernorm="pulp",
            residual="round_each",
            residual_bits=8,
            operators=_DATAPATH
            | {
                "requantization": Operator("Deeploy RequantShift"),
                "residual": Operator("Deeploy requantized addition"),
                "softmax": Operator("Deeploy ITAMax, single pass"),
                "layernorm": Operator("Deeploy iLayerNorm"),
            },
        ),
        Target(
            name="gemmini",
            requantization="float32",
            multiplier_bits=24,
            softmax="gemmini",
            least_score_bits=8,
            layernorm="ibert",
            residual="round_each",
            residual_bits=8,
            granularity="per_tensor",
            operators=_DATAPATH
            | {
                "requantization": Operator("accumulator scale, binary32"),
                "residual": Operator("tiled_resadd: each operand scaled at load"),
                "softmax": Operator("I-BERT softmax of its C library"),
                "layernorm": Operator("its normaliser divides in float; I-BERT's integers", "ibert"),
            },
        ),
        Target(
            name="ibert",
            requantization="dyadic",
            multiplier_bits=31,
            softmax="ibert",
            least_score_bits=8,
            layernorm="ibert",
            residual="round_each",
            operators=_DATAPATH
            | {
                "requantization": Operator("Kim et al. (2021), dyadic 31-bit multiplier"),
                "residual": Operator("each operand dyadic, then added (Kim et al. keep 22 bits, hwsim 16)"),
                "softmax": Operator("Kim et al. (2021), Algorithm 2"),
                "layernorm": Operator("Kim et al. (2021), Algorithm 4"),
            },
        ),
        Target(
            name="nvdla",
            requantization="nvdla",
            multiplier_bits=15,
            softmax="table",
            layernorm="fullyqt",
            residual="round_each",
            accumulator=Accumulator(bits=34),
            activation_bits=(8, 16),
            weight_bits=(8, 16),
            operators=_DATAPATH
            | {
                "requantization": Operator("NVDLA SDP output converter; 34-bit CACC accumulators"),
                "residual": Operator("SDP element-wise addition, each operand converted"),
                "softmax": _TABLE_SOFTMAX,
                "layernorm": _FULLYQT_LAYERNORM,
            },
        ),
        Target(
            name="onnxruntime",
            requantization="float32",
            multiplier_bits=24,
            softmax="table",
            layernorm="fullyqt",
            residual="one_rounding",
            zero_point_bits=8,
            operators=_DATAPATH
            | {
                "requantization": Operator("QLinearMatMul, QGemm of ONNX Runtime"),
                "residual": Operator("QLinearAdd is float and 8 bit; one rounding of a 16-bit sum", "fullyqt"),
                "softmax": _TABLE_SOFTMAX,
                "layernorm": _FULLYQT_LAYERNORM,
            },
        ),
    )
}
"""Every target by name; `fullyqt` is the default."""

DEFAULT_TARGET = "fullyqt"


def target(name: str) -> Target:
    """A target by name; the error lists the known ones."""
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; known: {', '.join(TARGETS)}")
    return TARGETS[name]
