"""Where every operator lives: kernel, torch twin, oracle, tests, and what third-party code stands behind it."""

from typing import NamedTuple

SCHEMES = "requantization"
"""The page that has the catalogue."""
NONE = "none: pure-Python oracle from the formula"


class Place(NamedTuple):
    """One operator: its equations, where they are written in code, and who else has written them.

    `operator` and `method` are what a target's record calls it, empty if no target has it; `third_party` names the
    packages of tests/conformance. `tests` are files of tests/unit/hwsim/operators.
    """

    name: str
    equations: str
    kernel: str
    torch: str
    oracle: str
    tests: str
    third_party: str = NONE
    operator: str = ""
    method: str = ""


def _softmax(name: str, equations: str, function: str, third_party: str = NONE, method: str = "") -> Place:
    module = "" if function == "softmax_int16" else f"softmax.{function}"
    test = "test_softmax_kernels.py"
    return Place(
        name, equations, f"softmax.{function}", module, f"softmaxes.{function}", test, third_party, "softmax", method
    )


def _layernorm(name: str, equations: str, function: str, third_party: str = NONE, method: str = "") -> Place:
    kernel, twin, oracle = f"layernorm.{function}", f"layernorm.{function}", f"layernorms.{function}"
    return Place(name, equations, kernel, twin, oracle, "test_layernorm_kernels.py", third_party, "layernorm", method)


def _activation(name: str, equations: str, function: str, third_party: str = NONE) -> Place:
    test = "test_activation_kernels.py"
    return Place(name, equations, f"activation.{function}", "", f"activation.{function}", test, third_party)


_PAPER = "none: pure-Python oracle from the paper's equations"
_SCALE = ("requantize.requantize", "scaling.requantize_by", "scaling.requantize_by", "test_scaling_kernels.py")
_ADD = ("residual.rescaled_add", "scaling.rescaled_add", "residual.rescaled_add", "test_scaling_kernels.py")
_SUM = ("gemm.matmul", "matmul.matmul_ordered", "accumulator.matmul_by", "test_accumulator_kernels.py")

LIVES: dict[str, list[Place]] = {
    "requantization": [
        Place(
            "`q31_double`",
            "R2",
            *_SCALE,
            "tflite_micro, tosa-tools, iree-base-compiler, ethos-u-vela",
            "requantization",
            "q31_double",
        ),
        Place("`q31_double_half_up`", "R3", *_SCALE, "ai-edge-litert"),
        Place(
            "`q31_single`", "R4", *_SCALE, "tosa-tools, iree-base-compiler, apytypes", "requantization", "q31_single"
        ),
        Place("`q15`", "R5", *_SCALE, "tflite_micro, apytypes"),
        Place("`dyadic`", "R6", *_SCALE, "transformers, apytypes", "requantization", "dyadic"),
        Place(
            "`narrow_after`",
            "R7",
            *_SCALE,
            "its arithmetic apytypes; of ITA itself none",
            "requantization",
            "narrow_after",
        ),
        Place(
            "`narrow_before`",
            "R7",
            *_SCALE,
            "its arithmetic apytypes; of PULP itself none",
            "requantization",
            "narrow_before",
        ),
        Place("`shift`", "R8", *_SCALE, "apytypes, qonnx"),
        Place("`nvdla`", "R8n", *_SCALE, "its arithmetic apytypes; of NVDLA itself none", "requantization", "nvdla"),
        Place("`float32`", "R9", *_SCALE, "onnxruntime, torch", "requantization", "float32"),
        Place("`float32_inside`", "R9", *_SCALE, "qonnx, onnx"),
        Place(
            *("residual sum, one rounding", "7", "residual.add", "exact.add", "residual.add"),
            *("test_kernels_exhausted.py", "ai-edge-litert, but for its ties", "residual", "one_rounding"),
        ),
        Place("residual sum, L = 20 or 15", "R10", *_ADD, "tflite_micro, ai-edge-litert", "residual", "tflite"),
        Place(
            *("sum of projected heads", "R14", "gemm.project_heads", "", "heads.project_heads"),
            *("test_heads_kernel.py", "its arithmetic apytypes; of ITA itself none", "heads", "projected"),
        ),
        Place("residual sum, each operand", "R10", *_ADD, "transformers for `dyadic`", "residual", "round_each"),
    ],
    "softmax": [
        Place(
            *("table and divider", "4a-4e", "softmax.softmax", "fullyqt.softmax", "softmax.softmax"),
            *("test_kernels_properties.py", _PAPER, "softmax", "table"),
        ),
        _softmax("gemmlowp int8", "S1-S5", "gemmlowp_softmax", "tflite_micro, ai-edge-litert", "gemmlowp"),
        _softmax("int16 table", "S6-S9", "softmax_int16", "tflite_micro, ai-edge-litert"),
        _softmax("I-BERT", "S10-S14", "ibert_softmax", "transformers", "ibert"),
        _softmax("ITAMax", "S15-S17", "itamax", NONE, "itamax"),
        _softmax("Gemmini", "S18, S19", "gemmini_softmax", NONE, "gemmini"),
        Place(
            *("ONNX Runtime", "S30-S32", "softmax.qlinear_softmax", "qlinear.qlinear_softmax"),
            *("softmaxes.qlinear_softmax", "test_qlinear_softmax.py", "onnxruntime", "softmax", "qlinear"),
        ),
    ],
    "layernorm": [
        Place(
            *("FullyQT", "5a-5f", "layernorm.layernorm", "fullyqt.layernorm", "layernorm.layernorm"),
            *("test_kernels_properties.py", _PAPER, "layernorm", "fullyqt"),
        ),
        _layernorm("I-BERT", "L1-L5", "ibert_layernorm", "transformers", "ibert"),
        _layernorm("PULP", "L6-L8", "pulp_layernorm", NONE, "pulp"),
        _layernorm("TFLite int16", "L9-L14", "tflite_layernorm", "ai-edge-litert, tflite_micro", "tflite"),
    ],
    "activation": [
        _activation("GELU, I-BERT", "G1, G2", "ibert_gelu", "transformers"),
        _activation("GELU, ITA", "G3, G4", "ita_gelu"),
        _activation("direct table", "G5", "table_lookup", "ai-edge-litert"),
        _activation("interpolated table", "G6", "table_interpolate", "ai-edge-litert, tosa-tools"),
    ],
    "accumulator": [
        Place("after every product", "A1", *_SUM, "apytypes; wrapping onnxruntime; proven torch"),
        Place("after every tile", "A2", *_SUM, "apytypes"),
        Place("at the end", "A3", *_SUM, "apytypes; wrapping onnxruntime"),
    ],
}
