"""Whether the weights of a program are N:M sparse (docs/accelerator.md, section 10)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.accelerator.options import Sparsity
from hwsim.program import Program
from hwsim.program.operations import MatMul


def check_sparsity(program: Program, sparsity: Sparsity) -> None:
    """Refuse a program that N:M skipping would not compute as it is.

    Raises
    ------
    ValueError
        If a group of a weight has more entries that are not zero than it keeps; the message names the weight.
    """
    for _, operation in program.operations():
        if isinstance(operation, MatMul) and operation.b in program.constants:
            codes = program.constants[operation.b] != program.constant_info[operation.b].zero_point
            _check_rows(operation.b, codes.T if operation.transpose_b else codes, sparsity)


def _check_rows(name: str, nonzero: NDArray[Any], sparsity: Sparsity) -> None:
    """Refuse rows (n, k) with a group that has more entries than it keeps; the last group may be shorter."""
    starts = np.arange(0, nonzero.shape[-1], sparsity.group)
    lengths = np.diff(starts, append=nonzero.shape[-1])
    found = np.add.reduceat(nonzero, starts, axis=-1, dtype=np.int64).max(axis=0)
    for length, most in zip(lengths.tolist(), found.tolist(), strict=True):
        if most > sparsity.keeps(length):
            raise ValueError(
                f"weight {name}: {most} of {length} entries along K are not zero;"
                f" {sparsity} skipping keeps {sparsity.keeps(length)}"
            )
