"""The kernels by the names and arguments of `oracles`: one call for all rows of the same constants."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from hwsim import kernels
from hwsim.formats import Accumulator, Counter, Granularity, IntFormat, Overflow, Rounding, Scaling
from tests.golden.outcome import INT8, Outcome, Ratios

KINDS = {"half_up": Scaling.HALF_UP, "float32": Scaling.FLOAT32, "q31_double": Scaling.Q31_DOUBLE}
DIGIT = 2**15
"""What a sum is cut into before it is a sum of products of codes."""


def no_events() -> Any:
    return np.zeros(len(Counter), np.int64)


def outcome(codes: list[Any], counters: Any) -> Outcome:
    return Outcome(codes, int(counters[Counter.OVERFLOW]), int(counters[Counter.SATURATION]))


def grouped(constants: Sequence[Hashable], call: Callable[[Any, list[int]], Any]) -> list[int]:
    """The results of `call(constant, indices)`, one of each row, in the order of the rows."""
    indices = defaultdict(list)
    for i, constant in enumerate(constants):
        indices[constant].append(i)
    results = [0] * len(constants)
    for constant, places in indices.items():
        for i, value in zip(places, call(constant, places).reshape(-1).tolist(), strict=True):
            results[i] = value
    return results


def row(values: Sequence[int], places: list[int], dtype: type = np.int64) -> Any:
    """One row of values, a channel each."""
    return np.array([[values[i] for i in places]], dtype)


def channels(values: Sequence[int], places: list[int]) -> Any:
    return np.array([values[i] for i in places], np.int64)


def requant_shift(
    acc: list[int], mul: list[int], add: list[int], shift: list[int], half_up: list[int], bits: int
) -> Outcome:
    counters = no_events()

    def call(constant: tuple[int, int], at: list[int]) -> Any:
        e, up = constant
        return kernels.requant_shift(
            row(acc, at, np.int32), channels(mul, at), channels(add, at), e,
            rounding=Rounding.HALF_UP if up else Rounding.FLOOR, output=IntFormat(bits=bits), counters=counters,
        )  # fmt: skip

    return outcome(grouped(list(zip(shift, half_up, strict=True)), call), counters)


def nvdla_convert(x: list[int], offset: list[int], mul: list[int], shift: list[int], bits: int) -> Outcome:
    counters = no_events()

    def call(constant: tuple[int, int], at: list[int]) -> Any:
        o, e = constant
        return kernels.nvdla_convert(
            row(x, at, np.int32), offset=o, multiplier=channels(mul, at), shift=e, output=IntFormat(bits=bits),
            counters=counters,
        )  # fmt: skip

    return outcome(grouped(list(zip(offset, shift, strict=True)), call), counters)


def shift_right(acc: list[int], shift: list[int], bits: int) -> Outcome:
    counters = no_events()

    def call(e: int, at: list[int]) -> Any:
        return kernels.shift_right(row(acc, at), e, counters, Rounding.HALF_AWAY, IntFormat(bits=bits))

    return outcome(grouped(shift, call), counters)


def requantize(kind: str, acc: list[int], ratios: Ratios, zero: list[int], bits: int) -> Outcome:
    counters = no_events()
    multipliers, shifts = [m for m, _ in ratios], [e for _, e in ratios]

    def call(z: int, at: list[int]) -> Any:
        by = channels(multipliers, at), channels(shifts, at)
        return kernels.requantize(row(acc, at), *by, z, IntFormat(bits=bits), counters, KINDS[kind])

    return outcome(grouped(zero, call), counters)


def rescaled_add(
    kind: str, a: list[int], b: list[int], ratios: tuple[Ratios, Ratios, Ratios], left_shift: int,
    operand_bits: int | None, bits: int,
) -> Outcome:  # fmt: skip
    counters = no_events()
    operand = {} if operand_bits is None else {"operand": IntFormat(bits=operand_bits)}

    def call(constant: Any, at: list[int]) -> Any:
        (a_m, a_e), (b_m, b_e), (o_m, o_e) = constant
        return kernels.rescaled_add(
            row(a, at, np.int32), row(b, at, np.int32), a_zero=0, b_zero=0, left_shift=left_shift, scaling=KINDS[kind],
            a_multiplier=a_m, a_shift=a_e, b_multiplier=b_m, b_shift=b_e, output_multiplier=o_m, output_shift=o_e,
            zero_point=0, output=IntFormat(bits=bits), counters=counters, **operand,
        )  # fmt: skip

    return outcome(grouped(list(zip(*ratios, strict=True)), call), counters)


def accumulate(start: list[int], addend: list[int], bits: int) -> Outcome:
    """A matrix product of one row: start is the bias, addend the sum of products with 2^15 and one with 1."""
    counters = no_events()
    rest = np.array(addend, np.int64) // DIGIT
    codes = [np.array(addend, np.int64) % DIGIT]
    while rest.any():
        codes.append(rest.clip(-DIGIT, DIGIT - 1))
        rest = rest - codes[-1]
    factors = np.array([[1] + [DIGIT] * (len(codes) - 1)], np.int32)
    register = Accumulator(bits=bits, overflow=Overflow.SATURATE, granularity=Granularity.END)
    columns = np.ascontiguousarray(np.stack(codes, axis=1).astype(np.int32))
    acc = kernels.matmul(factors, columns, np.array(start, np.int64), accumulator=register, counters=counters)
    return outcome(acc.reshape(-1).tolist(), counters)


def ita_gelu(x: list[int], b: list[int], c: list[int]) -> Outcome:
    def call(constant: tuple[int, int], at: list[int]) -> Any:
        return kernels.ita_gelu(row(x, at, np.int32), zero=0, b=constant[0], c=constant[1])

    return Outcome(grouped(list(zip(b, c, strict=True)), call))


def pulp_gelu(x: list[int], zero: list[int], b: list[int], one: list[int]) -> Outcome:
    def call(constant: tuple[int, int, int], at: list[int]) -> Any:
        return kernels.pulp_gelu(row(x, at, np.int32), zero=constant[0], b=constant[1], one=constant[2])

    return Outcome(grouped(list(zip(zero, b, one, strict=True)), call))


def gemmini_gelu(x: list[int], q1: list[int], qb: list[int], qc: list[int]) -> Outcome:
    def call(constant: tuple[int, int, int], at: list[int]) -> Any:
        return kernels.gemmini_gelu(row(x, at, np.int32), q1=constant[0], qb=constant[1], qc=constant[2])

    return Outcome(grouped(list(zip(q1, qb, qc, strict=True)), call))


# One row of codes


def of_row(kernel: Callable[..., Any], x: list[int], *more: Any, **constants: Any) -> Outcome:
    """A kernel of one row of codes."""
    counters = no_events()
    codes = kernel(np.array([x], np.int32), *more, counters=counters, **constants)
    return outcome(codes.reshape(-1).tolist(), counters)


def every(x: list[int]) -> Any:
    return np.ones((1, len(x)), bool)


def pulp_softmax(x: list[int], ln2: int, b: int, c: int) -> Outcome:
    output = IntFormat(bits=8, signed=False)
    return of_row(kernels.pulp_softmax, x, every(x), ln2=ln2, b=b, c=c, output=output)


def gemmini_softmax(x: list[int], ln2: int, b: int, c: int) -> Outcome:
    return of_row(kernels.gemmini_softmax, x, every(x), ln2=ln2, b=b, c=c, output=IntFormat(bits=8))


def softmax_int16(
    x: list[int], exp_table: list[int], reciprocal_table: list[int], ratio: tuple[int, int], clamped: bool
) -> Outcome:
    tables = np.array(exp_table, np.int32), np.array(reciprocal_table, np.int32)
    choice = {} if clamped else {"clamped": False}
    return of_row(kernels.softmax_int16, x, every(x), *tables, multiplier=ratio[0], shift=ratio[1], **choice)


def gemmlowp_softmax(x: list[int], multiplier: int, left_shift: int, max_exponentials: int | None = None) -> Outcome:
    limit = {} if max_exponentials is None else {"max_exponentials": max_exponentials}
    constants = {"multiplier": multiplier, "left_shift": left_shift, "output": IntFormat(bits=8), **limit}
    return of_row(kernels.gemmlowp_softmax, x, every(x), **constants)


def itamax(x: list[int], shift: int, group: int, bits: int) -> Outcome:
    output = IntFormat(bits=bits, signed=False)
    return of_row(kernels.itamax, x, every(x), shift=shift, group=group, output=output)


def pulp_layernorm(
    x: list[int], weight: list[int], bias: list[int], zero: int, shift: int, *, centred: bool = True,
    overflow: str = "saturate", product_bits: int = 63,
) -> Outcome:  # fmt: skip
    affine = np.array(weight, np.int32), np.array(bias, np.int64)
    return of_row(
        kernels.pulp_layernorm, x, *affine, zero=zero, shift=shift, zero_point=0, output=IntFormat(bits=INT8),
        centred=centred, overflow=Overflow(overflow), product_bits=product_bits,
    )  # fmt: skip


def gemmini_layernorm(x: list[int], ratio: tuple[int, int]) -> Outcome:
    affine = np.ones(len(x), np.int32), np.zeros(len(x), np.int64)
    constants = {"zero": 0, "multiplier": ratio[0], "shift": ratio[1], "zero_point": 0, "output": IntFormat(bits=INT8)}
    return of_row(kernels.gemmini_layernorm, x, *affine, **constants)


def product(x: list[int], weight: list[int], bias: int, bits: int) -> int:
    register = Accumulator(bits=bits, overflow=Overflow.SATURATE)
    operands = np.array([x], np.int32), np.array([weight], np.int32), np.array([bias], np.int64)
    return int(kernels.matmul(*operands, accumulator=register, counters=no_events())[0, 0])
