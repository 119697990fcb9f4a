"""Random edits of programs: a ValueError of the reader or of validation, or a program that runs; nothing else."""

import copy
import functools
import random
from collections import Counter as Multiset
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from hwsim.formats import IntFormat
from hwsim.program import Manifest, Program
from hwsim.program.validate import validate
from tests.unit.hwsim.program.program_edits import constant, edited, native, run

Path = tuple[str | int, ...]

NUMBERS = [-129, -1, 0, 1, 2, 3, 8, 13, 16, 17, 31, 32, 33, 62, 63, 64, 127, 65535, 65536, 2**31, 2**52, 2**63, 10**30]
EXTREMES = [*NUMBERS, 255, 256, 1 << 14, (1 << 15) - 1, 1 << 30, (1 << 31) - 1, (1 << 32) - 1, 1 << 61, (1 << 62) - 1]
VALUES = [0, 1, -1, 2, 127, -128, 32767, -32768, 65535, 1 << 30, -(1 << 31), (1 << 31) - 1, 1 << 41, (1 << 62) - 1]
MUTATIONS, OF_A_TARGET = 700, 100
MUTATED = ["tflm", "ita", "pulp", "gemmini", "ibert", "nvdla"]


def fields_of(program: Program) -> Any:
    """The manifest as dicts and lists, without what is only for the reader."""
    tree = msgspec.to_builtins(program.manifest)
    for field in ("name", "scheme", "origin", "tokenizer_sha256", "logit_scale"):
        tree[field] = type(tree[field])()
    return tree


def leaves(node: Any, path: Path = ()) -> Iterator[Path]:
    """Paths to all fields of a manifest that hold no other field."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if not items:
        yield path
    for key, child in items:
        yield from leaves(child, (*path, key))


def paths_of(tree: Any) -> list[Path]:
    return [path for path in leaves(tree) if path[-1] != "scale" and len(path) > 1]


def at(node: Any, path: Path) -> Any:
    return functools.reduce(lambda inner, key: inner[key], path, node)


def mutant(tree: Any, paths: Sequence[Path], rng: random.Random, numbers: Sequence[int], share: float) -> Any:
    """One or two fields replaced: by what another such field holds, by what any holds, or by a number."""
    changed = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 2])):
        path = rng.choice(paths)
        kind = [part for part in path if isinstance(part, str)][-1]
        others = [other for other in paths if [part for part in other if isinstance(part, str)][-1] == kind]
        value = at(tree, rng.choice(others if rng.random() < 0.6 else paths))
        if rng.random() < share:
            value = rng.choice(numbers)
        at(changed, path[:-1])[path[-1]] = copy.deepcopy(value)
    return changed


def read(tree: Any, program: Program) -> Program:
    """A program of another manifest with the same constants."""
    return Program(msgspec.convert(tree, Manifest), program.constants)


def outcome(make: Callable[..., Program], *arguments: Any) -> str:
    """Whether what is made is refused; what is accepted runs."""
    try:
        program = make(*arguments)
        validate(program)
    except ValueError:
        return "refused"
    run(program)
    return "accepted"


def test_a_program_with_other_fields_is_refused_or_runs(tiny: Program) -> None:
    """Random fields, replaced by numbers or by what another such field holds.

    Wrong types are ValidationErrors of the reader; test_program_file_contradictions.py has the file around it.
    """
    rng, tree, seen = random.Random(7), fields_of(tiny), Multiset[str]()
    paths = paths_of(tree)
    for _ in range(MUTATIONS):
        seen[outcome(read, mutant(tree, paths, rng, NUMBERS, share=0.3), tiny)] += 1
    assert seen["accepted"] > MUTATIONS // 20
    assert seen["refused"] > MUTATIONS // 3


@pytest.mark.parametrize("target", MUTATED)
def test_a_program_of_a_target_with_other_fields_is_refused_or_runs(target: str) -> None:
    """Fields of operations come twice as often, so that half of the mutations are of what a target adds."""
    program, rng, seen = native(target), random.Random(11), Multiset[str]()
    tree = fields_of(program)
    paths = paths_of(tree)
    paths += 2 * [path for path in paths if path[0] == "functions"]
    for _ in range(OF_A_TARGET):
        seen[outcome(read, mutant(tree, paths, rng, EXTREMES, share=0.4), program)] += 1
    assert seen["accepted"] > OF_A_TARGET // 20
    assert seen["refused"] > OF_A_TARGET // 3


@pytest.mark.parametrize("target", MUTATED)
def test_a_program_of_a_target_with_other_constants_is_refused_or_runs(target: str) -> None:
    """Elements of every constant, in formats just wide enough or wider."""
    program, rng, seen = native(target), random.Random(13), Multiset[str]()
    infos = [info for info in program.manifest.constants if info.name.startswith("encoder.0")]
    for info in infos * 3:
        array = program.constants[info.name].astype(np.int64)
        array.flat[rng.randrange(array.size)] = value = rng.choice(VALUES)
        signed = rng.random() < 0.8 or value < 0
        width = max(info.format.bits, abs(value).bit_length() + signed)
        fmt = IntFormat(bits=width, signed=signed or bool((array < 0).any()))
        seen[outcome(edited, program, constant(info.name, array, format=fmt))] += 1
    assert min(seen["accepted"], seen["refused"]) > 5
