"""Residual sums and requantizations of targets at their bounds: the bound itself runs, one beyond it is refused."""

from typing import Any

import msgspec
import numpy as np
import pytest

from hwsim import program as ir
from hwsim.formats import Accumulator, IntFormat, Rounding
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import (
    Q15,
    AnyRequantization,
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
from tests.unit.hwsim.program.one_operation import Q31, alone, passes, stopped
from tests.unit.hwsim.program.program_edits import (
    ACCUMULATOR,
    INT8,
    INT16,
    KEY,
    edited,
    native,
    new_constant,
    operation,
    replace,
    run,
    tensor,
)


def total(
    scheme: AnyRequantization, output: AnyRequantization | None, left_shift: int, x: IntFormat = INT16
) -> Program:
    op = ops.RescaledAdd(
        output="y",
        a="x",
        b="z",
        left_shift=left_shift,
        a_requantization=scheme,
        b_requantization=scheme,
        output_requantization=output,
    )
    return alone(op, x, INT8, ["batch", 4])


def ends(fmt: IntFormat) -> dict[str, Any]:
    rows = [[fmt.min, fmt.max, fmt.min, fmt.max]]
    return {"x": rows, "z": [[fmt.min, fmt.max, fmt.max, fmt.min]]}


SUMS: dict[str, tuple[AnyRequantization, AnyRequantization | None, int, str]] = {
    "dyadic to 2^63": (Dyadic(multiplier=(1 << 27) - 1, shift=0), None, 20, ""),
    "dyadic beyond 2^63": (Dyadic(multiplier=1 << 27, shift=0), None, 20, "the sum of the rescaled operands reaches"),
    "dyadic operand": (Dyadic(multiplier=1 << 28, shift=0), None, 20, "|x| * multiplier + rounding reaches"),
    "dyadic sum": (Dyadic(multiplier=1 << 20, shift=0), Dyadic(multiplier=1 << 6, shift=3), 20, ""),
    "dyadic sum's product": (
        Dyadic(multiplier=1 << 20, shift=0),
        Dyadic(multiplier=1 << 7, shift=3),
        20,
        "|x| * multiplier + rounding reaches",
    ),
    "float": (Float32(multiplier=(1 << 24) - 1, shift=0), None, 16, ""),
    "float operand": (Float32(multiplier=1, shift=0), None, 17, "float32 takes |x| to 2^31"),
    "float sum": (Float32(multiplier=1, shift=2), Float32(multiplier=1, shift=0), 16, ""),
    "float sum of 2^31": (Float32(multiplier=1, shift=1), Float32(multiplier=1, shift=0), 16, "takes |x| to 2^31"),
    "q31": (Q31Double(multiplier=1 << 30, shift=33), Q31Double(multiplier=1 << 30, shift=31), 15, ""),
    "q31 sum": (Q31, Q31Double(multiplier=1 << 30, shift=1), 15, "x * 2^(31 - shift) reaches"),
    "q31 operand": (Q31, None, 17, "q31_double takes |x| to 2^31"),
    "q31 operand of 2^31": (Q31, None, 16, "x * 2^(31 - shift) reaches"),
    "q31, shift of 30": (Q31Double(multiplier=1 << 30, shift=30), None, 15, "x * 2^(31 - shift) reaches"),
    "q31, shift of 30, one bit less": (Q31Double(multiplier=1 << 30, shift=30), None, 14, ""),
    "q15": (Q15(multiplier=1 << 14, shift=0), None, 20, ""),
    "shifts": (Shift(shift=3, rounding=Rounding.TOWARD_ZERO), Shift(shift=1, rounding=Rounding.TOWARD_ZERO), 20, ""),
}


@pytest.mark.parametrize("case", SUMS)
def test_boundaries_of_a_rescaled_sum(case: str) -> None:
    scheme, output, left_shift, message = SUMS[case]
    program = total(scheme, output, left_shift)
    if message:
        stopped(program, message)
    else:
        passes(program, **ends(INT16))


def product(scheme: AnyRequantization, greatest: int, accumulator: int = 40) -> Program:
    """Requantize a product that reaches exactly `greatest`, of either sign: one input of 2 bits (narrow) by a bias."""
    fmt = IntFormat(bits=accumulator)
    base = alone(
        ops.MatMul(output="acc", a="x", b="w", bias="bias", accumulator=Accumulator(bits=accumulator)),
        IntFormat(bits=2, narrow=True),
        INT8,
        ["batch", 1],
        w=(INT8, np.array([[1]])),
        bias=(IntFormat(bits=63), np.array([greatest - 1 if greatest > 0 else greatest + 1])),
    )
    acc = ir.TensorInfo(name="acc", format=fmt, dims=["batch", 1])
    function = base.manifest.functions[0]
    last = ops.Requantize(output="y", input="acc", requantization=scheme)
    functions = [replace(function, operations=[*function.operations, last])]
    return Program(replace(base.manifest, tensors=[*base.manifest.tensors, acc], functions=functions), base.constants)


LIMITS: list[tuple[AnyRequantization, int, int]] = [
    (Q31, -(1 << 31), (1 << 31) - 1),
    (Q31Double(multiplier=(1 << 31) - 1, shift=31), -(1 << 31), (1 << 31) - 1),
    (Q31Double(multiplier=(1 << 31) - 1, shift=21), -(1 << 21), (1 << 21) - 1),
    (Q31DoubleHalfUp(multiplier=(1 << 31) - 1, shift=2), -4, 3),
]
"""An accumulator times 2^l is an int32."""
LIMITS += [
    (scheme, -greatest, greatest)
    for scheme, greatest in (
        (Q31Single(multiplier=(1 << 31) - 1, shift=62), 1 << 31),
        (Float32(multiplier=(1 << 24) - 1, shift=62), 1 << 31),
        (Float32Inside(multiplier=(1 << 24) - 1, shift=0), 1 << 31),
        (Q15(multiplier=(1 << 15) - 1, shift=10), 1 << 47),
        (NarrowAfter(multiplier=255, shift=34), ((1 << 63) - 1 - (1 << 33)) // 255),
        (NarrowBefore(multiplier=65535, shift=0), ((1 << 31) - 1) // 65535),
        (NarrowBefore(multiplier=9, shift=31), ((1 << 31) - 1 - (1 << 30)) // 9),
        (NarrowBefore(multiplier=(1 << 31) - 1, shift=0), 1),
        (Nvdla(multiplier=32767, shift=1), 1 << 31),
        (Dyadic(multiplier=(1 << 31) - 1, shift=62), ((1 << 63) - 1 - (1 << 61)) // ((1 << 31) - 1)),
    )
]


@pytest.mark.parametrize(("scheme", "least", "greatest"), LIMITS, ids=lambda value: str(value)[:24])
def test_boundaries_of_a_requantization(scheme: AnyRequantization, least: int, greatest: int) -> None:
    """The page's bounds of x themselves run, one beyond is refused."""
    for end in (least, greatest):
        program = product(scheme, end, 62)
        assert end in validate(program)["acc"]
        passes(program, x=[[-1], [0], [1]])
    for beyond in (least - 1, greatest + 1):
        stopped(product(scheme, beyond, 62), "")


def test_a_zero_point_before_the_shift_is_part_of_the_product() -> None:
    """3 x + 100 * 2^24 + 2^23 below 2^31: to x = 153,791,146; with the zero point after the shift, to far more."""

    def program(greatest: int, scheme: AnyRequantization) -> Program:
        return edited(product(scheme, greatest, 62), tensor("y", zero_point=-100))

    before = NarrowBefore(multiplier=3, shift=24)
    passes(program(153_791_146, before), x=[[-1], [0], [1]])
    stopped(program(153_791_147, before), "reaches 2147483649, at or above 2^31: narrow_before has products of 32 bits")
    passes(program(153_791_147, NarrowAfter(multiplier=3, shift=24)), x=[[-1], [0], [1]])


def test_an_operand_that_saturates_bounds_the_sum() -> None:
    """Two operands of 2^27 * 2^15 sum to 256 where each stops at 8 bits; the sum's product holds 2^31 / 256."""
    wide = NarrowBefore(multiplier=1 << 14, shift=0)

    def program(multiplier: int, operand: IntFormat | msgspec.UnsetType) -> Program:
        made = total(wide, NarrowBefore(multiplier=multiplier, shift=0), 0).manifest.functions[0].operations[0]
        return alone(replace(made, operand=operand), INT16, INT8, ["batch", 4])

    most = (1 << 31) // 256 - 1
    passes(program(most, INT8), **ends(INT16))
    stopped(program(most + 1, INT8), f"reaches {1 << 31}, at or above 2^31: narrow_before has products of 32 bits")
    stopped(program(most, msgspec.UNSET), "narrow_before has products of 32 bits")
    stopped(program(most, IntFormat(bits=8, signed=False)), "operand format uint8; a rescaled operand is signed")


def test_ratios_for_each_channel_are_checked_each() -> None:
    """One shift among others that leaves too little room is enough."""
    tflm = native("tflm")
    low, high = validate(tflm)[ACCUMULATOR]
    least = max(high, -low - 1).bit_length()

    def program(shift: int) -> Program:
        scheme = Q31Double(multiplier=f"{KEY}.multiplier", shift="e")
        return edited(tflm, new_constant("e", [40] * 7 + [shift]), operation(KEY, requantization=scheme))

    run(program(least))
    with pytest.raises(ValueError, match=rf"^function encode, {KEY}: x \* 2\^\(31 - shift\) reaches"):
        validate(program(least - 1))
