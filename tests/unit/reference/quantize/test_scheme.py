"""Schemes: defaults, rules, refusals, and their files."""

from pathlib import Path

import msgspec
import pytest

from analysis.commands.shared import choose_schemes
from hwsim.formats import Accumulator, Granularity, Overflow
from reference.quantize.scheme import PRESETS, Rule, Scheme, SiteSettings, preset, read_scheme
from reference.quantize.sites import Role, Site
from tests.small.models import sites_of


@pytest.fixture(scope="module")
def sites() -> dict[str, Site]:
    return sites_of()


def settle(sites: dict[str, Site], *rules: Rule, **fields: int) -> dict[str, SiteSettings]:
    return Scheme(name="tried", rules=list(rules), **fields).resolve(sites)  # type: ignore[arg-type]


# --- defaults and rules ---------------------------------------------------------------------------------------------


def test_defaults(sites: dict[str, Site]) -> None:
    settled = settle(sites, weight_bits=4, activation_bits=6)
    assert settled.keys() == sites.keys()
    for name, site in sites.items():
        expected = {Role.WEIGHT: 4, Role.LOGITS: 32}.get(site.role, 16 if name.endswith(".residual") else 6)
        assert settled[name].bits == expected, name
        assert settled[name].signed == (site.role is not Role.POSITIVE), name
        assert not settled[name].narrow


def test_factors_of_a_product_of_activations_are_symmetric(sites: dict[str, Site]) -> None:
    settled = settle(sites)
    affine = {name for name, settings in settled.items() if not settings.symmetric}
    assert "encoder.0.self_attention.context" in affine
    assert not {name for name in affine if name.endswith((".query", ".key", ".value"))}
    assert affine <= {name for name, site in sites.items() if site.role is Role.FREE}


def test_matrices_have_a_scale_a_row(sites: dict[str, Site]) -> None:
    settled = settle(sites)
    per_row = {name for name, settings in settled.items() if settings.granularity == "per_channel"}
    matrices = {name for name, site in sites.items() if site.role is Role.WEIGHT and name.endswith(".weight")}
    assert per_row == matrices - {"positions.weight"}


def test_later_rules_win_field_by_field(sites: dict[str, Site]) -> None:
    settled = settle(
        sites,
        Rule(pattern="*.scores", bits=6, symmetric=True),
        Rule(pattern="decoder.*", estimator="min_max"),
        Rule(pattern="decoder.?.self_attention.scores", bits=5),
    )
    encoder, decoder = (settled[f"{side}.0.self_attention.scores"] for side in ("encoder", "decoder"))
    assert (encoder.bits, encoder.symmetric, encoder.estimator) == (6, True, "ema")
    assert (decoder.bits, decoder.symmetric, decoder.estimator) == (5, True, "min_max")
    assert settled["decoder.0.self_attention.query"].bits == 8


def test_format_of_settings(sites: dict[str, Site]) -> None:
    settled = settle(sites, Rule(pattern="encoder.embedding.weight", narrow=True, bits=3))
    fmt = settled["encoder.embedding.weight"].format
    assert (fmt.min, fmt.max) == (-3, 3)


def test_biases_are_as_wide_as_their_accumulator() -> None:
    widths = [Scheme(name="x", accumulator=Accumulator(bits=bits)).bias_bits for bits in (16, 32, 48, 60)]
    assert widths == [32, 32, 48, 53]


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_pattern_that_matches_nothing_is_named(sites: dict[str, Site]) -> None:
    with pytest.raises(ValueError, match=r"pattern 'encoder\.7\.\*' matches no site; sites look like encoder\.emb"):
        settle(sites, Rule(pattern="encoder.7.*", bits=4))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(pattern="generator.logits", bits=16), "site generator.logits: logits are INT32.*remove the rule"),
        (
            Rule(pattern="*.numerator", symmetric=False),
            "site encoder.0.self_attention.softmax.numerator: a positive site has zero point 0; use symmetric = true",
        ),
        (Rule(pattern="*.quotient", signed=False), "layernorm.quotient: a centred site is signed"),
        (Rule(pattern="*.hidden", signed=True), "feed_forward.hidden: a positive site is unsigned"),
        (Rule(pattern="*.weight", symmetric=False), "weight: a weight site has zero point 0"),
        (Rule(pattern="*.weight", signed=False), "weight: a weight site is signed"),
        (
            Rule(pattern="*.layernorm.output", granularity="per_channel"),
            "layernorm.output: scales per feature cannot leave the accumulator.*use per_tensor, or more bits",
        ),
        (Rule(pattern="*.gamma", granularity="per_channel"), "gamma: this parameter has one scale; use per_tensor"),
        (Rule(pattern="positions.weight", granularity="per_channel"), "positions.weight: this parameter has one scale"),
        (
            Rule(pattern="*.scores", bits=13),
            "scores: scores of 13 bits need an exp table of 2.13 entries under .*; allowed are 2",
        ),
        (
            Rule(pattern="*.context", signed=False, symmetric=True),
            "context: unsigned and symmetric loses what is below zero; use signed or symmetric = false",
        ),
    ],
    ids=lambda value: value.pattern if isinstance(value, Rule) else "",
)
def test_what_an_integer_array_cannot_do_is_refused(sites: dict[str, Site], rule: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settle(sites, rule)


def test_an_affine_site_may_be_unsigned(sites: dict[str, Site]) -> None:
    settled = settle(sites, Rule(pattern="*.layernorm.output", signed=False))
    assert settled["encoder.0.feed_forward.layernorm.output"].format.min == 0


@pytest.mark.parametrize(("bits", "expected"), [(11, 11), (12, 12), (13, 12), (16, 12)])
def test_scores_have_12_bits_at_most(sites: dict[str, Site], bits: int, expected: int) -> None:
    settled = settle(sites, activation_bits=bits)
    assert settled["encoder.0.self_attention.scores"].bits == expected
    assert settled["encoder.0.self_attention.query"].bits == bits


@pytest.mark.parametrize("bits", [2, 16])
def test_widths_at_the_ends(sites: dict[str, Site], bits: int) -> None:
    assert settle(sites, weight_bits=bits)["encoder.embedding.weight"].bits == bits


@pytest.mark.parametrize("bits", [-1, 0, 1, 17, 64])
@pytest.mark.parametrize("field", ["weight_bits", "activation_bits", "residual_bits"])
def test_other_widths_are_refused_in_code(field: str, bits: int) -> None:
    with pytest.raises(ValueError, match=f"scheme x: {field} is {bits}; allowed are 2 to 16"):
        Scheme(name="x", **{field: bits})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"rule '\*.key': bits is {bits}; allowed are 2 to 16"):
        Rule(pattern="*.key", bits=bits)


@pytest.mark.parametrize("bits", [0, 32])
def test_other_multipliers_are_refused_in_code(bits: int) -> None:
    with pytest.raises(ValueError, match=f"multiplier_bits is {bits}; allowed are 1 to 31"):
        Scheme(name="x", multiplier_bits=bits)


# --- files ----------------------------------------------------------------------------------------------------------

WHOLE = """
name = "mixed"
weight_bits = 4
activation_bits = 8
sqrt_mode = "merged"
multiplier_bits = 12
accumulator = { bits = 24, overflow = "saturate" }

[[rules]]
pattern = "*.scores"
bits = 6

[[rules]]
pattern = "encoder.*.key.weight"
granularity = "per_tensor"
narrow = true
"""


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "mixed.toml"
    path.write_text(WHOLE)
    assert read_scheme(path) == Scheme(
        name="mixed",
        weight_bits=4,
        sqrt_mode="merged",
        multiplier_bits=12,
        accumulator=Accumulator(bits=24, overflow=Overflow.SATURATE),
        rules=[
            Rule(pattern="*.scores", bits=6),
            Rule(pattern="encoder.*.key.weight", granularity="per_tensor", narrow=True),
        ],
    )


@pytest.mark.parametrize(
    ("target", "table", "expected"),
    [
        ("ita", 'overflow = "wrap"', Accumulator(bits=26, overflow=Overflow.WRAP)),
        (
            "nvdla",
            'overflow = "saturate"\ngranularity = "end"',
            Accumulator(bits=34, overflow=Overflow.SATURATE, granularity=Granularity.END),
        ),
        ("ita", "bits = 40", Accumulator(bits=40)),
        ("fullyqt", 'overflow = "wrap"', Accumulator(overflow=Overflow.WRAP)),
    ],
)
def test_an_accumulator_leaves_the_rest_to_the_target(
    tmp_path: Path, target: str, table: str, expected: Accumulator
) -> None:
    path = tmp_path / "part.toml"
    path.write_text(f'name = "part"\ntarget = "{target}"\n[accumulator]\n{table}\n')
    assert read_scheme(path).accumulator == expected


def test_a_file_does_not_hide_a_target_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\ntarget = "tflm"\n')
    with pytest.raises(ValueError, match=r"--target tflm, ita, but .*own\.toml is a scheme of target tflm alone"):
        choose_schemes(None, path, ["tflm", "ita"])
    assert [one.name for one in choose_schemes(None, path, ["tflm", "tflm"])] == ["own"]
    assert [one.name for one in choose_schemes(["int8"], path, ["tflm", "ita"])] == ["tflm-int8", "ita-int8", "own"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\naccumulator = 3', r"Expected `object`, got `int` .*accumulator"),
        ('name = "x"\ntarget = "ita"\naccumulator = { width = 8 }', r"unknown field `width`.*accumulator"),
        ("weight_bits = 4", "missing required field `name`"),
        ('name = "x"\nweigth_bits = 4', "unknown field `weigth_bits`"),
        ('name = "x"\nweight_bits = 1', r"`int` >= 2 .*weight_bits"),
        ('name = "x"\nactivation_bits = 17', r"`int` <= 16 .*activation_bits"),
        ('name = "x"\nmultiplier_bits = 0', r"`int` >= 1 .*multiplier_bits"),
        ('name = "x"\nsqrt_mode = "rounded"', r"rounded.*sqrt_mode"),
        ('name = "x"\n[[rules]]\npattern = "*"\nbits = 1', r"`int` >= 2 .*rules\[0\]\.bits"),
        ('name = "x"\n[[rules]]\nbits = 4', r"missing required field `pattern`.*rules\[0\]"),
        ('name = "x"\n[[rules]]\npattern = "*"\nwidth = 4', r"unknown field `width`.*rules\[0\]"),
        ('name = "x"\nweight_bits = "8"', r"Expected `int`, got `str` .*weight_bits"),
        ('name = "x"\naccumulator = { bits = 7 }', r"allowed are 8 to 63"),
        (
            'name = "x"\n[[rules]]\npattern = "*"\nlayernorm = "fulyqt"',
            r"'fulyqt' - at `\$\.rules\[0\]\.layernorm`; known: fullyqt, ibert, pulp, tflite, gemmini$",
        ),
        (
            'name = "x"\nbeyond = ["gama"]',
            r"'gama' - at `\$\.beyond\[0\]`; known: shift, shifts, bias_bits, gamma, softmax_keys, score_scale, ",
        ),
        ('name = "x"\nsqrt_mode = "rounded"', r"sqrt_mode`$"),
        ("x = " + "[" * 2000 + "]" * 2000, r"wrong\.toml: it is nested too deeply$"),
        (".".join("a" * 33) + " = 1", r"wrong\.toml: a key has more than 32 parts$"),
        ("name = ", r"wrong\.toml: no TOML: Invalid value"),
        ('name = "\\ud800"', r"wrong\.toml: no TOML: Escaped character"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_scheme(path)
    assert "wrong.toml" in str(error.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(ValueError, match=r"binary\.toml: byte 8 is not UTF-8"):
        read_scheme(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read scheme .*absent\.toml: No such file"):
        read_scheme(tmp_path / "absent.toml")


# --- presets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_settles_every_site(sites: dict[str, Site], name: str) -> None:
    scheme = preset(name)
    assert scheme.name == name
    assert scheme.resolve(sites).keys() == sites.keys()
    assert msgspec.json.decode(msgspec.json.encode(scheme), type=Scheme) == scheme


@pytest.mark.parametrize(("name", "widths"), [("int8", (8, 8)), ("int6", (6, 6)), ("int4", (4, 4)), ("w4a8", (4, 8))])
def test_widths_of_the_presets(name: str, widths: tuple[int, int]) -> None:
    assert (preset(name).weight_bits, preset(name).activation_bits) == widths


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown configuration 'int5'; known: int8, int6, int4, w4a8"):
        preset("int5")
