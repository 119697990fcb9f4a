"""Softmaxes of one row that count their operations; masked keys are counted like allowed ones."""

from fractions import Fraction

from .unit import INT32_MAX, Format, Ratio, Unit, binary32, half_away, half_even

EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def held(x: int) -> int:
    """clamp_int32, not counted."""
    return min(max(x, -INT32_MAX - 1), INT32_MAX)


def right(a: int, r: int) -> int:
    """R(a, r), not counted."""
    return half_away(Fraction(a, 2**r))


def distances(unit: Unit, scores: list[int], allowed: list[bool], bits: int) -> list[int]:
    """d of every key; 0 for masked ones, that are worked on too."""
    top = unit.greatest(scores, allowed)
    made = []
    for score, keep in zip(scores, allowed, strict=True):
        d = unit.add(0 if top is None else top, -score, bits)
        made.append(d if keep else 0)
    return made


def total_of(unit: Unit, values: list[int], bits: int = 32) -> int:
    total = 0
    for value in values:
        total = unit.add(total, value, bits)
    return total


def softmax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, table: list[int],
    denominator: tuple[Ratio, int], output: tuple[int, int, int],
) -> list[int]:  # fmt: skip
    """(4a) to (4e); denominator: ratio and greatest code, output: m, e and greatest code."""
    numerators = []
    for d, keep in zip(distances(unit, scores, allowed, bits), allowed, strict=True):
        unit.tick("table_read")
        numerators.append(table[d] if keep else 0)
    ratio, denominator_max = denominator
    scaled_sum = unit.requantize(total_of(unit, numerators), ratio, 32, Format(0, 0, denominator_max))
    divisor = unit.shift(unit.greater(scaled_sum, 1), -output[1])  # denominator * 2^e
    return [unit.quotient(value, output[0], divisor, 0, output[2]) for value in numerators]


def exp_q(unit: Unit, a: int) -> int:
    """exp of Q5.26 in Q0.31: every factor is multiplied by, and taken if its bit is set."""
    f = a % 2**24 - 2**24
    x = unit.add(held(f * 32), 2**28)
    x2 = unit.high(x, x)
    x3, x4 = unit.high(x2, x), unit.high(x2, x2)
    y = right(unit.add(unit.high(unit.add(right(x4, 2), x3), 715827883), x2), 1)
    result = unit.add(1895147668, unit.high(1895147668, unit.add(x, y)))
    for bit, factor in enumerate(EXP_FACTORS, start=24):
        product = unit.high(result, factor)
        result = product if (f - a) >> bit & 1 else result
    return INT32_MAX if a == 0 else result


def reciprocal(unit: Unit, v: int) -> int:
    """1/(1+v) in Q0.31 by Newton's method (S4)."""
    half = unit.add(v, INT32_MAX + 1) // 2
    x = unit.add(1515870810, unit.high(half, -1010580540))
    for _ in range(3):
        x = unit.add(x, held(4 * unit.high(x, unit.add(2**29, -unit.high(half, x)))))
    return held(2 * x)


def gemmlowp_softmax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, q: int, left: int, output_bits: int
) -> list[int]:
    """(S1) to (S5)."""
    lo, near = -(2 ** (output_bits - 1)), 31 * 2**26 // 2**left
    d = distances(unit, scores, allowed, bits)
    used = [keep and distance <= near for keep, distance in zip(allowed, d, strict=True)]
    exps = [exp_q(unit, unit.high(-min(distance, near) * 2**left, q)) for distance in d]
    exps = [exp if use else 0 for exp, use in zip(exps, used, strict=True)]
    total = total_of(unit, [right(exp, 12) for exp in exps])
    h = 32 - total.bit_length() if total else 0
    inverse = reciprocal(unit, max(0, total * 2**h - 2**31))
    result = Format(lo, lo, -lo - 1)
    shifted = [
        unit.rounded(Fraction(unit.high(inverse, exp), 2 ** (12 - h + 31 - output_bits)), "half_away") for exp in exps
    ]
    return [unit.finish(value, result) for value in shifted]


def ibert_softmax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, polynomial: tuple[int, int, int], ratio: Ratio,
    output_bits: int,
) -> list[int]:  # fmt: skip
    """(S10) to (S14); ratio is (S12)'s, with a multiplier of 16 bits."""
    ln2, b, c = polynomial
    exps = []
    for d, keep in zip(distances(unit, scores, allowed, bits), allowed, strict=True):
        y = max(-d, -30 * ln2)
        z = unit.divide(-y, ln2)
        r = unit.add(y, unit.multiply(ln2, z))
        shape = unit.add(unit.multiply(unit.add(r, b), r), c)
        wide = max(0, unit.shift(shape, z - 30))
        unit.tick("requantize_multiply", 62, ratio.bits)
        rounded = unit.rounded(Fraction(wide * ratio.m, 2**ratio.e), bits=64)
        exps.append(min(2**16 - 1, rounded) if keep else 0)
    factor = unit.divide(2**32, max(1, total_of(unit, exps)))
    shifted = [unit.shift(unit.multiply(exp, factor, 16, 32), 32 - output_bits) for exp in exps]
    return [unit.clamp(value, 0, 2**output_bits - 1) for value in shifted]


def itamax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, fraction_bits: int, group: int, output_bits: int
) -> list[int]:
    """(S15) to (S17): the keys come twice, once for the sum in groups, once for the results."""

    def halvings(d: int) -> int:
        return (d + 2**fraction_bits // 2) >> fraction_bits

    top: int | None = None
    total, step = 0, group or len(scores)
    for start in range(0, len(scores), step):
        keys, kept = scores[start : start + step], allowed[start : start + step]
        greatest = unit.greatest(keys, kept)
        if greatest is not None and (top is None or greatest > top):
            total, top = total >> (0 if top is None else halvings(greatest - top)), greatest
        for score, keep in zip(keys, kept, strict=True):
            d = unit.add(0 if top is None else top, -score, bits)
            term = unit.shift(256, halvings(d) if keep else 0)
            total = unit.add(total, term if keep else 0)
    inverse = unit.divide((2**output_bits - 1) * 256, max(1, total))
    codes = []
    for score, keep in zip(scores, allowed, strict=True):
        d = unit.add(0 if top is None else top, -score, bits)
        code = unit.clamp(unit.shift(inverse, halvings(d) if keep else 0), 0, 2**output_bits - 1)
        codes.append(code if keep else 0)
    return codes


def gemmini_softmax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, polynomial: tuple[int, int, int], output_bits: int
) -> list[int]:
    """(S18), (S19)."""
    ln2, b, c = polynomial
    largest, exps = 2 ** (output_bits - 1) - 1, list[int]()
    for d, keep in zip(distances(unit, scores, allowed, bits), allowed, strict=True):
        z = unit.multiply(d, 65536 // ln2) >> 16
        root = unit.add(unit.add(unit.multiply(z, ln2), -d), b)
        exp = unit.shift(unit.add(unit.multiply(root, root), c), z)
        exps.append(exp if keep else 0)
    total = total_of(unit, exps)
    unit.tick("divide")
    factor = binary32(largest / binary32(Fraction(max(1, total))))
    codes = []
    for exp in exps:
        unit.rescale(0, Ratio("float32", 1, 0, 24), 32)
        code = half_even(binary32(binary32(Fraction(exp)) * factor))
        codes.append(unit.clamp(code, -largest - 1, largest))
    return codes


def pulp_softmax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, polynomial: tuple[int, int, int], output_bits: int
) -> list[int]:
    """(S20) to (S22)."""
    ln2, b, c = polynomial
    largest, exps = 2**output_bits - 1, list[int]()
    for d, keep in zip(distances(unit, scores, allowed, bits), allowed, strict=True):
        z = min(unit.divide(d, ln2), 31)
        root = unit.add(unit.add(unit.multiply(z, ln2), -d), b)
        exp = unit.shift(unit.add(unit.multiply(root, root), c), z)
        exps.append(exp if keep else 0)
    total = max(1, total_of(unit, exps))
    return [unit.divide(unit.multiply(exp, largest, 32, output_bits), total) for exp in exps]


def lookup(unit: Unit, table: list[int], v: int) -> int:
    """Two entries and what lies between them."""
    i, offset = 256 + (v >> 7), v & 127
    unit.tick("table_read", 16)
    unit.tick("table_read", 16)
    between = unit.multiply(unit.add(table[i + 1], -table[i]), offset, 16, 16)
    return unit.add(table[i], unit.rounded(Fraction(between, 128), "half_up", 32))


def int16_softmax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, tables: tuple[list[int], list[int]], ratio: Ratio,
    clamped: bool,
) -> list[int]:  # fmt: skip
    """(S6) to (S9)."""
    exps = []
    for d, keep in zip(distances(unit, scores, allowed, bits), allowed, strict=True):
        t = unit.requantize(-d, ratio, bits, Format(32767, -(2**15), 2**15 - 1))
        exp = lookup(unit, tables[0], t)
        exps.append(exp if keep else 0)
    total = total_of(unit, exps)
    h = 32 - total.bit_length()
    v = unit.rounded(Fraction(total * 2 ** (h - 1), 2**14), "half_up", 32)
    rho = lookup(unit, tables[1], min(max(unit.add(v, -98304), -(2**15)), 2**15 - 1))
    codes = []
    for exp in exps:
        shifted = unit.rounded(Fraction(unit.multiply(exp, rho, 16, 16), 2 ** (31 - h)), "half_up", 32)
        held_code = unit.clamp(shifted, 0, 2**15 - 1)
        codes.append(held_code if clamped else (shifted + 2**15) % 2**16 - 2**15)
    return codes if any(allowed) else [0] * len(codes)


def qlinear_softmax(
    unit: Unit, scores: list[int], allowed: list[bool], bits: int, table: list[int], multiplier: int, output_bits: int
) -> list[int]:
    """(S30) to (S32), to signed codes; mantissas have 24 bits, and numbers here are fractions."""
    lowest, total, numbers = -(2 ** (output_bits - 1)), Fraction(0), []
    for d, keep in zip(distances(unit, scores, allowed, bits), allowed, strict=True):
        unit.tick("table_read", 32)
        exponent, fraction = divmod(table[d], 2**23)
        number = Fraction(2**23 + fraction if exponent else fraction) * Fraction(2) ** (max(exponent, 1) - 150)
        unit.tick("vector_add", 24)
        total = binary32(total + number) if keep else total
        numbers.append(number if keep else Fraction(0))
    codes = []
    for number in numbers:
        unit.tick("vector_multiply", 24, output_bits)
        unit.tick("divide", 24)
        quotient = half_even(number * multiplier / total) if total else 0
        codes.append(unit.finish(quotient, Format(lowest, lowest, -lowest - 1)))
    return codes
