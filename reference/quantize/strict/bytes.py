"""torch's own product of int8 matrices: exact where the machine has it, and several times as fast as float32.

It is asked for only where a trial on this machine gave the exact result: without VNNI instructions some libraries add
pairs of products in 16 bits, which saturate, and the loop that torch falls back on adds to memory that nobody cleared.
"""

import functools

import torch
from torch import Tensor

LEAST_LENGTH = 2
"""Of a sum: torch's product of columns with rows, a sum of one product each, is wrong."""
_TRIALS = ((1, 2, 1), (1, 64, 33), (3, 7, 5), (16, 256, 256), (65, 33, 130), (500, 256, 64))
"""Rows, length of a sum, columns."""


def multiply(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """a @ b of int8 matrices, (m, k) and (k, n), into int32 `out`, (m, n)."""
    return torch._int_mm(a, b, out=out)


def _agrees(m: int, k: int, n: int) -> bool:
    for a, b in ((127, 127), (127, -128), (-128, 127), (-128, -128)):
        left, right = torch.full((m, k), a, dtype=torch.int8), torch.full((n, k), b, dtype=torch.int8)
        got = multiply(left, right.T, _out(m, n))
        if not bool((got == a * b * k).all()):
            return False
    rows, columns = torch.arange(m * k).view(m, k) * 37 % 256 - 128, torch.arange(n * k).view(n, k) * 101 % 256 - 128
    got = multiply(rows.to(torch.int8), columns.to(torch.int8).T, _out(m, n))
    return torch.equal(got.double(), rows.double() @ columns.double().T)


def _out(m: int, n: int) -> Tensor:
    return torch.empty(m, n, dtype=torch.int32)


@functools.cache
def exact_here() -> bool:
    """Whether products of int8 are fast and exact on this machine."""
    if not (hasattr(torch, "_int_mm") and torch.cpu._is_vnni_supported()):
        return False
    with torch.inference_mode():
        return all(_agrees(*shape) for shape in _TRIALS)


def serves(length: int) -> bool:
    """Whether sums of so many products of int8 are fast and exact on this machine."""
    return length >= LEAST_LENGTH and exact_here()
