"""Validation: every check refuses a program that breaks it, by name; the tiny program has every operation."""

import re

import numpy as np
import pytest

from hwsim.formats import Accumulator, IntFormat
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import MAX_MULTIPLIER
from hwsim.program.operations import Requantize, written
from hwsim.program.validate import validate
from tests.property.equality import TARGET_OPERATIONS
from tests.unit.hwsim.program.program_edits import (
    ATTENTION,
    CACHE,
    CONTEXT,
    CROSS,
    FORWARD,
    INT8,
    INT17,
    KEY,
    LOGITS,
    NORM,
    PAST,
    POSITIONS,
    QUERY,
    ROWS,
    SCORES,
    SOFTMAX,
    SQUARE,
    SUM,
    TABLE,
    UINT8,
    Edit,
    also_input,
    also_output,
    constant,
    dimension,
    edited,
    manifest,
    new_constant,
    new_tensor,
    operation,
    repeated,
    rescale,
    state,
    tensor,
    twice,
    without,
)

ONES = np.ones(8, np.int64)

REFUSED: dict[str, tuple[list[Edit], str]] = {
    # the manifest
    "arithmetic": (
        [manifest(arithmetic="float")],
        "arithmetic 'float'; this hwsim knows 'hwsim-3'; `hwsim quantize --out FILE` makes a",
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
    "shift to a wider format": (
        [tensor(f"{SCORES}.shifted", format=IntFormat(bits=33))],
        f"{SCORES}.shifted is int33 of",
    ),
    "shift to unsigned": (
        [tensor(f"{SCORES}.shifted", format=UINT8)],
        f"{SCORES}.shifted is uint8 of int32; needed: sig",
    ),
    "shift's zero point": ([tensor(f"{SCORES}.shifted", zero_point=1)], "needed: signed, zero point 0, no wider"),
    "shift's bias": ([operation(f"{SCORES}.shifted", bias=f"{KEY}.bias")], "dimension 'source' varies"),
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


def test_every_kind_of_operation_was_broken(tiny: Program) -> None:
    """The tiny program has them all, so that the mutations above reach every check."""
    kinds = {kind for kind in ops.Operation.__args__ if kind.__name__ not in TARGET_OPERATIONS}
    assert {type(made) for _, made in tiny.operations()} == kinds
