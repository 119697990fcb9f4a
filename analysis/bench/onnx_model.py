"""An ONNX model of one MatMulInteger, as bytes: the few fields of the format that it needs, so that no package is.

Field numbers are those of onnx.proto3 (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 8, 13
TYPES = {"uint8": 2, "int8": 3, "int32": 6}
"""TensorProto.DataType."""


def matmul_integer(a: NDArray[Any], b: NDArray[Any], a_zero: int, *, constant: bool) -> bytes:
    """A model `y = (a - a_zero) @ b` of these shapes and types.

    Parameters
    ----------
    a, b : int8 or uint8, (..., m, k) and (..., k, n)
        Inputs `a` and `b`; a constant b is part of the model, which lets it be packed once.
    """
    inputs = [_value("a", a.dtype.name, a.shape)]
    constants = [_tensor("z", np.array(a_zero, a.dtype))]
    if constant:
        constants.append(_tensor("b", b))
    else:
        inputs.append(_value("b", b.dtype.name, b.shape))
    node = b"".join(_text(1, name) for name in ("a", "b", "z")) + _text(2, "y") + _text(4, "MatMulInteger")
    result = _value("y", "int32", (*a.shape[:-1], b.shape[-1]))
    graph = _block(1, node) + _text(2, "product")
    graph += b"".join(_block(5, one) for one in constants) + b"".join(_block(11, one) for one in inputs)
    return _number(1, IR_VERSION) + _block(7, graph + _block(12, result)) + _block(8, _text(1, "") + _number(2, OPSET))


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, TYPES[array.dtype.name]) + _text(8, name) + _block(9, array.tobytes())


def _value(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_block(1, _number(1, size)) for size in shape)
    return _text(1, name) + _block(2, _block(1, _number(1, TYPES[dtype]) + _block(2, dims)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _block(field, value.encode())


def _block(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
