"""`Manifest.origin` is untrusted text, however deeply nested."""

from pathlib import Path

import pytest

from analysis.inspect.provenance import program_provenance
from reference.quantize.origin import read_origin
from reference.quantize.scheme import Scheme
from tests.small.programs import tiny_program, with_origin

DEEP = [
    opening + nesting * 200_000
    for opening in ("", '{"ranges": {"x": {"unknown": ', '{"scheme": {"rules": [')
    for nesting in ("[", '{"a": ')
]


@pytest.mark.parametrize("origin", DEEP, ids=lambda origin: origin[:30])
def test_a_deep_origin_says_nothing(origin: str) -> None:
    program = with_origin(tiny_program(Scheme(name="plain")), origin)
    assert program_provenance(program).target == "fullyqt"


@pytest.mark.parametrize("origin", DEEP, ids=lambda origin: origin[:30])
def test_a_deep_origin_is_refused_in_one_line(origin: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the program does not say what it was lowered from") as error:
        read_origin(origin, tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
