"""How each operation of a program calls its kernel: products, rows, sums, on the workspace that they share."""

from collections.abc import Callable
from typing import Any

from hwsim.machine.steps import products, rows, sums
from hwsim.machine.steps.workspace import Values, Workspace
from hwsim.program import operations as ops
from hwsim.program.operations import Operation

STEPS: dict[type[Operation], Callable[[Workspace, Any, Values], None]] = {
    ops.Embed: products.embed,
    ops.MatMul: products.matmul,
    ops.ShiftRight: products.shift_right,
    ops.Relu: products.relu,
    ops.Requantize: products.requantize,
    ops.SplitHeads: products.split_heads,
    ops.MergeHeads: products.merge_heads,
    ops.ProjectHeads: products.project_heads,
    ops.Append: products.append,
    ops.Softmax: rows.softmax,
    ops.GemmlowpSoftmax: rows.gemmlowp_softmax,
    ops.IBertSoftmax: rows.ibert_softmax,
    ops.ItaMax: rows.itamax,
    ops.GemminiSoftmax: rows.gemmini_softmax,
    ops.PulpSoftmax: rows.pulp_softmax,
    ops.Int16Softmax: rows.int16_softmax,
    ops.QLinearSoftmax: rows.qlinear_softmax,
    ops.LayerNorm: rows.layernorm,
    ops.IBertLayerNorm: rows.ibert_layernorm,
    ops.PulpLayerNorm: rows.pulp_layernorm,
    ops.TfliteLayerNorm: rows.tflite_layernorm,
    ops.GemminiLayerNorm: rows.gemmini_layernorm,
    ops.Add: sums.add,
    ops.RescaledAdd: sums.rescaled_add,
}
"""What runs each operation."""
