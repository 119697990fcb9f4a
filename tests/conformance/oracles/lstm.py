"""The layer normalisation in LiteRT's integer LSTM (int8 activations, int16 cells), seen through its cell.

After one step without recurrence, from a cell of 0 and with an open input gate, the cell is tanh(layernorm(gate)).
Distinct gates give distinct cells where tanh is steep enough; what it makes of each gate is found by running the same
model with weights of 0, whose normalised gate is its bias.
"""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from tests.conformance.oracles.tflite_model import Tensor, tensor_object

Array = NDArray[Any]

_INPUTS, _OUTPUT_STATE, _CELL_STATE = 24, 18, 19
_GATES = 4
_INPUT, _CELL = 0, 2
"""Places of two of the gates: input, forget, cell, output."""
_SCALE = 2.0**-12
"""Of a normalised gate."""
_OPEN = 32767 << 10
"""A bias that opens a gate whose coefficients are 0, at the scale of a normalised gate."""
_WEIGHTS, _RECURRENT, _BIASES, _COEFFICIENTS = 1, 5, 12, 20
"""First of the four inputs of each kind."""


def cell_gate(
    q: Array, weight: Array, gamma: Array, bias: Array, *, ratio: float, gamma_scale: float
) -> NDArray[np.int16]:
    """Cells after one step.

    Parameters
    ----------
    q : int8, (batch, n)
    weight : int8, (n,)
        The gate's weights are this diagonal matrix.
    gamma, bias : int16 and int32, (n,)
        Coefficients of the layer normalisation.
    ratio : float
        The gate before the normalisation is q * weight * ratio.
    gamma_scale : float
        Scale of gamma; that of the result is 2^-12.

    Returns
    -------
    int16, (batch, n)
    """
    builder = _Model()
    inputs = _inputs(builder, q.shape, np.diag(weight), gamma, bias, ratio, gamma_scale)
    output = builder.add(Tensor(q.shape, np.int8, 2.0**-7))
    scratch = [builder.add(Tensor((1,), np.int16, 1.0)) for _ in range(_GATES)]
    scratch.append(builder.add(Tensor((1,), np.int8, 2.0**-7)))
    model = builder.finish(inputs, output, scratch)
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(inputs[0], np.ascontiguousarray(q, np.int8))
    interpreter.invoke()
    return np.array(interpreter.get_tensor(inputs[_CELL_STATE]))


def cells_of_gates() -> NDArray[np.int16]:
    """The cell for each normalised gate of -2^15 .. 2^15 - 1."""
    size = 512
    gates = np.arange(-(1 << 15), 1 << 15).reshape(-1, size)
    zero = np.zeros(size, np.int64)
    return np.concatenate(
        [cell_gate(zero[None], zero, zero, row << 10, ratio=1.0, gamma_scale=_SCALE)[0] for row in gates]
    )


def _inputs(
    builder: "_Model",
    shape: tuple[int, ...],
    matrix: Array,
    gamma: Array,
    bias: Array,
    ratio: float,
    gamma_scale: float,
) -> list[int]:
    """Numbers of the 24 input tensors; -1 for those that are left out."""
    inputs, n = [-1] * _INPUTS, shape[1]
    inputs[0] = builder.add(Tensor(shape, np.int8, 1.0))
    inputs[_OUTPUT_STATE] = builder.add(Tensor(shape, np.int8, 2.0**-7), variable=True)
    inputs[_CELL_STATE] = builder.add(Tensor(shape, np.int16, 2.0**-15), variable=True)
    for gate in range(_GATES):
        on, opened = int(gate == _CELL), _OPEN * int(gate == _INPUT)
        scale = gamma_scale if on else _SCALE
        inputs[_WEIGHTS + gate] = builder.add(Tensor((n, n), np.int8, ratio, 0, matrix * on))
        inputs[_RECURRENT + gate] = builder.add(Tensor((n, n), np.int8, 1.0, 0, matrix * 0))
        inputs[_BIASES + gate] = builder.add(Tensor((n,), np.int32, scale / 1024, 0, bias * on + opened))
        inputs[_COEFFICIENTS + gate] = builder.add(Tensor((n,), np.int16, scale, 0, gamma * on))
    return inputs


class _Model:
    """A flatbuffer of one LSTM in the making."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers = [schema.BufferT()]

    def add(self, tensor: Tensor, *, variable: bool = False) -> int:
        """The number of a new tensor."""
        new = tensor_object(f"t{len(self.tensors)}", tensor, self.buffers)
        new.isVariable = variable
        self.tensors.append(new)
        return len(self.tensors) - 1

    def finish(self, inputs: list[int], output: int, intermediates: list[int]) -> bytes:
        """The model as bytes."""
        code = schema.BuiltinOperator.LSTM
        node = schema.OperatorT(opcodeIndex=0, inputs=inputs, outputs=[output], intermediates=intermediates)
        node.builtinOptionsType = schema.BuiltinOptions.LSTMOptions
        node.builtinOptions = schema.LSTMOptionsT(fusedActivationFunction=schema.ActivationFunctionType.TANH)
        node.mutatingVariableInputs = [i in (_OUTPUT_STATE, _CELL_STATE) for i in range(_INPUTS)]
        graph = schema.SubGraphT(tensors=self.tensors, inputs=inputs[:1], outputs=[output], operators=[node])
        model = schema.ModelT(version=3, buffers=self.buffers, subgraphs=[graph])
        model.operatorCodes = [schema.OperatorCodeT(deprecatedBuiltinCode=code, version=4, builtinCode=code)]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
