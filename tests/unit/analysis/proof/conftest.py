"""A tiny model, its text, and programs of tiny models, proven and explained by several files."""

from pathlib import Path

import pytest

from analysis.workload import Configuration, Model, calibrate_model, configure, load_model
from hwsim.program import Program
from reference.data import ParallelText
from reference.quantize.scheme import Scheme, preset
from tests.small.models import save_tiny_model
from tests.small.programs import tiny_program


@pytest.fixture(scope="session")
def model(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("equality") / "model"
    save_tiny_model(folder, vocabulary)
    return load_model(folder)


@pytest.fixture(scope="session")
def text(small_text: ParallelText) -> ParallelText:
    return small_text.head(6)


@pytest.fixture(scope="session")
def int8(model: Model, text: ParallelText) -> Configuration:
    return configure(model, preset("int8"), calibrate_model(model, text))


@pytest.fixture(scope="session")
def rows(model: Model, text: ParallelText) -> list[list[int]]:
    return model.encode(text.source, "text")


@pytest.fixture(scope="session")
def tiny_int8() -> Program:
    """What most explanations are of."""
    return tiny_program(preset("int8"))


@pytest.fixture(scope="session")
def coarse() -> Program:
    """Power-of-two scales: values that are ties."""
    return tiny_program(Scheme(name="coarse", activation_bits=4, power_of_two=True, multiplier_bits=1))


@pytest.fixture(scope="session")
def four_bits() -> Program:
    """Codes that saturate."""
    return tiny_program(Scheme(name="four", activation_bits=4))
