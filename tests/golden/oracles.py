"""The pure-Python oracle by the names and arguments of `kernels`, which has the same functions."""

from tests import oracle
from tests.golden.outcome import Outcome, Ratios

KINDS = {"half_up": "narrow_after", "float32": "float32", "q31_double": "q31_double"}
"""The rounding rule of a kernel, and a scheme of (R1) that has it."""


def limits(bits: int, signed: bool = True) -> tuple[int, int]:
    return oracle.limits(bits, signed=signed, narrow=False)


def together(converted: list[oracle.Converted]) -> Outcome:
    """Converters of one value each."""
    codes = [each.codes[0][0] for each in converted]
    return Outcome(codes, sum(each.overflows for each in converted), sum(each.saturated for each in converted))


def requant_shift(
    acc: list[int], mul: list[int], add: list[int], shift: list[int], half_up: list[int], bits: int
) -> Outcome:
    rows = zip(acc, mul, add, shift, half_up, strict=True)
    return together(
        [
            oracle.requant_shift([[x]], [m], [z], e, "half_up" if up else "floor", *limits(bits))
            for x, m, z, e, up in rows
        ]
    )


def nvdla_convert(x: list[int], offset: list[int], mul: list[int], shift: list[int], bits: int) -> Outcome:
    rows = zip(x, offset, mul, shift, strict=True)
    return together([oracle.nvdla_convert([[value]], o, [m], e, *limits(bits)) for value, o, m, e in rows])


def shift_right(acc: list[int], shift: list[int], bits: int) -> Outcome:
    rows = zip(acc, shift, strict=True)
    return together([oracle.shift_right_saturating([[x]], e, "half_away", *limits(bits)) for x, e in rows])


def requantize(kind: str, acc: list[int], ratios: Ratios, zero: list[int], bits: int) -> Outcome:
    made = [
        oracle.requantize_by([[x]], [oracle.Ratio(KINDS[kind], *ratio)], z, *limits(bits))
        for x, ratio, z in zip(acc, ratios, zero, strict=True)
    ]
    return Outcome([rows[0][0] for rows, _, _ in made], saturations=sum(saturated for _, _, saturated in made))


def rescaled_add(
    kind: str, a: list[int], b: list[int], ratios: tuple[Ratios, Ratios, Ratios], left_shift: int,
    operand_bits: int | None, bits: int,
) -> Outcome:  # fmt: skip
    operand = None if operand_bits is None else limits(operand_bits)
    made = []
    for x, y, *of_row in zip(a, b, *ratios, strict=True):
        first, second, last = (oracle.Ratio(KINDS[kind], *ratio) for ratio in of_row)
        made.append(
            oracle.rescaled_add([x], [y], (0, 0), (first, second), left_shift, last, 0, *limits(bits), operand=operand)
        )
    return Outcome([codes[0] for codes, _, _ in made], saturations=sum(saturated for _, _, saturated in made))


def accumulate(start: list[int], addend: list[int], bits: int) -> Outcome:
    made = [oracle.accumulate(s, [x], bits, "saturate", "end") for s, x in zip(start, addend, strict=True)]
    return Outcome([acc.value for acc in made], overflows=sum(acc.events for acc in made))


def ita_gelu(x: list[int], b: list[int], c: list[int]) -> Outcome:
    return Outcome([oracle.ita_gelu([code], 0, *row)[0] for code, *row in zip(x, b, c, strict=True)])


def pulp_gelu(x: list[int], zero: list[int], b: list[int], one: list[int]) -> Outcome:
    return Outcome([oracle.pulp_gelu([code], *row)[0] for code, *row in zip(x, zero, b, one, strict=True)])


def gemmini_gelu(x: list[int], q1: list[int], qb: list[int], qc: list[int]) -> Outcome:
    return Outcome([oracle.gemmini_gelu([code], *row)[0] for code, *row in zip(x, q1, qb, qc, strict=True)])


# One row of codes


def of_softmax(row: oracle.ShortSoftmaxRow) -> Outcome:
    return Outcome(row.output, saturations=row.output_saturated)


def every(x: list[int]) -> list[bool]:
    return [True] * len(x)


def pulp_softmax(x: list[int], ln2: int, b: int, c: int) -> Outcome:
    return of_softmax(oracle.pulp_softmax(x, every(x), oracle.Polynomial(ln2, b, c), 8))


def gemmini_softmax(x: list[int], ln2: int, b: int, c: int) -> Outcome:
    return of_softmax(oracle.gemmini_softmax(x, every(x), oracle.Polynomial(ln2, b, c), 8))


def softmax_int16(
    x: list[int], exp_table: list[int], reciprocal_table: list[int], ratio: tuple[int, int], clamped: bool
) -> Outcome:
    return of_softmax(oracle.softmax_int16(x, every(x), *ratio, exp_table, reciprocal_table, clamped))


def gemmlowp_softmax(x: list[int], multiplier: int, left_shift: int) -> Outcome:
    return of_softmax(oracle.gemmlowp_softmax(x, every(x), multiplier, left_shift, 8))


def itamax(x: list[int], shift: int, group: int, bits: int) -> Outcome:
    return of_softmax(oracle.itamax(x, every(x), shift, group, bits))


def pulp_layernorm(
    x: list[int], weight: list[int], bias: list[int], zero: int, shift: int, *, centred: bool = True,
    overflow: str = "saturate", product_bits: int = 63,
) -> Outcome:  # fmt: skip
    result = oracle.Result(0, *limits(8))
    row = oracle.pulp_layernorm(x, zero, centred, weight, bias, shift, result, overflow, product_bits)
    return Outcome(row.output, row.overflows, row.output_saturated)


def gemmini_layernorm(x: list[int], ratio: tuple[int, int]) -> Outcome:
    row = oracle.gemmini_layernorm(x, 0, [1] * len(x), [0] * len(x), ratio, oracle.Result(0, *limits(8)))
    return Outcome(row.output, saturations=row.output_saturated)


def product(x: list[int], weight: list[int], bias: int, bits: int) -> int:
    return oracle.matmul([x], [weight], [bias], 0, 0, bits, "saturate")[0][0][0]
