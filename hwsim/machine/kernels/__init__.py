"""How each operation becomes instructions: kernels on a worker's memory."""

from hwsim.machine.kernels import (
    accumulators,
    caches,
    embedding,
    heads,
    layernorms,
    ordered,
    projected,
    rows,
    softmaxes,
    sums,
)
from hwsim.machine.kernels.builder import Emitter
from hwsim.program import operations as ops
from hwsim.program.operations import Operation

KERNELS: dict[type[Operation], Emitter] = {
    ops.Embed: embedding.embed,
    ops.MatMul: ordered.matmul,
    ops.ShiftRight: accumulators.shift_right,
    ops.Relu: accumulators.relu,
    ops.Requantize: accumulators.requantize,
    ops.SplitHeads: heads.split_heads,
    ops.MergeHeads: heads.merge_heads,
    ops.ProjectHeads: projected.project_heads,
    ops.Append: caches.append,
    ops.Softmax: rows.softmax,
    ops.GemmlowpSoftmax: softmaxes.gemmlowp_softmax,
    ops.IBertSoftmax: softmaxes.ibert_softmax,
    ops.ItaMax: softmaxes.itamax,
    ops.GemminiSoftmax: softmaxes.gemmini_softmax,
    ops.PulpSoftmax: softmaxes.pulp_softmax,
    ops.Int16Softmax: softmaxes.int16_softmax,
    ops.QLinearSoftmax: softmaxes.qlinear_softmax,
    ops.LayerNorm: rows.layernorm,
    ops.IBertLayerNorm: layernorms.ibert_layernorm,
    ops.PulpLayerNorm: layernorms.pulp_layernorm,
    ops.TfliteLayerNorm: layernorms.tflite_layernorm,
    ops.GemminiLayerNorm: layernorms.gemmini_layernorm,
    ops.Add: sums.add,
    ops.RescaledAdd: sums.rescaled_add,
}
