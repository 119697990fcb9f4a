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
        If a weight keeps more than `kept` of `group` consecutive entries along K; the message names it.
    """
    for _, operation in program.operations():
        if isinstance(operation, MatMul) and operation.b in program.constants:
            codes = program.constants[operation.b] != program.constant_info[operation.b].zero_point
            most = _most_in_a_group(codes.T if operation.transpose_b else codes, sparsity.group)
            if most > sparsity.kept:
                raise ValueError(
                    f"weight {operation.b}: {most} of {sparsity.group} entries along K are not zero;"
                    f" {sparsity.kept}:{sparsity.group} skipping keeps {sparsity.kept}"
                )


def _most_in_a_group(kept: NDArray[Any], group: int) -> int:
    """The greatest number of kept entries of a group, of rows (n, k); the last group may be shorter."""
    short = -kept.shape[-1] % group
    padded = np.pad(kept, ((0, 0), (0, short)))
    return int(padded.reshape(len(kept), -1, group).sum(axis=-1).max(initial=0))
