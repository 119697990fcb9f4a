"""A user's TOML workload: layers or dimensions, and one line for every fault."""

from pathlib import Path

import pytest

from hwsim.accelerator.events import Operand
from hwsim.accelerator.workloads import read_workload, workload

LAYERS = """
name = "mine"
[widths]
weight = 4

[[layer]]
name = "mix"
kind = "gemm"
m = 64
k = 512
n = 256

[[layer]]
name = "scores"
kind = "gemm"
m = 16
k = 64
n = 32
count = 8
operand = "kv_cache"
repeat = 3

[[layer]]
name = "soft"
kind = "softmax"
m = 128
n = 32

[[layer]]
name = "norm"
kind = "layernorm"
m = 64
n = 256
"""
MODEL = """
name = "bert-base"
scheme = "int4"
source_length = 64
[bert]
layers = 12
d_model = 768
n_heads = 12
d_ff = 3072
"""
TRANSFORMER = """
name = "t"
beam = 2
[transformer]
encoder_layers = 1
decoder_layers = 2
d_model = 64
n_heads = 4
d_ff = 128
vocabulary = 1000
"""
GPT = """
name = "g"
context = 7
[gpt]
layers = 2
d_model = 64
n_heads = 4
n_kv_heads = 1
d_ff = 128
vocabulary = 1000
"""


def written(folder: Path, content: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(content)
    return path


def test_layers(tmp_path: Path) -> None:
    made = read_workload(written(tmp_path, LAYERS))
    (forward,) = made.phases
    assert (made.name, made.scheme, forward.name, forward.tokens) == ("mine", "w4a8", "forward", 1)
    mix, scores, soft, norm = forward.layers
    assert (mix.product.m, mix.product.k, mix.product.n, mix.product.count) == (64, 512, 256, 1)
    assert (mix.product.a_bits, mix.product.b_bits, mix.product.column_bytes, mix.vectors.passes) == (8, 4, 0, 0)
    assert (scores.product.count, scores.product.b, scores.product.b_bits) == (8, Operand.KV_CACHE, 8)
    assert (scores.repeat, mix.repeat) == (3, 1)
    assert (soft.rows.rows, soft.rows.inputs[0].elements, soft.vectors.divisions) == (128, 32, 128 * 32)
    assert (norm.rows.rows, norm.rows.inputs[0].bits, norm.vectors.roots) == (64, 16, 64)


def test_a_model_is_the_named_one(tmp_path: Path) -> None:
    assert read_workload(written(tmp_path, MODEL)) == workload("bert-base", "int4", source_length=64)


def test_other_models(tmp_path: Path) -> None:
    assert [phase.name for phase in read_workload(written(tmp_path, TRANSFORMER)).phases] == ["encode", "decode"]
    made = read_workload(written(tmp_path, GPT))
    assert ([phase.name for phase in made.phases], made.target) == (["prefill", "decode"], "32 at context 7")


@pytest.mark.parametrize(
    ("content", "old", "new", "message"),
    [
        (LAYERS, 'kind = "softmax"', 'kind = "soft"', "allowed are gemm, softmax and layernorm"),
        (LAYERS, "m = 64", "mm = 64", "unknown key layer[0].mm"),
        (LAYERS, "m = 64\n", "", "missing key layer[0].m"),
        (LAYERS, "m = 64", "m = 0", "layer[0].m is 0"),
        (LAYERS, "m = 64", "m = 2000000", "layer mix: m is 2000000; allowed are 1 to 1048576"),
        (LAYERS, "m = 64", "m = 64.0", "layer[0].m is 64.0"),
        (LAYERS, "k = 512\n", "", "layer mix: a gemm needs k"),
        (LAYERS, "m = 128", "m = 128\nk = 3", "layer soft: softmax has no k; it has m rows of n"),
        (LAYERS, "n = 256", "n = 256\nbits = [1, 8]", "layer mix: bits is 1; allowed are 2 to 16"),
        (LAYERS, 'name = "norm"', 'name = "mix"', "layer mix is there 2 times; names must differ"),
        (LAYERS, 'name = "norm"', 'name = " "', "name must be printable and not blank"),
        (LAYERS, 'name = "mine"', 'name = "mine"\nscheme = "int8"', "scheme and widths are both there"),
        (LAYERS, 'name = "mine"', 'name = "mine"\nbatch = 2', "batch is given, but layers have their own sizes"),
        (LAYERS, "weight = 4", "weight = 1", "widths.weight is 1; allowed are 2 to 16"),
        (MODEL, "[bert]", "[brt]", "unknown key brt; did you mean bert?"),
        (MODEL, "int4", "int5", "unknown scheme 'int5'"),
        (MODEL, "source_length = 64", "source_length = 513", "bert-base has 512 positions"),
        (MODEL, "source_length = 64", "beam = 2", "bert-base has no size beam"),
        (MODEL, "n_heads = 12", "n_heads = 7", "n_heads is 7; without d_head it must divide d_model, 768"),
        (
            MODEL,
            "[bert]",
            "[[layer]]\nname = 'a'\nkind = 'gemm'\nm = 1\nn = 1\nk = 1\n[bert]",
            "layer and bert to price",
        ),
        (MODEL, MODEL, 'name = "empty"', "nothing to price; give one of layer, transformer, bert, gpt"),
    ],
)
def test_faults(tmp_path: Path, content: str, old: str, new: str, message: str) -> None:
    assert old in content
    with pytest.raises(ValueError) as caught:
        read_workload(written(tmp_path, content.replace(old, new, 1)))
    text = str(caught.value)
    assert "mine.toml" in text
    assert message in text
    assert "\n" not in text
