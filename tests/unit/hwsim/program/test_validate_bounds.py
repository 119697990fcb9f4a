"""Validation of numbers: each bound itself is taken and runs, one beyond it is refused."""

import functools
import re
from fractions import Fraction

import numpy as np
import pytest

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.program import Program
from hwsim.program.catalogue import MAX_MULTIPLIER
from hwsim.program.validate import validate
from reference.quantize.scheme import Scheme, preset
from tests import oracle
from tests.small.programs import tiny_program
from tests.unit.hwsim.program.program_edits import (
    ATTENTION,
    CROSS,
    FORWARD,
    INT17,
    KEY,
    LOGITS,
    NORM,
    POSITIONS,
    SCORES,
    SOFTMAX,
    Edit,
    constant,
    edited,
    new_constant,
    operation,
    rescale,
    run,
    tensor,
)


def with_accumulator(name: str, accumulator: Accumulator) -> list[Edit]:
    """Another accumulator of one product, and of the shift or ReLU behind it."""
    followers = [name, name.replace("scores.accumulator", "scores.shifted"), name.replace("accumulator", "rectified")]
    return [
        lambda program, n=n: (
            tensor(n, format=IntFormat(bits=accumulator.bits))(program) if n in program.tensors else program
        )
        for n in dict.fromkeys(followers)
    ] + [operation(name, accumulator=accumulator)]


def bias_of(tiny: Program, name: str, end: int, high: bool) -> Edit:
    """A bias that takes the accumulator of a linear layer exactly to `end`."""
    zeros = np.zeros(tiny.constants[f"{name}.bias"].shape, np.int64)
    fmt = IntFormat(bits=63)
    bare = validate(
        edited(
            tiny,
            *with_accumulator(f"{name}.accumulator", Accumulator(bits=63)),
            constant(f"{name}.bias", zeros, format=fmt),
        )
    )
    start = end - bare[f"{name}.accumulator"][int(high)]
    assert start > 0 if high else start < 0
    return constant(f"{name}.bias", zeros + start, format=fmt)


@pytest.mark.parametrize(("end", "high", "sign"), [(2**31 - 1, True, 1), (-(2**31), False, -1)])
def test_an_accumulator_holds_its_ends_exactly(end: int, high: bool, sign: int, tiny: Program) -> None:
    name = f"{KEY}.accumulator"
    assert validate(edited(tiny, bias_of(tiny, KEY, end, high)))[name][int(high)] == end
    with pytest.raises(ValueError, match=rf"{name}: partial sums reach .*{end + sign}.*; it needs 33 bits"):
        validate(edited(tiny, bias_of(tiny, KEY, end + sign, high)))


PRODUCTS = [KEY, SCORES, f"{ATTENTION}.context", f"{FORWARD}.hidden", f"{CROSS}.query", f"{CROSS}.scores", LOGITS]


@pytest.mark.parametrize("site", PRODUCTS)
def test_the_width_in_the_message_is_the_least(site: str, tiny: Program) -> None:
    name = f"{site}.accumulator"
    with pytest.raises(ValueError, match=f"{name}: partial sums reach") as refused:
        validate(edited(tiny, *with_accumulator(name, Accumulator(bits=8))))
    needed = int(re.search(r"it needs (\d+) bits", str(refused.value))[1])  # type: ignore[index]
    validate(edited(tiny, *with_accumulator(name, Accumulator(bits=needed))))
    with pytest.raises(ValueError, match=f"it needs {needed} bits"):
        validate(edited(tiny, *with_accumulator(name, Accumulator(bits=needed - 1))))
    for rule in (Overflow.SATURATE, Overflow.WRAP):
        validate(edited(tiny, *with_accumulator(name, Accumulator(bits=needed - 1, overflow=rule))))


@pytest.mark.parametrize(("multiplier", "shift"), [(65535, 0), (65535, 62), (3, 62), (40001, 17)])
def test_a_rounding_stays_below_two_to_the_63(multiplier: int, shift: int, tiny: Program) -> None:
    """|x| * m + 2^(e-1) = 2^63 - 1 or just below is accepted, and runs; one more is refused."""
    most = (2**63 - 1 - (1 << shift >> 1)) // multiplier
    wide = [
        *with_accumulator(f"{KEY}.accumulator", Accumulator(bits=63)),
        operation(KEY, requantization=rescale(multiplier, shift)),
    ]
    accepted = edited(tiny, *wide, bias_of(tiny, KEY, most, True))
    assert validate(accepted)[f"{KEY}.accumulator"].high == most
    run(accepted)
    with pytest.raises(ValueError, match=rf"{KEY}: \|x\| \* multiplier \+ rounding reaches \d+, at or above 2\^63"):
        validate(edited(tiny, *wide, bias_of(tiny, KEY, most + 1, True)))


def test_a_sum_that_overflows_stays_below_two_to_the_62(tiny: Program) -> None:
    for rule in (Overflow.SATURATE, Overflow.WRAP):
        narrow = with_accumulator(f"{KEY}.accumulator", Accumulator(bits=20, overflow=rule))
        run(edited(tiny, *narrow, bias_of(tiny, KEY, 2**62 - 1, True)))
        with pytest.raises(ValueError, match=rf"{KEY}.accumulator: products reach {2**62}, beyond 64-bit"):
            validate(edited(tiny, *narrow, bias_of(tiny, KEY, 2**62, True)))


def test_the_variance_stays_below_two_to_the_52(tiny: Program) -> None:
    """V of 16-bit sums with the eps that takes it there."""
    eps = 2**52 - 1 - 8 * 8 * 65535**2 // 4
    run(edited(tiny, operation(f"{NORM}.output", eps=eps)))
    with pytest.raises(ValueError, match=rf"{NORM}.output: n\^2 \* variance reaches {2**52}, at or above 2\^52"):
        validate(edited(tiny, operation(f"{NORM}.output", eps=eps + 1)))


def test_scores_have_at_most_12_bits(tiny: Program) -> None:
    def scores(bits: int) -> list[Edit]:
        table = np.minimum(np.arange(1 << bits)[::-1], 255)
        return [tensor(SCORES, format=IntFormat(bits=bits)), constant(f"{SOFTMAX}.table", table)]

    run(edited(tiny, *scores(12)))
    with pytest.raises(ValueError, match=rf"{SOFTMAX}.output: scores of 13 bits need a table of 2\^13"):
        validate(edited(tiny, *scores(13)))


@pytest.mark.parametrize(("site", "field"), [(SOFTMAX, "output_requantization"), (NORM, "quotient_requantization")])
def test_a_quotient_stays_below_two_to_the_62(site: str, field: str, tiny: Program) -> None:
    """A denominator of 8 bits, shifted by 54 and by 55."""
    run(edited(tiny, operation(f"{site}.output", **{field: rescale(65535, 54)})))
    with pytest.raises(ValueError, match=f"{site}.output: the quotient's shift 55 takes its operands beyond 62 bits"):
        validate(edited(tiny, operation(f"{site}.output", **{field: rescale(65535, 55)})))


@pytest.mark.parametrize("part", ["numerator", "denominator", "output"])
def test_every_rounding_of_layernorm_stays_below_two_to_the_63(part: str, tiny: Program) -> None:
    """Only the output's can leave it, by a wide beta."""
    field = f"{part}_requantization"
    run(edited(tiny, operation(f"{NORM}.output", **{field: rescale(65535, 62)})))
    if part == "output":
        most = (2**63 - 1 - 2**61) // 65535 - 128 * 100
        large = [operation(f"{NORM}.output", **{field: rescale(65535, 62)})]
        large.append(constant(f"{NORM}.gamma", np.array([1, 2, -100, 3, 4, 5, 6, 7])))
        beta = functools.partial(constant, f"{NORM}.beta", format=IntFormat(bits=63))
        run(edited(tiny, *large, beta(np.array([0, 0, -most, 0, 0, 0, 0, 1]))))
        with pytest.raises(ValueError, match=rf"{NORM}.output: \|x\| \* multiplier \+ rounding"):
            validate(edited(tiny, *large, beta(np.array([0, 0, -(most + 1), 0, 0, 0, 0, 1]))))


def test_zero_points_are_codes(tiny: Program) -> None:
    """The ends of a format are zero points; a weight may have one too, and its proof knows."""
    for zero in (-128, 127):
        run(edited(tiny, tensor("encoder.embedding", zero_point=zero)))
        moved = edited(tiny, constant(f"{KEY}.weight", zero_point=zero))
        run(moved)
        rows, bias = (tiny.constants[f"{KEY}.{part}"].tolist() for part in ("weight", "bias"))
        codes = tiny.tensors["encoder.embedding"]
        ends = codes.format.min - codes.zero_point, codes.format.max - codes.zero_point
        bounds = [oracle.partial_sum_bounds(row, zero, start, *ends) for row, start in zip(rows, bias, strict=True)]
        lows, highs = zip(*bounds, strict=True)
        assert validate(moved)[f"{KEY}.accumulator"] == (min(lows), max(highs))


def test_what_follows_an_accumulator_reaches_what_it_says(tiny: Program) -> None:
    """A shift by 2^k is at most half a unit further out than the exact quotient; ReLU cuts at 0."""
    reach = validate(tiny)
    for shift in (0, 1, 5, 62):
        shifted = validate(edited(tiny, operation(f"{SCORES}.shifted", shift=shift)))[f"{SCORES}.shifted"]
        low, high = reach[f"{SCORES}.accumulator"]
        half = 2**shift // 2
        assert shifted == ((low - half) // 2**shift, (high + half) // 2**shift)
        assert (
            shifted.low <= oracle.half_even(Fraction(low, 2**shift))
            and oracle.half_even(Fraction(high, 2**shift)) <= shifted.high
        )
    low, high = reach[f"{FORWARD}.hidden.accumulator"]
    assert low < 0 < high and reach[f"{FORWARD}.hidden.rectified"] == (0, high)


def test_constants_and_codes_may_have_the_ends_of_their_ranges(tiny: Program) -> None:
    """1 and 2^31 - 1 side by side, 0 and 62, codes of 16 bits; one element beyond is enough to be refused."""
    rescaled = operation(KEY, requantization=rescale("multipliers", "shifts"))
    multipliers, shifts = [1, MAX_MULTIPLIER] * 4, [62, 0] * 4
    sixteen = [tensor(KEY, format=IntFormat(bits=16)), tensor(f"{KEY}.heads", format=IntFormat(bits=16))]
    run(
        edited(
            tiny, new_constant("multipliers", multipliers, bits=32), new_constant("shifts", shifts), rescaled, *sixteen
        )
    )
    for name, value in (("multipliers", 0), ("multipliers", MAX_MULTIPLIER + 1), ("shifts", 63)):
        values = {"multipliers": multipliers, "shifts": shifts}
        values[name] = [*values[name][:7], value]
        with pytest.raises(ValueError, match=f"{KEY}: constant {name} leaves"):
            validate(edited(tiny, *(new_constant(n, v, bits=33) for n, v in values.items()), rescaled))
    for value in (-1, 256):
        table = tiny.constants[f"{SOFTMAX}.table"].copy()
        table[17] = value
        with pytest.raises(ValueError, match=f"table {SOFTMAX}.table leaves"):
            validate(edited(tiny, constant(f"{SOFTMAX}.table", table, format=INT17)))


def test_each_channel_counts_with_its_own_multiplier(tiny: Program) -> None:
    """Rows of one reach; the product of the last one alone, three times as great, can leave 63 bits."""
    wide = with_accumulator(f"{KEY}.accumulator", Accumulator(bits=63))
    wide += [new_constant("multipliers", [1] * 7 + [3]), operation(KEY, requantization=rescale("multipliers", 0))]
    even = edited(tiny, *wide, constant(f"{KEY}.weight", np.ones((8, 8), np.int64)))
    most = (2**63 - 1) // 3
    full = edited(even, bias_of(even, KEY, most, True))
    run(full)
    bias = full.constants[f"{KEY}.bias"]
    run(edited(full, constant(f"{KEY}.bias", bias + np.array([1, *[0] * 7]))))
    with pytest.raises(ValueError, match=rf"{KEY}: \|x\| \* multiplier \+ rounding reaches {3 * most + 3}, "):
        validate(edited(full, constant(f"{KEY}.bias", bias + np.array([*[0] * 7, 1]))))


def test_positions_suffice_exactly(tiny: Program) -> None:
    run(edited(tiny, constant(POSITIONS, np.ones((12, 8), np.int64))))


@pytest.mark.parametrize(
    "scheme",
    [
        preset("int8"),
        Scheme(name="16", weight_bits=16, activation_bits=12, accumulator=Accumulator(bits=48)),
        Scheme(name="saturate", accumulator=Accumulator(bits=12, overflow=Overflow.SATURATE)),
        Scheme(name="wrap", accumulator=Accumulator(bits=12, overflow=Overflow.WRAP)),
        Scheme(name="merged", sqrt_mode="merged", weight_bits=4, activation_bits=4),
    ],
    ids=lambda scheme: scheme.name,
)
def test_accumulators_stay_in_their_intervals(scheme: Scheme) -> None:
    run(tiny_program(scheme))
