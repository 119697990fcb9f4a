"""The program file: what was saved comes back, and whatever else a file may hold is refused in one line."""

import errno
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwsim import files
from hwsim import program as ir
from hwsim.formats import Accumulator, IntFormat
from hwsim.machine.machine import Machine
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import Dyadic
from hwsim.program.loading import load
from hwsim.program.packing import pack, packed_bytes, unpack
from reference.quantize.scheme import Scheme, preset
from tests.small.programs import tiny_program

Edit = Callable[[dict[str, Any], dict[str, NDArray[Any]]], object]

SCHEMES = {
    "int8": preset("int8"),
    "w4a8": preset("w4a8"),
    "w6": Scheme(name="w6", weight_bits=6, activation_bits=5),
    "wide": Scheme(name="wide", weight_bits=13, activation_bits=12, accumulator=Accumulator(bits=53)),
}


# --- a program of three operations ------------------------------------------------------------------------------------


def mini_program() -> Program:
    """Embedding, linear layer, requantization: small enough to be damaged thousands of times."""
    rng = np.random.default_rng(5)
    constants = {
        "table": (IntFormat(bits=8, narrow=True), (6, 4), "weight"),
        "positions": (IntFormat(bits=5), (5, 4), "weight"),
        "weight": (IntFormat(bits=3), (3, 4), "weight"),
        "bias": (IntFormat(bits=32), (3,), "bias"),
        "multipliers": (IntFormat(bits=16, signed=False), (3,), "multiplier"),
    }
    arrays = {
        name: rng.integers(max(1, fmt.min) if role == "multiplier" else fmt.min // 2, fmt.max // 2, shape)
        for name, (fmt, shape, role) in constants.items()
    }
    ids = IntFormat(bits=32, signed=False)
    sizes = ["batch", "source"]
    tensors = [
        ir.TensorInfo(name="ids", format=ids, dims=[*sizes]),
        ir.TensorInfo(name="first", format=ids, dims=[]),
        ir.TensorInfo(name="embedded", format=IntFormat(bits=7), dims=[*sizes, 4], zero_point=-3, scale=0.5),
        ir.TensorInfo(name="accumulator", format=IntFormat(bits=33), dims=[*sizes, 3]),
        ir.TensorInfo(name="result", format=IntFormat(bits=4, signed=False), dims=[*sizes, 3]),
    ]
    operations: list[ops.Operation] = [
        ops.Embed(
            output="embedded",
            ids="ids",
            position="first",
            table="table",
            positions="positions",
            multiplier=300,
            position_multiplier=500,
            shift=9,
        ),
        ops.MatMul(output="accumulator", a="embedded", b="weight", bias="bias", accumulator=Accumulator(bits=33)),
        ops.Requantize(output="result", input="accumulator", requantization=Dyadic(multiplier="multipliers", shift=44)),
    ]
    manifest = ir.Manifest(
        name="mini",
        scheme="none",
        tokenizer_sha256="",
        pad_id=0,
        bos_id=1,
        eos_id=2,
        max_positions=5,
        logit_scale=0.25,
        dimensions=[ir.Dimension(name="batch", maximum=9), ir.Dimension(name="source", maximum=5)],
        tensors=tensors,
        constants=[
            ir.ConstantInfo(name=name, format=fmt, shape=list(shape), role=role)  # type: ignore[arg-type]
            for name, (fmt, shape, role) in constants.items()
        ],
        functions=[ir.Function(name="encode", inputs=["ids", "first"], outputs=["result"], operations=operations)],
        states=[],
    )
    return Program(manifest, arrays)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the program above."""
    path = tmp_path_factory.mktemp("mini") / "mini.hwsim"
    mini_program().save(path)
    load(path)
    return path.read_bytes()


def refusal(content: bytes) -> str:
    """The one line in which a file is refused, "" if it loads. Any exception but a ValueError gets through."""
    path = Path("some.hwsim")
    try:
        with patch.object(Path, "read_bytes", return_value=content):
            load(path)
    except ValueError as error:
        text = str(error)
        assert text.startswith(f"{path} is not a valid program: ") and len(text.splitlines()) == 1, text
        assert len(text) > len(f"{path} is not a valid program: ") + 5, "says nothing"
        return text
    return ""


def taken_apart(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Manifest and packed arrays of a file."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["hwsim"]), dict(safetensors.numpy.load(content))


def put_together(manifest: object, arrays: dict[str, NDArray[Any]]) -> bytes:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    return bytes(safetensors.numpy.save(arrays, {"hwsim": text}))


def with_header(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file of a header as it is."""
    return len(header).to_bytes(8, "little") + header + data


# --- what was saved comes back ----------------------------------------------------------------------------------------


def codes_of(program: Program) -> dict[str, NDArray[Any]]:
    """Every tensor of one encoding and one decoding step."""
    machine, seen = Machine(program), {}
    source = np.array([[4, 9, 13, 2], [5, 2, 0, 0]])
    visible = source != 0
    inputs = {"source_ids": source, "source_mask": visible, "encode.position": np.array(0)}
    cross = machine.run("encode", inputs, seen.__setitem__)
    past = {state.past: np.ones((2, 2, 3, 4), np.int64) for state in program.manifest.states}
    inputs = {"target_ids": np.array([[7], [8]]), "decode_step.position": np.array(3), "source_mask": visible}
    machine.run("decode_step", inputs | cross | past, seen.__setitem__)
    return seen


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_loaded_program_is_the_saved_one(scheme: str, tmp_path: Path) -> None:
    """Manifest, constants and every code; and it saves to the same bytes again."""
    program = tiny_program(SCHEMES[scheme])
    program.save(tmp_path / "program.hwsim")
    loaded = load(str(tmp_path / "program.hwsim"))
    assert loaded.manifest == program.manifest
    assert list(loaded.constants) == list(program.constants)
    for name, array in program.constants.items():
        assert np.array_equal(loaded.constants[name], array), name
    before, after = codes_of(program), codes_of(loaded)
    assert list(before) == list(after) and len(before) > 80
    for name, codes in before.items():
        assert codes.dtype == after[name].dtype and np.array_equal(codes, after[name]), name
    loaded.save(tmp_path / "again.hwsim")
    assert (tmp_path / "again.hwsim").read_bytes() == (tmp_path / "program.hwsim").read_bytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_file_has_as_many_bytes_as_it_says(scheme: str, tmp_path: Path) -> None:
    program = tiny_program(SCHEMES[scheme])
    program.save(tmp_path / "program.hwsim")
    _, arrays = taken_apart((tmp_path / "program.hwsim").read_bytes())
    weights = {info.name for info in program.manifest.constants if info.role == "weight"}
    assert program.weight_bytes == sum(arrays[name].nbytes for name in weights)
    for info in program.manifest.constants:
        assert arrays[info.name].nbytes == packed_bytes(info.shape, info.format.bits)


def bits_of(row: list[int], bits: int) -> bytes:
    """A packed row, by docs/program.md: element after element, lowest bit first."""
    word = sum((code % (1 << bits)) << (bits * place) for place, code in enumerate(row))
    return word.to_bytes(-(-bits * len(row) // 8), "little")


FORMATS = [IntFormat(bits=bits, signed=signed) for bits in range(2, 17) for signed in (True, False)]
FORMATS += [IntFormat(bits=bits) for bits in range(32, 54)]
FORMATS += [IntFormat(bits=32, signed=False), IntFormat(bits=63, signed=False), IntFormat(bits=63)]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_packing_is_undone(fmt: IntFormat, data: st.DataObject) -> None:
    """Any shape; the bytes are those of docs/program.md, made here from Python integers."""
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    count = int(np.prod(shape))
    code = st.integers(fmt.min, fmt.max) | st.sampled_from([fmt.min, -1 if fmt.signed else 0, 0, 1, fmt.max])
    codes = np.array(data.draw(st.lists(code, min_size=count, max_size=count)), np.int64).reshape(shape)
    packed = pack(codes, fmt)
    assert packed.dtype == np.uint8 and packed.nbytes == packed_bytes(shape, fmt.bits)
    assert packed.tobytes() == b"".join(bits_of(row, fmt.bits) for row in codes.reshape(-1, shape[-1]).tolist())
    back = unpack(packed, shape, fmt)
    assert back.dtype == (np.int32 if fmt.max < 2**31 else np.int64) and back.shape == codes.shape
    assert np.array_equal(back, codes)


def test_extremes_of_every_format_survive() -> None:
    for fmt in FORMATS:
        codes = np.array([[fmt.min, fmt.max, 0], [fmt.max, fmt.min, 1]], np.int64)
        assert np.array_equal(unpack(pack(codes, fmt), codes.shape, fmt), codes), fmt


# --- what is no program -----------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^cannot read program .*absent: No such file"):
        load(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"^cannot read program .*: it is not a regular file"):
        load(tmp_path)


def test_a_file_cut_anywhere_is_refused(whole: bytes) -> None:
    for length in range(len(whole)):
        assert "not a whole safetensors file" in refusal(whole[:length])
    assert "not a whole safetensors file" in refusal(whole + b"\0")


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3)


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(flips=flips)
@example(flips=[(0.0, 1)])
def test_flipped_bits_are_refused_or_harmless(whole: bytes, flips: list[tuple[float, int]]) -> None:
    damaged = bytearray(whole)
    for place, mask in flips:
        damaged[int(place * len(damaged))] ^= mask
    refusal(bytes(damaged))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(content=st.binary(max_size=60) | st.binary(max_size=60).map(with_header))
@example(content=b"")
@example(content=b"\0" * 8)
@example(content=b"\xff" * 8)
def test_any_bytes_are_refused(content: bytes) -> None:
    assert refusal(content)


HEADERS = {
    "no metadata": (b"{}", "no field 'hwsim'"),
    "metadata null": (b'{"__metadata__": null}', "no field 'hwsim'"),
    "other metadata": (b'{"__metadata__": {"format": "pt"}}', "no field 'hwsim'"),
    "metadata a list": (b'{"__metadata__": ["hwsim"]}', "not a whole safetensors file"),
    "manifest not text": (b'{"__metadata__": {"hwsim": 1}}', "not a whole safetensors file"),
    "not UTF-8": (b'{"__metadata__": {"hwsim": "\xff\xfe"}}', "not a whole safetensors file"),
    "half a character": (b'{"__metadata__": {"hwsim": "\\ud800"}}', "not a whole safetensors file"),
    "deep header": (b'{"__metadata__": ' + b'{"a":' * 20000 + b"1" + b"}" * 20001, "not a whole safetensors file"),
    "manifest empty": (b'{"__metadata__": {"hwsim": ""}}', "not a JSON object"),
    "foreign type": (b'{"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}', "array x is of BF16"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_strange_header_is_refused(case: str) -> None:
    header, message = HEADERS[case]
    assert message in refusal(with_header(header, b"\0\0" if case == "foreign type" else b""))


def test_a_foreign_file_is_refused() -> None:
    content = safetensors.numpy.save({"encoder.weight": np.ones((3, 4), np.float32)})
    assert "array encoder.weight is of F32" in refusal(bytes(content))
    content = safetensors.numpy.save({"codes": np.ones((3, 4), np.uint8)}, {"format": "np"})
    assert "some other safetensors file" in refusal(bytes(content))


DEEP = "[" * 100_000 + "]" * 100_000
TEXTS = {
    "no JSON": ("version: 1", "not a JSON object"),
    "a list": ("[1]", "not a JSON object"),
    "a number": ("1", "not a JSON object"),
    "deep": (DEEP, "not a JSON object"),
    "deep below": (f'{{"version": 1, "name": {DEEP}}}', "not a valid program"),
    "deep and unknown": (f'{{"version": 1, "more": {DEEP}}}', "not a valid program"),
    "version only": ('{"version": 1}', "missing required field"),
    "no version": ("{}", "file version None; this hwsim reads version 1"),
    "another version": (
        '{"version": 2, "what": "ever"}',
        "file version 2; this hwsim reads version 1; `hwsim quantize --out FILE` makes a program anew",
    ),
    "version text": ('{"version": "1"}', "file version '1'"),
    "version true": ('{"version": true}', "Expected `int`, got `bool` - at `$.version`"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_strange_manifest_is_refused(case: str, whole: bytes) -> None:
    text, message = TEXTS[case]
    assert message in refusal(put_together(text, taken_apart(whole)[1]))


def test_numbers_that_json_does_not_know_are_refused(whole: bytes) -> None:
    """NaN, which Python's own reader takes, and a number beyond float64."""
    manifest, arrays = taken_apart(whole)
    for number in ("NaN", "Infinity", "1e999"):
        text = json.dumps(manifest).replace('"logit_scale": 0.25', f'"logit_scale": {number}')
        assert number in text and refusal(put_together(text, arrays)), number


# --- what contradicts itself ------------------------------------------------------------------------------------------


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
    "constant twice": (twice("constants"), "tensor table is declared twice"),
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
        (program.constants | {"other": np.zeros(1, np.int64)}, "array other is not declared"),
    ):
        with pytest.raises(ValueError, match=message):
            Program(program.manifest, arrays)


# --- an interrupted save ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_failed_save_leaves_the_old_file(
    step: str, failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or none, where there was none; and nothing half-written beside it."""

    def fail(*arguments: object) -> None:
        raise failure

    program, path = mini_program(), tmp_path / "program.hwsim"
    path.write_bytes(b"the old file")
    monkeypatch.setattr(files.os, step, fail)
    for target in (path, tmp_path / "new.hwsim"):
        with pytest.raises(type(failure)):
            program.save(target)
    assert os.listdir(tmp_path) == ["program.hwsim"] and path.read_bytes() == b"the old file"
    monkeypatch.undo()
    program.save(path)
    assert load(path).manifest == program.manifest
