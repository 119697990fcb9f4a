"""The TOSA reference model of Arm: graphs of one RESCALE or one TABLE."""

from typing import Any

import numpy as np
import tosa_reference_model
import tosa_serializer as ts
from numpy.typing import NDArray

SINGLE_ROUND = ts.RoundingMode.SINGLE_ROUND
DOUBLE_ROUND = ts.RoundingMode.DOUBLE_ROUND

_TYPES = {
    np.dtype(np.int8): ts.DType.INT8,
    np.dtype(np.int16): ts.DType.INT16,
    np.dtype(np.int32): ts.DType.INT32,
}
_Word = type[np.signedinteger[Any]]


def rescale(
    acc: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int8],
    *,
    rounding: Any,
    output: _Word,
    zero_point: int = 0,
) -> NDArray[Any]:
    """RESCALE of (rows, channels) with a 32-bit multiplier, one for all channels or one for each.

    Parameters
    ----------
    acc : int32, (rows, channels)
    multiplier : int32, (1,) or (channels,)
    shift : int8, (1,) or (channels,)
        2 to 62.
    rounding : SINGLE_ROUND or DOUBLE_ROUND
    output : int8, int16 or int32
    zero_point : int
        Of the output; TOSA allows one for int8 only.
    """
    graph = ts.TosaSerializer()
    x = graph.addPlaceholder(list(acc.shape), ts.DType.INT32, None)
    channels = [multiplier.size]
    constants = [
        graph.addConst(channels, ts.DType.INT32, multiplier.tolist(), "multiplier"),
        graph.addConst(channels, ts.DType.INT8, shift.tolist(), "shift"),
        graph.addConst([1], ts.DType.INT32, [0], "input_zp"),
        graph.addConst([1], _TYPES[np.dtype(output)], [zero_point], "output_zp"),
    ]
    y = graph.addOutput(list(acc.shape), _TYPES[np.dtype(output)])
    attribute = ts.TosaSerializerAttribute()
    attribute.RescaleAttribute(True, rounding, multiplier.size > 1, False, False)
    graph.addOperator(ts.Op.RESCALE, [x.name, *(c.name for c in constants)], [y.name], attribute)
    return _run(graph, acc, output)


def table(q: NDArray[np.int16], entries: NDArray[np.int16]) -> NDArray[np.int32]:
    """TABLE of int16 codes through 513 entries: interpolated values with 7 fractional bits, not rounded off."""
    graph = ts.TosaSerializer()
    x = graph.addPlaceholder(list(q.shape), ts.DType.INT16, None)
    constant = graph.addConst([513], ts.DType.INT16, entries.tolist(), "table")
    y = graph.addOutput(list(q.shape), ts.DType.INT32)
    attribute = ts.TosaSerializerAttribute()
    attribute.TableAttribute()
    graph.addOperator(ts.Op.TABLE, [x.name, constant.name], [y.name], attribute)
    return _run(graph, q, np.int32)


def _run(graph: Any, argument: NDArray[Any], output: _Word) -> NDArray[Any]:
    results, status = tosa_reference_model.run(graph.serialize(), [argument])
    if status != tosa_reference_model.GraphStatus.TOSA_VALID:
        raise ValueError(f"the TOSA reference model calls the graph {status.name}")
    return np.asarray(results[0]).view(output).reshape(argument.shape)
