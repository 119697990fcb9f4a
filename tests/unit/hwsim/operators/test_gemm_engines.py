"""The products of every engine equal NumPy's, and PyTorch's, and write nothing else; tiles are also run emulated.

The products are called by address, engine by engine, whichever the process uses.
"""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import binding, ir

from hwsim.formats import Accumulator
from hwsim.operators.gemm import engines, matmul, prepare
from hwsim.operators.gemm.engines import emission, tiles
from tests.unit.hwsim.operators.engine_cases import (
    FORMS,
    FRAME,
    Case,
    any_of,
    cases,
    check_product,
    multiplied,
    products,
)
from tests.unit.hwsim.operators.engine_cases import packed as packed_by_numpy
from tests.unit.hwsim.operators.kernel_checks import check_matmul, int64, no_events
from tests.unit.hwsim.operators.test_no_float_in_kernels import floats_of_ir

PRODUCTS = products()
SHAPES = 10_000
named = pytest.mark.parametrize(("engine", "form"), PRODUCTS, ids=[f"{one}-{form}" for one, form in PRODUCTS])
packings = pytest.mark.parametrize("name", ["quads", "pairs"])


@named
def test_ragged_products(engine: str, form: str) -> None:
    """10,000 shapes in all, the ends of the codes among them."""
    for case in cases(FORMS[form], len(PRODUCTS), -(-SHAPES // len(PRODUCTS))):
        check_product(PRODUCTS[engine, form], case, FORMS[form])


@named
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 7, 9, 33]))
def test_products_of_all_sizes(engine: str, form: str, seed: int, most: int) -> None:
    for case in cases(FORMS[form], seed, 1, 5 * most):
        check_product(PRODUCTS[engine, form], case, FORMS[form])


@named
@pytest.mark.parametrize(("m", "k", "n"), [(700, 512, 40), (70, 4096, 130), (3, 64, 1), (1, 4, 200), (0, 4, 3)])
def test_products_of_more_rows_than_the_cache_takes(engine: str, form: str, m: int, k: int, n: int) -> None:
    rng, kind = np.random.default_rng(m), FORMS[form]
    case = Case(any_of(rng, kind.a, (m, k)), any_of(rng, kind.b, (n, k)), any_of(rng, np.int32, (n,)))
    check_product(PRODUCTS[engine, form], case, kind)


@named
def test_no_products_leave_the_bias(engine: str, form: str) -> None:
    kind, bias = FORMS[form], np.arange(5, dtype=np.int32)
    case = Case(np.zeros((3, 0), kind.a), np.zeros((5, 0), kind.b), bias)
    framed = multiplied(PRODUCTS[engine, form], case, kind)
    assert np.array_equal(framed[FRAME:-FRAME, FRAME:-FRAME], [bias] * 3)


@pytest.mark.parametrize("engine", sorted({engine for engine, _ in PRODUCTS}))
def test_products_equal_those_of_pytorch(engine: str) -> None:
    rng, kind = np.random.default_rng(5), FORMS["quads_signed"]
    case = Case(any_of(rng, np.int8, (33, 64)), any_of(rng, np.int8, (48, 64)), np.zeros(48, np.int32))
    framed = multiplied(PRODUCTS[engine, "quads_signed"], case, kind)
    want = torch._int_mm(torch.from_numpy(case.a), torch.from_numpy(case.b).t())
    assert np.array_equal(framed[FRAME:-FRAME, FRAME:-FRAME], want.numpy())


# The functions on arrays


@packings
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_packing_and_appending(name: str, n: int, k: int, seed: int) -> None:
    """All at once, and less a zero point column by column and depth by depth, over what an earlier operand left."""
    form = FORMS[name if name == "pairs" else "quads_signed"]
    b = any_of(np.random.default_rng(seed), form.b, (n, k))
    want, shape = packed_by_numpy(b, form), getattr(engines, f"{name}_shape")(n, k)
    assert shape == want.shape
    whole, columns, depths = np.full(shape, 99, form.b), np.zeros(shape, form.b), np.zeros(shape, form.b)
    engines.pack_centred(b, 0, whole)
    engines.pack_centred(np.full((n, -(-k // shape[3]) * shape[3]), 99), 0, depths)
    for j in range(n):
        engines.put_column(columns, j, b[j].astype(np.int32) + 3, 3)
    for t in range(k):
        engines.put_depth(depths, t, b[:, t].astype(np.int32) - 5, -5)
    for got in (whole, columns, depths):
        assert np.array_equal(got, want)


def test_centred_packing() -> None:
    """200 - 128 and 0 - 128 fit int8; what lies beyond the operand stays 0."""
    packed = np.full(engines.quads_shape(1, 2), 99, np.int8)
    engines.pack_centred(np.array([[200, 0]], np.int32), 128, packed)
    assert packed[0, 0, 0].tolist() == [72, -128, 0, 0]
    assert np.count_nonzero(packed) == 2


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_centred_packing_of_bytes_by_python(dtype: type[np.integer]) -> None:
    """Without JIT numbers keep their type, in which 3 - 128 would wrap."""
    packed = np.zeros(engines.packed_shape(1, 4, 4 // np.dtype(dtype).itemsize), dtype)
    pack = getattr(engines.pack_centred, "py_func", engines.pack_centred)
    pack(np.array([[0, 3, 128, 255]], np.uint8), 128, packed)
    assert packed[0, : 1 if dtype is np.int8 else 2, 0].ravel().tolist() == [-128, -125, 0, 127]


@pytest.mark.parametrize("form", FORMS)
def test_products_of_arrays(form: str) -> None:
    """Parts of larger arrays, a bias that is longer than needed, and a packed operand with room to grow."""
    kind = FORMS[form]
    rng = np.random.default_rng(1)
    a, b = any_of(rng, kind.a, (5, 24))[1:4, 4:12], any_of(rng, kind.b, (19, 7))
    room, bias = packed_by_numpy(np.zeros((40, 70), kind.b), kind), any_of(rng, np.int32, (25,))
    for j in range(19):
        engines.put_column(room, j, b[j], 0)
    framed = np.zeros((9, 30), np.int32)
    multiply = engines.multiply_pairs if form == "pairs" else engines.multiply_quads
    multiply(a, room, bias, 19, framed[3:6, 5:24])
    want = np.zeros((9, 30), np.int64)
    want[3:6, 5:24] = a[:, :7].astype(np.int64) @ b.T.astype(np.int64) + bias[:19]
    assert np.array_equal(framed, want.astype(np.int32))


SMALLER, OTHER_SHAPE = "a packed operand or a bias is smaller", "a result is not of the shape"
REFUSED = {
    "k": ({"a": (2, 68)}, SMALLER),
    "n": ({"n": 17, "bias": 17, "result": (2, 17)}, SMALLER),
    "bias": ({"bias": 15}, SMALLER),
    "rows": ({"result": (3, 16)}, OTHER_SHAPE),
    "columns": ({"result": (2, 15)}, OTHER_SHAPE),
    "groups": ({"packed": (1, 15, 16, 4), "a": (2, 60)}, "its groups are no multiple of 16"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_operands_that_do_not_belong_together(changes: dict[str, tuple[int, ...] | int], message: str) -> None:
    sizes = {"a": (2, 64), "packed": (1, 16, 16, 4), "bias": 16, "n": 16, "result": (2, 16), **changes}
    a, packed = np.zeros(sizes["a"], np.int8), np.zeros(sizes["packed"], np.int8)
    bias, result = np.zeros(sizes["bias"], np.int32), np.zeros(sizes["result"], np.int32)
    with pytest.raises(ValueError, match=message):
        engines.multiply_quads(a, packed, bias, sizes["n"], result)


def test_a_packed_operand_that_is_not_contiguous() -> None:
    packed = np.zeros((1, 32, 16, 4), np.int8)[:, ::2]
    with pytest.raises(ValueError, match="a packed operand is not contiguous"):
        engines.multiply_quads(np.zeros((1, 4), np.int8), packed, np.zeros(1, np.int32), 1, np.zeros((1, 1), np.int32))


@packings
def test_appends_beyond_the_room(name: str) -> None:
    shape, dtype = (getattr(engines, f"{name}_shape")(16, 64), np.int8 if name == "quads" else np.int16)
    packed = np.zeros(shape, dtype)
    for call in (
        lambda: engines.put_column(packed, 16, np.zeros(1, dtype), 0),
        lambda: engines.put_column(packed, 0, np.zeros(65, dtype), 0),
        lambda: engines.put_depth(packed, 64, np.zeros(1, dtype), 0),
        lambda: engines.put_depth(packed, 0, np.zeros(17, dtype), 0),
        lambda: engines.pack_centred(np.zeros((17, 1), dtype), 0, packed),
    ):
        with pytest.raises(ValueError, match="fewer columns or rows than are put into it"):
            call()


# Matrix products of codes


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_codes_of_every_type(dtype: type[np.integer], data: st.DataObject) -> None:
    """First operands of their own type, zero points on both sides, second operands of 4 to 16 bits."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    lead = data.draw(st.sampled_from([(), (2,)]))
    m, k, n = (int(size) for size in rng.integers(1, 21, 3))
    low, high = data.draw(st.sampled_from([(-8, 7), (-128, 127), (0, 255), (-(2**15), 2**15 - 1), (0, 2**16 - 1)]))
    codes = any_of(rng, np.uint16, (*lead, m, k)) if dtype is np.int32 else any_of(rng, dtype, (*lead, m, k))
    zeros = data.draw(st.sampled_from([(0, 0), (3, -7), (-128, 128), (255, 1), (2**15, 0)]))
    b = rng.integers(low, high, (*lead, n, k), endpoint=True)
    reach = k * 2**17 * max(abs(low - zeros[1]), abs(high - zeros[1]))
    bits, bias = 32 if reach < 2**30 else 63, rng.integers(-(2**29), 2**29, n)
    check_matmul(codes.astype(dtype), b.astype(np.int32), bias, zeros, Accumulator(bits=bits))


def test_the_ends_of_int16() -> None:
    """(-2^15)^2 + (2^15)^2 is the sum of a pair that leaves int32 by one; less 2^31 it is 0."""
    a = np.full((1, 2), -(2**15), np.int16)
    got = matmul(a, a.astype(np.int32), int64([-(2**31)]), accumulator=Accumulator(), counters=no_events())
    assert got.tolist() == [[0]]


def test_codes_of_both_signs_that_no_16_bits_hold() -> None:
    """A code below 0 beside one above 2^15 - 1: neither int16 nor uint16."""
    a = np.array([[2**15, -1], [2**16 - 1, -(2**15)]], np.int32)
    got = matmul(a, np.array([[3, 5]], np.int32), None, accumulator=Accumulator(), counters=no_events())
    assert got.tolist() == [[3 * 2**15 - 5], [3 * (2**16 - 1) - 5 * 2**15]]


def test_a_prepared_operand_of_few_bits_serves_every_type() -> None:
    prepared = prepare(np.array([[7, -8, 3]], np.int32), 1)
    for dtype in (np.int8, np.uint8, np.int16, np.int32):
        a = np.array([[1, 2, 100]], dtype)
        got = matmul(a, prepared, None, a_zero=2, accumulator=Accumulator(), counters=no_events())
        assert got.tolist() == [[-1 * 6 + 98 * 2]]


# Tiles for processors that have them


def tiles_ir() -> str:
    """The configuration and every block of tiles, in the processor's instructions."""
    module, processor = ir.Module(), tiles.Processor()
    for signed in (True, False):
        for shape in ((1, 1), (1, 2), (2, 1), (2, 2)):
            tiles.tile_block_function(module, processor, shape, signed).linkage = "external"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [emission.I64] * 2), "configure")
    builder = ir.IRBuilder(function.append_basic_block())
    tiles.emit_configuration(builder, processor, *function.args)
    processor.release(builder)
    builder.ret_void()
    return str(module)


def test_tiles_are_compiled_for_a_processor_that_has_them() -> None:
    """A block of 2 x 2 tiles has four dot products for a whole step of k, and four for the last one."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    text = tiles_ir()
    assert floats_of_ir(text) == []
    machine = binding.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(cpu="sapphirerapids")
    assembly = machine.emit_assembly(binding.parse_assembly(text))
    for name, counted in {"tdpbssd": 18, "tdpbusd": 18, "ldtilecfg": 1, "tilerelease": 1}.items():
        assert len(re.findall(rf"\b{name}\b", assembly)) == counted, name
    assert {f"tmm{number}" for number in range(8)} == set(re.findall(r"\btmm\d", assembly))
