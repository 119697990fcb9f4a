"""`hwsim targets`: every record is in the tables, and what programs and schemes say of their origin."""

import io

import pytest
from rich.console import Console

from analysis.inspect.provenance import program_provenance, provenance
from analysis.inspect.target_limits import records
from analysis.inspect.target_tables import OPERATORS, details, overview, schemes
from hwsim.program.catalogue import CATALOGUE
from hwsim.program.targets import TARGETS
from reference.quantize.origin import Origin
from reference.quantize.scheme import Scheme, preset
from tests.small.programs import tiny_program, with_origin

RECORDS = {name: record for one in TARGETS.values() for name, record in records(one)}


def printed(renderables: list, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for renderable in renderables:
        console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def test_the_overview_has_every_target_and_every_lender() -> None:
    operators, hardware = (printed([table], 120) for table in overview())
    for one in TARGETS.values():
        (line,) = [line.split() for line in operators.splitlines() if line.split()[:1] == [one.name]]
        assert line == [one.name, *(one.operators[name].borrowed_from or "native" for name in OPERATORS)]
    for name, one in RECORDS.items():
        (line,) = [line.split() for line in hardware.splitlines() if f"{line} "[1:].startswith(f"{name} ")]
        line = line[len(name.split()) :]
        assert line[:2] == [one.requantization, str(one.multiplier_bits)]
        assert line[2].strip(",") == str(one.weight_bits[0]) and line[-1] == str(one.accumulator.bits)
    assert set(OPERATORS) == {name for one in TARGETS.values() for name in one.operators}


@pytest.mark.parametrize("name", TARGETS)
def test_details_have_every_operator_with_its_source(name: str) -> None:
    one, text = TARGETS[name], " ".join(printed(details(name), 200).split())
    for record in (one, one.wide or one):
        for operator in record.operators.values():
            assert operator.source in text
            assert operator.native or f"borrowed from {operator.borrowed_from}" in text
        assert CATALOGUE[record.requantization].formula in text and f"{record.accumulator.bits} bits" in text
        for _, limit in record.limits:
            assert limit.where in text and str(limit.source) in text
    printed(details(name), 60)


def test_the_catalogue_has_every_scheme() -> None:
    text = printed(schemes(), 120)
    for record in CATALOGUE.values():
        for part in (record.name, record.formula, record.rounding, record.users, record.source):
            assert part in text
    assert "1,073,741,824 to 2,147,483,647 (31 bits)" in text
    for width in (60, 100):
        printed(schemes(), width)


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    for refused in (lambda: details("itta"), lambda: provenance("itta", [])):
        with pytest.raises(ValueError, match=r"unknown target 'itta'; known: fullyqt, tflm, .*ita.*onnxruntime"):
            refused()


def test_provenance_in_words() -> None:
    assert str(provenance("fullyqt", [])) == "target fullyqt: every operator native"
    assert str(provenance("fullyqt", None)) == "target fullyqt: every operator native; widths not said"
    text = str(provenance("ita", ["4-bit weights", "4-bit activations"]))
    assert text == (
        "target ita: mask, embedding and generator borrowed from fullyqt; residual borrowed from pulp; layernorm "
        "borrowed from deeploy; extended: 4-bit weights, 4-bit activations"
    )
    for name, one in TARGETS.items():
        said = str(provenance(name, []))
        assert all(lender in said for lender in one.borrowed.values())


def test_a_program_says_whose_it_is() -> None:
    scheme = preset("w4a8", "ita")
    program = tiny_program(scheme)
    assert program_provenance(program) == provenance("ita", None)
    origin = Origin(scheme=scheme, ranges={}, checkpoint_sha256="").text()
    assert program_provenance(with_origin(program, origin)) == provenance("ita", ["4-bit weights"])


@pytest.mark.parametrize("origin", ["", "{", "[]", "{}", '{"scheme": 1}', '{"scheme": {"weight_bits": "a"}}', "null"])
def test_an_origin_that_says_nothing_is_no_error(origin: str) -> None:
    program = with_origin(tiny_program(Scheme(name="plain")), origin)
    assert program_provenance(program).extended is None
