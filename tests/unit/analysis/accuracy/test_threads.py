"""Figures do not depend on how many threads share the work."""

from collections.abc import Iterator

import pytest
import torch

from analysis.accuracy.accuracy import SiteError

NUMBERS = 100_003
"""Enough for torch to share a sum among threads."""


@pytest.fixture(autouse=True)
def _threads_of_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def error_with(threads: int) -> SiteError:
    torch.set_num_threads(threads)
    rng = torch.Generator().manual_seed(4)
    real = torch.randn(NUMBERS, dtype=torch.float64, generator=rng)
    quantized = real + torch.randn(NUMBERS, dtype=torch.float64, generator=rng) / 7
    error = SiteError()
    error.add(real, quantized)
    return error


def test_sums_of_a_site_are_the_same_with_one_thread_and_with_more() -> None:
    one = error_with(1)
    assert one == error_with(2) == error_with(3)
    assert one.signal == pytest.approx(NUMBERS, rel=0.01) and one.noise == pytest.approx(NUMBERS / 49, rel=0.01)


def test_torch_itself_sums_in_an_order_that_depends_on_the_threads() -> None:
    """Or the test above could not fail."""
    numbers = torch.randn(NUMBERS, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    sums = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        sums.append(float(numbers.square().sum()))
    assert len(set(sums)) > 1
