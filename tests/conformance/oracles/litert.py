"""LiteRT (formerly TensorFlow Lite): its reference kernels, or what it runs by default (XNNPACK)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from tests.conformance.oracles.tflite_model import Tensor, one_operator

Codes = NDArray[np.signedinteger[Any]]

REFERENCE = OpResolverType.BUILTIN_REF
BUILT_IN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
DEFAULT = OpResolverType.AUTO


def run(model: bytearray, inputs: Sequence[Codes], kernels: OpResolverType = REFERENCE) -> Codes:
    """The output of a one-operator model."""
    interpreter = Interpreter(model_content=bytes(model), experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def unary(
    operator: str,
    q: Codes,
    *,
    scales: tuple[float, float],
    zero_points: tuple[int, int] = (0, 0),
    kernels: OpResolverType = REFERENCE,
) -> Codes:
    """GELU (exact), LOGISTIC or TANH of a flat array, int8 or int16; scales and zero points of input and output."""
    options = schema.GeluOptionsT(approximate=False) if operator == "GELU" else None
    tensors = [Tensor(q.shape, q.dtype.type, scales[0], zero_points[0])]
    output = Tensor(q.shape, q.dtype.type, scales[1], zero_points[1])
    return run(one_operator(operator, tensors, output, options, 3 if operator != "GELU" else 2), [q], kernels)


def add(
    a: Codes,
    b: Codes,
    *,
    scales: tuple[float, float, float],
    zero_points: tuple[int, int, int] = (0, 0, 0),
    kernels: OpResolverType = REFERENCE,
) -> Codes:
    """ADD of two flat arrays, int8 or int16; scales and zero points of a, b and the sum."""
    tensors = [Tensor(x.shape, x.dtype.type, scales[i], zero_points[i]) for i, x in enumerate((a, b))]
    output = Tensor(a.shape, a.dtype.type, scales[2], zero_points[2])
    return run(one_operator("ADD", tensors, output, schema.AddOptionsT(potScaleInt16=False), 3), [a, b], kernels)


def softmax(q: Codes, *, scale: float, beta: float, kernels: OpResolverType = REFERENCE) -> Codes:
    """SOFTMAX over the rows of (m, n), int8 to int8 or int16 to int16."""
    out_scale, zero_point = (1 / 256, -128) if q.dtype == np.int8 else (1 / 32768, 0)
    tensors = [Tensor(q.shape, q.dtype.type, scale)]
    output = Tensor(q.shape, q.dtype.type, out_scale, zero_point)
    return run(one_operator("SOFTMAX", tensors, output, schema.SoftmaxOptionsT(beta=beta), 3), [q], kernels)


def fully_connected(
    x: Codes,
    weight: Codes,
    bias: Codes,
    *,
    scales: tuple[float, Any, float],
    zero_points: tuple[int, int] = (0, 0),
    kernels: OpResolverType = BUILT_IN,
) -> Codes:
    """FULLY_CONNECTED of int8 (m, k) and (n, k), bias int32; as in the driver of TFLM."""
    bias_scale = np.float32(scales[0]) * np.asarray(scales[1], np.float32)
    tensors = [
        Tensor(x.shape, np.int8, scales[0], zero_points[0]),
        Tensor(weight.shape, np.int8, scales[1], 0, weight),
        Tensor(bias.shape, np.int32, bias_scale, 0, bias),
    ]
    output = Tensor((x.shape[0], weight.shape[0]), np.int8, scales[2], zero_points[1])
    return run(one_operator("FULLY_CONNECTED", tensors, output, schema.FullyConnectedOptionsT(), 5), [x], kernels)
