"""A TFLite flatbuffer of one operator, built with the schema that comes with LiteRT."""

from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_TYPES = {
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
}


class Tensor(NamedTuple):
    """One quantized tensor; `data` is given for constants only."""

    shape: tuple[int, ...]
    dtype: type[np.signedinteger[Any]]
    scale: Any
    zero_point: Any = 0
    data: NDArray[Any] | None = None


def one_operator(
    operator: str, inputs: list[Tensor], output: Tensor, options: Any = None, version: int = 1
) -> bytearray:
    """A model that applies `operator` (its name in the schema) to `inputs`, those without data being its arguments.

    Parameters
    ----------
    operator : str
        Name in schema.BuiltinOperator.
    inputs : list of Tensor
    output : Tensor
    options : object, optional
        An options object of the schema; its type follows from its class.
    version : int
        Version of the operator, which some kernels look at.
    """
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    code = getattr(schema.BuiltinOperator, operator)
    model.operatorCodes = [
        schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), version=version, builtinCode=code)
    ]
    graph = schema.SubGraphT()
    graph.tensors = [tensor_object(f"t{i}", tensor, model.buffers) for i, tensor in enumerate([*inputs, output])]
    graph.inputs = [i for i, tensor in enumerate(inputs) if tensor.data is None]
    graph.outputs = [len(inputs)]
    node = schema.OperatorT(opcodeIndex=0, inputs=list(range(len(inputs))), outputs=graph.outputs)
    if options is not None:
        node.builtinOptions = options
        node.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    graph.operators = [node]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytearray(builder.Output())


def tensor_object(name: str, tensor: Tensor, buffers: list[Any]) -> Any:
    """A tensor of the schema; the data of a constant are appended to `buffers`."""
    buffer = 0
    if tensor.data is not None:
        buffer = len(buffers)
        constant = np.ascontiguousarray(tensor.data, tensor.dtype)
        buffers.append(schema.BufferT(data=constant.reshape(-1).view(np.uint8)))
    scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
    zero_point = np.broadcast_to(np.asarray(tensor.zero_point, np.int64), scale.shape)
    quantization = schema.QuantizationParametersT(scale=scale, zeroPoint=np.ascontiguousarray(zero_point))
    shape = np.array(tensor.shape, np.int32)
    dtype = _TYPES[np.dtype(tensor.dtype)]
    return schema.TensorT(shape=shape, type=dtype, buffer=buffer, name=name, quantization=quantization)
