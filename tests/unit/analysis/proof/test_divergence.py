"""The value before rounding of every operation, its distance to a tie, and the words of a divergence."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest

from analysis.proof.divergence import before_rounding, tie_distance
from analysis.proof.equality import Divergence
from analysis.translation.steppers import MachineStepper
from analysis.workload import Configuration, Model, calibrate_model, configure
from hwsim.program.operations import written
from reference.data import ParallelText
from reference.quantize.scheme import Scheme
from reference.tokenizer import BOS
from tests.unit.analysis.proof.expected_outcomes import code


def calls(model: Model, configuration: Configuration, rows: list[list[int]]) -> Iterator[dict[str, np.ndarray]]:
    """The tensors of `encode` and of two steps."""
    values: dict[str, np.ndarray] = {}
    stepper = MachineStepper(configuration.machine, rows, values.__setitem__)
    yield values
    for token in (BOS, 9):
        values.clear()
        stepper.step(np.full(len(rows), token), np.arange(len(rows)))
        yield values


@pytest.mark.parametrize("mode", ["shift", "merged"])
def test_the_value_before_rounding_rounds_to_the_code(
    model: Model, text: ParallelText, rows: list[list[int]], mode: Literal["shift", "merged"]
) -> None:
    """Every operation of the program, by exact fractions."""
    scheme = Scheme(name="mixed", weight_bits=6, activation_bits=7, sqrt_mode=mode)
    configuration = configure(model, scheme, calibrate_model(model, text))
    program, rng, rounded = configuration.program, np.random.default_rng(1), set()
    for values in calls(model, configuration, rows[:3]):
        for site in [name for _, operation in program.operations() for name in written(operation)]:
            if site not in values or (site in program.functions["decode_step"].inputs and "target_ids" in values):
                continue
            for _ in range(12):
                index = tuple(int(rng.integers(size)) for size in values[site].shape)
                integer, value = before_rounding(program, site, index, values)
                if value is None:
                    assert integer is None
                    continue
                rounded.add(site)
                assert code(program, site, value) == values[site][index], (site, index)
    shifted = {site for site in program.tensors if site.endswith(".shifted")}
    numerators = {site for site in configuration.plan.quantizers if site.endswith("softmax.numerator")}
    assert rounded == configuration.plan.quantizers.keys() - numerators | shifted
    assert bool(shifted) == (mode == "shift")


def test_an_unknown_site_is_refused(int8: Configuration) -> None:
    with pytest.raises(ValueError, match="no operation makes 'nonsense'"):
        before_rounding(int8.program, "nonsense", (0,), {})


def test_distance_to_the_nearest_tie() -> None:
    assert [tie_distance(Fraction(n, 8)) for n in (-12, -11, 0, 3, 4, 7, 9)] == [
        Fraction(n, 8) for n in (0, 1, 4, 1, 0, 3, 3)
    ]


def test_a_divergence_says_where_and_from_what() -> None:
    first = Divergence(
        site="x.scores",
        call="decode step 4",
        sentence=7,
        index=(0, 1, 2, 3),
        machine=-3,
        reference=-2,
        accumulator=-40,
        before_rounding=-2.5078125,
        tie_distance=0.0078125,
    )
    assert str(first) == (
        "sentence 7, decode step 4, site x.scores, index (0, 1, 2, 3): machine -3, fake-quant -2, "
        "-2.507812 before rounding, 0.007812 from a tie"
    )
    bare = replace(first, before_rounding=None, tie_distance=None)
    assert str(bare).endswith("fake-quant -2")
