"""What is no program file, cut, damaged or foreign, is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim.program.loading import load
from tests.unit.hwsim.program.program_files import put_together, refusal, taken_apart


def with_header(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file of a header as it is."""
    return len(header).to_bytes(8, "little") + header + data


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
    "no JSON": ("version: 1", "its manifest is not a JSON object (JSON is malformed: invalid character (byte 0))"),
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
    said = refusal(put_together(text, taken_apart(whole)[1]))
    assert message in said
    assert said.endswith(message) or not message.endswith(")")


def test_numbers_that_json_does_not_know_are_refused(whole: bytes) -> None:
    """NaN, which Python's own reader takes, and a number beyond float64."""
    manifest, arrays = taken_apart(whole)
    for number in ("NaN", "Infinity", "1e999"):
        text = json.dumps(manifest).replace('"logit_scale": 0.25', f'"logit_scale": {number}')
        assert number in text and refusal(put_together(text, arrays)), number
