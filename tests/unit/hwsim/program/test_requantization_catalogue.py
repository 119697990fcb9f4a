"""The catalogue of requantization schemes: records, limits at both ends, and the tagged union of a program file."""

import re

import msgspec
import pytest

from hwsim.formats import Rounding, Scaling
from hwsim.program.catalogue import (
    CATALOGUE,
    MAX_SHIFT,
    AnyRequantization,
    Dyadic,
    Limits,
    Q31Single,
    Requantization,
    Shift,
    scaling_of,
    scheme_type,
)

PAGE = {  # docs/operators/requantization.md, section 1: least and greatest m, of e; |x| to 2^bits, width of the product
    "q31_double": (1 << 30, (1 << 31) - 1, 0, 62, 31, 64),
    "q31_double_half_up": (1 << 30, (1 << 31) - 1, 0, 62, 31, 64),
    "q31_single": (1 << 30, (1 << 31) - 1, 1, 62, 31, 64),
    "q15": (1 << 14, (1 << 15) - 1, 0, 62, 47, 64),
    "dyadic": (1, (1 << 31) - 1, 0, 62, 63, 64),
    "narrow_after": (0, (1 << 8) - 1, 0, 34, 63, 64),
    "narrow_before": (1, (1 << 31) - 1, 0, 31, 31, 32),
    "shift": (1, 1, 0, 62, 63, 64),
    "nvdla": (1, (1 << 15) - 1, 0, 62, 31, 64),
    "float32": (1, (1 << 24) - 1, 0, 62, 31, 64),
    "float32_inside": (1, (1 << 24) - 1, 0, 62, 31, 64),
}
ROUNDINGS = {
    "q31_double": Scaling.Q31_DOUBLE,
    "q31_double_half_up": Scaling.Q31_DOUBLE_HALF_UP,
    "q31_single": Scaling.HALF_UP,
    "q15": Scaling.HALF_UP,
    "dyadic": Scaling.HALF_EVEN,
    "narrow_after": Scaling.HALF_UP,
    "narrow_before": Scaling.HALF_UP,
    "nvdla": Scaling.HALF_AWAY,
    "float32": Scaling.FLOAT32,
    "float32_inside": Scaling.FLOAT32_INSIDE,
}
TYPES = [scheme_type(name) for name in CATALOGUE]


def named(scheme: type[Requantization]) -> str:
    return scheme.record().name


# --- records ----------------------------------------------------------------------------------------------------------


def test_the_catalogue_is_the_page_and_the_union() -> None:
    assert CATALOGUE.keys() == PAGE.keys()
    assert set(TYPES) == set(AnyRequantization.__args__)
    for name, record in CATALOGUE.items():
        assert record.name == name
        assert tuple(record.limits) == PAGE[name], name
    assert max(most for *_, most, _, _ in PAGE.values()) == MAX_SHIFT


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_record_says_everything(name: str) -> None:
    record = CATALOGUE[name]
    for field in ("formula", "rounding", "zero_point", "users", "source"):
        assert getattr(record, field).strip(), field
    assert "2^" in record.formula


def test_where_the_zero_point_is_added() -> None:
    elsewhere = {name: r.zero_point for name, r in CATALOGUE.items() if r.zero_point != "after the rounding"}
    assert elsewhere == {"narrow_before": "before the shift", "float32_inside": "inside the float sum"}


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_type_has_its_own_record(name: str) -> None:
    assert scheme_type(name).record() is CATALOGUE[name]
    assert scheme_type(name).__struct_config__.tag == name


def test_an_unknown_scheme_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"unknown requantization scheme 'q7'; known: q31_double, .*, float32_inside"):
        scheme_type("q7")


def test_multiplier_bits() -> None:
    bits = {name: record.limits.multiplier_bits for name, record in CATALOGUE.items()}
    assert (bits["q31_single"], bits["q15"], bits["narrow_after"], bits["narrow_before"]) == (31, 15, 8, 31)
    assert (bits["nvdla"], bits["float32"], bits["shift"], bits["dyadic"]) == (15, 24, 1, 31)
    assert Limits(1, 256).multiplier_bits == 9


# --- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROUNDINGS)
def test_scaling_of_a_scheme(name: str) -> None:
    scheme = scheme_type(name)
    assert scaling_of(scheme) is ROUNDINGS[name]
    assert scheme(multiplier=scheme.record().limits.low, shift=1).scaling is ROUNDINGS[name]


@pytest.mark.parametrize("rounding", Rounding)
def test_a_shift_has_any_of_the_five_roundings(rounding: Rounding) -> None:
    assert Shift(shift=3, rounding=rounding).scaling is Scaling[rounding.name]


def test_a_shift_has_no_multiplier_and_rounds_to_even_unless_told() -> None:
    assert (Shift(shift=3).multiplier, Shift(shift=3).scaling) == (1, Scaling.HALF_EVEN)
    with pytest.raises(KeyError):
        scaling_of(Shift)


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", TYPES, ids=named)
def test_both_ends_of_the_limits_are_taken_and_one_beyond_is_refused(scheme: type[Requantization]) -> None:
    limits, name = scheme.record().limits, named(scheme)
    for multiplier in (limits.low, limits.high):
        for shift in (limits.least_shift, limits.greatest_shift):
            assert scheme(multiplier=multiplier, shift=shift).shift == shift
    for multiplier in (limits.low - 1, limits.high + 1, -limits.high, 1 << 40):
        with pytest.raises(
            ValueError, match=f"^{name}: multiplier {multiplier}; allowed are {limits.low} to {limits.high}$"
        ):
            scheme(multiplier=multiplier, shift=5)
    least, most = PAGE[name][2:4]
    for shift in (least - 1, most + 1, 63, 1 << 40):
        with pytest.raises(ValueError, match=f"^{name}: shift {shift}; allowed are {least} to {most}$"):
            scheme(multiplier=limits.high, shift=shift)


@pytest.mark.parametrize("scheme", TYPES, ids=named)
def test_strings_name_constants_whose_limits_are_not_seen_here(scheme: type[Requantization]) -> None:
    """Validation reads the constant."""
    low = scheme.record().limits.low
    assert scheme(multiplier="m", shift="e") == scheme(multiplier="m", shift="e")
    assert scheme(multiplier="m", shift=3).multiplier == "m"
    with pytest.raises(ValueError, match="shift 63"):
        scheme(multiplier="m", shift=63)
    with pytest.raises(ValueError, match=f"multiplier {low - 1}"):
        scheme(multiplier=low - 1, shift="e")


def test_records_are_frozen_and_keys() -> None:
    scheme = Dyadic(multiplier=3, shift=4)
    with pytest.raises(AttributeError):
        scheme.shift = 5  # type: ignore[misc]
    assert {scheme: 1}[Dyadic(multiplier=3, shift=4)] == 1
    assert scheme != scheme_type("narrow_after")(multiplier=3, shift=4)


# --- the tagged union -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiplier", ["number", "name"])
@pytest.mark.parametrize("scheme", TYPES, ids=named)
def test_json_round_trip(scheme: type[Requantization], multiplier: str) -> None:
    made = scheme(multiplier=scheme.record().limits.high if multiplier == "number" else "m", shift=31)
    text = msgspec.json.encode(made)
    assert msgspec.json.decode(text)["type"] == named(scheme)
    again = msgspec.json.decode(text, type=AnyRequantization)
    assert again == made
    assert type(again) is scheme


def test_a_shift_keeps_its_rounding_in_a_file() -> None:
    for rounding in Rounding:
        made = Shift(shift=2, rounding=rounding)
        assert msgspec.json.decode(msgspec.json.encode(made), type=AnyRequantization) == made


REFUSED = {
    "an unknown tag": ('{"type": "q7", "multiplier": 1, "shift": 0}', "Invalid value 'q7' - at `$.type`"),
    "no tag": ('{"multiplier": 1, "shift": 0}', "missing required field `type`"),
    "a field too many": ('{"type": "dyadic", "multiplier": 1, "shift": 0, "rounding": "floor"}', "unknown field"),
    "no shift": ('{"type": "dyadic", "multiplier": 1}', "missing required field `shift`"),
    "no multiplier": ('{"type": "dyadic", "shift": 1}', "missing required field `multiplier`"),
    "a fraction": ('{"type": "dyadic", "multiplier": 1.5, "shift": 0}', "Expected `int | str`, got `float`"),
    "an unknown rounding": ('{"type": "shift", "shift": 1, "rounding": "up"}', "Invalid enum value 'up'"),
    "a multiplier of a shift": (
        '{"type": "shift", "multiplier": 2, "shift": 1}',
        "shift: multiplier 2; allowed are 1 to",
    ),
    "q31 below 2^30": ('{"type": "q31_double", "multiplier": 1073741823, "shift": 31}', "allowed are 1073741824 to"),
    "9 bits of 8": ('{"type": "narrow_after", "multiplier": 256, "shift": 31}', "multiplier 256; allowed are 0 to 255"),
    "a shift of 35 of 34": ('{"type": "narrow_after", "multiplier": 0, "shift": 35}', "shift 35; allowed are 0 to 34"),
    "a shift of 32 of 31": ('{"type": "narrow_before", "multiplier": 1, "shift": 32}', "shift 32; allowed are 0 to 31"),
    "no multiplier of PULP": (
        '{"type": "narrow_before", "multiplier": 0, "shift": 3}',
        "0; allowed are 1 to 2147483647",
    ),
    "q31_single, shift 0": (
        '{"type": "q31_single", "multiplier": 1073741824, "shift": 0}',
        "shift 0; allowed are 1 to",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_may_not_say(case: str) -> None:
    text, message = REFUSED[case]
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.json.decode(text, type=AnyRequantization)
    assert issubclass(msgspec.ValidationError, ValueError)


def test_type_of_a_constant_pair_is_part_of_the_key() -> None:
    """The machine keeps constants by scheme."""
    assert len({scheme(multiplier="m", shift="e") for scheme in TYPES}) == len(TYPES)
    assert Q31Single(multiplier="m", shift="e") != Q31Single(multiplier="m", shift="f")
