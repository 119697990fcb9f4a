"""Where every operator lives: kernel, torch twin, oracle, tests, and what third-party code stands behind it."""

from typing import NamedTuple

SCHEMES = "requantization"
"""The page that has the catalogue."""
NONE = "none: pure-Python oracle from the formula"


class Place(NamedTuple):
    """One operator: its equations, where they are written in code, and who else has written them.

    `operator` and `method` are what a target's record calls it, empty if no target has it; `third_party` names the
    packages of tests/conformance, and the authors' own code whose results are in tests/golden/authors. `tests` is
    a file of tests/unit/hwsim/operators or tests/golden.
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


def _softmax(
    name: str,
    equations: str,
    function: str,
    third_party: str = NONE,
    method: str = "",
    test: str = "test_softmax_kernels.py",
) -> Place:
    where = f"softmax.{function}"
    return Place(name, equations, where, where, f"softmaxes.{function}", test, third_party, "softmax", method)


def _layernorm(
    name: str,
    equations: str,
    function: str,
    third_party: str = NONE,
    method: str = "",
    test: str = "test_layernorm_kernels.py",
) -> Place:
    kernel, twin, oracle = f"layernorm.{function}", f"layernorm.{function}", f"layernorms.{function}"
    return Place(name, equations, kernel, twin, oracle, test, third_party, "layernorm", method)


def _activation(
    name: str, equations: str, function: str, third_party: str = NONE, test: str = "test_activation_kernels.py"
) -> Place:
    return Place(name, equations, f"activation.{function}", "", f"activation.{function}", test, third_party)


_PAPER = "none: pure-Python oracle from the paper's equations"
_SCALE = ("requantize.requantize", "scaling.requantize_by", "scaling.requantize_by", "test_scaling_kernels.py")
_ADD = ("residual.rescaled_add", "scaling.rescaled_add", "residual.rescaled_add", "test_scaling_kernels.py")
_SUM = ("gemm.matmul", "matmul.matmul_ordered", "accumulator.matmul_by", "test_accumulator_kernels.py")


def _converter(name: str, equations: str, function: str, tests: str, third_party: str) -> Place:
    return Place(name, equations, f"converters.{function}", "", f"scaling.{function}", tests, third_party)


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
        Place("`q15`", "R5", *_SCALE, "tflite_micro, apytypes; CMSIS-NN", "requantization", "q15"),
        Place("`dyadic`", "R6", *_SCALE, "transformers, apytypes", "requantization", "dyadic"),
        Place(
            "`narrow_after`",
            "R7",
            *_SCALE,
            "ITA; its arithmetic apytypes",
            "requantization",
            "narrow_after",
        ),
        Place(
            "`narrow_before`",
            "R7",
            *_SCALE,
            "Deeploy; its arithmetic apytypes",
            "requantization",
            "narrow_before",
        ),
        Place("`shift`", "R8", *_SCALE, "apytypes, qonnx"),
        Place("`nvdla`", "R8n", *_SCALE, "NVDLA; its arithmetic apytypes", "requantization", "nvdla"),
        Place("`float32`", "R9", *_SCALE, "onnxruntime, torch; Gemmini", "requantization", "float32"),
        Place("`float32_inside`", "R9", *_SCALE, "qonnx, onnx"),
        Place(
            *("residual sum, one rounding", "7", "residual.add", "residual.add", "residual.add"),
            *("test_kernels_exhausted.py", "ai-edge-litert, but for its ties", "residual", "one_rounding"),
        ),
        Place(
            *("residual sum, L = 20 or 15", "R10", *_ADD),
            *("tflite_micro, ai-edge-litert; CMSIS-NN", "residual", "tflite"),
        ),
        Place(
            *("sum of projected heads", "R14", "gemm.project_heads", "scaling.sum_of_heads", "heads.project_heads"),
            *("test_heads_kernel.py", "its arithmetic apytypes; of heads none", "heads", "projected"),
        ),
        Place("residual sum, each operand", "R10", *_ADD, "transformers for `dyadic`", "residual", "round_each"),
        Place("residual sum, operands saturate", "R10", *_ADD, "PULP-NN, Gemmini", "residual", "clip_each"),
        _converter("RequantShift", "R11", "requant_shift", "test_deeploy_elementwise.py", "Deeploy"),
        _converter("NVDLA converter", "R12", "nvdla_convert", "test_nvdla.py", "NVDLA"),
    ],
    "softmax": [
        Place(
            *("table and divider", "4a-4e", "softmax.softmax", "fullyqt.softmax", "softmax.softmax"),
            *("test_kernels_properties.py", _PAPER, "softmax", "table"),
        ),
        _softmax("gemmlowp int8", "S1-S5", "gemmlowp_softmax", "tflite_micro, ai-edge-litert; CMSIS-NN", "gemmlowp"),
        _softmax("int16 table", "S6-S9", "softmax_int16", "tflite_micro, ai-edge-litert; CMSIS-NN", "int16"),
        _softmax("I-BERT", "S10-S14", "ibert_softmax", "transformers", "ibert"),
        _softmax("ITAMax", "S15-S17", "itamax", "ITA, Deeploy", "itamax"),
        _softmax("Gemmini", "S18, S19", "gemmini_softmax", "Gemmini", "gemmini"),
        _softmax("PULP", "S20-S22", "pulp_softmax", "Deeploy", "pulp", "test_deeploy_rows.py"),
        Place(
            *("ONNX Runtime", "S30-S32", "softmax.qlinear_softmax", "qlinear.qlinear_softmax"),
            *("softmaxes.qlinear_softmax", "test_qlinear_softmax.py", "onnxruntime", "softmax", "qlinear"),
        ),
    ],
    "layernorm": [
        Place(
            *("FullyQT", "5a-5f", "layernorm.layernorm", "fullyqt_layernorm.layernorm", "layernorm.layernorm"),
            *("test_kernels_properties.py", _PAPER, "layernorm", "fullyqt"),
        ),
        _layernorm("I-BERT", "L1-L5", "ibert_layernorm", "transformers", "ibert"),
        _layernorm("PULP", "L6-L8", "pulp_layernorm", "Deeploy", "pulp"),
        _layernorm("TFLite int16", "L9-L14", "tflite_layernorm", "ai-edge-litert, tflite_micro", "tflite"),
        _layernorm("Gemmini", "L15-L17", "gemmini_layernorm", "Gemmini", "gemmini", "test_gemmini_rows.py"),
    ],
    "activation": [
        _activation("GELU, I-BERT", "G1, G2", "ibert_gelu", "transformers"),
        _activation("GELU, ITA", "G3, G4", "ita_gelu", "ITA"),
        _activation("GELU, PULP", "G7", "pulp_gelu", "Deeploy", "test_deeploy_elementwise.py"),
        _activation("GELU, Gemmini", "G9", "gemmini_gelu", "Gemmini", "test_gemmini_elementwise.py"),
        _activation("direct table", "G5", "table_lookup", "ai-edge-litert"),
        _activation("interpolated table", "G6", "table_interpolate", "ai-edge-litert, tosa-tools"),
    ],
    "accumulator": [
        Place("after every product", "A1", *_SUM, "apytypes; wrapping onnxruntime; proven torch"),
        Place("after every tile", "A2", *_SUM, "apytypes"),
        Place("at the end", "A3", *_SUM, "apytypes; wrapping onnxruntime"),
    ],
}
