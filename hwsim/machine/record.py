"""The arguments of an instruction by name: one NamedTuple, written as a row of integers and read as it was."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import INTERPRETED

Words = NDArray[np.int64]
ARGUMENTS = 40
"""The most integers of an instruction."""


def flattened(fields: Iterable[Any]) -> list[int]:
    """The integers of a NamedTuple of integers and of such NamedTuples, in the order in which `record` reads them."""
    return [x for field in fields for x in (flattened(field) if isinstance(field, tuple) else [int(field)])]


def _interpreted(args: Words, fields: type[Any]) -> Any:
    """What `record` is where nothing is compiled."""
    return _taken(iter(args.tolist()), fields)


def _taken(numbers: Iterator[int], fields: type[Any]) -> Any:
    kinds = fields.__annotations__.values()
    return fields(*(next(numbers) if kind is int else _taken(numbers, kind) for kind in kinds))


@intrinsic
def _compiled(typing: Any, args: Any, fields: Any) -> Any:
    """A row of integers as the NamedTuple that was flattened."""
    made = _type_of(fields.instance_class)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        numbers = (builder.load(builder.gep(data, [ir.IntType(64)(i)])) for i in range(ARGUMENTS))
        return _packed(context, builder, made, numbers)

    return made(args, fields), emit


def _type_of(fields: type[Any]) -> Any:
    kinds = [types.int64 if kind is int else _type_of(kind) for kind in fields.__annotations__.values()]
    return types.BaseTuple.from_types(kinds, fields)  # type: ignore[no-untyped-call]


def _packed(context: Any, builder: ir.IRBuilder, kind: Any, numbers: Iterator[Any]) -> Any:
    parts = [next(numbers) if k is types.int64 else _packed(context, builder, k, numbers) for k in kind.types]
    return context.make_tuple(builder, kind, parts)


record: Any = _interpreted if INTERPRETED else _compiled
"""`record(args, Fields)` in a kernel: its arguments as Fields, a NamedTuple class known to the compiler."""
