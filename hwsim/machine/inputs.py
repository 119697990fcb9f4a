"""Checks what comes into a function: names, types, shapes, codes, and what each dimension is in this call."""

from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.machine.steps.products import check_lookup
from hwsim.machine.steps.workspace import Array
from hwsim.program import Function, Program
from hwsim.program.operations import Embed


def bind(
    program: Program, function: Function, names: Sequence[str], inputs: Mapping[str, Array], sizes: dict[str, int]
) -> dict[str, Array]:
    """Inputs of a function, checked, as int32 or (wider formats) int64.

    Parameters
    ----------
    names
        The inputs that must be there.
    inputs
        Any integer dtype and layout.
    sizes
        What dimensions are already known to be; the others of this call are added.

    Raises
    ------
    ValueError
        If an input is missing, unknown, of the wrong shape, or holds a value outside its format.
    """
    if set(inputs) != set(names):
        missing, extra = set(names) - set(inputs), set(inputs) - set(names)
        raise ValueError(f"{function.name}: missing inputs {sorted(missing)}, unknown inputs {sorted(extra)}")
    values = {}
    for name in names:
        array, info = np.asarray(inputs[name]), program.tensors[name]
        if array.dtype.kind not in "iub":
            raise ValueError(f"input {name} has dtype {array.dtype}; integers are needed")
        _check_shape(program, name, array.shape, sizes)
        if array.size and not (info.format.min <= array.min() and array.max() <= info.format.max):
            raise ValueError(f"input {name} holds a value outside {info.format}")
        values[name] = np.asarray(array, np.int64 if info.format.bits > 31 else np.int32, order="C")
    _check_sums(program, function.name, sizes)
    for op in function.operations:
        if isinstance(op, Embed) and op.ids in values and op.position in values:
            check_lookup(program, op, values[op.ids], int(values[op.position]))
    return values


def _check_shape(program: Program, name: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    dims = program.tensors[name].dims
    if len(shape) != len(dims):
        raise ValueError(f"input {name} has shape {shape}; its dimensions are {dims}")
    for size, dim in zip(shape, dims, strict=True):
        wanted = sizes.setdefault(dim, size) if isinstance(dim, str) else dim
        limit = program.dimensions[dim].maximum if isinstance(dim, str) else dim
        if size != wanted or size > limit:
            raise ValueError(f"input {name} has shape {shape}: {dim} is {size}, needed {min(wanted, limit)}")


def _check_sums(program: Program, function: str, sizes: dict[str, int]) -> None:
    """Check the dimensions that are sums; a sum of sums comes after its terms."""
    for dimension in program.manifest.dimensions:
        if dimension.terms and all(term in sizes for term in dimension.terms):
            total, what = sum(sizes[term] for term in dimension.terms), " + ".join(dimension.terms)
            if total > dimension.maximum:
                raise ValueError(f"{function}: {what} is {total}, {dimension.name} has at most {dimension.maximum}")
            if sizes.setdefault(dimension.name, total) != total:
                raise ValueError(f"{function}: {dimension.name} is {sizes[dimension.name]}, but {what} is {total}")
