"""ONNX Runtime on the CPU, one operator at a time: graph optimisation off, one thread.

Activations and weights are both uint8 (U8U8): without VNNI the U8S8 kernels saturate pairs of products to 16 bits.
"""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

_OPSET = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]


def matmul_integer(
    a: NDArray[np.uint8], b: NDArray[np.uint8], a_zero_point: int = 0, b_zero_point: int = 0
) -> NDArray[np.int32]:
    """MatMulInteger of (m, k) and (k, n): int32 accumulators, modulo 2^32."""
    inputs = {"a": a, "b": b, "az": np.uint8(a_zero_point), "bz": np.uint8(b_zero_point)}
    return _run("MatMulInteger", "", inputs, TensorProto.INT32)


def qlinear_matmul(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    *,
    scales: tuple[float, Any, float],
    zero_points: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """QLinearMatMul of (m, k) and (k, n); scales and zero points of a, b and the product."""
    inputs = {
        "a": a,
        "as": np.float32(scales[0]),
        "az": np.uint8(zero_points[0]),
        "b": b,
        "bs": np.float32(scales[1]),
        "bz": np.uint8(zero_points[1]),
        "ys": np.float32(scales[2]),
        "yz": np.uint8(zero_points[2]),
    }
    return _run("QLinearMatMul", "", inputs, TensorProto.UINT8)


def qgemm(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    c: NDArray[np.int32],
    *,
    scales: tuple[float, Any, float],
    zero_points: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """com.microsoft.QGemm: a (m, k), b (k, n), int32 bias c (n,); the scale of b may be one for each column."""
    b_scale = np.asarray(scales[1], np.float32)
    b_zero = np.full(b_scale.shape, zero_points[1], np.uint8)
    inputs = {
        "a": a,
        "as": np.float32(scales[0]),
        "az": np.uint8(zero_points[0]),
        "b": b,
        "bs": b_scale,
        "bz": b_zero,
        "c": c,
        "ys": np.float32(scales[2]),
        "yz": np.uint8(zero_points[2]),
    }
    return _run("QGemm", "com.microsoft", inputs, TensorProto.UINT8)


def qlinear_softmax(
    x: NDArray[Any], *, scales: tuple[float, float], zero_points: tuple[int, int], opset: int = 13
) -> NDArray[Any]:
    """com.microsoft.QLinearSoftmax of int8 or uint8 rows; scales and zero points of x and the result.

    The table is that of the length of a row.
    """
    inputs = {
        "x": x,
        "xs": np.float32(scales[0]),
        "xz": x.dtype.type(zero_points[0]),
        "ys": np.float32(scales[1]),
        "yz": x.dtype.type(zero_points[1]),
    }
    output = helper.np_dtype_to_tensor_dtype(x.dtype)
    return _run("QLinearSoftmax", "com.microsoft", inputs, output, opset=opset, axis=-1)


def _run(operator: str, domain: str, inputs: dict[str, Any], output: int, **attributes: int) -> NDArray[Any]:
    """The operator with all of its inputs as arguments of the graph."""
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    node = helper.make_node(operator, list(arrays), ["y"], domain=domain, **attributes)
    result = helper.make_tensor_value_info("y", output, None)
    model = helper.make_model(helper.make_graph([node], "one", values, [result]), opset_imports=_OPSET, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], arrays)[0])
