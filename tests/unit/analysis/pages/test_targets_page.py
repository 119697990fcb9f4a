"""docs/targets.md: every operator says whose it is, and every limit what it is and where it was read."""

import pytest

from analysis.pages.operators import pages
from hwsim.program.targets import TARGETS
from tests import ROOT

TEXT = pages.targets_page(ROOT / "docs")
SECTIONS = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")}


def rows(section: str, table: int = 0) -> dict[str, list[str]]:
    """First cell to the others of a section's table; of equal first cells the last."""
    found: list[dict[str, list[str]]] = []
    lines = SECTIONS[section].splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if not line.startswith("|"):
            continue
        if not above.startswith("|"):
            found.append({})
        cells = [cell.strip() for cell in line.replace(r"\|", "/").strip("|").split("|")]
        found[-1][cells[0]] = cells[1:]
    return found[table]


def named(section: str, target: str, table: int = 0) -> dict[str, str]:
    """A target's cells by the heads of their columns."""
    made = rows(section, table)
    return dict(zip(made["target"], made[target], strict=True))


@pytest.mark.parametrize("name", TARGETS)
def test_every_operator_is_native_or_borrowed(name: str) -> None:
    shown = named("Operators", f"`{name}`")
    borrowed = TARGETS[name].borrowed
    assert shown == {one: f"from {borrowed[one]}" if one in borrowed else "native" for one in TARGETS[name].operators}
    assert "`mask`" not in shown and "mask" in shown


def test_what_was_read_of_both_records() -> None:
    assert named("Operators", "`tflm`, int16", 1)["softmax"] == "SoftmaxInt16; TensorFlow Lite Micro 90b983c, compiled"
    assert named("Operators", "`pulp`", 1)["mask"] == "from fullyqt: it has none; Deeploy bf64cfa, read"
    assert named("Operators", "`ita`", 1)["residual"] == (
        "from pulp: requantized addition of its cluster; pulp-nn-mixed b69ec23, compiled"
    )


def test_hardware_of_both_records() -> None:
    wide, narrow = named("Hardware", "`cmsis-nn`, int16"), named("Hardware", "`cmsis-nn`, int8")
    assert (narrow["accumulator"], wide["accumulator"]) == ("32, proven", "48, proven")
    assert (narrow["activations"], wide["activations"]) == ("8", "16")
    assert (narrow["residual sum"], wide["residual sum"]) == ("tflite", "tflite by q31_double")
    assert named("Hardware", "`ita`")["LayerNorm"] == "pulp, wraps"
    assert named("Hardware", "`ita`")["heads"] == "projected"


LIMITS = {
    "accumulator": "48 bits, proven",
    "bias": "16 bits, shifted left",
    "bias is": "after CACC, int16 with one left shift a layer",
    "product": "64 bits",
    "multiplier": "-32,768 to 32,767",
    "multipliers": "one a channel",
    "shift": "0 to 63",
    "shifts": "one a layer",
    "added": "an offset before the multiplication",
    "residual operands": "do not saturate",
    "softmax row": "none known",
    "masks": "none known",
    "gamma": "-128 to 127",
    "B": "no ITAMax",
}


def test_limits() -> None:
    assert named("Limits", "`nvdla`, int16") == LIMITS
    assert named("Limits", "`deeploy`")["B"] == "5, scores of scale ln(2)/2^5"
    assert "(`shift`, `shifts`, `bias_bits`, `gamma`, `softmax_keys`, `score_scale`, `operand_bits`)" in TEXT


def test_where_limits_were_read() -> None:
    section = SECTIONS["Limits"]
    assert "| `ita` | bias, bias is | ita_accumulator.sv | ITA 40564cf, compiled |" in section
    assert r"| `tflm`, int16 | product | MultiplyByQuantizedMultiplier of int64: \|acc\| to 2^47 |" in section
    # What both records of NVDLA have is said once.
    assert section.count("SDP X, 6 bits") == 1 and "`nvdla`, int16" not in section.partition("Where they")[2]


def test_what_configurations_extend() -> None:
    assert named("What a configuration extends", "`ita`") == {
        "native": "",
        "int8": "",
        "int6": "6-bit weights; 6-bit activations",
        "int4": "4-bit weights; 4-bit activations",
        "w4a8": "4-bit weights",
    }
    assert named("What a configuration extends", "`tflm`")["int4"] == "4-bit activations"
    assert set(rows("What a configuration extends")["`fullyqt`"]) == {""}
