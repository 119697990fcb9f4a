"""Cells of `hwsim targets`, as docs/targets.md has them: each in its column."""

import io
from typing import Any

import pytest
from rich.console import Console

from analysis.inspect.target_tables import details, overview, schemes
from tests.unit.analysis.estimates.estimates_by_hand import cells, heads

HARDWARE = {
    "fullyqt": ["dyadic", "16", "8, 2 to 16", "8, 2 to 16", "16", "channel", "to 16 bits", "32"],
    "tflm, int8": ["q31_double", "31", "8, 4", "8", "16", "channel", "to 8 bits", "32"],
    "tflm, int16": ["q15", "15", "8", "16", "16", "channel", "none", "48"],
    "tosa": ["q31_single", "31", "8, 4", "8, 16", "16", "channel", "to 8 bits", "32"],
    "ita": ["narrow_after", "8", "8", "8", "8", "tensor", "none", "26"],
    "nvdla, int8": ["nvdla", "15", "8, 16", "8", "16", "channel", "none", "34"],
    "nvdla, int16": ["nvdla", "15", "8, 16", "16", "16", "channel", "none", "48"],
}
OPERATORS = {
    "fullyqt": ["native"] * 8,
    "ita": ["native", "pulp", "native", "deeploy", "fullyqt", "native", "fullyqt", "fullyqt"],
    "pulp": ["native", "native", "native", "deeploy", "fullyqt", "native", "fullyqt", "fullyqt"],
    "tosa": ["native", "native", "tflm", "fullyqt", "fullyqt", "native", "fullyqt", "fullyqt"],
    "onnxruntime": ["native", "fullyqt", "native", "fullyqt", "fullyqt", "native", "fullyqt", "fullyqt"],
}


def test_the_overview() -> None:
    tables: list[Any] = overview()
    operators, hardware = tables
    assert operators.title == "Operators: native, or whom they are borrowed from"
    assert heads(operators) == [
        "target", "requantization", "residual", "softmax", "layernorm", "mask", "activation", "embedding", "generator"
    ]  # fmt: skip
    shown = {row[0]: row[1:] for row in cells(operators)}
    assert {name: shown[name] for name in OPERATORS} == OPERATORS
    assert hardware.title == "Hardware: native widths in bits, the native configuration's first"
    assert heads(hardware) == [
        "target", "requantization", "multi-\nplier", "weights", "activa-\ntions", "residual\nsum", "weight\nscales",
        "zero\npoints", "accumu-\nlator",
    ]  # fmt: skip
    shown = {row[0]: row[1:] for row in cells(hardware)}
    assert {name: shown[name] for name in HARDWARE} == HARDWARE


def facts(shown: Any) -> dict[str, str]:
    """First column to the second, of lines that are printed."""
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(shown)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    pairs = [line.strip().split("  ", 1) for line in lines if line.strip()]
    return {pair[0]: pair[-1].strip() for pair in pairs}


@pytest.mark.parametrize(
    ("name", "want"),
    [
        (
            "ita",
            {
                "target": "ita",
                "requantization": "narrow_after: HALF_UP(x * m / 2^e), zero point after the rounding",
                "multipliers": "8 bits",
                "softmax": "itamax, in groups of 16",
                "layernorm": "pulp, codes beyond its format wrap",
                "residual sum": "clip_each by narrow_before, 8 bits",
                "weights": "8 bits, scales per_tensor",
                "activations": "8 bits, zero points none",
                "heads": "projected",
                "sqrt(d_head)": "merged",
            },
        ),
        (
            "tflm",
            {
                "target": "tflm, int8",
                "multipliers": "31 bits",
                "layernorm": "tflite",
                "residual sum": "tflite, 16 bits",
                "heads": "merged",
                "weights": "8, 4 bits, scales per_channel",
                "activations": "8 bits, zero points to 8 bits",
                "extended": (
                    "what is not listed: other widths to 16 bits, and limits that a scheme names under `beyond`"
                ),
            },
        ),
    ],
)
def test_one_target(name: str, want: dict[str, str]) -> None:
    shown: list[Any] = details(name)
    found = facts(shown[0])
    assert {key: found[key] for key in want} == want
    assert (shown[1].title, heads(shown[1])) == ("Operators", ["operator", "whose", "read in"])
    whose = {row[0]: row[1] for row in cells(shown[1])}
    assert whose["embedding"] == "borrowed from fullyqt"
    assert whose["layernorm"] == {"ita": "borrowed from deeploy", "tflm": "borrowed from tflite"}[name]
    assert (whose["softmax"], whose["mask"]) == ("native", "borrowed from fullyqt")


def test_wide_activations_are_a_part_of_their_own() -> None:
    shown: list[Any] = details("cmsis-nn")
    assert [facts(part)["target"] for part in shown[::3]] == ["cmsis-nn, int8", "cmsis-nn, int16"]
    assert facts(shown[3]) | WIDE == facts(shown[3])
    read = {row[0]: row[2] for row in cells(shown[4])}
    assert read["softmax"] == "arm_softmax_s16, without a last clamp; CMSIS-NN 99f736a, compiled"
    assert len(details("tosa")) == 3


WIDE = {
    "requantization": "q15: HALF_UP(x * m / 2^e), zero point after the rounding",
    "softmax": "int16",
    "residual sum": "tflite by q31_double, 16 bits",
    "activations": "16 bits, zero points none",
}


def test_the_catalogue() -> None:
    by_name = {next(iter(facts(one))): facts(one) for one in schemes()}
    assert by_name["q31_single"] == {
        "q31_single": "q31_single",
        "formula": "HALF_UP(x * m / 2^e)",
        "rounding": "HALF_UP; zero point after the rounding",
        "multiplier": "1,073,741,824 to 2,147,483,647 (31 bits), shift 1 to 62, input to 31 bits",
        "used by": "TOSA SINGLE_ROUND, CMSIS-NN (flag)",
        "targets": "tosa",
        "source": "TOSA specification, apply_scale_32",
    }
    assert by_name["q31_double"]["targets"] == "tflm, cmsis-nn"
    assert by_name["q31_double_half_up"]["targets"] == "none"
