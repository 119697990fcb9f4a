"""Validation: every check refuses a program that breaks it, by name, at its exact boundary; what passes, runs."""

import copy
import functools
import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.machine.machine import Machine
from hwsim.program import Manifest, Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import MAX_MULTIPLIER, Dyadic
from hwsim.program.operations import Requantize, written
from hwsim.program.validate import validate
from reference.quantize.scheme import Scheme, preset
from tests import oracle
from tests.property.equality import TARGET_OPERATIONS
from tests.small.programs import tiny_program

Edit = Callable[[Program], Program]
replace = msgspec.structs.replace

ATTENTION, CROSS, FORWARD = "encoder.0.self_attention", "decoder.0.cross_attention", "encoder.0.feed_forward"
KEY, SCORES, SOFTMAX, NORM = (f"{ATTENTION}.{part}" for part in ("key", "scores", "softmax", "layernorm"))
CACHE, PAST = "decoder.0.self_attention.key_cache", "decoder.0.self_attention.key_past"
QUERY, CONTEXT = "decoder.0.self_attention.query", "decoder.0.self_attention.context"
TABLE, POSITIONS = "encoder.embedding.weight", "positions.weight"
LOGITS, SUM = "generator.logits", f"{ATTENTION}.residual"


@pytest.fixture(scope="module")
def tiny() -> Program:
    return tiny_program(preset("int8"))


# --- edits ------------------------------------------------------------------------------------------------------------


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


# --- one mutation for every check -------------------------------------------------------------------------------------

INT8, INT17, UINT8 = IntFormat(bits=8), IntFormat(bits=17), IntFormat(bits=8, signed=False)
ROWS = ["batch", "source", 8]
SQUARE = ["batch", 2, "source", "source"]
ONES = np.ones(8, np.int64)

REFUSED: dict[str, tuple[list[Edit], str]] = {
    # the manifest
    "arithmetic": (
        [manifest(arithmetic="float")],
        "arithmetic 'float'; this hwsim knows 'hwsim-2'; `hwsim quantize --out FILE` makes a",
    ),
    "tensor twice": ([twice("tensors", KEY)], f"tensor {KEY} is declared twice"),
    "constant twice": ([twice("constants", TABLE)], f"tensor {TABLE} is declared twice"),
    "tensor and constant": ([new_tensor(TABLE, [4])], f"tensor {TABLE} is declared twice"),
    "function twice": ([twice("functions", "encode")], "function encode is declared twice"),
    "dimension twice": ([twice("dimensions", "past")], "dimension past is declared twice"),
    "sum of an unknown": ([dimension("keys", terms=["past", "time"])], "dimension keys: its term 'time'"),
    "sum of itself": ([dimension("keys", terms=["keys", "target"])], "dimension keys: its term 'keys'"),
    "sum declared first": ([dimension("batch", terms=["past", "target"])], "dimension batch: its term 'past'"),
    "constant's zero point": ([constant(f"{KEY}.weight", zero_point=128)], f"constant {KEY}.weight: zero point 128"),
    "tensor's zero point": ([tensor(KEY, zero_point=-129)], f"tensor {KEY}: zero point -129 is not a code of int8"),
    "unknown dimension": ([tensor(KEY, dims=["batch", "time", 8])], f"tensor {KEY}: unknown dimension 'time'"),
    "size 0": ([tensor(KEY, dims=["batch", "source", 0])], f"tensor {KEY}: dimension 0; sizes are at least 1"),
    # functions and states
    "input not declared": ([also_input("encode", "more")], "tensor more is not declared"),
    "output not made": ([also_output("encode", LOGITS)], f"function encode: output {LOGITS} is never made"),
    "output an input": ([also_output("encode", "source_mask")], "function encode: output source_mask is never made"),
    "read before it is made": ([without(KEY)], f"function encode, {KEY}.heads: reads {KEY}, which is not made before"),
    "made twice": ([repeated(KEY)], f"function encode, {KEY}: {KEY} is made twice"),
    "input made": ([also_input("encode", KEY)], f"function encode, {KEY}: {KEY} is made twice"),
    "made in two functions": ([operation(LOGITS, output=KEY)], f"function decode_step, {KEY}: {KEY} is made twice"),
    "softmax onto itself": ([operation(f"{SOFTMAX}.output", numerator=f"{SOFTMAX}.output")], "output is made twice"),
    "result not declared": ([operation(KEY, output="more")], "function encode, more: tensor more is not declared"),
    "state of no function": ([state(function="decode")], f"state {CACHE}: {PAST} must be an input"),
    "state's past": ([state(past=CACHE)], f"state {CACHE}: {CACHE} must be an input"),
    "state's present": ([state(present=PAST)], f"state {PAST}: {PAST} must be an input and {PAST} an output"),
    "state's owner": ([state(function="encode")], "an output of 'encode'"),
    "state of another format": ([state(present=LOGITS)], f"{PAST} and {LOGITS} differ in format or zero point"),
    "state of another zero point": (
        [also_output("decode_step", CONTEXT), state(present=CONTEXT)],
        f"{PAST} and {CONTEXT} differ in format or zero point",
    ),
    "state of another shape": (
        [also_output("decode_step", QUERY), state(present=QUERY)],
        f"state {QUERY}: ('batch', 2, 'past', 4) and ('batch', 'target', 8) differ outside the position axis",
    ),
    # look-ups
    "constant not declared": ([operation(f"{KEY}.accumulator", bias="more")], "constant more is not declared"),
    "weight not declared": ([operation(f"{KEY}.accumulator", b="more")], f"function encode, {KEY}.accumulator: reads"),
    "constant's shape": ([constant(f"{KEY}.weight", np.ones((8, 7), np.int64))], "has shape (8, 7), needed (8, 8)"),
    "bias's shape": ([constant(f"{KEY}.bias", np.ones(7, np.int64))], f"{KEY}.bias has shape (7,), needed (8,)"),
    "bias's zero point": ([constant(f"{KEY}.bias", zero_point=1)], f"constant {KEY}.bias has zero point 1"),
    "multiplier's zero point": ([constant(f"{KEY}.multiplier", zero_point=1)], "multiplier has zero point 1"),
    "table's zero point": ([constant(f"{SOFTMAX}.table", zero_point=1)], f"{SOFTMAX}.table has zero point 1"),
    "gamma's zero point": ([constant(f"{NORM}.gamma", zero_point=1)], f"{NORM}.gamma has zero point 1"),
    # requantization
    "multiplier of 0": (
        [constant(f"{KEY}.multiplier", 0 * ONES)],
        f"{KEY}: constant {KEY}.multiplier leaves 1..{MAX_MULTIPLIER}",
    ),
    "multiplier of 2^31": (
        [constant(f"{KEY}.multiplier", ONES << 31, format=IntFormat(bits=33))],
        f"{KEY}: constant {KEY}.multiplier leaves 1..{MAX_MULTIPLIER}",
    ),
    "shift of 63": (
        [new_constant("shifts", [63] * 8), operation(KEY, requantization=rescale(1, "shifts"))],
        f"function encode, {KEY}: constant shifts leaves 0..62",
    ),
    "one multiplier too few": (
        [new_constant("few", [1] * 7), operation(KEY, requantization=rescale("few", 1))],
        f"function encode, {KEY}: constant few has shape (7,), needed (8,)",
    ),
    "channels that vary": (
        [new_constant("some", [1] * 12), operation(SCORES, requantization=rescale("some", 1))],
        f"function encode, {SCORES}: dimension 'source' varies",
    ),
    "requantize of codes": ([operation(KEY, input="encoder.embedding")], "encoder.embedding is not an accumulator"),
    "requantize of an input": (
        [new_tensor("wide", ROWS, 32), also_input("encode", "wide"), operation(KEY, input="wide")],
        f"function encode, {KEY}: wide is not an accumulator of this function",
    ),
    "accumulator of another function": (
        [
            new_tensor("copy", ROWS),
            also_input("decode_step", f"{KEY}.accumulator"),
            operation(LOGITS, output="copy", input=f"{KEY}.accumulator"),
        ],
        f"function decode_step, copy: {KEY}.accumulator is not an accumulator of this function",
    ),
    "requantize to 17 bits": ([tensor(KEY, format=INT17)], f"{KEY}: output format int17; codes have 2 to 16 bits"),
    "logits unsigned": ([tensor(LOGITS, format=IntFormat(bits=32, signed=False))], f"{LOGITS}: output format uint32"),
    "logits narrow": ([tensor(LOGITS, format=IntFormat(bits=32, narrow=True))], f"{LOGITS}: output format int32n"),
    "logits' zero point": ([tensor(LOGITS, zero_point=1)], f"{LOGITS}: output format int32"),
    "requantize to another shape": ([tensor(KEY, dims=["batch", "source", 4])], f"{KEY} has dimensions"),
    # embedding
    "position an array": ([tensor("encode.position", dims=["batch"])], "embedding: encode.position has dimensions"),
    "position a constant": (
        [operation("encoder.embedding", position=POSITIONS)],
        f"tensor {POSITIONS} is not declared",
    ),
    "ids of another shape": ([tensor("source_ids", dims=["batch", "past"])], "encoder.embedding: ids"),
    "ids without batch": (
        [tensor("source_ids", dims=["source"]), tensor("encoder.embedding", dims=["source", 8])],
        "function encode, encoder.embedding: encoder.embedding has dimensions ('source', 8)",
    ),
    "embedding of varying width": ([tensor("encoder.embedding", dims=["batch", "source", "past"])], "'past' varies"),
    "embedding to 17 bits": ([tensor("encoder.embedding", format=INT17)], "encoder.embedding has 17 bits"),
    "table not declared": ([operation("encoder.embedding", table="more")], "constant more is not declared"),
    "table's width": ([constant(TABLE, np.ones((20, 7), np.int64))], f"{TABLE} has shape (20, 7), needed (20, 8)"),
    "table a vector": ([constant(TABLE, np.ones(20, np.int64))], f"{TABLE} has shape (20,), needed (20, 8)"),
    "table of 17 bits": ([constant(TABLE, format=INT17)], f"encoder.embedding: constant {TABLE} has 17 bits"),
    "positions too few": ([constant(POSITIONS, np.ones((11, 8), np.int64))], f"{POSITIONS} has 11 rows"),
    "positions of 17 bits": ([constant(POSITIONS, format=INT17)], f"encoder.embedding: constant {POSITIONS} has 17"),
    "positions' zero point": ([constant(POSITIONS, zero_point=1)], f"constant {POSITIONS} has zero point 1"),
    "a multiplier a row": ([constant(f"{TABLE}.multiplier", np.ones(8, np.int64))], "has shape (8,), needed (20,)"),
    # products
    "operand of 17 bits": ([tensor("encoder.embedding", format=INT17)], "encoder.embedding has 17 bits"),
    "second operand of 17 bits": (
        [
            new_tensor("keys", ["batch", 2, "source", 4], 17),
            also_input("decode_step", "keys"),
            operation(f"{CROSS}.scores.accumulator", b="keys"),
        ],
        f"function decode_step, {CROSS}.scores.accumulator: keys has 17 bits",
    ),
    "product's rows": (
        [tensor(f"{KEY}.accumulator", dims=["batch", 1, 8])],
        "encoder.embedding ('batch', 'source', 8)",
    ),
    "product's columns": ([tensor(f"{KEY}.accumulator", dims=["batch", "source", 7])], "(8, 8), needed (7, 8)"),
    "product's columns vary": ([tensor(f"{KEY}.accumulator", dims=["batch", "source", "past"])], "'past' varies"),
    "product of vectors": (
        [tensor(f"{KEY}.accumulator", dims=[8]), operation(f"{KEY}.accumulator", a="encode.position")],
        f"{KEY}.accumulator: encode.position has 32 bits",
    ),
    "product of one dimension": (
        [
            new_tensor("vector", [8]),
            also_input("encode", "vector"),
            tensor(f"{KEY}.accumulator", dims=[8]),
            operation(f"{KEY}.accumulator", a="vector"),
        ],
        f"{KEY}.accumulator: vector has dimensions (8,)",
    ),
    "accumulator's format": ([tensor(f"{KEY}.accumulator", format=IntFormat(bits=31))], f"{KEY}.accumulator must be"),
    "accumulator's zero point": ([tensor(f"{KEY}.accumulator", zero_point=1)], "int32 with zero point 0"),
    "weight of 17 bits": ([constant(f"{KEY}.weight", format=INT17)], f"constant {KEY}.weight has 17 bits"),
    "weight transposed": (
        [operation(f"{KEY}.accumulator", transpose_b=True)],
        "a constant operand is stored (out, in)",
    ),
    "bias beside activations": (
        [operation(f"{SCORES}.accumulator", bias=f"{KEY}.bias")],
        "two activations has no bias",
    ),
    "keys of another shape": ([operation(f"{SCORES}.accumulator", transpose_b=True)], f"{KEY}.heads has dimensions"),
    "not proven": (
        [
            tensor(f"{KEY}.accumulator", format=INT8),
            operation(f"{KEY}.accumulator", accumulator=Accumulator(bits=8)),
        ],
        f"{KEY}.accumulator: partial sums reach",
    ),
    # shift and ReLU
    "shift of codes": ([operation(f"{SCORES}.shifted", input=SOFTMAX)], f"{SCORES}.shifted: reads {SOFTMAX}"),
    "shift to another shape": ([tensor(f"{SCORES}.shifted", dims=ROWS)], f"{SCORES}.shifted has dimensions"),
    "shift to another format": ([tensor(f"{SCORES}.shifted", format=INT8)], "differ in format or zero point"),
    "ReLU of codes": ([operation(f"{FORWARD}.hidden.rectified", input=SUM)], f"{SUM} is not an accumulator"),
    "ReLU to another shape": ([tensor(f"{FORWARD}.hidden.rectified", dims=ROWS)], "hidden.rectified has dimensions"),
    "ReLU to another format": ([tensor(f"{FORWARD}.hidden.rectified", format=INT8)], "hidden.rectified differ in"),
    "ReLU's zero point": ([tensor(f"{FORWARD}.hidden.rectified", zero_point=1)], "hidden.rectified differ in"),
    # heads and caches
    "split to another format": ([tensor(f"{KEY}.heads", format=UINT8)], f"{KEY}.heads and {KEY} differ in format"),
    "split to another zero point": ([tensor(f"{KEY}.heads", zero_point=1)], f"{KEY}.heads and {KEY} differ"),
    "split into too much": ([tensor(f"{KEY}.heads", dims=["batch", 2, "source", 8])], f"{KEY} ('batch', 'source', 8)"),
    "split into three": ([tensor(f"{KEY}.heads", dims=ROWS)], f"{KEY}.heads has dimensions ('batch', 'source', 8)"),
    "heads that vary": ([tensor(f"{KEY}.heads", dims=["batch", "past", "source", 4])], "dimension 'past' varies"),
    "merge to another shape": ([tensor(f"{ATTENTION}.context.merged", dims=["batch", "source", 4])], "is not"),
    "merge to another zero point": ([tensor(f"{ATTENTION}.context.merged", zero_point=1)], "context.merged differ in"),
    "cache of another format": ([tensor(PAST, format=UINT8)], f"{CACHE}: {PAST} and {CACHE} differ in format"),
    "cache of another zero point": ([tensor(PAST, zero_point=1)], f"{CACHE}: {PAST} and {CACHE} differ"),
    "cache of another width": ([tensor(PAST, dims=["batch", 2, "past", 8])], f"{CACHE}: past, input and output differ"),
    "cache of three dimensions": ([tensor(PAST, dims=["batch", "past", 8])], f"{CACHE}: {PAST} has dimensions"),
    "cache of another length": ([tensor(CACHE, dims=["batch", 2, "source", 4])], "dimension 'source' must be the sum"),
    "cache of a fixed length": ([tensor(CACHE, dims=["batch", 2, 12, 4])], "dimension 12 must be the sum of 'past'"),
    "cache backwards": ([dimension("keys", terms=["target", "past"])], "'keys' must be the sum of 'past' and 'target'"),
    # softmax
    "softmax to another shape": ([tensor(f"{SOFTMAX}.output", dims=ROWS)], f"{SOFTMAX}.output has dimensions"),
    "numerators of another shape": ([tensor(f"{SOFTMAX}.numerator", dims=ROWS)], f"{SOFTMAX}.numerator has dimensions"),
    "a denominator a key": ([tensor(f"{SOFTMAX}.denominator", dims=SQUARE)], "output: denominator has dimensions"),
    "numerators signed": ([tensor(f"{SOFTMAX}.numerator", format=INT8)], f"{SOFTMAX}.numerator must be unsigned"),
    "denominator signed": ([tensor(f"{SOFTMAX}.denominator", format=INT8)], "softmax.denominator must be unsigned"),
    "probabilities signed": ([tensor(f"{SOFTMAX}.output", format=INT8)], f"{SOFTMAX}.output must be unsigned"),
    "probabilities' zero point": (
        [tensor(f"{SOFTMAX}.output", zero_point=1)],
        "output has zero point 1; the operation",
    ),
    "numerators of 17 bits": (
        [tensor(f"{SOFTMAX}.numerator", format=IntFormat(bits=17, signed=False))],
        f"{SOFTMAX}.numerator has 17 bits",
    ),
    "table of another length": (
        [constant(f"{SOFTMAX}.table", np.ones(255, np.int64))],
        f"{SOFTMAX}.table has shape (255,), needed (256,)",
    ),
    "table below 0": (
        [constant(f"{SOFTMAX}.table", np.full(256, -1), format=INT8)],
        f"{SOFTMAX}.output: table {SOFTMAX}.table leaves the numerator's format uint8",
    ),
    "table above its format": (
        [constant(f"{SOFTMAX}.table", np.full(256, 256), format=INT17)],
        f"{SOFTMAX}.output: table {SOFTMAX}.table leaves the numerator's format uint8",
    ),
    "mask of another shape": ([tensor("source_mask", dims=["batch", "past"])], "mask source_mask has dimensions"),
    "mask not made": ([operation(f"{SOFTMAX}.output", mask="more")], f"{SOFTMAX}.output: reads more"),
    "a ratio a key": (
        [new_constant("m", [9]), operation(f"{SOFTMAX}.output", output_requantization=rescale("m", 1))],
        f"{SOFTMAX}.output: this rescaling has one multiplier and one shift",
    ),
    # LayerNorm
    "LayerNorm to another shape": ([tensor(f"{NORM}.output", dims=SQUARE)], f"{NORM}.output has dimensions"),
    "quotients of another shape": ([tensor(f"{NORM}.quotient", dims=SQUARE)], f"{NORM}.quotient has dimensions"),
    "a denominator a column": ([tensor(f"{NORM}.denominator", dims=ROWS)], "output: denominator has dimensions"),
    "LayerNorm's numerator": ([tensor(f"{NORM}.numerator", format=UINT8)], f"{NORM}.numerator must be signed"),
    "LayerNorm's denominator": ([tensor(f"{NORM}.denominator", format=INT8)], f"{NORM}.denominator must be unsigned"),
    "LayerNorm's quotient": ([tensor(f"{NORM}.quotient", zero_point=1)], f"{NORM}.quotient has zero point 1"),
    "LayerNorm to 17 bits": ([tensor(f"{NORM}.output", format=INT17)], f"{NORM}.output has 17 bits"),
    "sum of 17 bits": ([tensor(SUM, format=INT17)], f"function encode, {SUM}: {SUM} has 17 bits"),
    "gamma's shape": ([constant(f"{NORM}.gamma", np.ones(7, np.int64))], f"{NORM}.gamma has shape (7,), needed (8,)"),
    "gamma of 17 bits": ([constant(f"{NORM}.gamma", format=INT17)], f"constant {NORM}.gamma has 17 bits"),
    "beta's shape": ([constant(f"{NORM}.beta", np.ones(9, np.int64))], f"{NORM}.beta has shape (9,), needed (8,)"),
    "a ratio a column": (
        [new_constant("m", [9] * 8), operation(f"{NORM}.output", output_requantization=rescale("m", 1))],
        f"function encode, {NORM}.output: constant m has shape (8,), needed (1,)",
    ),
    "a quotient's ratio a column": (
        [new_constant("m", [9] * 8), operation(f"{NORM}.output", quotient_requantization=rescale("m", 1))],
        f"{NORM}.output: this rescaling has one multiplier and one shift",
    ),
    # residual sum
    "sum of another shape": ([operation(SUM, b=f"{KEY}.heads")], f"{SUM}: {KEY}.heads has dimensions"),
    "sum of accumulators": ([operation(SUM, b=f"{KEY}.accumulator")], f"{KEY}.accumulator has 32 bits; codes have"),
    "sum to 17 bits": ([tensor(SUM, format=INT17)], f"{SUM} has 17 bits"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_program_is_refused_by_name(case: str, tiny: Program) -> None:
    edits, message = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        validate(edited(tiny, *edits))


def test_the_whole_program_passes(tiny: Program) -> None:
    """And every accumulator, and nothing else, has an interval."""
    reach = validate(tiny)
    wide = {name for _, made in tiny.operations() if not isinstance(made, Requantize) for name in written(made)}
    assert reach.keys() == {name for name in wide if tiny.tensors[name].format.bits == 32}


# --- boundaries -------------------------------------------------------------------------------------------------------


def with_accumulator(name: str, accumulator: Accumulator) -> list[Edit]:
    """Another accumulator of one product, and of the shift or ReLU behind it."""
    followers = [name, name.replace("scores.accumulator", "scores.shifted"), name.replace("accumulator", "rectified")]
    return [
        lambda program, n=n: (
            tensor(n, format=IntFormat(bits=accumulator.bits))(program) if n in program.tensors else program
        )
        for n in dict.fromkeys(followers)
    ] + [operation(name, accumulator=accumulator)]


def bias_of(tiny: Program, name: str, end: int, high: bool) -> Edit:
    """A bias that takes the accumulator of a linear layer exactly to `end`."""
    zeros = np.zeros(tiny.constants[f"{name}.bias"].shape, np.int64)
    fmt = IntFormat(bits=63)
    bare = validate(
        edited(
            tiny,
            *with_accumulator(f"{name}.accumulator", Accumulator(bits=63)),
            constant(f"{name}.bias", zeros, format=fmt),
        )
    )
    start = end - bare[f"{name}.accumulator"][int(high)]
    assert start > 0 if high else start < 0
    return constant(f"{name}.bias", zeros + start, format=fmt)


@pytest.mark.parametrize(("end", "high", "sign"), [(2**31 - 1, True, 1), (-(2**31), False, -1)])
def test_an_accumulator_holds_its_ends_exactly(end: int, high: bool, sign: int, tiny: Program) -> None:
    name = f"{KEY}.accumulator"
    assert validate(edited(tiny, bias_of(tiny, KEY, end, high)))[name][int(high)] == end
    with pytest.raises(ValueError, match=rf"{name}: partial sums reach .*{end + sign}.*; it needs 33 bits"):
        validate(edited(tiny, bias_of(tiny, KEY, end + sign, high)))


PRODUCTS = [KEY, SCORES, f"{ATTENTION}.context", f"{FORWARD}.hidden", f"{CROSS}.query", f"{CROSS}.scores", LOGITS]


@pytest.mark.parametrize("site", PRODUCTS)
def test_the_width_in_the_message_is_the_least(site: str, tiny: Program) -> None:
    name = f"{site}.accumulator"
    with pytest.raises(ValueError, match=f"{name}: partial sums reach") as refused:
        validate(edited(tiny, *with_accumulator(name, Accumulator(bits=8))))
    needed = int(re.search(r"it needs (\d+) bits", str(refused.value))[1])  # type: ignore[index]
    validate(edited(tiny, *with_accumulator(name, Accumulator(bits=needed))))
    with pytest.raises(ValueError, match=f"it needs {needed} bits"):
        validate(edited(tiny, *with_accumulator(name, Accumulator(bits=needed - 1))))
    for rule in (Overflow.SATURATE, Overflow.WRAP):
        validate(edited(tiny, *with_accumulator(name, Accumulator(bits=needed - 1, overflow=rule))))


@pytest.mark.parametrize(("multiplier", "shift"), [(65535, 0), (65535, 62), (3, 62), (40001, 17)])
def test_a_rounding_stays_below_two_to_the_63(multiplier: int, shift: int, tiny: Program) -> None:
    """|x| * m + 2^(e-1) = 2^63 - 1 or just below is accepted, and runs; one more is refused."""
    most = (2**63 - 1 - (1 << shift >> 1)) // multiplier
    wide = [
        *with_accumulator(f"{KEY}.accumulator", Accumulator(bits=63)),
        operation(KEY, requantization=rescale(multiplier, shift)),
    ]
    accepted = edited(tiny, *wide, bias_of(tiny, KEY, most, True))
    assert validate(accepted)[f"{KEY}.accumulator"].high == most
    run(accepted)
    with pytest.raises(ValueError, match=rf"{KEY}: \|x\| \* multiplier \+ rounding reaches \d+, at or above 2\^63"):
        validate(edited(tiny, *wide, bias_of(tiny, KEY, most + 1, True)))


def test_a_sum_that_overflows_stays_below_two_to_the_62(tiny: Program) -> None:
    for rule in (Overflow.SATURATE, Overflow.WRAP):
        narrow = with_accumulator(f"{KEY}.accumulator", Accumulator(bits=20, overflow=rule))
        run(edited(tiny, *narrow, bias_of(tiny, KEY, 2**62 - 1, True)))
        with pytest.raises(ValueError, match=rf"{KEY}.accumulator: products reach {2**62}, beyond 64-bit"):
            validate(edited(tiny, *narrow, bias_of(tiny, KEY, 2**62, True)))


def test_the_variance_stays_below_two_to_the_52(tiny: Program) -> None:
    """V of 16-bit sums with the eps that takes it there."""
    eps = 2**52 - 1 - 8 * 8 * 65535**2 // 4
    run(edited(tiny, operation(f"{NORM}.output", eps=eps)))
    with pytest.raises(ValueError, match=rf"{NORM}.output: n\^2 \* variance reaches {2**52}, at or above 2\^52"):
        validate(edited(tiny, operation(f"{NORM}.output", eps=eps + 1)))


def test_scores_have_at_most_12_bits(tiny: Program) -> None:
    def scores(bits: int) -> list[Edit]:
        table = np.minimum(np.arange(1 << bits)[::-1], 255)
        return [tensor(SCORES, format=IntFormat(bits=bits)), constant(f"{SOFTMAX}.table", table)]

    run(edited(tiny, *scores(12)))
    with pytest.raises(ValueError, match=rf"{SOFTMAX}.output: scores of 13 bits need a table of 2\^13"):
        validate(edited(tiny, *scores(13)))


@pytest.mark.parametrize(("site", "field"), [(SOFTMAX, "output_requantization"), (NORM, "quotient_requantization")])
def test_a_quotient_stays_below_two_to_the_62(site: str, field: str, tiny: Program) -> None:
    """A denominator of 8 bits, shifted by 54 and by 55."""
    run(edited(tiny, operation(f"{site}.output", **{field: rescale(65535, 54)})))
    with pytest.raises(ValueError, match=f"{site}.output: the quotient's shift 55 takes its operands beyond 62 bits"):
        validate(edited(tiny, operation(f"{site}.output", **{field: rescale(65535, 55)})))


@pytest.mark.parametrize("part", ["numerator", "denominator", "output"])
def test_every_rounding_of_layernorm_stays_below_two_to_the_63(part: str, tiny: Program) -> None:
    """Only the output's can leave it, by a wide beta."""
    field = f"{part}_requantization"
    run(edited(tiny, operation(f"{NORM}.output", **{field: rescale(65535, 62)})))
    if part == "output":
        most = (2**63 - 1 - 2**61) // 65535 - 128 * 100
        large = [operation(f"{NORM}.output", **{field: rescale(65535, 62)})]
        large.append(constant(f"{NORM}.gamma", np.array([1, 2, -100, 3, 4, 5, 6, 7])))
        beta = functools.partial(constant, f"{NORM}.beta", format=IntFormat(bits=63))
        run(edited(tiny, *large, beta(np.array([0, 0, -most, 0, 0, 0, 0, 1]))))
        with pytest.raises(ValueError, match=rf"{NORM}.output: \|x\| \* multiplier \+ rounding"):
            validate(edited(tiny, *large, beta(np.array([0, 0, -(most + 1), 0, 0, 0, 0, 1]))))


def test_zero_points_are_codes(tiny: Program) -> None:
    """The ends of a format are zero points; a weight may have one too, and its proof knows."""
    for zero in (-128, 127):
        run(edited(tiny, tensor("encoder.embedding", zero_point=zero)))
        moved = edited(tiny, constant(f"{KEY}.weight", zero_point=zero))
        run(moved)
        rows, bias = (tiny.constants[f"{KEY}.{part}"].tolist() for part in ("weight", "bias"))
        codes = tiny.tensors["encoder.embedding"]
        ends = codes.format.min - codes.zero_point, codes.format.max - codes.zero_point
        bounds = [oracle.partial_sum_bounds(row, zero, start, *ends) for row, start in zip(rows, bias, strict=True)]
        lows, highs = zip(*bounds, strict=True)
        assert validate(moved)[f"{KEY}.accumulator"] == (min(lows), max(highs))


def test_what_follows_an_accumulator_reaches_what_it_says(tiny: Program) -> None:
    """A shift by 2^k is at most half a unit further out than the exact quotient; ReLU cuts at 0."""
    reach = validate(tiny)
    for shift in (0, 1, 5, 62):
        shifted = validate(edited(tiny, operation(f"{SCORES}.shifted", shift=shift)))[f"{SCORES}.shifted"]
        low, high = reach[f"{SCORES}.accumulator"]
        half = 2**shift // 2
        assert shifted == ((low - half) // 2**shift, (high + half) // 2**shift)
        assert (
            shifted.low <= oracle.half_even(Fraction(low, 2**shift))
            and oracle.half_even(Fraction(high, 2**shift)) <= shifted.high
        )
    low, high = reach[f"{FORWARD}.hidden.accumulator"]
    assert low < 0 < high and reach[f"{FORWARD}.hidden.rectified"] == (0, high)


def test_constants_and_codes_may_have_the_ends_of_their_ranges(tiny: Program) -> None:
    """1 and 2^31 - 1 side by side, 0 and 62, codes of 16 bits; one element beyond is enough to be refused."""
    rescaled = operation(KEY, requantization=rescale("multipliers", "shifts"))
    multipliers, shifts = [1, MAX_MULTIPLIER] * 4, [62, 0] * 4
    sixteen = [tensor(KEY, format=IntFormat(bits=16)), tensor(f"{KEY}.heads", format=IntFormat(bits=16))]
    run(
        edited(
            tiny, new_constant("multipliers", multipliers, bits=32), new_constant("shifts", shifts), rescaled, *sixteen
        )
    )
    for name, value in (("multipliers", 0), ("multipliers", MAX_MULTIPLIER + 1), ("shifts", 63)):
        values = {"multipliers": multipliers, "shifts": shifts}
        values[name] = [*values[name][:7], value]
        with pytest.raises(ValueError, match=f"{KEY}: constant {name} leaves"):
            validate(edited(tiny, *(new_constant(n, v, bits=33) for n, v in values.items()), rescaled))
    for value in (-1, 256):
        table = tiny.constants[f"{SOFTMAX}.table"].copy()
        table[17] = value
        with pytest.raises(ValueError, match=f"table {SOFTMAX}.table leaves"):
            validate(edited(tiny, constant(f"{SOFTMAX}.table", table, format=INT17)))


def test_the_worst_channel_counts(tiny: Program) -> None:
    """One channel whose rounding leaves 63 bits."""
    wide = with_accumulator(f"{KEY}.accumulator", Accumulator(bits=63))
    wide += [new_constant("multipliers", [1] * 7 + [3]), operation(KEY, requantization=rescale("multipliers", 0))]
    run(edited(tiny, *wide, bias_of(tiny, KEY, (2**63 - 1) // 3, True)))
    with pytest.raises(ValueError, match=rf"{KEY}: \|x\| \* multiplier \+ rounding reaches"):
        validate(edited(tiny, *wide, bias_of(tiny, KEY, (2**63 - 1) // 3 + 1, True)))


def test_positions_suffice_exactly(tiny: Program) -> None:
    run(edited(tiny, constant(POSITIONS, np.ones((12, 8), np.int64))))


# --- what passes, runs ------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "scheme",
    [
        preset("int8"),
        Scheme(name="16", weight_bits=16, activation_bits=12, accumulator=Accumulator(bits=48)),
        Scheme(name="saturate", accumulator=Accumulator(bits=12, overflow=Overflow.SATURATE)),
        Scheme(name="wrap", accumulator=Accumulator(bits=12, overflow=Overflow.WRAP)),
        Scheme(name="merged", sqrt_mode="merged", weight_bits=4, activation_bits=4),
    ],
    ids=lambda scheme: scheme.name,
)
def test_accumulators_stay_in_their_intervals(scheme: Scheme) -> None:
    run(tiny_program(scheme))


def leaves(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to all fields of a manifest that hold no other field."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if not items:
        yield path
    for key, child in items:
        yield from leaves(child, (*path, key))


def at(node: Any, path: tuple[str | int, ...]) -> Any:
    return functools.reduce(lambda inner, key: inner[key], path, node)


NUMBERS = [-129, -1, 0, 1, 2, 3, 8, 13, 16, 17, 31, 32, 33, 62, 63, 64, 127, 65535, 65536, 2**31, 2**52, 2**63, 10**30]
MUTATIONS = 700


def test_a_program_with_other_fields_is_refused_or_runs(tiny: Program) -> None:
    """Random fields, replaced by numbers or by what another such field holds: a ValueError, or a program that runs.

    Wrong types are ValidationErrors of the reader; test_program_file_contradictions.py has the file around it.
    """
    rng, tree = random.Random(7), msgspec.to_builtins(tiny.manifest)
    for field in ("name", "scheme", "origin", "tokenizer_sha256", "logit_scale"):
        tree[field] = type(tree[field])()
    paths = [path for path in leaves(tree) if path[-1] != "scale" and len(path) > 1]
    accepted = refused = 0
    for _ in range(MUTATIONS):
        mutant = copy.deepcopy(tree)
        for _ in range(rng.choice([1, 1, 2])):
            path = rng.choice(paths)
            kind = [part for part in path if isinstance(part, str)][-1]
            others = [other for other in paths if [part for part in other if isinstance(part, str)][-1] == kind]
            value = at(tree, rng.choice(others if rng.random() < 0.6 else paths))
            if rng.random() < 0.3:
                value = rng.choice(NUMBERS)
            at(mutant, path[:-1])[path[-1]] = copy.deepcopy(value)
        try:
            program = Program(msgspec.convert(mutant, Manifest), tiny.constants)
            validate(program)
        except (ValueError, msgspec.ValidationError):
            refused += 1
            continue
        accepted += 1
        run(program)
    assert accepted > MUTATIONS // 20 and refused > MUTATIONS // 3


def test_every_kind_of_operation_was_broken(tiny: Program) -> None:
    """The tiny program has them all, so that the mutations above reach every check."""
    kinds = {kind for kind in ops.Operation.__args__ if kind.__name__ not in TARGET_OPERATIONS}
    assert {type(made) for _, made in tiny.operations()} == kinds
