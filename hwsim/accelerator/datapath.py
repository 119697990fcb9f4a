"""Datapath operations as terms: pure functions of sizes and widths (docs/accelerator.md, section 2).

Numbers in brackets are equations of docs/numerics.md. Zero points count only as there or not there.
"""

from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Term

Terms = tuple[Term, ...]

MULTIPLIER_BITS = 16
"""Width of m in m / 2^e of the default target, and of every dyadic multiplier beside a target's own scheme."""
SUM_BITS = 32
"""Width of sums in the vector unit."""
SQUARES_BITS = 64
"""Width of sums of squares and of V of LayerNorm."""
LENGTH_BITS = 16
"""Width of n as a factor in LayerNorm."""


def matmul_terms(
    products: int,
    m: int,
    k: int,
    n: int,
    *,
    a_bits: int,
    b_bits: int,
    accumulator_bits: int = 32,
    bias: bool = False,
    zero_a: bool = False,
    zero_b: bool = False,
    constant_b: bool = True,
) -> Terms:
    """Equation (2), expanded: the sums of products, the bias, the corrections for the operands' zero points.

    Parameters
    ----------
    products, m, k, n
        `products` times an (m, k) by a (k, n) matrix.
    bias
        Whether each column has one.
    zero_a, zero_b
        Whether the operand has a zero point that is not 0.
    constant_b
        Whether b is a constant, whose column sums are formed once and kept.
    """
    results, sums = products * m * n, accumulator_bits
    terms = [
        Term(Component.MAC_MULTIPLY, a_bits, b_bits, results * k),
        Term(Component.MAC_ADD, sums, 0, results * k),
    ]
    if bias:
        terms.append(Term(Component.BIAS_ADD, sums, 0, results))
    if zero_a and not constant_b:
        terms.append(Term(Component.ZERO_POINT_ADD, sums, 0, products * k * n))
        terms.append(Term(Component.ZERO_POINT_MULTIPLY, sums, a_bits, products * n))
    if zero_a:
        terms.append(Term(Component.ZERO_POINT_ADD, sums, 0, results))
    if zero_b:
        terms.append(Term(Component.ZERO_POINT_ADD, sums, 0, products * m * k))
        terms.append(Term(Component.ZERO_POINT_MULTIPLY, sums, b_bits, products * m))
        terms.append(Term(Component.ZERO_POINT_ADD, sums, 0, results))
    if zero_a and zero_b:  # k * z_a * z_b, into the term of the row
        terms.append(Term(Component.ZERO_POINT_ADD, sums, 0, products * m))
    return tuple(terms)


def shift_terms(elements: int, bits: int) -> Terms:
    """Equation (3): x / 2^e, rounded, of x with `bits` bits."""
    return Term(Component.REQUANTIZE_SHIFT, bits, 0, elements), Term(Component.REQUANTIZE_ADD, bits, 0, elements)


def scale_terms(elements: int, bits: int, multiplier_bits: int = MULTIPLIER_BITS) -> Terms:
    """x * m / 2^e, rounded, of x with `bits` bits; with a multiplier of 0 bits x / 2^e."""
    shifted = shift_terms(elements, bits + multiplier_bits)
    if not multiplier_bits:
        return shifted
    return Term(Component.REQUANTIZE_MULTIPLY, bits, multiplier_bits, elements), *shifted


def finish_terms(elements: int, bits: int, output_bits: int, *, zero_point: bool = False) -> Terms:
    """clamp(x + z) of x with `bits` bits; the addition only if z is not 0."""
    clamp = Term(Component.CLAMP, output_bits, 0, elements)
    return (Term(Component.REQUANTIZE_ADD, bits, 0, elements), clamp) if zero_point else (clamp,)


def requantize_terms(
    elements: int, bits: int, output_bits: int, *, multiplier_bits: int = MULTIPLIER_BITS, zero_point: bool = False
) -> Terms:
    """Equation (1), also (9) and (R1), of x with `bits` bits; `multiplier_bits` 0 is a pure shift."""
    return scale_terms(elements, bits, multiplier_bits) + finish_terms(
        elements, bits, output_bits, zero_point=zero_point
    )


def relu_terms(elements: int, bits: int) -> Terms:
    """Equation (6), on x with `bits` bits."""
    return (Term(Component.COMPARE, bits, 0, elements),)


def table_terms(elements: int, bits: int) -> Terms:
    """A function of a code by table, GELU or another; `bits` is the width of an entry."""
    return (Term(Component.TABLE_READ, bits, 0, elements),)


def residual_terms(
    elements: int,
    a_bits: int,
    b_bits: int,
    output_bits: int,
    *,
    zero_a: bool = False,
    zero_b: bool = False,
    zero_point: bool = False,
) -> Terms:
    """Equation (7): both operands under one shift, one rounding."""
    terms: Terms = ()
    for bits, zero in ((a_bits, zero_a), (b_bits, zero_b)):
        if zero:
            terms += (Term(Component.ZERO_POINT_ADD, bits, 0, elements),)
        terms += (Term(Component.REQUANTIZE_MULTIPLY, bits, MULTIPLIER_BITS, elements),)
    return terms + _rounded_sum(elements, output_bits, zero_point)


def embedding_terms(
    elements: int, table_bits: int, position_bits: int, output_bits: int, *, zero_point: bool = False
) -> Terms:
    """Equation (8)."""
    return (
        Term(Component.REQUANTIZE_MULTIPLY, table_bits, MULTIPLIER_BITS, elements),
        Term(Component.REQUANTIZE_MULTIPLY, position_bits, MULTIPLIER_BITS, elements),
        *_rounded_sum(elements, output_bits, zero_point),
    )


def _rounded_sum(elements: int, output_bits: int, zero_point: bool) -> Terms:
    """The sum of two products in (7) and (8), which round at the sum's own width."""
    return (
        Term(Component.VECTOR_ADD, SUM_BITS, 0, elements),
        *shift_terms(elements, SUM_BITS),
        *finish_terms(elements, SUM_BITS, output_bits, zero_point=zero_point),
    )


def quotient_terms(rows: int, elements: int, numerator_bits: int, output_bits: int) -> Terms:
    """Equations (4e), (5e): the divisor is shifted once a row, the division rounds."""
    return (
        Term(Component.REQUANTIZE_MULTIPLY, numerator_bits, MULTIPLIER_BITS, elements),
        Term(Component.REQUANTIZE_SHIFT, SUM_BITS, 0, rows),
        Term(Component.DIVIDE, SUM_BITS, 0, elements),
        Term(Component.CLAMP, output_bits, 0, elements),
    )


def _denominator_terms(rows: int, denominator_bits: int) -> Terms:
    """Equations (4d), (5d): requantized, and held at 1 or above."""
    return (
        *requantize_terms(rows, SUM_BITS, denominator_bits),
        Term(Component.COMPARE, denominator_bits, 0, rows),
    )


def table_softmax_terms(
    rows: int, n: int, *, score_bits: int, numerator_bits: int, denominator_bits: int, output_bits: int
) -> Terms:
    """Equations (4a) to (4e) for `rows` rows of n keys, masked keys like allowed ones."""
    elements = rows * n
    return (
        Term(Component.COMPARE, score_bits, 0, elements),  # (4a) running maximum
        Term(Component.VECTOR_ADD, score_bits, 0, elements),  # (4a) distance
        Term(Component.TABLE_READ, numerator_bits, 0, elements),  # (4b)
        Term(Component.VECTOR_ADD, SUM_BITS, 0, elements),  # (4c)
        *_denominator_terms(rows, denominator_bits),
        *quotient_terms(rows, elements, numerator_bits, output_bits),
    )


def fullyqt_layernorm_terms(
    rows: int,
    n: int,
    *,
    bits: int,
    numerator_bits: int,
    denominator_bits: int,
    quotient_bits: int,
    gamma_bits: int,
    beta_bits: int,
    output_bits: int,
    zero_point: bool = False,
) -> Terms:
    """Equations (5a) to (5f) for `rows` rows of n codes of `bits` bits; `zero_point` is the output's."""
    elements = rows * n
    return (
        Term(Component.VECTOR_ADD, SUM_BITS, 0, elements),  # sum(x)
        Term(Component.VECTOR_MULTIPLY, bits, bits, elements),  # x^2
        Term(Component.VECTOR_ADD, SQUARES_BITS, 0, elements),  # sum(x^2)
        Term(Component.VECTOR_MULTIPLY, SQUARES_BITS, LENGTH_BITS, rows),  # (5b) n * sum(x^2)
        Term(Component.VECTOR_MULTIPLY, SUM_BITS, SUM_BITS, rows),  # (5b) sum(x)^2
        Term(Component.VECTOR_ADD, SQUARES_BITS, 0, 2 * rows),  # (5b) difference, eps
        Term(Component.SQUARE_ROOT, SQUARES_BITS, 0, rows),  # (5d)
        *_denominator_terms(rows, denominator_bits),
        Term(Component.VECTOR_MULTIPLY, bits, LENGTH_BITS, elements),  # (5a) n * x
        Term(Component.VECTOR_ADD, SUM_BITS, 0, elements),  # (5a) difference
        *requantize_terms(elements, SUM_BITS, numerator_bits),  # (5c)
        *quotient_terms(rows, elements, numerator_bits, quotient_bits),
        *gain_terms(elements, quotient_bits, gamma_bits, beta_bits, output_bits, zero_point=zero_point),  # (5f)
    )


def gain_terms(
    elements: int, bits: int, gamma_bits: int, beta_bits: int, output_bits: int, *, zero_point: bool = False
) -> Terms:
    """Equation (5f): times gamma, plus beta, requantized. Alone it is the NoNorm of MobileBERT."""
    return (
        Term(Component.VECTOR_MULTIPLY, bits, gamma_bits, elements),
        Term(Component.BIAS_ADD, beta_bits, 0, elements),
        *requantize_terms(elements, SUM_BITS, output_bits, zero_point=zero_point),
    )
