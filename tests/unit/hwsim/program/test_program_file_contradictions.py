"""A program file that contradicts itself or what it must hold is refused in one line that names the field."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.program import Program
from tests.unit.hwsim.program.program_files import mini_program, put_together, refusal, taken_apart

Edit = Callable[[dict[str, Any], dict[str, NDArray[Any]]], object]


def put(path: str, value: object) -> Edit:
    """Set one field of the manifest, by the names and indices that lead to it."""

    def edit(manifest: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("/"))
        node: Any = manifest
        for parent in parents:
            node = node[parent]
        node[last] = value

    return edit


def twice(field: str) -> Edit:
    return lambda manifest, arrays: manifest[field].append(manifest[field][0])


def swap(name: str, array: NDArray[Any]) -> Edit:
    return lambda manifest, arrays: arrays.update({name: array})


def flip(name: str, byte: int, mask: int) -> Edit:
    def edit(manifest: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][0, byte] ^= mask

    return edit


def dimension(**fields: object) -> Edit:
    return lambda manifest, arrays: manifest["dimensions"].append(fields)


def all_of(*edits: Edit) -> Edit:
    return lambda manifest, arrays: [edit(manifest, arrays) for edit in edits]


CONTRADICTIONS: dict[str, tuple[Edit, str]] = {
    "unknown field": (put("colour", "blue"), "unknown field `colour`"),
    "unknown field below": (put("tensors/1/unit", "m"), "unknown field `unit` - at `$.tensors["),
    "unknown field of an operation": (put("functions/0/operations/1/alpha", 1), "unknown field `alpha`"),
    "missing field": (lambda m, a: m["tensors"][0].pop("format"), "missing required field `format`"),
    "unknown operation": (put("functions/0/operations/0/type", "gelu"), "Invalid value 'gelu' - at `$.functions"),
    "unknown scheme of requantization": (put("functions/0/operations/2/requantization/type", "float"), "'float'"),
    "unknown role": (put("constants/0/role", "secret"), "'secret' - at `$.constants"),
    "unknown overflow rule": (put("functions/0/operations/1/accumulator/overflow", "trap"), "'trap'"),
    "another arithmetic": (put("arithmetic", "hwsim-float-1"), "arithmetic 'hwsim-float-1'"),
    "text for a number": (put("pad_id", "0"), "Expected `int`, got `str` - at `$.pad_id`"),
    "fraction for a number": (put("tensors/0/format/bits", 7.5), "got `float` - at `$.tensors"),
    "null for a list": (put("states", None), "Expected `array`, got `null` - at `$.states`"),
    "number for a name": (put("functions/0/inputs/0", 3), "Expected `str`, got `int` - at `$.functions"),
    "multiplier 0": (put("functions/0/operations/0/multiplier", 0), ">= 1"),
    "multiplier 2^31": (put("functions/0/operations/0/position_multiplier", 1 << 31), f"<= {(1 << 31) - 1}"),
    "shift 63": (put("functions/0/operations/0/shift", 63), "<= 62"),
    "shift negative": (put("functions/0/operations/2/requantization/shift", -1), "shift -1; allowed are 0 to 62"),
    "a format of 1 bit": (put("tensors/2/format/bits", 1), "a format of 1 bits; allowed are 2 to 63"),
    "a format of 64 bits": (put("constants/3/format/bits", 64), "a format of 64 bits"),
    "an accumulator of 7 bits": (put("functions/0/operations/1/accumulator/bits", 7), "an accumulator of 7 bits"),
    "tensor twice": (twice("tensors"), "tensor ids is declared twice"),
    "constant twice": (twice("constants"), "constant table is declared twice"),
    "tensor and constant": (put("tensors/1/name", "table"), "tensor table is declared twice"),
    "function twice": (twice("functions"), "function encode is declared twice"),
    "dimension twice": (twice("dimensions"), "dimension batch is declared twice"),
    "dimension of itself": (dimension(name="loop", maximum=3, terms=["loop"]), "dimension loop: its term 'loop'"),
    "dimensions in a ring": (
        all_of(dimension(name="egg", maximum=3, terms=["hen"]), dimension(name="hen", maximum=3, terms=["egg"])),
        "dimension egg: its term 'hen' is not declared before it",
    ),
    "dimension of an unknown": (dimension(name="sum", maximum=3, terms=["batch", "x"]), "dimension sum: its term 'x'"),
    "dimension of size 0": (put("dimensions/0/maximum", 0), ">= 1 - at `$.dimensions"),
    "unknown dimension": (put("tensors/0/dims/1", "time"), "tensor ids: unknown dimension 'time'"),
    "size 0": (put("tensors/3/dims/2", 0), "tensor accumulator: dimension 0"),
    "zero point no code": (put("tensors/2/zero_point", 64), "tensor embedded: zero point 64 is not a code of int7"),
    "huge zero point": (put("constants/2/zero_point", 10**30), "constant weight: zero point"),
    "constant without array": (lambda m, a: a.pop("bias"), "constant bias has no packed array"),
    "array without constant": (swap("more", np.zeros((1, 1), np.uint8)), "array more is not declared"),
    "array of another type": (swap("bias", np.zeros((1, 12), np.int8)), "array bias is of I8"),
    "array of another shape": (swap("bias", np.zeros((2, 6), np.uint8)), "constant bias: packed array of shape (2, 6)"),
    "array transposed": (swap("table", np.zeros((4, 6), np.uint8)), "constant table: packed array of shape (4, 6)"),
    "array flat": (swap("weight", np.zeros(6, np.uint8)), "constant weight: packed array of shape (6,)"),
    "array empty": (swap("weight", np.zeros((0, 2), np.uint8)), "constant weight: packed array of shape (0, 2)"),
    "outside its format": (swap("table", np.full((6, 4), 0x80, np.uint8)), "constant table leaves its format int8n"),
    "padding": (flip("weight", 1, 0x80), "constant weight: padding bits are not zero"),
    "lowest padding bit": (flip("weight", 1, 0x10), "constant weight: padding bits are not zero"),
    "shape without dimensions": (put("constants/3/shape", []), ".shape`"),
    "shape of many dimensions": (put("constants/3/shape", [1] * 90), ".shape`"),
    "shape with 0": (put("constants/0/shape", [0, 4]), ".shape["),
    "shape not needed": (put("constants/2/shape", [1, 3, 4]), "constant weight has shape (1, 3, 4), needed (3, 4)"),
    "name of two lines": (put("tensors/0/name", "a\nb\r\u2028c"), "tensor ids is not declared"),
    "two lines not declared": (put("functions/0/outputs", ["a\nb"]), "output a b is never made"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_is_refused_by_name(case: str, whole: bytes) -> None:
    edit, message = CONTRADICTIONS[case]
    manifest, arrays = taken_apart(whole)
    assert refusal(put_together(manifest, arrays)) == ""
    edit(manifest, arrays)
    assert message in refusal(put_together(manifest, arrays))


@pytest.mark.parametrize("shape", [[10**9], [10**9, 10**9], [10**18], [2**63, 2**63, 2**63, 2**63], [1, 10**12]])
def test_a_huge_shape_costs_nothing(shape: list[int], whole: bytes) -> None:
    manifest, arrays = taken_apart(whole)
    put("constants/3/shape", shape)(manifest, arrays)
    content = put_together(manifest, arrays)
    tracemalloc.start()
    try:
        assert refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_arrays_must_be_those_declared(whole: bytes) -> None:
    """What loading checks of the arrays holds for a program made in memory."""
    program = mini_program()
    for arrays, message in (
        ({name: array for name, array in program.constants.items() if name != "bias"}, "bias is declared but has no"),
        (program.constants | {"bias": np.zeros(4, np.int64)}, r"bias has shape \(4,\), declared \(3,\)"),
        (program.constants | {"weight": np.full((3, 4), 4)}, "weight leaves its format int3"),
        (program.constants | {"weight": np.full((3, 4), -5)}, "weight leaves its format int3"),
        (program.constants | {"weight": np.full((3, 4), 0.5)}, "weight has dtype float64; integers are needed"),
        (program.constants | {"other": np.zeros(1, np.int64)}, "array other is not declared"),
    ):
        with pytest.raises(ValueError, match=message):
            Program(program.manifest, arrays)
