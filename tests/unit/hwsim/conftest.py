"""The tiny program at int8, shared by the tests of programs and of the machine."""

import pytest

from hwsim.program import Program
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program


@pytest.fixture(scope="session")
def tiny() -> Program:
    return tiny_program(preset("int8"))
