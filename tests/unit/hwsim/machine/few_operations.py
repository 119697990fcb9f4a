"""Programs of a few operations on random codes, run as instructions and by the checked functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import Counter, IntFormat
from hwsim.machine import Machine
from hwsim.machine.kernels import KERNELS
from hwsim.program import Program
from hwsim.program.operations import Operation, written
from tests.small.bare import bare

Array = NDArray[Any]
Dims = list[str | int]
ROWS = (5, 0, 1)
"""Rows of the batches that are run."""


class Tensor(NamedTuple):
    """What a tensor is; a constant has numbers instead of dimensions."""

    format: IntFormat
    dims: Dims
    zero: int = 0


class Constant(NamedTuple):
    format: IntFormat
    array: Array
    zero: int = 0


def few(
    operations: Sequence[Operation],
    tensors: Mapping[str, Tensor],
    constants: Mapping[str, Constant] | None = None,
    terms: Mapping[str, list[str]] | None = None,
) -> Program:
    """A program of one function; what no operation makes is an input. Dimensions are at most 2^10, sums by `terms`."""
    made = [name for operation in operations for name in written(operation)]
    dims = dict.fromkeys(dim for tensor in tensors.values() for dim in tensor.dims if isinstance(dim, str))
    inputs = [name for name in tensors if name not in made]
    function = ir.Function(name="forward", inputs=inputs, outputs=made[-1:], operations=list(operations))
    about = bare(
        dimensions=[
            ir.Dimension(name=str(dim), maximum=1 << 10, terms=(terms or {}).get(str(dim), [])) for dim in dims
        ],
        tensors=[ir.TensorInfo(name=n, format=t.format, dims=t.dims, zero_point=t.zero) for n, t in tensors.items()],
        constants=[
            ir.ConstantInfo(name=n, format=c.format, shape=list(c.array.shape), zero_point=c.zero, role="weight")
            for n, c in (constants or {}).items()
        ],
        functions=[function],
    )
    return Program(about, {name: constant.array for name, constant in (constants or {}).items()})


def random_codes(rng: np.random.Generator, form: IntFormat, shape: Sequence[int]) -> Array:
    """Codes of a format, a third of them its ends."""
    codes = rng.integers(form.min, form.max + 1, shape)
    return np.where(rng.integers(0, 3, shape) == 0, rng.choice([form.min, form.max], shape), codes)


def constant(rng: np.random.Generator, form: IntFormat, shape: Sequence[int], zero: int = 0) -> Constant:
    return Constant(form, random_codes(rng, form, shape), zero)


def seen(program: Program, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], Mapping[Counter, int], Any]:
    """Every tensor, the events, and the machine."""
    tensors: dict[str, Array] = {}
    machine = Machine(program)
    machine.run("forward", inputs, tensors.__setitem__)
    return tensors, machine.totals, machine


Make = Callable[[np.random.Generator, ir.TensorInfo, Sequence[int]], Array]


def random_input(rng: np.random.Generator, info: ir.TensorInfo, shape: Sequence[int]) -> Array:
    return random_codes(rng, info.format, shape)


def same(program: Program, sizes: Mapping[str, int] | None = None, make: Make = random_input) -> Mapping[Counter, int]:
    """Run batches of `ROWS` both ways; every operation must be instructions. Events of the largest batch."""
    (function,) = program.functions.values()
    events = []
    for rows in ROWS:
        rng, given = np.random.default_rng(0), {"batch": rows, **(sizes or {})}
        inputs = {}
        for name in function.inputs:
            info = program.tensors[name]
            shape = [given[dim] if isinstance(dim, str) else dim for dim in info.dims]
            inputs[name] = make(rng, info, shape)
        made, counted, machine = seen(program, inputs)
        ((plan, _),) = machine._workers._plans.values()
        assert all(part.code is not None for part in plan.single)
        with pytest.MonkeyPatch.context() as patch:
            for kind in KERNELS:
                patch.setitem(KERNELS, kind, lambda builder, operation: None)
            expected, wanted, _ = seen(program, inputs)
        assert counted == wanted and made.keys() == expected.keys()
        for name, codes in expected.items():
            assert codes.dtype == made[name].dtype, name
            np.testing.assert_array_equal(made[name], codes, name)
        events.append(counted)
    return events[0]
