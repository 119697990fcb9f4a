"""Programs of one operation alone, to take it to its bounds: what passes runs, what does not is refused."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.machine.kernels import KERNELS
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import Dyadic, Q31Double
from hwsim.program.validate import validate
from tests.small.bare import bare
from tests.unit.hwsim.program.program_edits import INT8, INT16

Q31 = Q31Double(multiplier=1 << 30, shift=40)


def alone(
    op: ops.Operation,
    x: IntFormat,
    y: IntFormat,
    dims: list[str | int],
    *,
    zeros: tuple[int, int] = (0, 0),
    maximum: int = 3,
    **constants: tuple[IntFormat, NDArray[Any]],
) -> Program:
    """A program of one operation from x (and z, of the same codes) to y."""
    names = ["x", "z"] if isinstance(op, ops.RescaledAdd) else ["x"]
    tensors = [ir.TensorInfo(name=name, format=x, dims=dims, zero_point=zeros[0]) for name in names]
    tensors.append(ir.TensorInfo(name="y", format=y, dims=dims, zero_point=zeros[1]))
    infos = [
        ir.ConstantInfo(name=name, format=fmt, shape=list(array.shape), role="weight")
        for name, (fmt, array) in constants.items()
    ]
    about = bare(
        dimensions=[ir.Dimension(name="batch", maximum=1 << 12), ir.Dimension(name="keys", maximum=maximum)],
        tensors=tensors,
        constants=infos,
        functions=[ir.Function(name="forward", inputs=names, outputs=["y"], operations=[op])],
    )
    return Program(about, {name: array for name, (_, array) in constants.items()})


def passes(program: Program, **inputs: Any) -> NDArray[Any]:
    """What a valid program makes of given codes: by an instruction, and by a checked function, which refuses more."""
    given = {name: np.array(codes) for name, codes in inputs.items()}
    machine = Machine(program)
    made = machine.run("forward", given)["y"]
    with pytest.MonkeyPatch.context() as patch:
        for kind in KERNELS:
            patch.setitem(KERNELS, kind, lambda builder, operation: None)
        checked = Machine(program)
        np.testing.assert_array_equal(made, checked.run("forward", given)["y"])
    assert machine.totals == checked.totals
    return made


def stopped(program: Program, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^function forward, y: .*{re.escape(message)}"):
        validate(program)


def norm(
    op: ops.AnyLayerNorm, n: int, x: IntFormat, gamma: int = 1, beta: int = 0, zeros: tuple[int, int] = (0, 0)
) -> Program:
    """Gamma and beta of one number."""
    wide = IntFormat(bits=63)
    constants = {"gamma": (INT16, np.full(n, gamma)), "beta": (wide, np.full(n, beta))}
    return alone(op, x, INT8, ["batch", n], zeros=zeros, **constants)


IBERT = ops.IBertLayerNorm(
    output="y", input="x", gamma="gamma", beta="beta", variance_shift=0, requantization=Dyadic(multiplier=1, shift=0)
)
PULP = ops.PulpLayerNorm(output="y", input="x", gamma="gamma", beta="beta", shift=0)
TFLITE = ops.TfliteLayerNorm(output="y", input="x", gamma="gamma", beta="beta", variance_limit=1, requantization=Q31)
