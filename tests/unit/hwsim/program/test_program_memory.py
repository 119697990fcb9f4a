"""Loading and saving take little memory beside a program's own arrays, whatever its constants are."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from hwsim import program as ir
from hwsim.formats import Accumulator, IntFormat
from hwsim.program import Program
from hwsim.program.catalogue import Dyadic
from hwsim.program.loading import load
from hwsim.program.operations import MatMul, Requantize
from tests.small.bare import bare

SHAPES = {"int8": (8, 1000, 1000), "int6": (6, 1500, 1000), "int4": (4, 2000, 1001), "one row": (4, 1, 2_000_001)}
"""Bits, rows and columns of a weight of a megabyte."""
BIASES = {"biases": (8, 250_000, 1)}
"""As many columns of int32 biases and of multipliers as make megabytes: what is proven of each is more than it."""


def product(bits: int, rows: int, columns: int) -> Program:
    """A layer with a weight of that shape, a bias and a multiplier a channel."""
    rng = np.random.default_rng(1)
    roles: dict[str, tuple[IntFormat, tuple[int, ...], Literal["weight", "bias", "multiplier"]]] = {
        "weight": (IntFormat(bits=bits), (rows, columns), "weight"),
        "bias": (IntFormat(bits=32), (rows,), "bias"),
        "multiplier": (IntFormat(bits=16, signed=False), (rows,), "multiplier"),
    }
    arrays: dict[str, Any] = {name: rng.integers(1, 4, shape, dtype=np.int8) for name, (_, shape, _) in roles.items()}
    tensors = {"x": (8, columns), "sum": (40, rows), "y": (8, rows)}
    manifest = bare(
        dimensions=[ir.Dimension(name="n", maximum=4)],
        tensors=[ir.TensorInfo(name=n, format=IntFormat(bits=b), dims=["n", size]) for n, (b, size) in tensors.items()],
        constants=[
            ir.ConstantInfo(name=name, format=form, shape=list(shape), role=role)
            for name, (form, shape, role) in roles.items()
        ],
        functions=[
            ir.Function(
                name="forward",
                inputs=["x"],
                outputs=["y"],
                operations=[
                    MatMul(output="sum", a="x", b="weight", bias="bias", accumulator=Accumulator(bits=40)),
                    Requantize(output="y", input="sum", requantization=Dyadic(multiplier="multiplier", shift=20)),
                ],
            )
        ],
    )
    return Program(manifest, arrays)


@contextmanager
def traced() -> Iterator[list[int]]:
    """The greatest number of bytes that were held at once within, of what was made within."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", [*SHAPES, *BIASES])
def test_a_program_is_loaded_in_three_times_its_file_beside_its_arrays(tmp_path: Path, case: str) -> None:
    program = product(*(SHAPES | BIASES)[case])
    path = tmp_path / "one.hwsim"
    program.save(path)
    arrays = sum(program.constants.held(name).nbytes for name in program.constants)
    with traced() as peak:
        load(path)
    assert peak[0] - arrays <= 3 * path.stat().st_size


@pytest.mark.parametrize("case", [*SHAPES, *BIASES])
def test_a_program_is_saved_in_three_times_its_file(tmp_path: Path, case: str) -> None:
    program = product(*(SHAPES | BIASES)[case])
    path = tmp_path / "one.hwsim"
    with traced() as peak:
        program.save(path)
    assert peak[0] <= 3 * path.stat().st_size
