"""Projected heads (R14) as layers: MACs, terms, bytes and passes of a small attention by hand, zeros and sparsity."""

from collections import Counter

import numpy as np
import pytest

from hwsim.accelerator.cost.estimate import estimate
from hwsim.accelerator.events import Component, Direction, Operand
from hwsim.accelerator.layers import Layer, Phase, Stream, Vectors, Workload
from hwsim.accelerator.lowered import check_sparsity, function_layers
from hwsim.accelerator.options import Sparsity
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.zeros import SiteZeros, ZeroCounter
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.catalogue import NarrowAfter
from hwsim.program.operations import AnyProduct
from tests.small.heads import heads_program, random_codes
from tests.unit.hwsim.accelerator.lowered_programs import named, native, terms
from tests.unit.hwsim.program.program_edits import edited, tensor

C = Component
B, H, N, E, D = 2, 3, 5, 4, 7
SIZES = {"batch": B, "length": N}
RESULTS = B * N * D


def program(zero: int = 0, *, bias: bool = True) -> Program:
    """Three heads of four columns each to seven, int8 by int8 in 26 bits, one multiplier a head."""
    weight = random_codes(np.random.default_rng(3), D, H * E)
    ratio = NarrowAfter(multiplier="m", shift=9)
    bias_codes = np.arange(D) if bias else None
    return heads_program(weight, bias_codes, H, ratio=ratio, ratios={"m": np.array([200, 201, 202])}, zero=zero)


def layers(made: Program) -> tuple[Layer, Layer]:
    first, second = function_layers(made, "forward", SIZES)
    return first, second


def test_two_layers_the_products_and_their_sum() -> None:
    first, second = layers(program())
    assert [(one.name, one.operation) for one in (first, second)] == [("codes", "project_heads"), ("y", "requantize")]
    assert first.rows is None and second.product is None


def test_a_product_a_head() -> None:
    product = layers(program())[0].product
    assert product is not None
    assert (product.count, product.m, product.k, product.n) == (H, B * N, E, D)
    assert product.macs == RESULTS * H * E
    assert (product.a_bits, product.b_bits, product.accumulator_bits, product.output_bits) == (8, 8, 26, 8)
    assert (product.a, product.b, product.output) == (Operand.ACTIVATION, Operand.WEIGHT, Operand.ACTIVATION)
    assert (product.fresh, product.residual_bits) == (0, 0)
    assert product.column_bytes == -(-(4 * D + 2 * H) // (H * D))  # 32-bit biases of all, 16-bit multipliers


def test_terms_of_the_products() -> None:
    """Each head's codes are requantized by 8-bit multipliers; only the first head has a bias."""
    assert terms(layers(program())[0].terms) == Counter(
        {
            (C.MAC_MULTIPLY, 8, 8): RESULTS * H * E,
            (C.MAC_ADD, 26, 0): RESULTS * H * E,
            (C.BIAS_ADD, 26, 0): RESULTS,
            (C.REQUANTIZE_MULTIPLY, 26, 8): RESULTS * H,
            (C.REQUANTIZE_SHIFT, 34, 0): RESULTS * H,
            (C.REQUANTIZE_ADD, 34, 0): RESULTS * H,
            (C.CLAMP, 8, 0): RESULTS * H,
        }
    )


def test_a_zero_point_of_the_context_is_taken_off_each_head() -> None:
    more = terms(layers(program(zero=5))[0].terms) - terms(layers(program())[0].terms)
    assert more == {(C.ZERO_POINT_ADD, 26, 0): RESULTS * H}


def test_without_a_bias() -> None:
    first, _ = layers(program(bias=False))
    assert terms(first.terms)[C.BIAS_ADD, 26, 0] == 0
    assert first.vectors == Vectors(elements=RESULTS * H, passes=1)
    assert layers(program())[0].vectors == Vectors(elements=RESULTS * H, passes=2)


def test_the_sum_reads_every_heads_codes_once() -> None:
    """Two additions for three heads; a row of each head in, a row of the sum out."""
    second = layers(program())[1]
    assert terms(second.terms) == Counter(
        {
            (C.VECTOR_ADD, 32, 0): RESULTS * (H - 1),
            (C.REQUANTIZE_MULTIPLY, 26, 8): RESULTS,
            (C.REQUANTIZE_SHIFT, 34, 0): RESULTS,
            (C.REQUANTIZE_ADD, 34, 0): RESULTS,
            (C.CLAMP, 8, 0): RESULTS,
        }
    )
    rows = second.rows
    assert rows is not None and rows.rows == B * N
    assert rows.inputs == (Stream(operand=Operand.ACTIVATION, elements=H * D, bits=8),)
    assert rows.outputs == (Stream(operand=Operand.ACTIVATION, elements=D, bits=8),)
    assert rows.constants == () and second.vectors == Vectors(elements=RESULTS * H, passes=1)


def test_codes_are_stored_once_and_read_once() -> None:
    """Bytes of activations at DRAM: the context in, codes out and in again, the result out; weights once."""
    made = layers(program())
    priced = estimate(
        Workload(name="heads", scheme="int8", phases=(Phase(name="forward", tokens=1, layers=made),)),
        hardware("edge-256"),
    )
    moved = Counter[tuple[str, str, str]]()
    for layer in priced.total.layers:
        for event in layer.events:
            if event.component is C.DRAM_TRANSFER and event.operand is Operand.ACTIVATION:
                moved[layer.name, event.operand.value, event.direction.value] += event.count
    read, written = Direction.READ.value, Direction.WRITE.value
    assert moved == {
        ("codes", "activation", read): B * H * N * E,
        ("codes", "activation", written): RESULTS * H,
        ("y", "activation", read): RESULTS * H,
        ("y", "activation", written): RESULTS,
    }


def test_an_attention_of_ita_has_the_two_layers() -> None:
    """And the residual sum is a layer of its own, not an epilogue."""
    found = named(function_layers(native("ita"), "encode", {"batch": 1, "source": 5}))
    stem = "encoder.0.self_attention"
    order = [name for name in found if name.startswith(stem)]
    assert order[-5:-1] == [f"{stem}.context", f"{stem}.heads", f"{stem}.output", f"{stem}.residual"]
    heads = found[f"{stem}.heads"].product
    assert heads is not None and (heads.count, heads.m, heads.k, heads.n) == (2, 5, 4, 8)
    assert found[f"{stem}.residual"].operation == "rescaled_add"


# --- zero operands ----------------------------------------------------------------------------------------------------


def test_zeros_are_those_of_loops() -> None:
    """Some codes and some weights are 0; each MAC of each head is looked at."""
    rng = np.random.default_rng(4)
    weight = rng.integers(-2, 3, (D, H * E))
    made, context = heads_program(weight, None, H), rng.integers(-2, 3, (B, H, N, E))
    zero = sum(
        int(context[b, h, n, e] == 0 or weight[o, h * E + e] == 0)
        for b, h, n, e in np.ndindex(B, H, N, E)
        for o in range(D)
    )
    counter = ZeroCounter(made)
    counter.count("forward", {"context": context})
    expected = SiteZeros(
        macs=RESULTS * H * E,
        macs_zero=zero,
        weights=weight.size,
        weights_zero=int((weight == 0).sum()),
        activations=context.size,
        activations_zero=int((context == 0).sum()),
    )
    assert counter.counts.sites == {"total": expected}
    assert 0 < zero < RESULTS * H * E
    (layer, _) = function_layers(made, "forward", SIZES, counter.counts)
    assert layer.macs_zero == zero


def test_a_zero_point_is_what_counts_as_zero() -> None:
    weight, context = np.ones((1, 4), np.int64), np.array([[[[0, 7]], [[7, 7]]]])
    counter = ZeroCounter(edited(heads_program(weight, None, 2), tensor("context", zero_point=7)))
    counter.count("forward", {"context": context})
    assert counter.counts.sites["total"].macs_zero == 3


def test_padding_of_a_sentence_is_left_out() -> None:
    """Two sentences, of 3 and 2 words: ten places of either, but 5 that count."""
    made, counts = native("ita"), []
    for lengths in ([5, 5], [3, 2]):
        mask = np.arange(5) < np.array(lengths)[:, None]
        values = {"source_ids": np.full((2, 5), 7), "source_mask": mask, "encode.position": np.array(0)}
        Machine(made).run("encode", values, values.__setitem__)
        counter = ZeroCounter(made)
        counter.count("encode", values)
        counts.append(counter.counts.sites["encoder.0.self_attention.output.accumulator"])
    assert [one.macs for one in counts] == [10 * 2 * 4 * 8, 5 * 2 * 4 * 8]
    assert [one.activations for one in counts] == [10 * 8, 5 * 8]


# --- sparsity ---------------------------------------------------------------------------------------------------------


def test_groups_of_a_sparse_weight_begin_anew_in_each_head() -> None:
    """d_head 3: of 2:4 the groups are columns 0 to 2 and 3 to 5; 4 in a row over the border are allowed."""
    sparsity = Sparsity(kept=2, group=4)
    check_sparsity(heads_program(np.array([[0, 1, 1, 1, 1, 0]]), None, 2), sparsity)
    with pytest.raises(ValueError, match="weight weight: 3 of 3 entries along K are not zero; 2:4 skipping keeps 2"):
        check_sparsity(heads_program(np.array([[0, 1, 0, 1, 1, 1]]), None, 2), sparsity)


def test_every_product_of_ita_has_a_layer_of_macs() -> None:
    made = native("ita")
    products = [op for op in made.functions["encode"].operations if isinstance(op, AnyProduct)]
    found = function_layers(made, "encode", {"batch": 1, "source": 5})
    assert len([layer for layer in found if layer.product]) == len(products) == 10
