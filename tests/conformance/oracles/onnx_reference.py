"""The reference evaluator of ONNX itself."""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

_NAMES = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]


def qlinear_matmul(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    *,
    scales: tuple[float, float, float],
    zero_points: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """QLinearMatMul of (m, k) and (k, n); scales and zero points of a, b and the product."""
    node = helper.make_node("QLinearMatMul", _NAMES, ["y"])
    inputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in _NAMES]
    output = helper.make_tensor_value_info("y", TensorProto.UINT8, None)
    model = helper.make_model(helper.make_graph([node], "one", inputs, [output]))
    values = [a, np.float32(scales[0]), np.uint8(zero_points[0]), b, np.float32(scales[1]), np.uint8(zero_points[1])]
    values += [np.float32(scales[2]), np.uint8(zero_points[2])]
    arrays = {name: np.asarray(value) for name, value in zip(_NAMES, values, strict=True)}
    return np.asarray(ReferenceEvaluator(model).run(None, arrays)[0])
