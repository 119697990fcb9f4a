"""The words that files, options and tables are written in: changing one breaks the files that users have."""

import importlib
import inspect
from enum import Enum
from typing import get_args

import pytest

from hwsim.program import targets
from hwsim.program.operations import Operation
from reference.quantize import scheme
from tests.contracts.test_constants import modules

WORDS = {
    "hwsim.formats.Overflow": "proven saturate wrap",
    "hwsim.formats.Granularity": "mac tile end",
    "hwsim.formats.Rounding": "half_up half_away half_even floor toward_zero",
    "hwsim.accelerator.layers.Part": " scores softmax context",
    "hwsim.accelerator.workloads.sizes.Activation": "none relu table",
    "hwsim.accelerator.workloads.custom.Kind": "gemm softmax layernorm",
    "hwsim.accelerator.workloads.custom.SecondOperand": "weight activation kv_cache",
    "hwsim.accelerator.events.Component": (
        "mac_multiply mac_add mac_gated mac_skipped mac_padded bias_add zero_point_add zero_point_multiply "
        "requantize_multiply requantize_shift requantize_add vector_multiply vector_add compare clamp table_read "
        "divide square_root hop register sram_access sram_transfer sram_leakage dram_transfer"
    ),
    "hwsim.accelerator.events.Level": "datapath register sram dram",
    "hwsim.accelerator.events.Operand": "none weight activation kv_cache accumulator",
    "hwsim.accelerator.events.Direction": "none read write",
    "hwsim.accelerator.options.Objective": "dram latency energy",
    "hwsim.accelerator.options.Tiles": "array divisors",
    "hwsim.accelerator.options.Attention": "unfused fused recompute",
    "hwsim.accelerator.hardware.ArrayKind": "systolic dot_product",
    "hwsim.accelerator.hardware.Dataflow": "os ws is",
    "hwsim.accelerator.hardware.FoldMode": "serial pipelined",
    "hwsim.accelerator.hardware.Boundary": "core chip system",
    "hwsim.accelerator.hardware.Packing": "dense padded",
    "reference.quantize.sites.SiteSet": "paper datapath",
    "reference.quantize.sites.Role": "free centred positive probability weight logits",
    "reference.quantize.graph.Kind": (
        "embed linear linear_relu split_heads project_heads scores softmax context add layernorm extend logits"
    ),
    "analysis.bench.parts.Part": "gemm model operators",
    "analysis.pages.validation.points.Role": "fitted|held out|informational",
}
TAGS = (
    "embed matmul shift_right relu requantize split_heads merge_heads project_heads append softmax gemmlowp_softmax "
    "int16_softmax ibert_softmax itamax gemmini_softmax pulp_softmax qlinear_softmax layernorm ibert_layernorm "
    "pulp_layernorm tflite_layernorm gemmini_layernorm add rescaled_add"
)
CHOICES = [
    (targets.SoftmaxMethod, "table gemmlowp int16 ibert itamax gemmini pulp qlinear"),
    (targets.LayerNormMethod, "fullyqt ibert pulp tflite gemmini"),
    (targets.ResidualMethod, "one_rounding round_each clip_each tflite"),
    (targets.Granularity, "per_tensor per_channel"),
    (targets.Heads, "merged projected"),
    (targets.LimitName, "shift shifts bias_bits gamma softmax_keys score_scale operand_bits"),
    (scheme.Granularity, "per_tensor per_channel"),
    (scheme.Estimator, "ema min_max"),
]


def split(words: str) -> list[str]:
    return words.split("|" if "|" in words else " ")


@pytest.mark.parametrize("path", WORDS)
def test_the_words_of_a_choice(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert [member.value for member in getattr(importlib.import_module(module), name)] == split(WORDS[path])


def test_every_choice_of_words_is_in_the_table() -> None:
    found = set()
    for module in modules():
        classes = [one for one in vars(module).values() if inspect.isclass(one) and issubclass(one, Enum)]
        found |= {f"{one.__module__}.{one.__name__}" for one in classes if issubclass(one, str)}
    assert {name for name in found if name.split(".")[0] in ("hwsim", "reference", "analysis")} == set(WORDS)


@pytest.mark.parametrize(("choice", "words"), CHOICES, ids=[words for _, words in CHOICES])
def test_the_words_of_a_literal(choice: object, words: str) -> None:
    assert list(get_args(choice)) == words.split()


def test_the_tags_of_operations() -> None:
    assert [operation.__struct_config__.tag for operation in get_args(Operation)] == TAGS.split()
