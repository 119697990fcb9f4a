"""Validation of the rescalings of targets: every check of a residual sum and a requantization refuses by name."""

import numpy as np
import pytest

from hwsim.formats import IntFormat, Rounding
from hwsim.program.catalogue import (
    Dyadic,
    Float32,
    Float32Inside,
    NarrowAfter,
    NarrowBefore,
    Nvdla,
    Q31Double,
    Q31DoubleHalfUp,
    Q31Single,
    Shift,
)
from hwsim.program.validate import validate
from tests.unit.hwsim.program.program_edits import (
    ACCUMULATOR,
    INT17,
    KEY,
    SCORES,
    SUM,
    Edit,
    constant,
    edited,
    native,
    new_constant,
    operation,
    tensor,
)

REFUSED: dict[str, tuple[str, list[Edit], str]] = {
    # residual sums
    "two schemes": (
        "ita",
        [operation(SUM, b_requantization=Dyadic(multiplier=3, shift=2))],
        "operands and sum must be rescaled by one scheme",
    ),
    "two schemes of one rounding": (
        "ita",
        [operation(SUM, b_requantization=NarrowAfter(multiplier=3, shift=2))],
        "operands and sum must be rescaled by one scheme",
    ),
    "another scheme of the sum": (
        "tflm",
        [operation(SUM, output_requantization=Q31DoubleHalfUp(multiplier=1 << 30, shift=40))],
        "operands and sum must be rescaled by one scheme",
    ),
    "shifts of two roundings": (
        "ita",
        [operation(SUM, a_requantization=Shift(shift=1), b_requantization=Shift(shift=1, rounding=Rounding.FLOOR))],
        "operands and sum must be rescaled by one scheme",
    ),
    "zero point inside a sum": (
        "gemmini",
        [
            operation(
                SUM, **dict.fromkeys(("a_requantization", "b_requantization"), Float32Inside(multiplier=1, shift=0))
            )
        ],
        "with the zero point outside",
    ),
    "a ratio a channel of a": (
        "ita",
        [new_constant("m", [9] * 8), operation(SUM, a_requantization=NarrowAfter(multiplier="m", shift=2))],
        "constant m has shape (8,), needed (1,)",
    ),
    "a named ratio of b": (
        "ita",
        [new_constant("e", [9]), operation(SUM, b_requantization=NarrowAfter(multiplier=1, shift="e"))],
        "this rescaling has one multiplier and one shift",
    ),
    "an operand of 31 bits": (
        "tflm",
        [operation(SUM, left_shift=20), tensor("encoder.embedding", format=IntFormat(bits=12))],
        "q31_double takes |x| to 2^31",
    ),
    "the sum's rescaling": (
        "tosa",
        [
            operation(SUM, output_requantization=Q31Single(multiplier=1 << 30, shift=1)),
            operation(SUM, left_shift=20, a_requantization=Q31Single(multiplier=(1 << 31) - 1, shift=1)),
        ],
        "q31_single takes |x| to 2^31; here it reaches",
    ),
    "a sum of another shape": ("ita", [operation(SUM, b=f"{KEY}.heads")], f"{SUM}: {KEY}.heads has dimensions"),
    "a sum of accumulators": ("pulp", [operation(SUM, b=ACCUMULATOR)], f"{ACCUMULATOR} has 32 bits; codes have"),
    "a sum to 17 bits": ("tflm", [tensor(SUM, format=INT17)], f"{SUM} has 17 bits"),
    # requantization
    "q31 below 2^30": (
        "tflm",
        [constant(f"{KEY}.multiplier", np.array([(1 << 30) - 1, *[1 << 30] * 7]))],
        f"{KEY}: constant {KEY}.multiplier leaves 1073741824..2147483647",
    ),
    "q31_single's shift of 0": (
        "tosa",
        [new_constant("e", [0, *[33] * 7]), operation(KEY, requantization=Q31Single(multiplier=1 << 30, shift="e"))],
        f"{KEY}: constant e leaves 1..62",
    ),
    "narrow multipliers of 9 bits": (
        "ita",
        [new_constant("m", [255] * 7 + [256]), operation(KEY, requantization=NarrowAfter(multiplier="m", shift=9))],
        f"{KEY}: constant m leaves 0..255",
    ),
    "narrow multipliers of 0": (
        "pulp",
        [new_constant("m", [9] * 7 + [0]), operation(KEY, requantization=NarrowBefore(multiplier="m", shift=9))],
        f"{KEY}: constant m leaves 1..2147483647",
    ),
    "nvdla multipliers of 16 bits": (
        "nvdla",
        [new_constant("m", [1 << 15] * 8), operation(KEY, requantization=Nvdla(multiplier="m", shift=9))],
        f"{KEY}: constant m leaves 1..32767",
    ),
    "float multipliers of 25 bits": (
        "gemmini",
        [new_constant("m", [1 << 24] * 8, bits=25), operation(KEY, requantization=Float32(multiplier="m", shift=30))],
        f"{KEY}: constant m leaves 1..16777215",
    ),
    "a multiplier of a shift": (
        "ita",
        [new_constant("m", [2] * 8), operation(KEY, requantization=Shift(multiplier="m", shift=9))],
        f"{KEY}: constant m leaves 1..1",
    ),
    "shifts of 32": (
        "pulp",
        [new_constant("e", [31] * 7 + [32]), operation(KEY, requantization=NarrowBefore(multiplier=9, shift="e"))],
        f"{KEY}: constant e leaves 0..31",
    ),
    "shifts of 35": (
        "ita",
        [new_constant("e", [34] * 7 + [35]), operation(KEY, requantization=NarrowAfter(multiplier=9, shift="e"))],
        f"{KEY}: constant e leaves 0..34",
    ),
    "shifts of 63": (
        "nvdla",
        [new_constant("e", [62] * 7 + [63]), operation(KEY, requantization=Nvdla(multiplier=9, shift="e"))],
        f"{KEY}: constant e leaves 0..62",
    ),
    "a ratio for each of too many channels": (
        "nvdla",
        [new_constant("m", [9] * 9), operation(KEY, requantization=Nvdla(multiplier="m", shift=9))],
        f"{KEY}: constant m has shape (9,), needed (8,)",
    ),
    "ratios of keys": (
        "tflm",
        [
            new_constant("m", [1 << 30] * 12, bits=31),
            operation(SCORES, requantization=Q31Double(multiplier="m", shift=40)),
        ],
        f"{SCORES}: dimension 'source' varies",
    ),
    "multipliers that are not there": (
        "cmsis-nn",
        [operation(KEY, requantization=Q31Double(multiplier="more", shift=40))],
        f"{KEY}: constant more is not declared",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_rescaling_is_refused_by_name(case: str) -> None:
    target, edits, message = REFUSED[case]
    with pytest.raises(ValueError, match=r"^function \w+, \S+: .") as error:
        validate(edited(native(target), *edits))
    assert message in str(error.value)
