"""Edits of a program, the values they take, and a run of what validation lets through."""

import functools
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import Dyadic
from hwsim.program.operations import written
from reference.quantize.scheme import preset, scheme_for
from tests.small.programs import tiny_program

Edit = Callable[[Program], Program]
replace = msgspec.structs.replace

ATTENTION, CROSS, FORWARD = "encoder.0.self_attention", "decoder.0.cross_attention", "encoder.0.feed_forward"
KEY, SCORES, SOFTMAX, NORM = (f"{ATTENTION}.{part}" for part in ("key", "scores", "softmax", "layernorm"))
CACHE, PAST = "decoder.0.self_attention.key_cache", "decoder.0.self_attention.key_past"
QUERY, CONTEXT = "decoder.0.self_attention.query", "decoder.0.self_attention.context"
TABLE, POSITIONS = "encoder.embedding.weight", "positions.weight"
LOGITS, SUM = "generator.logits", f"{ATTENTION}.residual"
ACCUMULATOR = f"{KEY}.accumulator"


@functools.cache
def native(target: str) -> Program:
    """The tiny program in a target's own configuration; `tflm-int16`: that of 16-bit activations."""
    name, separator, _ = target.partition("-int16")
    return tiny_program(scheme_for(name, name=target, activation_bits=16) if separator else preset("native", name))


def edited(program: Program, *edits: Edit) -> Program:
    return functools.reduce(lambda made, edit: edit(made), edits, program)


def manifest(**fields: Any) -> Edit:
    return lambda program: Program(replace(program.manifest, **fields), program.constants)


def _each(field: str, name: str, change: Callable[[Any], list[Any]]) -> Edit:
    """Replace the record of a name in one list of the manifest by others."""

    def edit(program: Program) -> Program:
        records = getattr(program.manifest, field)
        assert name in [record.name for record in records], f"{name} is none of the {field}"
        made = [new for record in records for new in (change(record) if record.name == name else [record])]
        return manifest(**{field: made})(program)

    return edit


def tensor(name: str, **fields: Any) -> Edit:
    return _each("tensors", name, lambda info: [replace(info, **fields)])


def function(name: str, **fields: Any) -> Edit:
    return _each("functions", name, lambda info: [replace(info, **fields)])


def dimension(name: str, **fields: Any) -> Edit:
    return _each("dimensions", name, lambda info: [replace(info, **fields)])


def twice(field: str, name: str) -> Edit:
    return _each(field, name, lambda info: [info, info])


def constant(name: str, values: NDArray[Any] | None = None, **fields: Any) -> Edit:
    """Another record of a constant, and other values of another shape."""

    def edit(program: Program) -> Program:
        array = program.constants[name] if values is None else np.asarray(values)
        records = [
            replace(info, shape=list(array.shape), **fields) if info.name == name else info
            for info in program.manifest.constants
        ]
        return Program(replace(program.manifest, constants=records), program.constants | {name: array})

    return edit


def new_constant(name: str, values: list[int], bits: int = 16) -> Edit:
    def edit(program: Program) -> Program:
        info = ir.ConstantInfo(
            name=name, format=IntFormat(bits=bits, signed=False), shape=[len(values)], role="multiplier"
        )
        records = [*program.manifest.constants, info]
        return Program(replace(program.manifest, constants=records), program.constants | {name: np.array(values)})

    return edit


def new_tensor(name: str, dims: list[str | int], bits: int = 8) -> Edit:
    info = ir.TensorInfo(name=name, format=IntFormat(bits=bits), dims=dims)
    return lambda program: manifest(tensors=[*program.manifest.tensors, info])(program)


def _operations(name: str, change: Callable[[ops.Operation], list[ops.Operation]]) -> Edit:
    def edit(program: Program) -> Program:
        assert any(name in written(operation) for _, operation in program.operations()), f"nothing makes {name}"
        functions = [
            replace(f, operations=[new for o in f.operations for new in (change(o) if name in written(o) else [o])])
            for f in program.manifest.functions
        ]
        return manifest(functions=functions)(program)

    return edit


def operation(name: str, **fields: Any) -> Edit:
    """The operation that makes a tensor, with other fields."""
    return _operations(name, lambda made: [replace(made, **fields)])


def without(name: str) -> Edit:
    return _operations(name, lambda made: [])


def repeated(name: str) -> Edit:
    return _operations(name, lambda made: [made, made])


def instead(name: str, other: ops.Operation) -> Edit:
    return _operations(name, lambda made: [other])


def also_input(of: str, name: str) -> Edit:
    return lambda program: function(of, inputs=[*program.functions[of].inputs, name])(program)


def also_output(of: str, name: str) -> Edit:
    return lambda program: function(of, outputs=[*program.functions[of].outputs, name])(program)


def state(**fields: Any) -> Edit:
    return lambda program: manifest(
        states=[replace(program.manifest.states[0], **fields), *program.manifest.states[1:]]
    )(program)


def rescale(multiplier: int | str, shift: int | str) -> Dyadic:
    return Dyadic(multiplier=multiplier, shift=shift)


INT8, INT16, INT17 = IntFormat(bits=8), IntFormat(bits=16), IntFormat(bits=17)
UINT8, UINT16 = IntFormat(bits=8, signed=False), IntFormat(bits=16, signed=False)
ROWS = ["batch", "source", 8]
SQUARE = ["batch", 2, "source", "source"]


def inputs_of(program: Program, name: str, rng: np.random.Generator, worst: bool = False) -> dict[str, NDArray[Any]]:
    """Codes of every input of a function; ids and positions are 0."""
    sizes = {dim.name: min(3, dim.maximum) for dim in program.manifest.dimensions}
    for dim in program.manifest.dimensions:
        if dim.terms:
            if sum(sizes[term] for term in dim.terms) > dim.maximum:
                sizes |= dict.fromkeys(dim.terms, 0)
            sizes[dim.name] = sum(sizes[term] for term in dim.terms)
    ids = {
        name for _, made in program.operations() if isinstance(made, ops.Embed) for name in (made.ids, made.position)
    }
    made = {}
    for tensor_name in program.functions[name].inputs:
        info = program.tensors[tensor_name]
        shape = [sizes[dim] if isinstance(dim, str) else min(dim, 1 << 12) for dim in info.dims]
        fmt = info.format
        codes = rng.choice([fmt.min, fmt.max], shape) if worst else rng.integers(fmt.min, fmt.max, shape, endpoint=True)
        made[tensor_name] = np.zeros(shape, np.int64) if tensor_name in ids else codes
    return made


def run(program: Program) -> None:
    """Validate, and run every function on codes of the whole range; accumulators stay in their intervals."""
    machine, rng = Machine(program), np.random.default_rng(2)

    def observe(name: str, codes: NDArray[Any]) -> None:
        fmt = program.tensors[name].format
        low, high = machine.reach.get(name, (fmt.min, fmt.max))
        assert codes.size == 0 or (low <= codes.min() and codes.max() <= high), name

    for name in program.functions:
        for worst in (False, True):
            machine.run(name, inputs_of(program, name, rng, worst), observe)
