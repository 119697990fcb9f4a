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

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from hwsim.formats import Counter
from hwsim.machine.record import ARGUMENTS, INTERPRETED, Words, flattened

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


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), emit


_as_pointer: Any = _pointer


def _viewed(memory: Bytes, at: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """Numbers of a dtype that begin at a byte."""
    return memory[at:].view(dtype)[: np.prod(shape, dtype=np.int64)].reshape(shape)


@njit(cache=True, nogil=True)
def _addressed(memory: Bytes, at: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """As `_viewed`; a view by Numba would divide in floats."""
    return carray(_as_pointer(memory.ctypes.data + at), shape, dtype)


numbers_at = _viewed if INTERPRETED else _addressed


@njit(cache=True, nogil=True)
def flat(memory: Bytes, at: int, count: int, dtype: Any) -> Any:
    """`count` numbers of a dtype that begin at a byte."""
    return numbers_at(memory, at, (count,), dtype)


@njit(cache=True, nogil=True)
def matrix(memory: Bytes, at: int, rows: int, width: int, dtype: Any) -> Any:
    """(rows, width) numbers of a dtype that begin at a byte."""
    return numbers_at(memory, at, (rows, width), dtype)


@njit(cache=True, nogil=True)
def events(counters: Words, at: int) -> Words:
    """The counters of one tensor."""
    return counters[at : at + EVENTS]
