"""A lowered program as layers: nothing lost, nothing twice, sizes and bytes by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator.events import Component, Operand
from hwsim.accelerator.layers import Layer, Part, Product, Rows, Stream, Vectors
from hwsim.accelerator.lowered import function_layers
from hwsim.accelerator.lowered.arithmetic import arithmetic
from hwsim.accelerator.lowered.grouping import groups
from hwsim.accelerator.lowered.residence import Addressing, Call, Residence
from hwsim.formats import IntFormat
from hwsim.program import ConstantInfo, Dimension, Function, Program, TensorInfo
from hwsim.program.catalogue import Dyadic
from hwsim.program.operations import (
    Add,
    Embed,
    MatMul,
    Operation,
    QLinearSoftmax,
    Relu,
    Requantize,
    ShiftRight,
    Softmax,
)
from hwsim.program.packing import row_bytes
from hwsim.program.targets import TARGETS
from tests.property.equality import RefusedError, prepare
from tests.small.bare import bare
from tests.small.models import TINY
from tests.strategies import A, Case, cases
from tests.unit.hwsim.accelerator.lowered_programs import (
    ACTIVATION,
    CALLS,
    ENCODE,
    FF,
    STEP,
    WEIGHT,
    D,
    E,
    H,
    macs,
    named,
    native,
    terms,
)

FEW = settings(max_examples=8, deadline=None)

# --- conservation -----------------------------------------------------------------------------------------------------


def assert_conserved(program: Program, function: str, sizes: dict[str, int]) -> None:
    """Each operation in one layer, each datapath operation once, each constant fetched once."""
    residence = Residence(program, program.functions[function])
    call = Call(residence, sizes)
    costing = [op for op in residence.function.operations if not isinstance(op, Addressing)]
    made, layers = groups(residence), function_layers(program, function, sizes)
    assert sorted(id(op) for group in made for op in group.operations) == sorted(map(id, costing))
    assert len({layer.name for layer in layers}) == len(layers) == len(made)
    assert terms(t for layer in layers for t in layer.terms) == terms(t for op in costing for t in arithmetic(op, call))
    for group, layer in zip(made, layers, strict=True):
        wanted = sum(fetched(program, op, call) for op in group.operations)
        got, slack = constant_bytes(layer)
        assert wanted <= got < wanted + slack


def fetched(program: Program, op: Operation, call: Call) -> int:
    """Bytes of constants that an operation needs; a softmax's table is the datapath's."""
    names = set(program.constants_of(op)) - ({op.table} if isinstance(op, Softmax | QLinearSoftmax) else set())
    if isinstance(op, Embed):
        tokens = call.sizes["batch"] * call.sizes.get("target", call.sizes["source"])
        return sum(tokens * call.bytes(name) // call.shape(name)[0] for name in names)
    return sum(call.bytes(name) for name in names)


def constant_bytes(layer: Layer) -> tuple[int, int]:
    """Bytes of constants that a layer fetches, and what rounding up per column may add, exclusive."""
    if layer.product is not None:
        p = layer.product
        weight = p.count * p.n * row_bytes(p.k, p.b_bits) if p.b is WEIGHT else 0
        return weight + p.count * p.n * p.column_bytes, p.count * p.n
    assert layer.rows is not None
    looked_up = sum(layer.rows.rows * row_bytes(s.elements, s.bits) for s in layer.rows.inputs if s.operand is WEIGHT)
    return looked_up + sum(row_bytes(s.elements, s.bits) for s in layer.rows.constants if s.operand is WEIGHT), 1


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_lost_or_counted_twice(target: str, function: str) -> None:
    assert_conserved(native(target), function, CALLS[function])


@FEW
@given(cases(A), st.integers(1, 10), st.integers(0, 9))
def test_nothing_is_lost_of_drawn_programs(case: Case, source: int, past: int) -> None:
    try:
        program = prepare(case).program
    except RefusedError:
        return
    assert_conserved(program, "encode", {"batch": 1, "source": source})
    assert_conserved(program, "decode_step", {"batch": 1, "source": source, "target": 1, "past": past})
    source_layers = function_layers(program, "encode", {"batch": 1, "source": source})
    c = case.config
    inner = c.n_heads * c.d_head
    attention = 4 * source * c.d_model * inner + 2 * source * source * inner
    feed_forward = 2 * source * c.d_model * c.d_ff
    cross = 2 * source * c.d_model * inner
    assert macs(source_layers) == c.encoder_layers * (attention + feed_forward) + c.decoder_layers * cross


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_layers_of_an_encoder_in_order() -> None:
    attention = ("key", "value", "query", "scores", "softmax.output", "context", "output", "layernorm.output")
    assert [layer.name for layer in function_layers(native(), "encode", ENCODE)] == [
        "encoder.embedding",
        *(f"encoder.0.self_attention.{part}" for part in attention),
        *(f"encoder.0.feed_forward.{part}" for part in ("hidden", "output", "layernorm.output")),
        "decoder.0.cross_attention.key",
        "decoder.0.cross_attention.value",
    ]


def test_macs_of_a_decode_step_by_hand() -> None:
    s, t = 5, 4
    inner = H * E
    own = 4 * D * inner + 2 * inner * t
    cross = 2 * D * inner + 2 * inner * s
    step = own + cross + 2 * D * FF + D * TINY.vocabulary_size
    assert macs(function_layers(native(), "decode_step", STEP)) == step


def test_a_product_with_its_epilogue() -> None:
    hidden = named(function_layers(native(), "encode", ENCODE))["encoder.0.feed_forward.hidden"]
    results = 5 * FF
    assert hidden.operation == "matmul"
    assert hidden.product == Product(m=5, k=D, n=FF, a_bits=8, b_bits=8, output_bits=8, column_bytes=4 + 2 + 1)
    assert hidden.vectors == Vectors(elements=results, passes=3)  # bias, ReLU, requantize
    kind = {(term.component, term.bits, term.second_bits): term.count for term in hidden.terms}
    assert kind[Component.MAC_MULTIPLY, 8, 8] == kind[Component.MAC_ADD, 32, 0] == results * D
    assert kind[Component.BIAS_ADD, 32, 0] == kind[Component.COMPARE, 32, 0] == results
    assert kind[Component.REQUANTIZE_MULTIPLY, 32, 16] == kind[Component.CLAMP, 8, 0] == results


def test_a_residual_sum_is_an_epilogue() -> None:
    output = named(function_layers(native(), "encode", ENCODE))["encoder.0.self_attention.output"]
    assert output.product == Product(
        m=5, k=D, n=D, a_bits=8, b_bits=8, output_bits=16, column_bytes=6, residual_bits=8, a_heads=H
    )
    assert output.vectors == Vectors(elements=5 * D, passes=3)  # bias, requantize, sum


def test_heads_are_those_of_attention() -> None:
    """What is split into heads is written as such, what is merged from them read; feed-forwards have none."""
    for function, sizes in CALLS.items():
        products = {x.name: x.product for x in function_layers(native(), function, sizes) if x.product}
        for name, product in products.items():
            *_, block, part = name.split(".")
            attends = "attention" in block
            assert product.output_heads == (H if attends and part in ("query", "key", "value") else 1)
            assert product.a_heads == (H if attends and part == "output" else 1)
        assert sum(product.a_heads > 1 for product in products.values()) == (2 if function == "decode_step" else 1)


@pytest.mark.parametrize(("target", "divisions"), [("fullyqt", 50), ("tflm", 0), ("ibert", 60), ("ita", 10)])
def test_a_softmax(target: str, divisions: int) -> None:
    found = named(function_layers(native(target), "encode", ENCODE))["encoder.0.self_attention.softmax.output"]
    codes, mask = Stream(operand=ACTIVATION, elements=5, bits=8), Stream(operand=ACTIVATION, elements=5, bits=2)
    kept = 5 if target == "fullyqt" else 0
    assert found.rows == Rows(rows=2 * 5, inputs=(codes,), outputs=(codes,), constants=(mask,), kept_bytes=kept)
    assert found.vectors == Vectors(elements=50, passes=3, divisions=divisions)
    assert found.part is Part.SOFTMAX


@pytest.mark.parametrize(
    ("target", "divisions", "roots"), [("fullyqt", 5 * D, 5), ("tflm", 5, 0), ("ibert", 10, 5), ("ita", 10 + 5 * D, 5)]
)
def test_a_layernorm(target: str, divisions: int, roots: int) -> None:
    program = native(target)
    found = named(function_layers(program, "encode", ENCODE))["encoder.0.feed_forward.layernorm.output"]
    info = program.constant_info
    gamma, beta = (info[f"encoder.0.feed_forward.layernorm.{name}"].format.bits for name in ("gamma", "beta"))
    wide = program.tensors["encoder.0.feed_forward.residual"].format.bits
    assert found.rows == Rows(
        rows=5,
        inputs=(Stream(operand=ACTIVATION, elements=D, bits=wide),),
        outputs=(Stream(operand=ACTIVATION, elements=D, bits=8),),
        constants=tuple(Stream(operand=WEIGHT, elements=D, bits=bits) for bits in (gamma, beta)),
    )
    assert found.vectors == Vectors(elements=5 * D, passes=3, divisions=divisions, roots=roots)


def test_an_embedding_looks_up_rows() -> None:
    found = function_layers(native(), "encode", ENCODE)[0]
    row = Stream(operand=WEIGHT, elements=D, bits=8)
    assert found.rows == Rows(
        rows=5,
        inputs=(Stream(operand=ACTIVATION, elements=1, bits=32), row, row, Stream(operand=WEIGHT, elements=1, bits=16)),
        outputs=(Stream(operand=ACTIVATION, elements=D, bits=8),),
        constants=(Stream(operand=ACTIVATION, elements=1, bits=32),),
    )
    assert found.vectors == Vectors(elements=5 * D, passes=1)


# --- programs made by hand --------------------------------------------------------------------------------------------

CODES = IntFormat(bits=8)
WIDE = IntFormat(bits=32)


def program_of(*operations: Operation, outputs: str) -> Program:
    """Operations on x (batch, 4, 6) of 6 bits, with square weights v and w; a name in capitals is an accumulator."""
    formats = {"x": IntFormat(bits=6)} | {op.output: WIDE if op.output.isupper() else CODES for op in operations}
    tensors = [TensorInfo(name=name, format=formats[name], dims=["batch", 4, 6]) for name in formats]
    manifest = bare(
        dimensions=[Dimension(name="batch", maximum=8)],
        tensors=tensors,
        constants=[ConstantInfo(name=w, format=CODES, shape=[6, 6], role="weight") for w in "vw"],
        functions=[Function(name="forward", inputs=["x"], outputs=outputs.split(), operations=list(operations))],
    )
    return Program(manifest, {w: np.ones((6, 6), np.int32) for w in "vw"})


def product(output: str, source: str = "x", weight: str = "w") -> MatMul:
    return MatMul(output=output, a=source, b=weight)


def scaled(output: str, source: str) -> Requantize:
    return Requantize(output=output, input=source, requantization=Dyadic(multiplier=3, shift=4))


def added(output: str, a: str, b: str) -> Add:
    return Add(output=output, a=a, b=b, a_multiplier=1, b_multiplier=1, shift=0)


HAND = {
    "whole epilogue": (
        [product("A"), ShiftRight(output="S", input="A", shift=1), Relu(output="R", input="S"), scaled("y", "R")],
        "y",
        [("y", 3)],
    ),
    "accumulators alone": ([product("A")], "A", [("A", 0)]),
    "accumulators that are an output": ([product("A"), scaled("y", "A")], "A y", [("A", 0), ("y", 1)]),
    "accumulators of two readers": (
        [product("A"), scaled("y", "A"), Relu(output="R", input="A"), scaled("z", "R")],
        "y z",
        [("A", 0), ("y", 1), ("z", 2)],
    ),
    "codes alone": ([Relu(output="y", input="x")], "y", [("y", 1)]),
    "a sum of a code and an input": ([product("A"), scaled("y", "A"), added("z", "x", "y")], "z", [("y", 2)]),
    "a sum of a code that is an output": (
        [product("A"), scaled("y", "A"), added("z", "x", "y")],
        "y z",
        [("y", 1), ("z", 1)],
    ),
    "a sum of a code that is read twice": (
        [product("A"), scaled("y", "A"), added("z", "x", "y"), added("u", "y", "z")],
        "u",
        [("y", 1), ("z", 1), ("u", 1)],
    ),
    "a code and itself": ([product("A"), scaled("y", "A"), added("z", "y", "y")], "z", [("y", 1), ("z", 1)]),
    "a sum of two products": (
        [product("A"), scaled("y", "A"), product("B", weight="v"), scaled("z", "B"), added("u", "z", "y")],
        "u",
        [("y", 1), ("z", 2)],
    ),
    "a product that waits for what is added": (
        [product("A"), scaled("y", "A"), Relu(output="r", input="x"), added("u", "y", "r")],
        "u",
        [("r", 1), ("y", 2)],
    ),
}
"""Operations, outputs, and (name, passes) of each layer in order."""


@pytest.mark.parametrize("case", HAND)
def test_what_is_one_layer(case: str) -> None:
    operations, outputs, wanted = HAND[case]
    program = program_of(*operations, outputs=outputs)
    assert_conserved(program, "forward", {"batch": 2})
    layers = function_layers(program, "forward", {"batch": 2})
    assert [(layer.name, layer.vectors.passes) for layer in layers] == wanted
    for layer in layers:
        assert layer.vectors.elements == (2 * 4 * 6 if layer.vectors.passes else 0)


@pytest.mark.parametrize("operands", [("x", "y"), ("y", "x")])
def test_the_residual_is_the_other_operand(operands: tuple[str, str]) -> None:
    program = program_of(product("A"), scaled("y", "A"), added("z", *operands), outputs="z")
    (layer,) = function_layers(program, "forward", {"batch": 1})
    assert layer.product is not None
    assert (layer.product.residual_bits, layer.product.output_bits) == (6, 8)


def test_streams_of_elementwise_layers() -> None:
    operations, outputs, _ = HAND["accumulators of two readers"]
    product_layer, requantized, rectified = function_layers(
        program_of(*operations, outputs=outputs), "forward", {"batch": 2}
    )
    wide = Stream(operand=Operand.ACCUMULATOR, elements=6, bits=32)
    codes = Stream(operand=ACTIVATION, elements=6, bits=8)
    assert product_layer.product == Product(
        m=8, k=6, n=6, a_bits=6, b_bits=8, output_bits=32, output=Operand.ACCUMULATOR
    )
    assert requantized.rows == rectified.rows == Rows(rows=8, inputs=(wide,), outputs=(codes,))
    assert (requantized.operation, rectified.operation) == ("requantize", "relu")
    operations, outputs, _ = HAND["a code and itself"]
    added_layer = function_layers(program_of(*operations, outputs=outputs), "forward", {"batch": 1})[1]
    assert added_layer.rows == Rows(rows=4, inputs=(codes,), outputs=(codes,))
