"""Scheme files that name a target."""

from pathlib import Path

import pytest

from hwsim.formats import Accumulator
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import NATIVE, extended, preset, read_scheme
from tests.small.models import sites_of


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_that_names_its_target_alone_is_the_native_configuration(tmp_path: Path, name: str) -> None:
    path = tmp_path / "scheme.toml"
    path.write_text(f'name = "{name}-native"\ntarget = "{name}"\n')
    assert read_scheme(path) == preset(NATIVE, name)


def test_a_file_overrides_its_target(tmp_path: Path) -> None:
    path = tmp_path / "scheme.toml"
    path.write_text(
        'name = "x"\ntarget = "ita"\nweight_bits = 4\naccumulator = { bits = 32 }\n'
        '[[rules]]\npattern = "*.softmax.output"\nbits = 7\n'
    )
    scheme = read_scheme(path)
    assert (scheme.weight_bits, scheme.activation_bits, scheme.residual_bits) == (4, 8, 8)
    assert (scheme.accumulator, scheme.multiplier_bits) == (Accumulator(bits=32), 8)
    assert extended(scheme, sites_of(target="ita")) == [
        "4-bit weights",
        "7-bit activations at 3 sites",
        "32-bit accumulator",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\ntarget = "tpu"', "unknown target 'tpu'; known: fullyqt"),
        ('name = "x"\ntarget = 3', "unknown target '3'"),
        ('name = "x"\ntarget = "ita"\nweight_bits = 1', r"`int` >= 2 .*weight_bits"),
        ('name = "x"\ntarget = "ita"\nmultiplier = 1', "unknown field `multiplier`"),
    ],
)
def test_a_wrong_target_in_a_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_scheme(path)
