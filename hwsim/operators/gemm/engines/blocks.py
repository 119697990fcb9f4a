"""The loops of the engines over rows and panels, around the register blocks of `emission`."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import types
from numba.extending import intrinsic

from hwsim.arithmetic.compilation import named
from hwsim.operators.gemm.engines import emission
from hwsim.operators.gemm.engines.cpu import NUMBERS

Kernel = Callable[..., int]

ROW_BYTES_IN_CACHE = 1 << 18
"""Rows of the first operand that meet one set of panels after the other: a part of the second-level cache."""

_REGISTERS = {"avx512-vnni": 24, "avx-vnni": 12, "avx2": 12, "portable": 4}
"""Accumulators of a register block, in vectors of the engine."""
_WIDTHS = (4, 2, 1)
"""Panels of a register block."""
_MOST_ROWS = 6
"""Of a register block of few panels; more would only be more code."""


def highest(engine: str, form: str, panels: int, sums: bool) -> int:
    """Most rows of a register block of so many panels."""
    vectors = panels * emission.PANEL // emission.dot_of(engine, form).lanes
    return min(_REGISTERS[engine] // vectors, _MOST_ROWS + int(sums)) - int(sums)


def shapes(engine: str, form: str, sums: bool) -> list[tuple[int, int]]:
    """(rows, panels) of every register block of an engine."""
    return [(rows, panels) for panels in _WIDTHS for rows in range(1, highest(engine, form, panels, sums) + 1)]


@intrinsic(prefer_literal=True)
def _multiply_block(typing: Any, engine: Any, form: Any, sums: Any, rows: Any, panels: Any, block: Any) -> Any:
    """The register block of `emission.emit_block` for runtime rows and panels; engine, form and sums are constants."""
    signature = types.void(engine, form, sums, rows, panels, block)
    names = engine.literal_value, form.literal_value, bool(sums.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        high, wide, operands = arguments[3:]
        block = emission.block_of(builder, operands)
        emission.emit_switch(builder, names, shapes(*names), high, wide, block)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _start_sums(typing: Any, bias: Any, columns: Any, start: Any) -> Any:
    """`emission.emit_start`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emission.emit_start(builder, *arguments)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic(prefer_literal=True)
def _scratch(typing: Any, size: Any) -> Any:
    """Address of so many bytes of the stack, aligned to 64: memory for the time of the call."""
    length = size.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emission.scratch_memory(builder, length)

    return types.intp(size), generate


multiply_block: Any = _multiply_block
start_sums: Any = _start_sums
scratch: Any = _scratch


def kernel(engine: str, form: str, number: int) -> Kernel:
    """The product of one engine for one form of the operands, on addresses; it returns the number of the engine.

    Its name for Numba's cache is the same for all engines; their constants, which the cache sees, tell them apart.
    """
    flips = emission.dot_of(engine, form).flips
    high4, high2, high1 = (highest(engine, form, panels, False) for panels in _WIDTHS)
    sums4, sums2, sums1 = (highest(engine, form, panels, flips) for panels in _WIDTHS)
    cached, start_bytes = ROW_BYTES_IN_CACHE, emission.START_BYTES

    @njit(nogil=True, cache=True)
    @named(engine, form)
    def multiply(
        a: int,
        a_stride: int,
        m: int,
        groups: int,
        packed: int,
        panel_stride: int,
        bias: int,
        n: int,
        result: int,
        result_stride: int,
    ) -> int:
        start = scratch(start_bytes)
        widest = 4 if m <= sums4 or high4 >= 4 else 2 if m <= sums2 else 1
        at_once = max(cached // max(a_stride, 1), high1)
        for top in range(0, m, at_once):
            bottom = min(top + at_once, m)
            j = 0
            while j < n:
                left = (n - j + 15) >> 4
                panels = widest if left >= widest else 2 if left >= 2 and widest >= 2 else 1
                high = high4 if panels == 4 else high2 if panels == 2 else high1
                start_sums(bias + 4 * j, n - j, start)
                b = packed + (j >> 4) * panel_stride
                i = top
                if flips:
                    first = sums4 if panels == 4 else sums2 if panels == 2 else sums1
                    blocks = 1 + max(bottom - top - first + high - 1, 0) // high
                    rows = min(first, (bottom - top + blocks - 1) // blocks)
                    target = result + i * result_stride + 4 * j
                    block = (a + i * a_stride, a_stride, b, panel_stride, groups, start, target, result_stride, n - j)
                    multiply_block(engine, form, True, rows, panels, block)
                    i += rows
                while i < bottom:
                    blocks = (bottom - i + high - 1) // high
                    rows = (bottom - i + blocks - 1) // blocks
                    target = result + i * result_stride + 4 * j
                    block = (a + i * a_stride, a_stride, b, panel_stride, groups, start, target, result_stride, n - j)
                    multiply_block(engine, form, False, rows, panels, block)
                    i += rows
                j += 16 * panels
        return number

    return multiply


KERNELS = {
    f"{engine} {form}": kernel(engine, form, NUMBERS[engine]) for engine in _REGISTERS for form in emission.FORMS
}
"""The products of the engines that multiply dwords, by engine and form; each is compiled when it is first used."""
