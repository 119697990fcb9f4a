"""What a scheme extends: what the target's hardware lacks, counted over the sites as rules leave them."""

import pytest

from analysis.inspect.provenance import program_provenance
from hwsim.formats import Accumulator, Overflow
from hwsim.program.targets import TARGETS, target
from reference.quantize.graph import trace
from reference.quantize.origin import Origin
from reference.quantize.scheme import NATIVE, Rule, extended, preset, scheme_for
from reference.quantize.sites import enumerate_sites, sites_among
from tests.small.models import sites_of
from tests.small.programs import tiny_program, with_origin
from tests.unit.hwsim.program.test_targets import program_of, two_layers


def test_what_the_hardware_does_not_have_is_named() -> None:
    wide = scheme_for("ita", name="x", weight_bits=4, activation_bits=6, residual_bits=16)
    assert extended(wide, sites_of(target="ita")) == ["4-bit weights", "6-bit activations", "16-bit residual sum"]
    for bits in range(2, 13):
        every = scheme_for("fullyqt", name="x", weight_bits=bits, activation_bits=bits, residual_bits=bits)
        assert extended(every, sites_of(target="fullyqt")) == []


@pytest.mark.parametrize(
    ("name", "preset_name", "expected"),
    [
        ("nvdla", "int4", ["4-bit weights", "4-bit activations"]),
        ("cmsis-nn", "w4a8", []),
        ("ibert", "int6", ["6-bit weights", "6-bit activations"]),
        ("fullyqt", "int4", []),
    ],
)
def test_a_scheme_says_what_it_extends(name: str, preset_name: str, expected: list[str]) -> None:
    assert extended(preset(preset_name, name), sites_of(target=name)) == expected


PROBABILITIES = Rule(pattern="*.softmax.output", bits=8)
SCORES = "12-bit activations at 3 sites"


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("ita", {"accumulator": Accumulator(bits=40)}, ["40-bit accumulator"]),
        ("ita", {"accumulator": Accumulator(bits=16, overflow=Overflow.WRAP)}, ["16-bit accumulator"]),
        ("ita", {"accumulator": Accumulator(bits=26, overflow=Overflow.SATURATE)}, []),
        ("ita", {"multiplier_bits": 16}, ["16-bit multipliers"]),
        ("ita", {"multiplier_bits": 4}, []),
        (
            "ita",
            {"rules": [Rule(pattern="*.hidden.weight", granularity="per_channel")]},
            [per_channel := "per-channel weights at 2 sites"],
        ),
        ("gemmini", {"rules": [Rule(pattern="*.hidden.weight", granularity="per_channel")]}, [per_channel]),
        ("pulp", {"rules": [Rule(pattern="*.hidden.weight", granularity="per_channel")]}, []),
        ("ita", {"rules": [Rule(pattern="generator.logits.weight", granularity="per_channel")]}, []),
        ("pulp", {"rules": [Rule(pattern="*.context", symmetric=False)]}, ["8-bit zero points at 3 sites"]),
        ("tflm", {"rules": [Rule(pattern="*.context", symmetric=False)]}, []),
        ("tflm", {"rules": [Rule(pattern="*.residual", symmetric=False)]}, ["16-bit zero points at 5 sites"]),
        ("tflm", {"rules": [Rule(pattern="*.weight", bits=16)]}, ["16-bit weights at 20 sites"]),
        ("tflm", {"rules": [Rule(pattern="*.hidden", bits=16)]}, []),
        ("nvdla", {"rules": [Rule(pattern="encoder.*.hidden.weight", bits=4)]}, ["4-bit weights at 1 site"]),
        (
            "tflm",
            {"weight_bits": 2, "rules": [Rule(pattern="*.hidden.weight", bits=3)]},
            ["2-bit weights", "3-bit weights at 2 sites"],
        ),
        ("tflm", {"rules": [Rule(pattern="*.gamma", bits=8)]}, []),
        ("ibert", {"activation_bits": 6, "rules": [Rule(pattern="*.scores", bits=8)]}, ["6-bit activations"]),
        ("tflm", {"activation_bits": 16}, []),
        ("tflm", {"activation_bits": 16, "accumulator": Accumulator()}, ["32-bit accumulator"]),
        (  # the kernels of int16 activations have int8 weights and int16 sums only
            "tflm",
            {"weight_bits": 4, "activation_bits": 16, "residual_bits": 8},
            ["4-bit weights", "8-bit residual sum"],
        ),
        ("tosa", {"weight_bits": 4, "activation_bits": 16, "residual_bits": 8}, [SCORES]),
        (
            "ita",
            {"beyond": ["score_scale", "operand_bits"]},
            ["beyond the limit score_scale", "beyond the limit operand_bits"],
        ),
        ("onnxruntime", {"activation_bits": 16, "rules": [PROBABILITIES]}, ["16-bit activations", SCORES]),
        ("ita", {"rules": [Rule(pattern="*.residual", bits=12)]}, ["12-bit residual sum at 5 sites"]),
    ],
)
def test_whatever_the_hardware_lacks_is_named_once(name: str, fields: dict, expected: list[str]) -> None:
    assert extended(scheme_for(name, name="x", **fields), sites_of(target=name)) == expected


@pytest.mark.parametrize("name", TARGETS)
def test_the_names_of_a_program_tell_its_sites(name: str) -> None:
    """Tied tables, whose sites share a constant, too."""
    sites = sites_among(program_of(preset(NATIVE, name)).tensors, target(name))
    model, _ = two_layers()
    assert sites == enumerate_sites(trace(model), target(name))
    assert sites_among(["source_ids", "x.key.accumulator", "", "positions"], target(name)) == {}


def test_a_program_says_what_its_rules_extend() -> None:
    scheme = scheme_for(
        "tflm", name="x", multiplier_bits=4, rules=[Rule(pattern="*.weight", bits=16), Rule(pattern="*.query", bits=12)]
    )
    program = tiny_program(scheme)

    def said(origin: Origin) -> list[str] | None:
        return program_provenance(with_origin(program, origin.text())).extended

    expected = ["16-bit weights at 20 sites", "12-bit activations at 3 sites"]
    assert said(Origin(scheme=scheme, ranges={}, checkpoint_sha256="")) == expected
    assert extended(scheme, sites_of(target="tflm")) == expected
    for other in (
        preset(NATIVE, "ita"),  # of another target than the program's
        scheme_for("tflm", name="x", rules=[Rule(pattern="encoder.9.*", bits=4)]),  # of another model
    ):
        assert said(Origin(scheme=other, ranges={}, checkpoint_sha256="")) is None
