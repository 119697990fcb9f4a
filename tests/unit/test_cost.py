"""Events and energies of programs, against loops that know only the equations, and against closed forms."""

import json
import random
from collections import Counter
from fractions import Fraction

import msgspec
import numpy as np
import pytest
import torch

from hwsim.accelerator import arithmetic, traffic
from hwsim.accelerator.energy import HOROWITZ_45NM, Constant, energy_table
from hwsim.accelerator.estimate import estimate, event_rows, summary_rows, table_rows
from hwsim.accelerator.events import (
    Component,
    Direction,
    Event,
    Level,
    Operand,
    bytes_moved,
    compute,
    macs,
    merge,
    move,
    scaled,
)
from hwsim.accelerator.mapping import function_events
from hwsim.accelerator.pricing import price
from hwsim.accelerator.sentences import SentenceCounter, sentence_events
from hwsim.accelerator.traffic import Array
from hwsim.catalogue import Dyadic
from hwsim.formats import IntFormat
from hwsim.loading import load
from hwsim.operations import MatMul, Relu, Requantize
from hwsim.program import ConstantInfo, Dimension, Function, Manifest, Program, TensorInfo
from reference.lower import lower
from reference.model import Transformer, TransformerConfig
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import make_plan
from reference.quantize.scheme import Rule, Scheme, preset
from reference.train import make_batch

SMALL = {"vocabulary_size": 40, "d_model": 12, "n_heads": 2, "d_head": 5, "d_ff": 34, "max_positions": 16}
MIXED = Scheme(name="mixed", weight_bits=4, activation_bits=6, rules=[Rule(pattern="*.self_attention.value", bits=3)])


def lowered(scheme: Scheme, encoder_layers: int = 1, decoder_layers: int = 1, **changes) -> Program:
    torch.manual_seed(3)
    config = TransformerConfig(**(SMALL | changes), encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    model, rng = Transformer(config).eval(), random.Random(4)
    pairs = [tuple([rng.randrange(4, 40) for _ in range(6)] for _ in range(2)) for _ in range(4)]
    return lower(model, make_plan(model, scheme, calibrate(model, [make_batch(pairs)])), name="small")


@pytest.fixture(scope="module")
def int8() -> Program:
    return lowered(preset("int8"))


@pytest.fixture(scope="module")
def mixed() -> Program:
    return lowered(MIXED, encoder_layers=2, decoder_layers=2)


def product(
    m: int, k: int, n: int, *, a_bits=8, b_bits=8, zero=(0, 0), constant=True, transposed=False, outputs=("y",)
) -> Program:
    """relu(a @ b.T + bias) of (batch, 2, m, k), or (batch, m, k) by a constant; zero points as given."""
    lead = ("batch",) if constant else ("batch", 2)

    def tensor(name: str, bits: int, *dims: int, zero_point: int = 0) -> TensorInfo:
        return TensorInfo(name=name, format=IntFormat(bits=bits), dims=[*lead, *dims], zero_point=zero_point)

    tensors = [tensor("a", a_bits, m, k, zero_point=zero[0])]
    tensors += [tensor("acc", 32, m, n), tensor("relu", 32, m, n), tensor("y", a_bits, m, n, zero_point=1)]
    constants = [
        ConstantInfo(name="m", format=IntFormat(bits=16, signed=False), shape=[n], role="multiplier"),
    ]
    arrays = {"m": np.full(n, 3)}
    if constant:
        constants += [
            ConstantInfo(name="b", format=IntFormat(bits=b_bits), shape=[n, k], role="weight", zero_point=zero[1]),
            ConstantInfo(name="bias", format=IntFormat(bits=32), shape=[n], role="bias"),
        ]
        arrays |= {"b": np.ones((n, k), np.int64), "bias": np.zeros(n, np.int64)}
    else:
        tensors.append(tensor("b", b_bits, *((k, n) if transposed else (n, k)), zero_point=zero[1]))
    function = Function(
        name="forward",
        inputs=["a"] if constant else ["a", "b"],
        outputs=list(outputs),
        operations=[
            MatMul(output="acc", a="a", b="b", bias="bias" if constant else None, transpose_b=transposed),
            Relu(output="relu", input="acc"),
            Requantize(output="y", input="relu", requantization=Dyadic(multiplier="m", shift=4)),
        ],
    )
    manifest = Manifest(
        name="product",
        scheme="none",
        tokenizer_sha256="",
        pad_id=0,
        bos_id=1,
        eos_id=2,
        max_positions=1,
        logit_scale=1.0,
        dimensions=[Dimension(name="batch", maximum=64)],
        tensors=tensors,
        constants=constants,
        functions=[function],
        states=[],
    )
    return Program(manifest, arrays)


# --- a counter of plain loops, written from docs/numerics.md and docs/cost.md alone -----------------------------------


class Loops:
    """Runs every loop of a function and counts by hand: (site, component, operand, direction) -> count."""

    def __init__(self, program: Program, function: str, sizes: dict[str, int], rows: int = 32, columns: int = 32):
        self.program, self.sizes, self.rows, self.columns = program, sizes, rows, columns
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        definition = next(f for f in program.manifest.functions if f.name == function)
        self.kept_in_array, self.cache, self.fresh, self.same_rows = _roles(program, definition)
        for operation in definition.operations:
            self.site = operation.output
            getattr(self, type(operation).__name__.lower())(operation)

    def shape(self, name: str) -> list[int]:
        if name in self.program.constants:
            return list(self.program.constants[name].shape)
        sizes = self.sizes | {"keys": self.sizes.get("past", 0) + self.sizes.get("target", 0)}
        return [dim if isinstance(dim, int) else sizes[dim] for dim in self.program.tensors[name].dims]

    def info(self, name: str):
        return self.program.constant_info.get(name) or self.program.tensors[name]

    def elements(self, name: str) -> int:
        return int(np.prod(self.shape(name), dtype=np.int64))

    def bytes(self, name: str) -> int:
        """Packs row after row, bit after bit."""
        *rows, last = self.shape(name) or [1]
        total = 0
        for _ in np.ndindex(*rows):
            bit = 0
            for _ in range(last):
                bit += self.info(name).format.bits
            while bit > 0:
                total, bit = total + 1, bit - 8
        return total

    def tick(self, component: str, count: int = 1) -> None:
        self.counts[self.site, component, "none", "none"] += count

    def move(self, component: str, name: str, direction: str, count: int) -> None:
        operand = "weight" if name in self.program.constants else "kv_cache" if name in self.cache else "activation"
        if operand == "activation" and name in ("acc", "relu"):
            operand = "accumulator"
        self.counts[self.site, component, operand, direction] += count

    def load(self, *names: str, count: int | None = None) -> None:
        for name in names:
            if name not in self.kept_in_array:
                source = self.fresh.get(name, name)  # of an extended cache only the earlier positions
                moved = self.bytes(source) if count is None else count
                self.move("dram_transfer", name, "read", moved)
                self.move("sram_transfer", name, "write", moved)

    def use(self, name: str, times: int = 1, count: int | None = None) -> None:
        if name not in self.kept_in_array:
            self.move("sram_access", name, "read", times * (self.bytes(name) if count is None else count))

    def store(self, name: str) -> None:
        if name not in self.kept_in_array:
            count = self.bytes(self.same_rows.get(name, name))
            self.move("sram_access", name, "write", count)
            self.move("sram_transfer", name, "read", count)
            self.move("dram_transfer", name, "write", count)

    def scale(self, x: int = 1) -> None:
        for _ in range(x):
            self.tick("requantize_multiply")
            self.tick("requantize_shift")
            self.tick("requantize_add")
            self.tick("clamp")

    def constants_of(self, *names) -> list[str]:
        return [name for name in names if isinstance(name, str)]

    def matmul(self, op) -> None:
        a, b, n = self.shape(op.a), self.shape(op.b), self.shape(op.output)[-1]
        k, zero_a, zero_b = a[-1], self.info(op.a).zero_point, self.info(op.b).zero_point
        weights = op.b in self.program.constants
        products, m = (1, int(np.prod(a[:-1]))) if weights else (int(np.prod(a[:-2])), a[-2])
        self.load(op.a, op.b, *self.constants_of(op.bias))
        code_a, code_b = self.info(op.a).format.bits, self.info(op.b).format.bits
        for _ in range(products):
            for i0 in range(0, m, self.rows):
                for j0 in range(0, n, self.columns):
                    self.fold(op, min(self.rows, m - i0), k, min(self.columns, n - j0), bool(zero_a), bool(zero_b))
                    self.use(op.a, count=min(self.rows, m - i0) * -(-k * code_a // 8))
                if op.transpose_b:
                    self.use(op.b, count=k * -(-n * code_b // 8))
                else:
                    self.use(op.b, count=n * -(-k * code_b // 8))
                for name in self.constants_of(op.bias):
                    self.use(name)
                if zero_a and weights:
                    self.move("register", op.b, "read", 4 * n)
            if zero_a and not weights:
                self.column_terms(n, k)
            if zero_b:
                self.row_terms(m, k, bool(zero_a))
        assert b[-1] == (n if op.transpose_b else k)
        self.store(op.output)

    def fold(self, op, rows: int, k: int, columns: int, zero_a: bool, zero_b: bool) -> None:
        for _ in range(rows):
            for _ in range(columns):
                self.counts[self.site, "register", "accumulator", "write"] += 4
                for _ in range(k):
                    self.tick("mac_multiply")
                    self.tick("mac_add")
                    self.counts[self.site, "register", "accumulator", "read"] += 4
                    self.counts[self.site, "register", "accumulator", "write"] += 4
                self.counts[self.site, "register", "accumulator", "read"] += 4
                if op.bias is not None:
                    self.tick("bias_add")
                self.tick("zero_point_add", zero_a + zero_b)

    def column_terms(self, n: int, k: int) -> None:
        for _ in range(n):
            for _ in range(k):
                self.tick("zero_point_add")
            self.tick("zero_point_multiply")

    def row_terms(self, m: int, k: int, both: bool) -> None:
        for _ in range(m):
            for _ in range(k):
                self.tick("zero_point_add")
            self.tick("zero_point_multiply")
            self.tick("zero_point_add", int(both))

    def finish(self, output: str) -> None:
        if self.info(output).zero_point:
            self.tick("requantize_add", self.elements(output))
        self.store(output)

    def columns_constants(self, op, *names) -> None:
        rows = int(np.prod(self.shape(op.output)[:-1]))
        self.load(*self.constants_of(*names))
        for _ in range(0, rows, self.rows):
            for name in self.constants_of(*names):
                self.use(name)

    def requantize(self, op) -> None:
        self.columns_constants(op, op.requantization.multiplier, op.requantization.shift)
        self.load(op.input)
        self.use(op.input)
        self.scale(self.elements(op.output))
        self.finish(op.output)

    def shiftright(self, op) -> None:
        self.load(op.input)
        self.use(op.input)
        for _ in range(self.elements(op.output)):
            self.tick("requantize_shift")
            self.tick("requantize_add")
        self.store(op.output)

    def relu(self, op) -> None:
        self.load(op.input)
        self.use(op.input)
        self.tick("compare", self.elements(op.input))
        self.store(op.output)

    def embed(self, op) -> None:
        tokens, columns = int(np.prod(self.shape(op.ids))), self.shape(op.output)[-1]
        for _ in range(tokens):
            for name in self.constants_of(op.table, op.positions, op.multiplier):
                length = columns if name in (op.table, op.positions) else 1
                row = -(-length * self.info(name).format.bits // 8)
                self.load(name, count=row)
                self.use(name, count=row)
            for _ in range(columns):
                self.tick("requantize_multiply", 2)
                self.tick("vector_add")
                self.tick("requantize_shift")
                self.tick("requantize_add")
                self.tick("clamp")
        for name in (op.ids, op.position):
            self.load(name)
            self.use(name)
        self.finish(op.output)

    def add(self, op) -> None:
        for name in (op.a, op.b):
            self.load(name)
            self.use(name)
        for _ in range(self.elements(op.output)):
            for name in (op.a, op.b):
                self.tick("zero_point_add", int(self.info(name).zero_point != 0))
                self.tick("requantize_multiply")
            self.tick("vector_add")
            self.tick("requantize_shift")
            self.tick("requantize_add")
            self.tick("clamp")
        self.finish(op.output)

    def softmax(self, op) -> None:
        *outer, keys = self.shape(op.input)
        self.load(op.table, op.input, *self.constants_of(op.mask))
        for _ in np.ndindex(*outer):
            row = -(-keys * self.info(op.input).format.bits // 8)
            self.use(op.input, count=row)  # maximum
            self.use(op.input, count=row)  # numerators
            numerators = -(-keys * self.info(op.numerator).format.bits // 8)
            self.move("sram_access", op.numerator, "write", numerators)
            self.move("sram_access", op.numerator, "read", numerators)
            if op.mask is not None:
                self.use(op.mask, count=-(-keys * 2 // 8))
            for _ in range(keys):
                self.tick("compare")
                self.tick("vector_add")
                self.tick("table_read")
                self.tick("vector_add")
            self.scale()
            self.tick("compare")
            self.quotients(keys)
        self.finish(op.output)

    def quotients(self, n: int) -> None:
        self.tick("requantize_shift")
        for _ in range(n):
            self.tick("requantize_multiply")
            self.tick("divide")
            self.tick("clamp")

    def layernorm(self, op) -> None:
        *outer, n = self.shape(op.input)
        self.load(op.input, op.gamma, op.beta)
        for _ in np.ndindex(*outer):
            row = -(-n * self.info(op.input).format.bits // 8)
            self.use(op.input, count=row)  # sums
            self.use(op.input, count=row)  # results
            self.use(op.gamma)
            self.use(op.beta)
            for _ in range(n):
                self.tick("vector_add", 2)  # into sum(x) and sum(x^2)
                self.tick("vector_multiply")  # x^2
            self.tick("vector_multiply", 2)  # n*sum(x^2), sum(x)^2
            self.tick("vector_add", 2)  # difference, eps
            self.tick("square_root")
            self.scale()
            self.tick("compare")
            self.quotients(n)
            for _ in range(n):
                self.tick("vector_multiply", 2)  # n*x, gamma
                self.tick("vector_add")  # n*x - sum(x)
                self.tick("bias_add")
                self.scale(2)  # numerator, output
        self.finish(op.output)

    def splitheads(self, op) -> None: ...

    mergeheads = append = splitheads


def _roles(program: Program, function: Function) -> tuple[set[str], set[str], dict[str, str], dict[str, str]]:
    """By the names that lowering gives (`acc`, `relu` in `product`): what each tensor is in docs/cost.md."""
    made = [operation.output for operation in function.operations]
    kept = {
        name for name in made if name.endswith((".accumulator", ".shifted", ".rectified")) or name in ("acc", "relu")
    }
    kept -= set(function.outputs)
    cache = {name for name in program.tensors if "cross_attention" in name and name.split(".")[3] in ("key", "value")}
    if function.name == "decode_step":
        past = {f"{name}{end}" for name in ("key", "value") for end in ("", ".heads", "_past", "_cache")}
        cache |= {n for n in program.tensors if "decoder" in n and n.split("self_attention.")[-1] in past}
    fresh = {state.present: state.past for state in program.manifest.states}
    same_rows = {o.input: o.output for o in function.operations if type(o).__name__ in ("SplitHeads", "MergeHeads")}
    return kept, {n for n in cache if not n.endswith(".accumulator")}, fresh, same_rows


def tallied(events: list[Event]) -> Counter:
    counts: Counter = Counter()
    for e in events:
        counts[e.site, e.component.value, e.operand.value, e.direction.value] += e.count
    return counts


def positive(counts: Counter) -> dict:
    return {key: count for key, count in counts.items() if count}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["int8", "mixed"])
def test_a_lowered_program_counts_what_plain_loops_count(name, seed, request):
    program, rng = request.getfixturevalue(name), random.Random(seed)
    sizes = {"batch": rng.randint(1, 2), "source": rng.randint(1, 5)}
    steps = {**sizes, "target": 1, "past": rng.randint(0, 6)}
    for function, given in (("encode", sizes), ("decode_step", steps)):
        array = Array(rows=rng.choice([2, 3, 32]), columns=32)
        events = function_events(program, function, given, array)
        assert positive(tallied(events)) == positive(Loops(program, function, given, array.rows).counts)
        assert len({scaled(event, 0) for event in events}) == len(events)


PRODUCTS = [
    {"m": 35, "k": 3, "n": 41, "a_bits": 8, "b_bits": 4},
    {"m": 2, "k": 9, "n": 33, "a_bits": 6, "b_bits": 6, "zero": (5, 0)},
    {"m": 3, "k": 5, "n": 7, "zero": (1, 2)},
    {"m": 33, "k": 4, "n": 6, "constant": False},
    {"m": 3, "k": 5, "n": 34, "constant": False, "transposed": True, "zero": (3, 0)},
    {"m": 3, "k": 5, "n": 4, "constant": False, "a_bits": 5, "b_bits": 3, "zero": (3, -2)},
    {"m": 4, "k": 3, "n": 5, "zero": (0, 1), "outputs": ("acc", "y")},
    {"m": 4, "k": 3, "n": 5, "outputs": ("relu", "y")},
]


@pytest.mark.parametrize("case", PRODUCTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_product_counts_what_plain_loops_count(case, batch):
    program = product(**case)
    events = function_events(program, "forward", {"batch": batch})
    assert positive(tallied(events)) == positive(Loops(program, "forward", {"batch": batch}).counts)


@pytest.mark.parametrize("module", [traffic, arithmetic])
def test_the_loops_catch_a_planted_error(int8, monkeypatch, module):
    sizes, real = {"batch": 1, "source": 3}, module.product_size

    def wrong(operation, call):
        products, m, k, n = real(operation, call)
        return products, m, k, n + 32

    monkeypatch.setattr(module, "product_size", wrong)
    counted, looped = tallied(function_events(int8, "encode", sizes)), Loops(int8, "encode", sizes).counts
    assert positive(counted) != positive(looped)


# --- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "m", "k", "n", "ifmap", "weights"),
    [  # SCALE-Sim 3.0.0, output-stationary: SRAM reads of either operand
        (32, 64, 512, 512, 524288, 524288),
        (16, 64, 512, 512, 1048576, 1048576),
        (32, 64, 512, 2048, 2097152, 2097152),
        (32, 64, 2048, 512, 2097152, 2097152),
        (16, 128, 64, 128, 65536, 65536),
    ],
)
def test_array_reads_equal_scale_sim(side, m, k, n, ifmap, weights):
    events = function_events(product(m, k, n), "forward", {"batch": 1}, Array(rows=side, columns=side))
    array = [e for e in events if e.component is Component.SRAM_ACCESS and e.operation == "matmul" and e.bits == 8]
    assert bytes_moved(array, Level.SRAM, Operand.ACTIVATION, Direction.READ) == ifmap
    assert bytes_moved(array, Level.SRAM, Operand.WEIGHT, Direction.READ) == weights
    written = [e for e in events if e.component is Component.SRAM_ACCESS and e.direction is Direction.WRITE]
    assert bytes_moved(written, Level.SRAM) == m * n
    assert bytes_moved(events, Level.DRAM, Operand.ACTIVATION, Direction.READ) == m * k
    assert bytes_moved(events, Level.DRAM, Operand.ACTIVATION, Direction.WRITE) == m * n


def test_macs_of_a_sentence_equal_the_closed_form(mixed):
    d, width, f, v, layers = 12, 10, 34, 40, 2
    s, t = 5, 7
    encode, decode = sentence_events(mixed, s, t)
    assert macs(encode) == layers * (4 * s * d * width + 2 * s * s * width + 2 * s * d * f) + layers * 2 * s * d * width
    steps = sum(6 * d * width + 2 * width * (i + 1) + 2 * width * s + 2 * d * f for i in range(t))
    assert macs(decode) == layers * steps + t * d * v
    for events in (encode, decode):
        assert macs(events) == sum(e.count for e in events if e.component is Component.MAC_ADD)


@pytest.mark.parametrize(("name", "layers", "key_bits", "value_bits"), [("int8", 1, 8, 8), ("mixed", 2, 6, 3)])
def test_cache_bytes_of_a_step_equal_the_closed_form(name, layers, key_bits, value_bits, request):
    program, heads, d_head, s = request.getfixturevalue(name), 2, 5, 4
    rows = [-(-d_head * bits // 8) for bits in (key_bits, value_bits)]
    cross = [-(-d_head * min(8, bits) // 8) for bits in (key_bits, key_bits)]
    for t in range(1, 9):
        events = function_events(program, "decode_step", {"batch": 1, "source": s, "target": 1, "past": t - 1})
        read, write = (bytes_moved(events, Level.DRAM, Operand.KV_CACHE, d) for d in (Direction.READ, Direction.WRITE))
        assert read == layers * heads * ((t - 1) * sum(rows) + s * sum(cross))
        assert write == layers * heads * sum(rows)
        shown = [e for e in events if e.component is Component.SRAM_ACCESS and e.direction is Direction.READ]
        assert bytes_moved(shown, Level.SRAM, Operand.KV_CACHE) >= layers * heads * t * sum(rows)
    encode = function_events(program, "encode", {"batch": 1, "source": s})
    assert bytes_moved(encode, Level.DRAM, Operand.KV_CACHE, Direction.WRITE) == layers * heads * s * sum(cross)
    assert bytes_moved(encode, Level.DRAM, Operand.KV_CACHE, Direction.READ) == 0


def test_constants_are_read_once_a_call_and_of_embeddings_the_rows(mixed, tmp_path):
    mixed.save(tmp_path / "small.program")
    program = load(tmp_path / "small.program")  # a program file counts as the program it was
    sizes = {"batch": 1, "source": 3, "target": 1, "past": 2}
    events = function_events(program, "decode_step", sizes)
    assert events == function_events(mixed, "decode_step", sizes)
    whole = 0
    for operation in program.functions["decode_step"].operations[1:]:
        for name in program.constants_of(operation):
            info = program.constant_info[name]
            *rows, last = info.shape
            whole += int(np.prod(rows)) * -(-last * info.format.bits // 8)
    looked_up = 6 + 6 + 2  # 12 codes of 4 bits from either table, and the row's multiplier
    assert bytes_moved(events, Level.DRAM, Operand.WEIGHT, Direction.READ) == whole + looked_up
    assert bytes_moved(events, Level.DRAM, Operand.WEIGHT, Direction.WRITE) == 0
    assert not [e for e in events if e.operand is Operand.ACCUMULATOR and e.level is not Level.REGISTER]


# --- sentences -------------------------------------------------------------------------------------------------------


def test_a_sentence_is_one_encode_and_a_step_a_token(mixed):
    steps = [
        event
        for past in range(6)
        for event in function_events(mixed, "decode_step", {"batch": 1, "source": 4, "target": 1, "past": past})
    ]
    got = sentence_events(mixed, 4, 6)
    assert got.encode == function_events(mixed, "encode", {"batch": 1, "source": 4})
    assert set(got.decode) == set(merge(steps))
    assert [e.site for e in got.decode] == sorted((e.site for e in got.decode), key=_order(mixed))


def _order(program: Program):
    sites = [operation.output for operation in program.functions["decode_step"].operations]
    return sites.index


def test_sentences_add_up_and_do_not_depend_on_what_was_counted_before(int8):
    lengths = [(3, 9), (5, 2), (3, 9), (16, 16), (1, 1)]
    counter = SentenceCounter(int8)
    alone = [sentence_events(int8, *pair) for pair in lengths]
    assert [counter.sentence(*pair) for pair in lengths] == alone
    for phase in range(2):
        want = merge(event for events in alone for event in events[phase])
        assert set(counter.sentences(lengths)[phase]) == set(want)


def test_batch_counts_twice_what_two_sentences_count_except_constants(int8):
    one, two = (function_events(int8, "encode", {"batch": b, "source": 4}) for b in (1, 2))
    for events in zip(one, two, strict=True):
        component, operand = events[0].component, events[0].operand
        assert scaled(events[0], 0) == scaled(events[1], 0)
        once = operand is Operand.WEIGHT or events[0].site.endswith("embedding")
        if component is Component.DRAM_TRANSFER and once and events[0].operation != "embed":
            assert events[1].count == events[0].count
        elif not once:
            assert events[1].count == 2 * events[0].count


@pytest.mark.parametrize("pair", [(0, 3), (3, 0), (17, 3), (3, 17)])
def test_lengths_outside_the_program_are_refused(int8, pair):
    with pytest.raises(ValueError, match="allowed are 1 to 16"):
        sentence_events(int8, *pair)


def test_sizes_are_checked(int8):
    with pytest.raises(ValueError, match="missing sizes \\['past'\\], unknown sizes \\['pest'\\]"):
        function_events(int8, "decode_step", {"batch": 1, "source": 1, "target": 1, "pest": 3})
    with pytest.raises(ValueError, match="unknown function 'decode'; the program has encode, decode_step"):
        function_events(int8, "decode", {})
    with pytest.raises(ValueError, match="size source is 17; allowed are 0 to 16"):
        function_events(int8, "encode", {"batch": 1, "source": 17})
    with pytest.raises(ValueError, match="unknown function 'encode'"):
        SentenceCounter(product(1, 1, 1))
    with pytest.raises(ValueError, match="0 x 32"):
        Array(rows=0)
    with pytest.raises(ValueError, match="moves no bytes"):
        bytes_moved([], Level.DATAPATH)


# --- energy ----------------------------------------------------------------------------------------------------------


def test_constants_are_what_was_published():
    for name, constant in HOROWITZ_45NM.constants():
        figure, unit = constant.published.split()
        ends = [Fraction(part) * 10**6 for part in figure.split("-")]
        assert unit == "pJ"
        assert (constant.low_aj, constant.high_aj) == (ends[0], ends[-1]), name
        assert constant.energy_aj == sum(ends) / len(ends)
        assert constant.node_nm == 45
        assert "ISSCC 2014" in constant.source
        assert constant.assumed or name == "multiply_32"
    assert energy_table("horowitz-45nm") is HOROWITZ_45NM
    wide = HOROWITZ_45NM.energy_of(compute("x", "matmul", Component.MAC_MULTIPLY, 32, 1, 32))
    assert abs(wide.nominal / HOROWITZ_45NM.multiply_32.energy_aj - 1) < 0.04


@pytest.mark.parametrize(
    ("event", "energy_pj"),
    [
        (compute("x", "matmul", Component.MAC_MULTIPLY, 8, 1, 8), "0.2"),
        (compute("x", "matmul", Component.MAC_MULTIPLY, 4, 1, 8), "0.1"),
        (compute("x", "matmul", Component.MAC_ADD, 32, 1), "0.1"),
        (compute("x", "matmul", Component.MAC_ADD, 33, 1), "0.2"),
        (compute("x", "softmax", Component.VECTOR_ADD, 6, 1), "0.03"),
        (move("x", "add", Component.SRAM_ACCESS, Operand.ACTIVATION, Direction.READ, 4, 1), "2.5"),
        (move("x", "add", Component.DRAM_TRANSFER, Operand.WEIGHT, Direction.WRITE, 4, 1), "243.75"),
    ],
)
def test_energy_of_one_event(event, energy_pj):
    assert HOROWITZ_45NM.energy_of(event).nominal == Fraction(energy_pj) * 10**6


def test_every_breakdown_sums_to_the_total_exactly(mixed):
    for events in sentence_events(mixed, 7, 11):
        cost = price(events, HOROWITZ_45NM)
        for parts in (cost.by_component, cost.by_level, cost.by_operand, cost.by_operation, cost.by_site):
            assert sum(parts.values()) == cost.energy_aj
        assert cost.low_aj < cost.energy_aj < cost.high_aj
        assert cost.dram_bytes == bytes_moved(events, Level.DRAM)
        parts = (cost.weight_bytes, cost.activation_bytes, cost.kv_cache_bytes, cost.accumulator_bytes)
        assert sum(parts) == cost.dram_bytes
        assert cost.macs == macs(events)


def test_energy_is_linear(mixed):
    events = sentence_events(mixed, 3, 4).decode
    cost, more = price(events, HOROWITZ_45NM), price([scaled(e, 10**15 * e.count) for e in events], HOROWITZ_45NM)
    assert more.energy_aj == 10**15 * cost.energy_aj
    split = [scaled(e, part) for e in events for part in (e.count // 3, e.count - e.count // 3)]
    assert price(split, HOROWITZ_45NM) == cost
    half = len(events) // 2
    assert sum(price(part, HOROWITZ_45NM).energy_aj for part in (events[:half], events[half:])) == cost.energy_aj


def test_what_the_table_lacks_is_listed_and_never_zero(int8):
    result = estimate(int8, [(4, 5)])
    missing = {entry.component for entry in result.total.cost.not_modelled}
    assert missing == {
        Component.REQUANTIZE_SHIFT,
        Component.COMPARE,
        Component.CLAMP,
        Component.TABLE_READ,
        Component.DIVIDE,
        Component.SQUARE_ROOT,
        Component.REGISTER,
    }
    for entry in result.total.cost.not_modelled:
        same = [e for e in result.total.events if (e.component, e.bits) == (entry.component, entry.bits)]
        assert entry.count == sum(e.count for e in same) > 0
    softmax = next(row for row in table_rows(result) if row["operation"] == "softmax")
    assert softmax["divide_energy_pj"] is None
    assert softmax["bias_add_energy_pj"] == 0.0


def test_a_table_that_does_not_divide_is_refused():
    odd = msgspec.structs.replace(HOROWITZ_45NM.add_8, energy_aj=30_001, low_aj=30_001, high_aj=30_001)
    with pytest.raises(ValueError, match="multiply_8 is 30001 aJ, which is no multiple of 64"):
        msgspec.structs.replace(HOROWITZ_45NM, multiply_8=odd)
    with pytest.raises(ValueError, match="no SRAM of 64 KiB in table horowitz-45nm; it has 8, 32, 1024"):
        msgspec.structs.replace(HOROWITZ_45NM, sram_kib=64)
    with pytest.raises(ValueError, match="above 0"):
        Constant(energy_aj=1, low_aj=0, high_aj=2, published="", unit="", node_nm=1, source="")
    with pytest.raises(ValueError, match="unknown energy table 'x'; known: horowitz-45nm"):
        energy_table("x")
    large = msgspec.structs.replace(HOROWITZ_45NM, sram_kib=1024)
    access = move("x", "add", Component.SRAM_ACCESS, Operand.ACTIVATION, Direction.READ, 8, 1)
    assert large.energy_of(access).nominal == 5 * HOROWITZ_45NM.energy_of(access).nominal


# --- workloads -------------------------------------------------------------------------------------------------------


def test_an_estimate_adds_up(mixed):
    lengths = [(4, 6), (9, 3), (2, 13)]
    result = estimate(mixed, lengths)
    assert (result.encode.tokens, result.decode.tokens) == (15, 22)
    assert (result.encode.calls, result.decode.calls, result.total.calls) == (3, 22, 25)
    total = result.total.cost
    assert total.energy_aj == result.encode.cost.energy_aj + result.decode.cost.energy_aj
    rows = result.rows()
    for name in ("energy_aj", "macs", "dram_bytes", "sram_bytes", "weight_bytes", "kv_cache_bytes"):
        assert sum(getattr(row.cost, name) for row in rows) == getattr(total, name)
    assert result.decode.energy_pj_per_token == result.decode.cost.energy_pj / 22
    assert result.total.dram_bytes_per_sentence == total.dram_bytes / 3
    with pytest.raises(ValueError, match="no sentences"):
        estimate(mixed, [])


def test_fewer_weight_bits_cost_fewer_bytes_and_less_energy():
    wide, narrow = (estimate(lowered(preset(name)), [(5, 5)]).total.cost for name in ("int8", "w4a8"))
    assert narrow.macs == wide.macs
    assert narrow.weight_bytes < wide.weight_bytes
    assert narrow.activation_bytes == wide.activation_bytes
    assert narrow.energy_aj < wide.energy_aj


def test_flat_rows_are_json_with_units_in_their_names(int8):
    result = estimate(int8, [(4, 5), (2, 2)])
    for rows in (table_rows(result), summary_rows(result), event_rows(result.decode.events)):
        assert json.loads(json.dumps(rows)) == rows
        assert len({tuple(row) for row in rows}) == 1
    cells = table_rows(result)[0]
    assert {"phase", "site", "operation", "macs", "weight_bytes", "kv_cache_bytes", "energy_pj"} < set(cells)
    assert sum(row["energy_aj"] for row in table_rows(result)) == summary_rows(result)[2]["energy_aj"]
    assert all(type(event.count) is int for event in result.total.events)
    encoded = msgspec.json.encode(result.decode.events)
    assert msgspec.json.decode(encoded, type=list[Event]) == result.decode.events
