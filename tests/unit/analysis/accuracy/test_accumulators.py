"""Accumulators: specifications, safe widths against the oracle, and what a watched run really does."""

import numpy as np
import pytest

from analysis.accuracy.accumulators import Watch, in_words, parse_accumulator, safe_widths
from analysis.translation.steppers import MachineStepper
from hwsim.formats import Accumulator, Counter, Granularity, Overflow
from hwsim.machine import Machine
from hwsim.program import Program
from hwsim.program.operations import AnyProduct, ProjectHeads
from hwsim.program.validate import validate
from reference.decoding import beam, greedy
from reference.quantize.scheme import Scheme, preset, scheme_for
from tests import oracle
from tests.small.programs import tiny_program
from tests.small.sentences import sentences

NARROW = Accumulator(bits=12, overflow=Overflow.SATURATE, granularity=Granularity.TILE, tile=3)


def test_specifications() -> None:
    assert parse_accumulator("16:saturate") == Accumulator(bits=16, overflow=Overflow.SATURATE)
    assert parse_accumulator("20:wrap:end") == Accumulator(bits=20, overflow=Overflow.WRAP, granularity=Granularity.END)
    tile = Accumulator(bits=16, overflow=Overflow.SATURATE, granularity=Granularity.TILE)
    assert parse_accumulator("16:saturate:tile") == tile and tile.tile == 16
    assert parse_accumulator("16:saturate:tile=5").tile == 5
    assert parse_accumulator("63:wrap:mac").granularity is Granularity.MAC


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", ["BITS:RULE[:WHEN[=TILE]]"]),
        ("16", ["needed is BITS:RULE", "16:saturate:tile=16"]),
        ("16:wrap:mac:1", ["needed is BITS:RULE"]),
        ("x:wrap", ["'x' is no number of bits"]),
        ("-8:wrap", ["'-8' is no number of bits"]),
        ("1" * 5000 + ":wrap", ["no number of bits"]),
        ("7:wrap", ["7 bits", "8 to 63"]),
        ("64:wrap", ["64 bits", "8 to 63"]),
        ("16:clip", ["'clip' is no overflow rule", "saturate, wrap"]),
        ("16:proven", ["'proven' is no overflow rule"]),
        ("16::mac", ["'' is no overflow rule"]),
        ("16:wrap:", ["'' is no granularity", "mac, tile, end"]),
        ("16:wrap:row", ["'row' is no granularity"]),
        ("16:wrap:mac=4", ["only tile", "not mac"]),
        ("16:wrap:tile=", ["'' is no number of products"]),
        ("16:wrap:tile=0", ["tile of 0 products", "1 to 1048576"]),
        ("16:wrap:tile=2.5", ["'2.5' is no number of products"]),
    ],
)
def test_bad_specifications_are_named(spec: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as refused:
        parse_accumulator(spec)
    assert str(refused.value).startswith(f"accumulator {spec!r}: ")
    for word in words:
        assert word in str(refused.value)


def test_in_words() -> None:
    assert in_words(Accumulator()) == "32 bits, proven"
    assert in_words(NARROW) == "12 bits, saturate after every 3 products"
    assert in_words(parse_accumulator("20:wrap")) == "20 bits, wrap after every product"
    assert in_words(parse_accumulator("20:wrap:end")) == "20 bits, wrap after the last product"


# --- safe widths --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["int8", "ita", "w4a8"])
def program(request: pytest.FixtureRequest) -> Program:
    return tiny_program(scheme_for("ita", name="ita") if request.param == "ita" else preset(request.param))


def products(program: Program) -> dict[str, AnyProduct]:
    return {op.output: op for _, op in program.operations() if isinstance(op, AnyProduct)}


def of_heads(program: Program, operation: ProjectHeads) -> tuple[np.ndarray, list[list[int]]]:
    """Weights (h, d, e) and biases (h, d), those of head 0 alone."""
    weight, heads = program.constants[operation.weight], program.tensors[operation.input].dims[1]
    parts = np.stack(np.split(weight, heads, axis=1))
    biases = [program.constants[operation.bias].tolist(), *[[0] * len(weight)] * (heads - 1)]
    return parts, biases


def check_heads(program: Program, operation: ProjectHeads, proven: tuple[int, int], a2q: int | None) -> None:
    """The worst row of the worst head."""
    a = program.tensors[operation.input].format
    parts, biases = of_heads(program, operation)
    rows = [
        (row, start)
        for part, bias in zip(parts.tolist(), biases, strict=True)
        for row, start in zip(part, bias, strict=False)
    ]
    bounds = [oracle.partial_sum_bounds(row, 0, start, a.min, a.max) for row, start in rows]
    assert proven == (min(low for low, _ in bounds), max(high for _, high in bounds))
    assert a2q == max(oracle.a2q_bits(row, a.bits, a.signed) for row, _ in rows)


def test_every_product_has_the_widths_of_the_equations(program: Program) -> None:
    reach, found = validate(program), safe_widths(program)
    assert [one.operation for one in found] == list(products(program))
    for one in found:
        operation = products(program)[one.operation]
        if isinstance(operation, ProjectHeads):
            assert one.terms == 4
            check_heads(program, operation, one.proven, one.a2q_bits)
            continue
        a = program.tensors[operation.a]
        assert one.proven == tuple(reach[one.operation]) and one.proven_bits == reach[one.operation].bits
        assert (one.a2q_bits is None) != (one.a2q_unknown is None)
        assert one.observed is None and one.observed_bits is None
        if operation.b not in program.constants:
            assert one.a2q_unknown == "both factors are activations"
        elif a.zero_point:
            assert one.a2q_unknown == f"the input has a zero point ({a.zero_point})"
        else:
            rows = program.constants[operation.b].tolist()
            assert one.a2q_bits == max(oracle.a2q_bits(row, a.format.bits, a.format.signed) for row in rows)


def test_proof_forgets_the_program_s_own_width() -> None:
    """A saturating accumulator holds less than its sums reach; the width that would do is the same."""
    wide = {one.operation: one.proven for one in safe_widths(tiny_program(preset("int8")))}
    narrow = safe_widths(tiny_program(Scheme(name="narrow", accumulator=NARROW)))
    assert {one.operation: one.proven for one in narrow} == wide


def test_some_input_of_a_target_has_a_zero_point_and_some_has_none() -> None:
    reasons = {one.a2q_unknown and one.a2q_unknown[:9] for one in safe_widths(tiny_program(preset("int8")))}
    assert reasons == {"the input", "both fact", None}
    symmetric = safe_widths(tiny_program(scheme_for("ita", name="ita")))
    assert {one.a2q_unknown for one in symmetric} == {"both factors are activations", None}


def test_a_pattern_takes_products_by_either_name(program: Program) -> None:
    name = "encoder.0.self_attention.scores"
    (short,), (long,) = safe_widths(program, pattern=name), safe_widths(program, pattern=f"{name}.accumulator")
    assert short == long and short.operation == f"{name}.accumulator"
    with pytest.raises(ValueError, match=r"'\*\.softmax\.\*' matches no matrix product"):
        safe_widths(program, pattern="*.softmax.*")


# --- a watched run ------------------------------------------------------------------------------------------------


class Exact(Machine):
    """Keeps the factors of every product it runs, in order: (sentence, call, operation, a, b, bias, zeros)."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.seen: list[tuple] = []
        self.sentence = self.step = 0

    def run(self, function, inputs, observe=None):
        values = {**inputs}
        outputs = super().run(function, inputs, values.__setitem__)
        if observe is not None:
            for name, array in values.items():
                observe(name, array)
        self.sentence, self.step = (self.sentence + 1, 0) if function == "encode" else (self.sentence, self.step + 1)
        call = "encode" if function == "encode" else f"decode step {self.step - 1}"
        for op in self.program.functions[function].operations:
            if isinstance(op, AnyProduct):
                self.seen.append((self.sentence, call, op, *self._factors(op, values)))
        return outputs

    def _factors(self, op, values):
        if isinstance(op, ProjectHeads):
            parts, biases = of_heads(self.program, op)
            return values[op.input].astype(np.int64), np.stack([parts] * len(values[op.input])), biases
        a = values[op.a].astype(np.int64) - self.program.tensors[op.a].zero_point
        if op.b in self.program.constants:
            b = self.program.constants[op.b] - self.program.constant_info[op.b].zero_point
        else:
            b = values[op.b].astype(np.int64) - self.program.tensors[op.b].zero_point
            b = b.swapaxes(-1, -2) if op.transpose_b else b
        bias = None if op.bias is None else self.program.constants[op.bias].tolist()
        return a, b, bias


def translate(machine: Machine, count: int = 2) -> None:
    for row in sentences(count):
        greedy(MachineStepper(machine, [row]), [3])


def sums_of(seen: tuple, accumulator: Accumulator) -> dict[tuple[int, ...], oracle.Accumulation]:
    """(batch..., row, column) to what the oracle says of that sum, in order; heads may have a bias each."""
    *_, a, b, biases = seen
    rule = (accumulator.bits, accumulator.overflow.value, accumulator.granularity.value, accumulator.tile)
    found = {}
    for batch in np.ndindex(a.shape[:-2]):
        right = b if b.ndim == 2 else b[batch]
        bias = biases[batch[-1]] if biases and isinstance(biases[0], list) else biases
        rows = oracle.matmul_by(a[batch].tolist(), right.tolist(), bias, (0, 0), *rule)
        found |= {(*batch, i, j): one for i, row in enumerate(rows) for j, one in enumerate(row)}
    return found


def test_a_watch_sees_the_extremes_of_every_running_sum(program: Program) -> None:
    watch, exact = Watch(program), Exact(program)
    translate(watch)
    translate(exact)
    each_product = Accumulator(bits=63, overflow=Overflow.SATURATE)
    want: dict[str, tuple[int, int]] = {}
    for seen in exact.seen:
        sums = sums_of(seen, each_product).values()
        low, high = min(one.least for one in sums), max(one.greatest for one in sums)
        least, greatest = want.get(seen[2].output, (low, high))
        want[seen[2].output] = min(low, least), max(high, greatest)
    assert watch.observed == want
    assert watch.overflowing() == []
    for one in safe_widths(program, watch.observed):
        assert one.observed == want[one.operation]
        assert one.observed_bits == oracle.least_bits(*one.observed) <= one.proven_bits


@pytest.mark.parametrize("target", ["fullyqt", "ita"])
@pytest.mark.parametrize("accumulator", [NARROW, parse_accumulator("11:wrap"), parse_accumulator("11:saturate:end")])
def test_a_watch_counts_and_finds_overflows_as_the_oracle_does(accumulator: Accumulator, target: str) -> None:
    program = tiny_program(scheme_for(target, name="narrow", accumulator=accumulator))
    watch, exact = Watch(program), Exact(program)
    translate(watch)
    translate(exact)
    events: dict[str, int] = {}
    first: dict[str, tuple] = {}
    for seen in exact.seen:
        sentence, call, operation, a, *_ = seen
        for index, one in sums_of(seen, accumulator).items():
            events[operation.output] = events.get(operation.output, 0) + one.events
            if one.first is not None and operation.output not in first:
                size = {"mac": 1, "tile": accumulator.tile, "end": a.shape[-1]}[accumulator.granularity.value]
                k = min(one.first * size, a.shape[-1]) - 1 if one.first else -1
                first[operation.output] = (sentence, call, *index, k)
    found = watch.overflowing()
    assert found and [one.events for one in found] == sorted((one.events for one in found), reverse=True)
    assert {one.operation: one.events for one in found} == {name: count for name, count in events.items() if count}
    assert sum(one.events for one in found) == watch.totals[Counter.OVERFLOW]
    for one in found:
        where = one.first
        assert where is not None
        assert (where.sentence, where.call, *where.batch, where.row, where.column, where.k) == first[one.operation]


@pytest.mark.parametrize("name", ["int8", "ita", "narrow", "onnxruntime"])
def test_padding_is_in_no_running_sum(name: str) -> None:
    """Sentences of 3 to 9 ids in one batch reach what they reach alone."""
    changes = {"accumulator": NARROW} if name == "narrow" else {}
    target = name if name in ("ita", "onnxruntime") else "fullyqt"
    program = tiny_program(scheme_for(target, name=name, **changes))
    alone, together = Watch(program), Watch(program)
    translate(alone, 4)
    greedy(MachineStepper(together, sentences(4)), [3] * 4)
    assert together.observed == alone.observed


def test_overflows_of_a_batch_are_not_those_of_its_sentences() -> None:
    watch = Watch(tiny_program(scheme_for("fullyqt", name="narrow", accumulator=NARROW)))
    greedy(MachineStepper(watch, sentences(2)), [3] * 2)
    with pytest.raises(ValueError, match="sentences that ran one at a time; these ran in batches"):
        watch.overflowing()


def test_hypotheses_of_a_sentence_are_no_batch() -> None:
    watch = Watch(tiny_program(scheme_for("fullyqt", name="narrow", accumulator=NARROW)))
    beam(MachineStepper(watch, sentences(1)), [3], width=2)
    assert sum(one.events for one in watch.overflowing()) == watch.totals[Counter.OVERFLOW] > 0


def test_a_watch_changes_nothing(program: Program) -> None:
    plain, watch = Machine(program), Watch(program)
    outputs = [greedy(MachineStepper(machine, [row]), [4]) for machine in (plain, watch) for row in sentences(2)]
    assert outputs[:2] == outputs[2:]
    assert {k: v.tolist() for k, v in plain.counters.items()} == {k: v.tolist() for k, v in watch.counters.items()}
