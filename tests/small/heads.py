"""A program of projected heads alone, (R14): a few numbers by hand, or random codes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import Accumulator, IntFormat
from hwsim.program import Program
from hwsim.program.catalogue import AnyRequantization, NarrowAfter
from hwsim.program.operations import ProjectHeads, Requantize
from hwsim.program.program import Dimension, Function, TensorInfo
from tests.small.bare import bare

INT8 = IntFormat(bits=8)
ITA = Accumulator(bits=26)
HALF = NarrowAfter(multiplier=128, shift=8)
"""m/2^e = 1/2."""


def _constant(name: str, array: NDArray[Any], bits: int, role: Any, signed: bool = True) -> ir.ConstantInfo:
    return ir.ConstantInfo(name=name, format=IntFormat(bits=bits, signed=signed), shape=list(array.shape), role=role)


def heads_program(
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    heads: int,
    *,
    ratio: AnyRequantization = HALF,
    ratios: dict[str, NDArray[Any]] | None = None,
    last: AnyRequantization = HALF,
    context: IntFormat = INT8,
    zero: int = 0,
    code: IntFormat = INT8,
    accumulator: Accumulator = ITA,
) -> Program:
    """`context` (batch, heads, length, d_head) to `codes`, `total` and its requantization `y` (batch, length, d).

    `ratios` are constants that `ratio` names, one value a head.
    """
    d, inner = weight.shape
    constants, arrays = [_constant("weight", weight, 8, "weight")], {"weight": weight}
    if bias is not None:
        constants, arrays = [*constants, _constant("bias", bias, 32, "bias")], arrays | {"bias": bias}
    for name, values in (ratios or {}).items():
        constants.append(_constant(name, values, 16, "multiplier", signed=False))
        arrays[name] = values
    wide = IntFormat(bits=accumulator.bits)
    tensors = [
        TensorInfo(name="context", format=context, dims=["batch", heads, "length", inner // heads], zero_point=zero),
        TensorInfo(name="codes", format=code, dims=["batch", heads, "length", d]),
        TensorInfo(name="total", format=wide, dims=["batch", "length", d]),
        TensorInfo(name="y", format=INT8, dims=["batch", "length", d]),
    ]
    made = ProjectHeads(
        heads="codes",
        output="total",
        input="context",
        weight="weight",
        bias=None if bias is None else "bias",
        accumulator=accumulator,
        requantization=ratio,
    )
    operations = [made, Requantize(output="y", input="total", requantization=last)]
    manifest = bare(
        target="ita",
        dimensions=[Dimension(name=name, maximum=64) for name in ("batch", "length")],
        tensors=tensors,
        constants=constants,
        functions=[Function(name="forward", inputs=["context"], outputs=["y"], operations=operations)],
    )
    return Program(manifest, arrays)


def random_codes(rng: np.random.Generator, *shape: int, bits: int = 8) -> NDArray[np.int32]:
    """Signed codes of the whole range."""
    end = 1 << (bits - 1)
    return rng.integers(-end, end, shape, dtype=np.int32)
