"""Limits of the targets' hardware: one program that breaks each is refused in one line, or named under `beyond`."""

from typing import get_args

import msgspec
import numpy as np
import pytest

from hwsim.formats import Accumulator, IntFormat
from hwsim.program.catalogue import Q15, NarrowAfter
from hwsim.program.targets import LimitName
from hwsim.program.validate import validate
from tests.unit.hwsim.program.program_edits import (
    ACCUMULATOR,
    KEY,
    NORM,
    POSITIONS,
    SOFTMAX,
    SUM,
    Edit,
    constant,
    dimension,
    edited,
    manifest,
    native,
    new_constant,
    operation,
    tensor,
)

WIDE = IntFormat(bits=48)
ONE = np.array([1] + [0] * 7)


def keys(count: int) -> list[Edit]:
    return [dimension("source", maximum=count), constant(POSITIONS, np.ones((count, 8), np.int64))]


BROKEN: dict[LimitName, tuple[str, list[Edit], str]] = {
    "shift": (
        "tflm-int16",
        [operation(KEY, requantization=Q15(multiplier=1 << 14, shift=47))],
        f"{KEY}: shifts of 47 to 47; the limit `shift` is 8 to 46 (MultiplyByQuantizedMultiplier of int64: shift 7 at "
        "most; TensorFlow Lite Micro 90b983c, compiled); target tflm has no hardware for it, unless `beyond` names it",
    ),
    "shifts": (
        "ita",
        [
            new_constant("e", [8] * 7 + [9]),
            operation(KEY, requantization=NarrowAfter(multiplier=9, shift="e")),
        ],
        f"{KEY}: 2 shifts in a layer; the limit `shifts` is 1 (one multiplier and one shift a layer; ITA 40564cf, "
        "compiled); target ita has no hardware for it, unless `beyond` names it",
    ),
    "bias_bits": (
        "ita",
        [constant(f"{KEY}.bias", ONE << 23, format=WIDE)],
        f"{KEY}.accumulator: a bias of 25 bits; the limit `bias_bits` is 24 (ita_accumulator.sv; ITA 40564cf, "
        "compiled); target ita has no hardware for it, unless `beyond` names it",
    ),
    "gamma": (
        "gemmini",
        [constant(f"{NORM}.gamma", 128 * ONE, format=IntFormat(bits=9))],
        f"{NORM}.output: gamma of 0 to 128; the limit `gamma` is -128 to 127 (an operand of the array; "
        "gemmini-rocc-tests 180c468, compiled); target gemmini has no hardware for it, unless `beyond` names it",
    ),
    "softmax_keys": (
        "tflm",
        keys(512),
        f"{SOFTMAX}.output: rows of up to 512 keys; the limit `softmax_keys` is 511 (reference softmax, int8: 512 "
        "exponentials of 1 are undefined; TensorFlow Lite Micro 90b983c, compiled); target tflm has no hardware for "
        "it, unless `beyond` names it",
    ),
    "score_scale": (
        "ita",
        [operation(f"{SOFTMAX}.output", shift=4)],
        f"{SOFTMAX}.output: scores of scale ln(2) / 2^4; the limit `score_scale` is 5 (SoftmaxShift of "
        "ita_softmax_top.sv; ITA 40564cf, compiled); target ita has no hardware for it, unless `beyond` names it",
    ),
    "operand_bits": (
        "pulp",
        [operation(SUM, operand=IntFormat(bits=9))],
        f"{SUM}: operands of a sum keep 9 bits; the limit `operand_bits` is 8 (pulp_nn_add, RQAdd; pulp-nn-mixed "
        "b69ec23, compiled); target pulp has no hardware for it, unless `beyond` names it",
    ),
}

KEPT: dict[LimitName, tuple[str, list[Edit]]] = {
    "shift": ("tflm-int16", [operation(KEY, requantization=Q15(multiplier=1 << 14, shift=46))]),
    "shifts": (
        "ita",
        [new_constant("e", [9] * 8), operation(KEY, requantization=NarrowAfter(multiplier=9, shift="e"))],
    ),
    "bias_bits": ("ita", [constant(f"{KEY}.bias", -ONE << 23, format=WIDE)]),
    "gamma": ("gemmini", [constant(f"{NORM}.gamma", -128 * ONE)]),
    "softmax_keys": ("tflm", keys(511)),
    "score_scale": ("ita-head", [operation(f"{SOFTMAX}.output", shift=0)]),
    "operand_bits": ("pulp", [operation(SUM, operand=IntFormat(bits=8, narrow=True))]),
}


@pytest.mark.parametrize("limit", get_args(LimitName))
def test_a_broken_limit_is_refused_in_a_line(limit: LimitName) -> None:
    target, edits, line = BROKEN[limit]
    with pytest.raises(ValueError, match="the limit") as error:
        validate(edited(native(target), *edits))
    assert str(error.value) == line


@pytest.mark.parametrize("limit", get_args(LimitName))
def test_a_limit_may_be_broken_by_a_program_that_names_it_and_no_other(limit: LimitName) -> None:
    target, edits, line = BROKEN[limit]
    broken = edited(native(target), *edits)
    validate(edited(broken, manifest(beyond=[limit])))
    others = [name for name in get_args(LimitName) if name != limit]
    with pytest.raises(ValueError, match="the limit") as error:
        validate(edited(broken, manifest(beyond=others)))
    assert str(error.value) == line


@pytest.mark.parametrize("limit", get_args(LimitName))
def test_the_limit_itself_is_kept(limit: LimitName) -> None:
    target, edits = KEPT[limit]
    validate(edited(native(target), *edits))


def test_a_sum_whose_operands_saturate_nowhere_breaks_the_limit() -> None:
    broken = edited(native("gemmini"), operation(SUM, operand=msgspec.UNSET))
    with pytest.raises(ValueError, match=f"^{SUM}: operands of a sum keep 63 bits; the limit `operand_bits` is 8 "):
        validate(broken)


@pytest.mark.parametrize("fields", [{}, {"accumulator": Accumulator(bits=32)}])
def test_a_bias_of_heads_or_under_another_accumulator_has_the_limit_too(fields: dict[str, Accumulator]) -> None:
    """ITA has one record: whatever the accumulator, its biases have 24 bits; head 0's has the bias."""
    site = KEY if fields else "encoder.0.self_attention.output"
    name, wide = f"{site}.accumulator", [tensor(ACCUMULATOR, format=IntFormat(bits=32))] if fields else []
    broken = edited(native("ita"), operation(name, **fields), *wide, constant(f"{site}.bias", ONE << 23, format=WIDE))
    with pytest.raises(ValueError, match=f"^{name}: a bias of 25 bits; the limit `bias_bits` is 24 "):
        validate(broken)


def test_a_bias_of_nvdla_is_as_wide_as_what_its_shift_leaves() -> None:
    """(2^15 - 1) * 2^5 is a bias of 16 bits << 5; one more in another channel leaves no shift, and 21 bits."""
    nvdla = native("nvdla")
    bias = ((1 << 15) - 1 << 5) * ONE
    validate(edited(nvdla, constant(f"{KEY}.bias", bias, format=WIDE)))
    message = f"^{KEY}.accumulator: a bias of 21 bits; the limit `bias_bits` is 16 "
    with pytest.raises(ValueError, match=message):
        validate(edited(nvdla, constant(f"{KEY}.bias", bias + np.roll(ONE, 1), format=WIDE)))
