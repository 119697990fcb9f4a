"""TensorFlow Lite for Microcontrollers: the reference kernels, which are gemmlowp's arithmetic."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from tflite_micro.python.tflite_micro import runtime

from tests.conformance.oracles.tflite_model import Tensor, one_operator

Codes = NDArray[np.signedinteger[Any]]


def run(model: bytearray, inputs: Sequence[Codes]) -> Codes:
    """The output of a one-operator model."""
    arena = 200_000 + 8 * len(model) + 4 * sum(array.nbytes for array in inputs)
    interpreter = runtime.Interpreter.from_bytes(bytes(model), arena_size=arena)
    for i, array in enumerate(inputs):
        interpreter.set_input(array, i)
    interpreter.invoke()
    return np.array(interpreter.get_output(0))


def fully_connected(
    x: Codes,
    weight: Codes,
    bias: Codes,
    *,
    scales: tuple[float, Any, float],
    zero_points: tuple[int, int] = (0, 0),
) -> Codes:
    """FULLY_CONNECTED.

    Parameters
    ----------
    x : int8 or int16, (m, k)
    weight : int8, (n, k)
    bias : int32 with int8, int64 with int16, (n,)
    scales : input, weight (one, or one for each output), output
    zero_points : input, output

    Returns
    -------
    the dtype of x, (m, n)
    """
    x_scale, weight_scale, out_scale = scales
    bias_scale = np.float32(x_scale) * np.asarray(weight_scale, np.float32)
    tensors = [
        Tensor(x.shape, x.dtype.type, x_scale, zero_points[0]),
        Tensor(weight.shape, np.int8, weight_scale, 0, weight),
        Tensor(bias.shape, bias.dtype.type, bias_scale, 0, bias),
    ]
    output = Tensor((x.shape[0], weight.shape[0]), x.dtype.type, out_scale, zero_points[1])
    return run(one_operator("FULLY_CONNECTED", tensors, output, schema.FullyConnectedOptionsT(), 4), [x])


def batch_matmul(
    a: Codes, b: Codes, *, scales: tuple[float, float, float], zero_points: tuple[int, int, int] = (0, 0, 0)
) -> Codes:
    """BATCH_MATMUL of (m, k) and (k, n), int8 or int16; scales and zero points of a, b and the product."""
    tensors = [Tensor(x.shape, x.dtype.type, scales[i], zero_points[i]) for i, x in enumerate((a, b))]
    output = Tensor((a.shape[0], b.shape[1]), a.dtype.type, scales[2], zero_points[2])
    return run(one_operator("BATCH_MATMUL", tensors, output, schema.BatchMatMulOptionsT(), 4), [a, b])


def multiply(
    a: Codes, b: Codes, *, scales: tuple[float, float, float], zero_points: tuple[int, int, int] = (0, 0, 0)
) -> Codes:
    """MUL of two flat arrays, int8 or int16; scales and zero points of a, b and the product."""
    return _elementwise("MUL", schema.MulOptionsT(), a, b, scales, zero_points)


def add(
    a: Codes, b: Codes, *, scales: tuple[float, float, float], zero_points: tuple[int, int, int] = (0, 0, 0)
) -> Codes:
    """ADD of two flat arrays, int8 or int16; scales and zero points of a, b and the sum."""
    return _elementwise("ADD", schema.AddOptionsT(potScaleInt16=False), a, b, scales, zero_points)


def softmax(q: Codes, *, scale: float, beta: float, output: type[np.signedinteger[Any]]) -> Codes:
    """SOFTMAX over the rows of (m, n): int8 to int8, int8 to int16, int16 to int16."""
    out_scale, zero_point = {
        (np.int8, np.int8): (1 / 256, -128),
        (np.int8, np.int16): (1 / 65536, -32768),
        (np.int16, np.int16): (1 / 32768, 0),
    }[q.dtype.type, output]
    tensors = [Tensor(q.shape, q.dtype.type, scale)]
    result = Tensor(q.shape, output, out_scale, zero_point)
    return run(one_operator("SOFTMAX", tensors, result, schema.SoftmaxOptionsT(beta=beta), 2), [q])


def _elementwise(
    operator: str, options: Any, a: Codes, b: Codes, scales: Sequence[float], zero_points: Sequence[int]
) -> Codes:
    tensors = [Tensor(x.shape, x.dtype.type, scales[i], zero_points[i]) for i, x in enumerate((a, b))]
    output = Tensor(a.shape, a.dtype.type, scales[2], zero_points[2])
    return run(one_operator(operator, tensors, output, options, 2), [a, b])


def l2_normalize(q: Codes, *, zero_point: int = 0) -> Codes:
    """L2_NORMALIZATION over the rows of int8 (m, n): codes of scale 1/128."""
    tensors = [Tensor(q.shape, np.int8, 1.0, zero_point)]
    output = Tensor(q.shape, np.int8, 1 / 128, 0)
    return run(one_operator("L2_NORMALIZATION", tensors, output, schema.L2NormOptionsT(), 2), [q])
