"""A small language and its vocabulary, shared by the tests of the reference."""

from pathlib import Path

import pytest
import torch

from reference.data import ParallelText
from reference.tokenizer import train_tokenizer
from tests.small.sentences import word_by_word


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The tensors here are small: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_text() -> ParallelText:
    """96 sentences of 3 to 8 words, translated word by word."""
    return word_by_word()


@pytest.fixture(scope="session")
def vocabulary(small_text: ParallelText, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of 64 pieces trained on the small text."""
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.model"
    train_tokenizer([*small_text.source, *small_text.target], 64, path)
    return path
