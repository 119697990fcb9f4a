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


def errors_with(threads: int) -> list[SiteError]:
    torch.set_num_threads(threads)
    rng, errors = torch.Generator().manual_seed(4), []
    for _ in range(8):
        real = torch.randn(NUMBERS, dtype=torch.float64, generator=rng)
        errors.append(SiteError())
        errors[-1].add(real, real + torch.randn(NUMBERS, dtype=torch.float64, generator=rng) / 7)
    return errors


def test_sums_of_a_site_are_the_same_with_one_thread_and_with_more() -> None:
    one = errors_with(1)
    assert one == errors_with(2) == errors_with(3)
    assert one[0].signal == pytest.approx(NUMBERS, rel=0.02) and one[0].noise == pytest.approx(NUMBERS / 49, rel=0.02)


def test_torch_itself_sums_in_an_order_that_depends_on_the_threads() -> None:
    """Or the test above could not fail."""
    rng = torch.Generator().manual_seed(4)
    rows, sums = [torch.randn(NUMBERS, dtype=torch.float64, generator=rng) for _ in range(8)], []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        sums.append([float(row.sum()) for row in rows])
    assert sums[0] != sums[1] != sums[2]
