"""The file of a small program, to be damaged."""

import pytest

from hwsim.program.loading import load
from tests.unit.hwsim.program.program_files import mini_program


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """As it was saved, and loads."""
    path = tmp_path_factory.mktemp("mini") / "mini.hwsim"
    mini_program().save(path)
    load(path)
    return path.read_bytes()
