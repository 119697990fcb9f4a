"""Causes at accumulators: widths, biases and zero points of a matrix product, recomputed on sampled codes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.proof.explain.records import Cause
from analysis.proof.explain.rules import SCREENED, Rounded, rank
from analysis.proof.explain.tally import Sample
from hwsim.program import Program
from hwsim.program.operations import MatMul

Int = NDArray[np.int64]
NARROWEST = 8


class Products(NamedTuple):
    """Sampled elements of a matrix product, their bias first and then their products, and both codes."""

    terms: Int
    channel: Int
    plain_a: Int
    """The first operand, not centred, summed against the second."""
    a: Int
    b: Int

    @property
    def exact(self) -> Int:
        return np.asarray(self.terms.sum(1))


def explain_product(program: Program, operation: MatMul, samples: list[Sample]) -> list[Cause]:
    """Causes at the accumulator of a product; sums are exact in int64, as loading has proven."""
    products = _gather(program, operation, samples)
    causes = []
    for kind, text, made in _hypotheses(products):
        hits = made == products.b
        if hits[products.a != products.b].any():
            causes.append(Cause(kind=kind, text=text, checked=hits.size, reproduced=int(hits.sum())))
    return rank(causes)


def explain_through_product(
    program: Program, operation: MatMul, samples: list[Sample], rounded: Sequence[Rounded]
) -> list[Cause]:
    """Causes at an accumulator that only shows in the codes that were made of it."""
    accumulators = [s._replace(a=s.values[operation.output], b=s.values[operation.output]) for s in samples]
    products = _gather(program, operation, accumulators)
    first = [i for i, one in enumerate(rounded) if one.a != one.b][:SCREENED]
    causes = []
    for kind, text, made in _hypotheses(products):
        if _agree(rounded, made, first) == len(first):
            hits = _agree(rounded, made, range(len(rounded)))
            causes.append(Cause(kind=kind, text=text, checked=len(rounded), reproduced=hits))
    return rank(causes)


def _agree(rounded: Sequence[Rounded], made: Int, which: Iterable[int]) -> int:
    """How many codes come out as B has them, of other accumulators."""
    pairs = ((rounded[i], int(made[i])) for i in which)
    return sum(one.stage is not None and one.stage._replace(integer=x).code == one.b for one, x in pairs)


def _hypotheses(products: Products) -> Iterator[tuple[str, str, Int]]:
    exact = products.exact
    widest = max(int(np.abs(np.cumsum(products.terms, 1)).max()).bit_length() + 1, NARROWEST)
    rules: tuple[tuple[str, Callable[[Products, int], Int]], ...] = (
        ("wraps", lambda p, bits: _wrap(p.exact, bits)),
        ("saturates after every product", _saturate_each),
        ("saturates after the last product", lambda p, bits: _saturate(p.exact, bits)),
    )
    for bits in range(widest, NARROWEST - 1, -1):
        for words, rule in rules:
            yield "accumulator", f"the accumulator {words} at {bits} bits in B", rule(products, bits)
    yield "accumulator", "the accumulator never overflows in B", exact
    yield "bias", "B does not add the bias", exact - products.terms[:, 0]
    yield "zero_point", "B does not subtract the first operand's zero point", products.plain_a
    offsets = products.b - products.a
    channels = np.unique(products.channel[offsets != 0])
    constant = np.zeros(int(products.channel.max()) + 1, np.int64)
    constant[products.channel] = offsets  # the last of each channel; it reproduces all only if they are alike
    shown = ", ".join(f"{channel} by {constant[channel]:+d}" for channel in channels[:4].tolist())
    more = "" if len(channels) <= 4 else f" and {len(channels) - 4} more"
    yield "bias", f"the bias differs in channel {shown}{more}", products.a + constant[products.channel]


def _wrap(values: Int, bits: int) -> Int:
    return (values << (64 - bits)) >> (64 - bits)


def _saturate(values: Int, bits: int) -> Int:
    return np.clip(values, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _saturate_each(products: Products, bits: int) -> Int:
    total = np.zeros(len(products.terms), np.int64)
    for term in products.terms.T:
        total = _saturate(total + term, bits)
    return total


def _gather(program: Program, operation: MatMul, samples: list[Sample]) -> Products:
    parts = [_gather_call(program, operation, sample) for sample in samples]
    longest = max(part.terms.shape[1] for part in parts)  # a cache grows; products that are 0 change no sum
    parts = [p._replace(terms=np.pad(p.terms, ((0, 0), (0, longest - p.terms.shape[1])))) for p in parts]
    return Products(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _gather_call(program: Program, operation: MatMul, sample: Sample) -> Products:
    *row, channel = sample.indices.T
    a = sample.values[operation.a].astype(np.int64)[tuple(row)]
    a_zero = program.tensors[operation.a].zero_point
    if operation.b in program.constants:
        b = program.constants[operation.b].astype(np.int64)[channel] - program.constant_info[operation.b].zero_point
    else:
        operand: NDArray[Any] = sample.values[operation.b].astype(np.int64) - program.tensors[operation.b].zero_point
        operand = operand.swapaxes(-1, -2) if operation.transpose_b else operand
        b = operand[(*row[:-1], channel)]
    bias = np.zeros(len(channel), np.int64)
    if operation.bias is not None:
        bias = program.constants[operation.bias].astype(np.int64)[channel]
    terms = np.concatenate((bias[:, None], (a - a_zero) * b), axis=1)
    return Products(terms, channel, bias + (a * b).sum(1), sample.of(sample.a), sample.of(sample.b))
