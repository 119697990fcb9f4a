"""Set-up of the property tests."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The models here are small: more threads only wait for each other."""
    torch.set_num_threads(1)
