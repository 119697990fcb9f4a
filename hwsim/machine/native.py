"""The loop that runs instructions: one call for all of them, with no interpreter and no lock in between.

A **kernel** here is a compiled function of one signature, whatever its operation: the arrays it may touch, and a row of
integers that says where in them its operands lie. So a list of instructions is an array of addresses and an array of
arguments, and one compiled loop calls them one after another, as an accelerator's sequencer would. Another thread may
run the same list on a memory of its own.

==========  ===========================================================================================================
memory      activations and scratch of one worker, bytes
constants   weights as the engine wants them, tables, multipliers; bytes, shared and never written
state       caches that live from call to call; bytes, shared, each row written by one worker
counters    events, five int64 a tensor
sizes       what the dimensions are in this call, int64
args        this instruction's integers: offsets in bytes, positions in `sizes`, constants; `record` names them
==========  ===========================================================================================================
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import INTERPRETED, WITHOUT_WRAPPERS
from hwsim.formats import Counter
from hwsim.machine.record import ARGUMENTS, Words, flattened

Bytes = NDArray[np.uint8]
Kernel = Any
"""A jitted function of `SIGNATURE`; mypy sees no type in it."""

_BYTES, _WORDS = types.Array(types.uint8, 1, "C"), types.Array(types.int64, 1, "C")
SIGNATURE = types.void(_BYTES, _BYTES, _BYTES, _WORDS, _WORDS, _WORDS)
EVENTS = len(Counter)
ALIGNMENT = 64
"""Of every buffer, in bytes: a vector, and every dtype."""


class Arrays(NamedTuple):
    """What kernels of one worker may touch."""

    memory: Bytes
    constants: Bytes
    state: Bytes
    counters: Words
    sizes: Words


class Code(NamedTuple):
    """Instructions: kernels, their addresses (n,) and arguments (n, ARGUMENTS)."""

    kernels: list[Kernel]
    addresses: Words
    arguments: Words


def assemble(instructions: Sequence[tuple[Kernel, Iterable[Any]]]) -> Code:
    """Instructions as arrays; kernels are compiled here, or read from the compile cache."""
    arguments = np.zeros((len(instructions), ARGUMENTS), np.int64)
    for row, (_, fields) in zip(arguments, instructions, strict=True):
        numbers = flattened(fields)
        row[: len(numbers)] = numbers
    kernels = [kernel for kernel, _ in instructions]
    return Code(kernels, np.array([0 if INTERPRETED else _address(k) for k in kernels], np.int64), arguments)


def run(code: Code, arrays: Arrays) -> None:
    """Every instruction in order."""
    if INTERPRETED:
        for kernel, arguments in zip(code.kernels, code.arguments, strict=True):
            kernel(*arrays, arguments)
    else:
        _execute(code.addresses, code.arguments, *arrays)


def _address(kernel: Kernel) -> int:
    """Where the compiled function begins, by numba's own calling convention."""
    kernel.targetoptions.update(WITHOUT_WRAPPERS)  # nobody calls it but by this address
    kernel.compile(SIGNATURE)
    result = kernel.overloads[SIGNATURE.args]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


@intrinsic
def _call(
    typing: Any, address: Any, memory: Any, constants: Any, state: Any, counters: Any, sizes: Any, args: Any
) -> Any:
    """Call the kernel at an address."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, values: Any) -> Any:
        convention = context.call_conv
        function = convention.get_function_type(types.void, SIGNATURE.args).as_pointer()
        pointer = builder.inttoptr(values[0], function)
        status, _ = convention.call_function(builder, pointer, types.void, SIGNATURE.args, values[1:])
        with builder.if_then(status.is_error, likely=False):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, *SIGNATURE.args), emit


_call_kernel: Any = _call  # mypy counts the typing context among its arguments


@njit(cache=True, nogil=True)
def _execute(
    addresses: Words, arguments: Words, memory: Bytes, constants: Bytes, state: Bytes, counters: Words, sizes: Words
) -> None:
    for i in range(addresses.size):
        _call_kernel(addresses[i], memory, constants, state, counters, sizes, arguments[i])


def _viewed(memory: Bytes, at: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """Numbers of a dtype that begin at a byte."""
    return memory[at:].view(dtype)[: np.prod(shape, dtype=np.int64)].reshape(shape)


def _view_row(memory: Bytes, at: int, count: int, dtype: Any) -> Any:
    return _viewed(memory, at, (count,), dtype)


def _view_matrix(memory: Bytes, at: int, rows: int, width: int, dtype: Any) -> Any:
    return _viewed(memory, at, (rows, width), dtype)


def _view_counters(counters: Words, at: int) -> Words:
    return counters[at : at + EVENTS]


def _array(dtype: Any, lengths: Sequence[Any]) -> tuple[Any, Callable[..., Any]]:
    """The type of an array of a dtype, and what emits one that begins so far behind the start of another.

    Emitted in place, where a compiled function would be compiled anew for every dtype and again in every caller. A
    view by Numba would divide in floats.
    """
    made = types.Array(dtype, len(lengths), "C")

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[Any], sizes: Sequence[Any]) -> Any:
        shape = [context.cast(builder, size, kind, types.intp) for size, kind in zip(sizes, lengths, strict=True)]
        itemsize = context.get_constant(types.intp, dtype.bitwidth // 8)
        strides = [itemsize]
        for size in shape[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        held = context.make_array(signature.args[0])(context, builder, values[0])
        at = context.cast(builder, values[1], signature.args[1], types.intp)
        data = builder.bitcast(builder.gep(held.data, [at]), context.get_data_type(dtype).as_pointer())
        array = context.make_array(made)(context, builder)
        populate_array(array, data, shape, strides, itemsize, meminfo=None)  # type: ignore[no-untyped-call]
        return array._getvalue()

    return made, emit


@intrinsic
def _numbers(typing: Any, memory: Any, at: Any, shape: Any, dtype: Any) -> Any:
    """Numbers of a dtype that begin at a byte, in a shape."""
    made, array = _array(dtype.dtype, shape.types)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        sizes = cgutils.unpack_tuple(builder, values[2])  # type: ignore[no-untyped-call]
        return array(context, builder, signature, values, sizes)

    return made(memory, at, shape, dtype), emit


@intrinsic
def _row(typing: Any, memory: Any, at: Any, count: Any, dtype: Any) -> Any:
    made, array = _array(dtype.dtype, [count])

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return array(context, builder, signature, values, values[2:3])

    return made(memory, at, count, dtype), emit


@intrinsic
def _matrix(typing: Any, memory: Any, at: Any, rows: Any, width: Any, dtype: Any) -> Any:
    made, array = _array(dtype.dtype, [rows, width])

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return array(context, builder, signature, values, values[2:4])

    return made(memory, at, rows, width, dtype), emit


@intrinsic
def _counters(typing: Any, counters: Any, at: Any) -> Any:
    made, array = _array(types.int64, [types.intp])

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return array(context, builder, signature, values, [ir.IntType(64)(EVENTS)])

    return made(counters, at), emit


numbers_at: Any = _viewed if INTERPRETED else _numbers
"""`numbers_at(memory, at, shape, dtype)`: numbers of a dtype that begin at a byte."""
flat: Any = _view_row if INTERPRETED else _row
"""`flat(memory, at, count, dtype)`: the same, (count,)."""
matrix: Any = _view_matrix if INTERPRETED else _matrix
"""`matrix(memory, at, rows, width, dtype)`: the same, (rows, width)."""
events: Any = _view_counters if INTERPRETED else _counters
"""`events(counters, at)`: the counters of one tensor."""
