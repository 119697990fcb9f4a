"""The loops of the engine with tile registers, around the blocks of `tiles`; few rows go by avx512-vnni."""

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from hwsim.arithmetic.compilation import named
from hwsim.operators.gemm.engines import emission, tiles
from hwsim.operators.gemm.engines.blocks import KERNELS, ROW_BYTES_IN_CACHE, Kernel, scratch, start_sums
from hwsim.operators.gemm.engines.cpu import NUMBERS

FEW_ROWS = 8
"""Below it most of a tile is empty, and a dot product of dwords reads b as fast."""
TILES: dict[str, tiles.Tiles] = {"amx": tiles.Processor(), "emulated": tiles.Emulation()}


@intrinsic(prefer_literal=True)
def _configure(typing: Any, kind: Any, rows: Any, state: Any) -> Any:
    """`tiles.emit_configuration`."""
    instructions = TILES[kind.literal_value]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tiles.emit_configuration(builder, instructions, *arguments[1:])
        return context.get_dummy_value()

    return types.void(kind, types.intp, types.intp), generate


@intrinsic(prefer_literal=True)
def _release(typing: Any, kind: Any) -> Any:
    """Leave the tile registers unused."""
    instructions = TILES[kind.literal_value]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        instructions.release(builder)
        return context.get_dummy_value()

    return types.void(kind), generate


@intrinsic(prefer_literal=True)
def _multiply_block(typing: Any, kind: Any, signed: Any, rows: Any, panels: Any, block: Any, state: Any) -> Any:
    """`tiles.emit_tile_switch`; kind and signed are constants."""
    constants = TILES[kind.literal_value], bool(signed.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, panels, operands, state = arguments[2:]
        tiles.emit_tile_switch(builder, *constants, panels, emission.block_of(builder, operands), rows, state)
        return context.get_dummy_value()

    return types.void(kind, signed, types.intp, types.intp, block, types.intp), generate


configure: Any = _configure
release: Any = _release
multiply_block: Any = _multiply_block


def tile_kernel(kind: str, signed: bool) -> Kernel:
    """As `blocks.kernel` for quads: whole blocks of rows first, then those that are left, configured anew."""
    number = NUMBERS["amx"]
    start_bytes, state_bytes, high = emission.START_BYTES, tiles.STATE_BYTES, tiles.ROWS
    cached = ROW_BYTES_IN_CACHE

    @njit(nogil=True, cache=True)
    @named(kind, signed)
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
        start, state = scratch(start_bytes), scratch(state_bytes)
        at_once = max(cached // max(a_stride, 1) // high, 1) * high
        for top in range(0, m, at_once):
            bottom = min(top + at_once, m)
            whole = top + (bottom - top) // high * high
            for first, last in ((top, whole), (whole, bottom)):
                if first < last:
                    configure(kind, min(last - first, high), state)
                for j in range(0, n if first < last else 0, 32):
                    start_sums(bias + 4 * j, n - j, start)
                    b = packed + (j >> 4) * panel_stride
                    for i in range(first, last, high):
                        left, target = a + i * a_stride, result + i * result_stride + 4 * j
                        block = (left, a_stride, b, panel_stride, groups, start, target, result_stride, n - j)
                        multiply_block(kind, signed, min(last - i, high), min((n - j + 15) >> 4, 2), block, state)
        release(kind)
        return number

    return multiply


TILE_KERNELS = {
    f"{kind} {form}": tile_kernel(kind, form == "quads_signed") for kind in TILES for form in emission.FORMS[:2]
}
"""The products of tiles, by kind and form; the emulated ones are for tests."""
_FEW_UNSIGNED, _FEW_SIGNED = (KERNELS[f"avx512-vnni {form}"] for form in emission.FORMS[:2])
_TILES_UNSIGNED, _TILES_SIGNED = (TILE_KERNELS[f"amx {form}"] for form in emission.FORMS[:2])
_NUMBER = NUMBERS["amx"]


@njit(nogil=True, cache=True)
def quads_signed(
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
    if m < FEW_ROWS:
        _FEW_SIGNED(a, a_stride, m, groups, packed, panel_stride, bias, n, result, result_stride)
        return _NUMBER
    return _TILES_SIGNED(a, a_stride, m, groups, packed, panel_stride, bias, n, result, result_stride)


@njit(nogil=True, cache=True)
def quads_unsigned(
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
    if m < FEW_ROWS:
        _FEW_UNSIGNED(a, a_stride, m, groups, packed, panel_stride, bias, n, result, result_stride)
        return _NUMBER
    return _TILES_UNSIGNED(a, a_stride, m, groups, packed, panel_stride, bias, n, result, result_stride)
