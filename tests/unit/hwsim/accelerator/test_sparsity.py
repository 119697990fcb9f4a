"""N:M skipping of a program's weights: who may be skipped."""

import numpy as np
import pytest

from hwsim.accelerator.lowered import check_sparsity
from hwsim.accelerator.options import Sparsity
from hwsim.program import Program
from hwsim.program.operations import MatMul
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program


def pruned(program: Program, kept: int, group: int) -> Program:
    """Of every `group` weights along K the first `kept` stay: the program is changed."""
    for _, operation in program.operations():
        if isinstance(operation, MatMul) and operation.b in program.constants:
            codes = program.constants[operation.b]
            along_k = codes.T if operation.transpose_b else codes
            along_k[:, np.arange(along_k.shape[1]) % group >= kept] = program.constant_info[operation.b].zero_point
    return program


@pytest.mark.parametrize(("kept", "group"), [(1, 2), (2, 4), (1, 4), (3, 5), (7, 64)])
def test_a_program_that_is_sparse_passes(kept: int, group: int) -> None:
    check_sparsity(pruned(tiny_program(preset("int8")), kept, group), Sparsity(kept, group))


@pytest.mark.parametrize(("kept", "group"), [(1, 4), (2, 5)])
def test_one_group_too_full_is_named(kept: int, group: int) -> None:
    program = pruned(tiny_program(preset("int8")), kept, group)
    weights = [op.b for _, op in program.operations() if isinstance(op, MatMul) and op.b in program.constants]
    name = weights[len(weights) // 2]
    program.constants[name][...] = np.where(program.constants[name] == 0, 0, 1)
    program.constants[name].reshape(-1)[: kept + 1] = 1
    with pytest.raises(ValueError, match=rf"weight {name}: {kept + 1} of {group} entries along K are not zero"):
        check_sparsity(program, Sparsity(kept, group))
