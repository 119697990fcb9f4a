"""Workloads from shapes alone against lowered programs, the shipped model and the schemes."""

import json

import msgspec
import pytest

from hwsim.accelerator.lowered import function_layers
from hwsim.accelerator.workloads import SCHEMES, Widths
from hwsim.accelerator.workloads.encoder_decoder import TINY11, EncoderDecoder
from hwsim.accelerator.workloads.sizes import build
from reference.data import assets
from reference.quantize.scheme import PRESETS, Rule, Scheme
from tests.small.models import small_model
from tests.small.programs import lowered
from tests.unit.hwsim.accelerator.workload_sums import summed

SIZES = {"d_model": 12, "n_heads": 2, "d_head": 5, "d_ff": 34, "encoder_layers": 2, "decoder_layers": 2}


@pytest.mark.parametrize(("weight", "activation"), [(8, 8), (4, 6)])
def test_shapes_give_what_a_symmetric_program_gives(weight: int, activation: int) -> None:
    """All but masks, the position's number, and shifts that a column shares with others."""
    symmetric = [Rule(pattern="*", symmetric=True)]
    network = small_model(seed=3, **SIZES, vocabulary_size=40)
    program = lowered(network, Scheme(name="s", weight_bits=weight, activation_bits=activation, rules=symmetric))
    model = EncoderDecoder(**SIZES, vocabulary=40)
    widths = Widths(weight=weight, activation=activation)
    encode, decode = build("s", model, widths, {"source_length": 7, "target_length": 3}).phases
    steps = [{"batch": 1, "source": 7, "target": 1, "past": past} for past in range(3)]
    from_program = (
        function_layers(program, "encode", {"batch": 1, "source": 7}),
        [layer for step in steps for layer in function_layers(program, "decode_step", step)],
    )
    for mine, theirs in zip((encode.layers, decode.layers), from_program, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert (a.name, a.operation, a.vectors, a.part) == (b.name, b.operation, b.vectors, b.part)
            assert summed((a,)) == summed((b,)), a.name
            if a.product is not None:
                assert b.product is not None
                assert 0 <= a.product.column_bytes - b.product.column_bytes <= 1
                assert msgspec.structs.replace(a.product, column_bytes=b.product.column_bytes) == b.product
            else:
                assert b.rows is not None
                kept = b.rows.constants if a.operation == "layernorm" else ()
                assert msgspec.structs.replace(b.rows, constants=kept) == a.rows


def test_tiny11_is_the_shipped_model() -> None:
    config = json.loads((assets() / "model" / "config.json").read_text())
    ours = {
        "vocabulary_size": TINY11.vocabulary,
        "d_head": TINY11.head,
        "max_positions": TINY11.positions,
        "tied": True,
    }
    for field in ("d_model", "n_heads", "d_ff", "encoder_layers", "decoder_layers"):
        ours[field] = getattr(TINY11, field)
    assert ours == config


def test_schemes_are_the_presets() -> None:
    assert {name: (w.weight, w.activation, w.residual, w.accumulator) for name, w in SCHEMES.items()} == {
        s.name: (s.weight_bits, s.activation_bits, s.residual_bits, s.accumulator.bits) for s in PRESETS.values()
    }
    assert Widths(activation=16).scores == 12
