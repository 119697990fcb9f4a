"""Layers and workloads that contradict themselves are refused (docs/accelerator.md, section 1)."""

import pytest
from msgspec.structs import replace

from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Term, Vectors, Workload
from tests.unit.hwsim.accelerator.test_estimate import LINEAR, NORM, SCORES


@pytest.mark.parametrize("component", [Component.MAC_MULTIPLY, Component.MAC_ADD])
@pytest.mark.parametrize("change", [-1, 1])
def test_terms_are_those_of_the_products_macs(component: Component, change: int) -> None:
    name, macs = component.value, 20 * 48 * 40
    wrong = tuple(replace(t, count=t.count + change) if t.component is component else t for t in LINEAR.terms)
    with pytest.raises(ValueError, match=f"^layer linear: {macs + change} {name} in its terms, but {macs} MACs$"):
        replace(LINEAR, terms=wrong)
    without = tuple(term for term in LINEAR.terms if term.component is not component)
    with pytest.raises(ValueError, match=f"^layer linear: 0 {name} in its terms, but {macs} MACs$"):
        replace(LINEAR, terms=without)
    with pytest.raises(ValueError, match=f"^layer norm: 1 {name} in its terms, but 0 MACs$"):
        replace(NORM, terms=(*NORM.terms, Term(component, 8, 8, 1)))
    halves = tuple(replace(term, count=term.count // 2) for term in LINEAR.terms) * 2
    assert replace(LINEAR, terms=halves).product == LINEAR.product  # their sum counts


def test_no_more_zero_macs_than_macs() -> None:
    macs = 20 * 48 * 40
    assert replace(LINEAR, macs_zero=macs).macs_zero == macs
    with pytest.raises(ValueError, match=f"^layer linear: {macs + 1} zero MACs of {macs}$"):
        replace(LINEAR, macs_zero=macs + 1)
    with pytest.raises(ValueError, match=r"^layer norm: 1 zero MACs of 0$"):
        replace(NORM, macs_zero=1)


@pytest.mark.parametrize(
    "work",
    [
        Vectors(elements=799, passes=1),
        Vectors(elements=801, passes=2),
        Vectors(elements=0, passes=1),
        Vectors(elements=800, passes=1, divisions=1),
        Vectors(elements=800, passes=1, roots=1),
        Vectors(divisions=1),
    ],
)
def test_an_epilogue_is_passes_over_all_results(work: Vectors) -> None:
    """20 by 40 results."""
    with pytest.raises(ValueError, match=r"^layer linear: its epilogue is passes over all 800 results; got Vectors\("):
        replace(LINEAR, vectors=work)
    for fine in (Vectors(), Vectors(elements=800), Vectors(elements=800, passes=3)):
        assert replace(LINEAR, vectors=fine).vectors == fine
    assert replace(NORM, vectors=work).vectors == work  # rows may have any
    assert SCORES.vectors.elements == 2 * 20 * 30  # of all products together


def test_a_layer_is_a_product_or_rows() -> None:
    for changes in ({"rows": NORM.rows}, {"product": None}):
        with pytest.raises(ValueError, match=r"^layer linear: it is a product or rows, just one of them$"):
            replace(LINEAR, **changes)


def test_a_workload_has_a_phase() -> None:
    with pytest.raises(ValueError, match=r"^workload w: it has no phase; at least one is needed$"):
        Workload(name="w", scheme="int8", phases=())
