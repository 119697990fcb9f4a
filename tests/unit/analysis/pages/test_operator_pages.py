"""The generated pages: what they say is in the records and in the code, and what a study measures is what it says."""

import json
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from analysis.pages.operators import pages, softmax, tables
from analysis.pages.operators.study import encoded, errors, finding, signed
from analysis.pages.operators.where import LIVES, Place
from hwsim.formats import Rounding
from hwsim.program.catalogue import CATALOGUE
from hwsim.program.targets import TARGETS, LayerNormMethod, ResidualMethod, SoftmaxMethod
from reference.quantize.plan import tables as plan
from tests import ROOT
from tests.oracle.interpolation import softmax_tables
from tests.oracle.real_functions import FUNCTIONS, nearest

DOCS = ROOT / "docs"
PLACES = [place for places in LIVES.values() for place in places]
STUDIED = json.loads((DOCS / pages.ERRORS).read_text())


@pytest.mark.parametrize("path", list(pages.generated(DOCS)), ids=lambda path: path.name)
def test_pages_are_what_the_generator_makes(path: Path) -> None:
    assert path.read_text() == pages.generated(DOCS)[path], "run python -m analysis.pages.operators --pages"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.name} {place.equations}")
def test_every_operator_lives_where_its_page_says(place: Place) -> None:
    for package, where in (
        ("hwsim.operators", place.kernel),
        ("reference.quantize.strict", place.torch),
        ("tests.oracle", place.oracle),
    ):
        if where:
            module, function = where.rsplit(".", 1)
            assert callable(getattr(import_module(f"{package}.{module}"), function)), where
    folders = ROOT / "tests" / "unit" / "hwsim" / "operators", ROOT / "tests" / "golden"
    assert any((folder / place.tests).exists() for folder in folders)


@pytest.mark.parametrize(
    ("operator", "methods"), [("softmax", SoftmaxMethod), ("layernorm", LayerNormMethod), ("residual", ResidualMethod)]
)
def test_every_method_is_on_a_page(operator: str, methods: object) -> None:
    assert {place.method for place in PLACES if place.operator == operator} - {""} == set(get_args(methods))


@pytest.mark.parametrize("operator", ["requantization", "residual", "softmax", "layernorm"])
def test_every_operator_of_a_target_is_on_a_page(operator: str) -> None:
    known = {place.method for place in PLACES if place.operator == operator}
    assert {getattr(target, operator) for target in TARGETS.values()} <= known


def test_every_oracle_of_the_record_is_on_a_page() -> None:
    record = DOCS / pages.CONFORMANCE
    oracles = {one["oracle"] for one in json.loads(record.read_text())["records"]} if record.exists() else set()
    assert oracles <= {word.strip(",;") for place in PLACES for word in place.third_party.split()}


def test_owners_of_an_operator() -> None:
    def users(operator: str, method: str) -> dict[str, str]:
        return pages.users(next(place for place in PLACES if (place.operator, place.method) == (operator, method)))

    assert users("softmax", "itamax") == {"native": "ita, ita-head, deeploy", "borrowed": ""}
    assert users("softmax", "pulp") == {"native": "pulp", "borrowed": ""}
    assert users("softmax", "gemmlowp") == {"native": "tflm, cmsis-nn", "borrowed": "tosa"}
    assert users("softmax", "int16") == {"native": "tflm, cmsis-nn", "borrowed": ""}
    assert users("requantization", "q15") == {"native": "tflm, cmsis-nn", "borrowed": ""}
    assert users("requantization", "nvdla") == {"native": "nvdla", "borrowed": ""}
    assert users("layernorm", "pulp") == {"native": "deeploy", "borrowed": "ita, ita-head, pulp"}
    assert users("residual", "clip_each") == {"native": "pulp, deeploy, gemmini", "borrowed": "ita, ita-head"}
    assert users("heads", "projected") == {"native": "ita, ita-head", "borrowed": ""}


# Errors


def rows(page: str) -> dict[str, list[dict[str, Any]]]:
    """Findings of a page by operator."""
    found: dict[str, list[dict[str, Any]]] = {}
    for study in STUDIED["studies"]:
        for one in study["findings"] if study["page"] == page else ():
            found.setdefault(one["operator"], []).append(one)
    return found


def bound(operator: str) -> float:
    """What docs/operators/requantization.md allows a scheme: before the clamp, results of at most 145, r at least 2."""
    binary32 = 2 * 145 * 2.0**-23 * ("float32" in operator)
    if " each" in operator or "int8 operands" in operator or operator.endswith(("FLOOR", "TOWARD_ZERO")):
        return 1.0 + binary32
    if "L =" in operator:
        return 0.51
    return 0.625 if "double" in operator else 0.5 + binary32


def test_every_scheme_was_studied_and_keeps_its_bound() -> None:
    studied = rows("requantization")
    assert {f"`{name}`" for name in CATALOGUE if name != "shift"} <= set(studied)
    assert sum(operator.startswith("`shift`") for operator in studied) == len(Rounding)
    for operator, findings in studied.items():
        assert all(0.49 < one["max_lsb"] <= bound(operator) + 1e-6 for one in findings), operator


def test_every_other_operator_was_studied() -> None:
    assert {"table, 8-bit inner", "gemmlowp, int8", "int16 tables", "I-BERT, uint8"} <= set(rows("softmax"))
    assert {"ITAMax, single pass", "ITAMax, groups of 16", "Gemmini", "PULP"} <= set(rows("softmax"))
    norms = {"FullyQT, 8-bit parts", "I-BERT", "PULP", "TFLite int16"}
    assert norms | {f"{name}, RMSNorm" for name in norms} | {"Gemmini"} <= set(rows("layernorm"))
    for name in ("GELU", "SiLU", "tanh", "sigmoid"):
        assert rows("activation")[f"{name} table, int8"][0]["max_lsb"] <= 0.5
        assert rows("activation")[f"{name} interpolated, int16"][0]["codes"] > 50_000
    assert any("wrap" in operator for operator in rows("accumulator"))


def test_every_plot_is_on_its_page() -> None:
    drawn = {(study["page"], study["name"]) for study in STUDIED["studies"]}
    assert {path.stem for path in (DOCS / "operators").glob("*.png")} == {name for _, name in drawn}
    for page, name in drawn:
        assert f"]({name}.png)" in (DOCS / "operators" / f"{page}.md").read_text()


def test_errors_leave_out_what_lies_beyond_the_output() -> None:
    found = errors(np.array([[1, 2], [3, -128]]), np.array([[1.25, 2.0], [2.0, -130.0]]), -128, 127)
    one = finding("operator", "domain", "1", found, lambda place: f"place {place}")
    assert (one.codes, one.max_lsb, one.where) == (3, 1.0, "place 2")
    assert (one.mean_lsb, one.bias_lsb, one.beyond_half) == pytest.approx((1.25 / 3, 0.25, 1 / 3))


@pytest.mark.parametrize(
    ("ratio", "bits", "wanted"), [(0.125, 31, (1 << 30, 33)), (1 - 1e-9, 8, (128, 7)), (3.0, 2, (3, 0))]
)
def test_ratios_are_encoded_with_the_highest_bit_set(ratio: float, bits: int, wanted: tuple[int, int]) -> None:
    assert encoded(ratio, bits) == wanted


def test_float64_tables_are_the_exact_ones() -> None:
    exp, reciprocal = softmax_tables()
    assert tables.interpolation_table(plan.exponential, -10, 0).tolist() == exp
    assert tables.interpolation_table(plan.reciprocal, 0, 1).tolist() == reciprocal


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_code_tables_are_the_exact_ones(name: str) -> None:
    table = tables.code_table(getattr(tables, name), 0.05, 2.0**-7, 8).tolist()
    for q, entry in zip(range(-128, 128), table, strict=True):
        exact = nearest(FUNCTIONS[name], Fraction(0.05) * q, Fraction(128))
        assert entry == min(max(exact, -128), 127), q


def test_a_study_measures_what_the_page_has() -> None:
    method = next(one for one in softmax.methods() if one.name == "ITAMax, single pass")
    found = softmax.run(method, softmax.two_keys(8), "2 keys, all 256 distances").finding
    (recorded,) = (one for one in rows("softmax")[method.name] if one["domain"] == found.domain)
    assert (found.codes, found.where) == (recorded["codes"], recorded["where"])
    assert found.max_lsb == pytest.approx(recorded["max_lsb"])
    assert signed(8).max == 127


# Pages


def test_a_page_without_its_marker_is_refused() -> None:
    assert pages.replaced("a\n<!-- x -->\nold\n<!-- /x -->\nb", "x", "new") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
    with pytest.raises(ValueError, match=r"a page needs one <!-- x --> and one <!-- /x -->; it has 0 and 0"):
        pages.replaced("a", "x", "new")


def test_a_domain_is_said_once() -> None:
    findings = [{"domain": "a", "n": 1}, {"domain": "b", "n": 2}, {"domain": "a", "n": 3}]
    assert pages._by_domain(findings) == [{"domain": "a", "n": 1}, {"domain": "", "n": 3}, {"domain": "b", "n": 2}]


COMPARED = {"operator": "requantize q31_double", "case": "int8", "target": "TFLM", "oracle": "tflite_micro"}
COMPARED |= {"version": "1.0", "codes": 1_000_000, "different": 7, "unexplained": 0, "deviation": "rounds once"}
RECORDED = {"command": ".ci/conformance", "seed": "names", "commit": "0123456789abcdef", "records": [COMPARED]}


def test_the_page_of_targets_shows_what_was_compared_and_measured(tmp_path: Path) -> None:
    assert "Compared with third-party code" not in pages.targets_page(tmp_path)
    (tmp_path / "results" / "targets" / "ita").mkdir(parents=True)
    (tmp_path / pages.CONFORMANCE).write_text(json.dumps(RECORDED))
    configuration = {"name": "ita-native", "sentences": 100, "codes_compared": 5_000, "codes_different": 0}
    configuration |= {"loss_increase": 0.0123, "bleu_float": 30.0, "bleu_integer": None, "target": "ita"}
    configuration |= {"bleu_integer_95_percent": [None, None]}
    configuration |= {"borrowed": {"residual": "pulp"}, "extended": ["4-bit weights"]}
    report = {"configurations": [configuration], "context": {"commit": "0123456789abcdef"}}
    (tmp_path / "results" / "targets" / "ita" / "report.json").write_text(json.dumps(report))
    text = pages.targets_page(tmp_path)
    assert "## Limits\n" in text
    assert "| requantize q31_double | int8 | TFLM | tflite_micro 1.0 | 1,000,000 | 7 | 0 | rounds once |" in text
    assert (
        "| `ita` | ita-native | 100 | 5,000 | 0 | +0.0123 | 30.00 | – [–, –] | residual (pulp) | 4-bit weights |"
        in text
    )
    assert "[report.json](results/targets/ita/report.json), commit 0123456789ab" in text


def test_widths_in_words() -> None:
    assert pages.widths((8, 4)) == "8, 4"
    assert pages.widths((8, 2, 3, 4)) == "8, 2, 3, 4"
    assert pages.widths((8, *range(2, 8))) == "8, 2 to 8"
