"""A tiny model on disk, and programs with one number changed."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch

from hwsim.machine.machine import operation_of
from hwsim.program import Program
from reference.checkpoint import save_checkpoint
from reference.models.translation import Transformer, TransformerConfig


def save_tiny_model(folder: Path, vocabulary: Path, *, tied: bool = True) -> None:
    """Random weights, one layer each."""
    config = TransformerConfig(
        vocabulary_size=64,
        d_model=8,
        n_heads=2,
        d_head=4,
        d_ff=12,
        encoder_layers=1,
        decoder_layers=1,
        max_positions=32,
        tied=tied,
    )
    torch.manual_seed(5)
    save_checkpoint(folder, config, Transformer(config).state_dict())
    shutil.copy(vocabulary, folder / "vocabulary.model")


def with_operation(program: Program, site: str, **fields: Any) -> Program:
    """The program with fields of one operation changed."""
    old = operation_of(program, site)
    functions = [
        msgspec.structs.replace(
            function,
            operations=[msgspec.structs.replace(op, **fields) if op is old else op for op in function.operations],
        )
        for function in program.manifest.functions
    ]
    return Program(msgspec.structs.replace(program.manifest, functions=functions), program.constants)


def with_constant(program: Program, name: str, values: dict[int | tuple[int, ...], int]) -> Program:
    """The program with elements of one constant changed."""
    array = program.constants[name].copy()
    for index, value in values.items():
        assert array[index] != value
        array[index] = value
    return Program(program.manifest, program.constants | {name: array})
