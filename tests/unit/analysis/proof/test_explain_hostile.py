"""Dumps that are damaged, or made to harm: one line each, which names file and member."""

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.inspect.vectors import write_vectors
from analysis.proof.explain import npz, read_dump
from hwsim.machine import Machine
from hwsim.program import Program
from reference.quantize.scheme import Scheme
from tests.small.programs import tiny_program
from tests.small.sentences import sentences

SITE = "encoder.0.self_attention.query"
MEMBER = f"{SITE}.npy"
DEEP = 200_000
ARRAY = np.zeros((1, 3, 8), np.int8)


@pytest.fixture(scope="module")
def program() -> Program:
    return tiny_program(Scheme(name="plain"))


def npy(array: np.ndarray = ARRAY) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def with_header(text: str, data: bytes = bytes(24), version: int = 1) -> bytes:
    """An npy file with a header of one's own."""
    header = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + data


def header(shape: str, dtype: str = "'|i1'") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}"


def packed(content: bytes, name: str = MEMBER, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def damaged_deflate() -> bytes:
    content = bytearray(packed(npy(np.arange(24, dtype=np.int8).reshape(1, 3, 8)), compression=zipfile.ZIP_DEFLATED))
    start = 30 + len(MEMBER)  # of the data, behind the local header
    content[start : start + 8] = b"\xff" * 8
    return bytes(content)


def patched(local: int, central: int, value: int) -> bytes:
    """A 16-bit field of both of a member's headers replaced."""
    content = bytearray(packed(npy()))
    for at in (local, content.index(b"PK\x01\x02") + central):
        content[at : at + 2] = struct.pack("<H", value)
    return bytes(content)


def twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(MEMBER, npy())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(MEMBER, npy())
    return file.getvalue()


def changed_data() -> bytes:
    content = bytearray(packed(npy()))
    content[content.index(b"PK\x01\x02") - 1] ^= 1
    return bytes(content)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "npy renamed": (npy, "is no npz file of integer arrays: File is not a zip file"),
    "no array": (lambda: packed(b"text", "readme.txt"), r"member 'readme\.txt' is no \.npy file"),
    "no suffix": (lambda: packed(npy(), SITE), r"member '.*query' is no \.npy file"),
    "other content": (lambda: packed(b"not an array"), "the magic string is not correct"),
    "empty": (lambda: packed(b""), "array '.*query': "),
    "damaged deflate": (damaged_deflate, "Error -3 while decompressing"),
    "encrypted": (lambda: patched(6, 8, 1), "is encrypted"),
    "compression": (lambda: patched(8, 10, 77), "compression method is not supported"),
    "checksum": (changed_data, "Bad CRC-32"),
    "10^11 elements": (lambda: packed(with_header(header("(100000000000, 1, 8)"))), "at most 1,073,741,824 bytes"),
    "2^64 elements": (lambda: packed(with_header(header(f"({1 << 64}, 0, 8)"), b"")), "array '.*query': "),
    "10^8 elements": (lambda: packed(with_header(header("(10000000, 1, 8)"))), "needs 80000000 bytes; it has less"),
    "too many": (lambda: packed(with_header(header("(1, 3, 8)"), bytes(25))), "needs 24 bytes; it has more"),
    "negative": (lambda: packed(with_header(header("(-1, -3, 8)"))), r"has shape \(-1, -3, 8\)"),
    "another shape": (lambda: packed(with_header(header("(1, 10000000, 7)"))), r"shape \(1, 10000000, 7\); its dimens"),
    "tokens": (lambda: packed(with_header("{'descr': (")), "array '.*query': "),
    "indentation": (lambda: packed(with_header("  {'a'\n 1L")), "array '.*query': "),
    "deep header": (lambda: packed(with_header("(" * 9000)), "array '.*query': "),
    "long header": (lambda: packed(with_header(" " * 20_000)), "array '.*query': Header info length"),
    "descriptor": (lambda: packed(with_header(header("(1, 3, 8)", "('|i1',)"))), "array '.*query': "),
    "objects": (lambda: packed(npy(np.array([None]))), "has dtype object; integers are needed"),
    "floats": (lambda: packed(npy(ARRAY.astype(float))), "has dtype float64; integers are needed"),
    "fields": (lambda: packed(with_header(header("(1, 3, 8)", "[('a', '|i1')]"))), "integers are needed"),
    "version": (lambda: packed(b"\x93NUMPY\x07\x00" + bytes(100)), r"npy version \(7, 0\)"),
    "twice": (twice, "array '.*query' is there twice"),
    "call": (lambda: packed(npy(), f"decode/{MEMBER}"), "array 'decode/.*': call 'decode'; allowed are encode"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_npz_is_refused_in_one_line(what: str, program: Program, tmp_path: Path) -> None:
    make, message = HOSTILE[what]
    path = tmp_path / "dump.npz"
    path.write_bytes(make())
    with pytest.raises(ValueError, match=message) as error:
        read_dump(path, program)
    line = str(error.value)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < len(str(path)) + 400
    if "zip file" not in message and "readme" not in message:
        assert SITE in line


def test_what_numpy_writes_is_read(program: Program, tmp_path: Path) -> None:
    """Compressed, in Fortran order, big-endian, bool, empty, behind a folder's entry, or with a header of version 2."""
    codes = np.arange(48).reshape(2, 3, 8)
    path = tmp_path / "codes.npz"
    for array in (np.asfortranarray(codes), codes.astype(">i4"), codes.astype(np.uint8), codes > 3, codes[:0]):
        np.savez_compressed(path, **{f"encode/{SITE}": array})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("encode/", b"")
        with npz.open_npz(path) as members:
            (member,) = members.values()
            assert member.shape == array.shape and (member.read() == array).all()
        if array.size:
            assert read_dump(path, program).calls
    path.write_bytes(packed(with_header(header("(1, 3, 8)"), version=2)))
    assert read_dump(path, program).calls


def step(value: int) -> Callable[[dict], None]:
    return lambda call: call.update(step=value)


def field(name: str, value: object) -> Callable[[dict], None]:
    return lambda call: call["vectors"]["files"][0].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (step(-3), rf"manifest\.json, operation '{SITE}': `step` of encode is -3; allowed: 0"),
        (step(1), r"`step` of encode is 1; allowed: 0"),
        (lambda call: call.update(function="decode_step", step=-3), "`step` of decode_step is -3; allowed: numbers"),
        (lambda call: call.update(function="decode"), "`function` is 'decode'; allowed are encode and decode_step"),
        (lambda call: call["vectors"].update(npz="loop/x"), r"manifest\.json names 'loop/x'"),
        (field("bits", 99), r"manifest\.json, tensor '.*': a format of 99 bits; allowed are 2 to 63"),
        (field("shape", [-4, -9, 8]), r"holds 288 words; shape \(-4, -9, 8\) needs"),
        (field("shape", [10**18, 10**18]), r"holds 288 words; shape"),
    ],
)
def test_a_hostile_manifest_is_refused_in_one_line(
    change: Callable[[dict], None], message: str, program: Program, tmp_path: Path
) -> None:
    write_vectors(Machine(program), sentences(4), SITE, tmp_path, steps=0)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    call = manifest["operations"][0]["calls"][0]
    for file in call["vectors"]["files"]:
        file["sha256"] = ""  # the hex file counts
    change(call)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message) as error:
        read_dump(tmp_path, program)
    assert "\n" not in str(error.value)


def test_a_deep_manifest_is_refused_in_one_line(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    deep = '{"operations": [{"fields": {"a":' + "[" * DEEP
    path.write_text(deep)
    with pytest.raises(ValueError, match=re.escape(f"{path} is no manifest of hwsim vectors: maximum recursion")):
        read_dump(tmp_path, program)
