"""Operators at work: whose time is whose, by a clock whose times were chosen by hand."""

import numpy as np
import pytest

from analysis.bench import operators
from analysis.bench.operators import Watch
from hwsim.machine import Machine
from reference.quantize.scheme import NATIVE, preset
from tests.small.programs import tiny_program


def test_time_goes_to_the_operation_that_made_the_tensor() -> None:
    program = tiny_program(preset("int8", "fullyqt"))
    site = "encoder.0.self_attention.softmax"
    times = iter([10.0, 11.0, 20.0, 22.0, 30.0, 36.0, 40.0])
    watch = Watch(program, lambda: next(times))
    watch("encoder.embedding.ids", np.zeros(1))  # no operation makes it: the next one begins at 10
    watch(f"{site}.numerator", np.zeros((1, 2, 3, 4), np.int32))  # made by 11; it is shown until 20
    watch(f"{site}.denominator", np.zeros((1, 2, 3, 1), np.int32))  # by 22, until 30
    watch(f"{site}.output", np.zeros((1, 2, 3, 4), np.int32))  # by 36, until 40
    assert watch.seconds == {"softmax": 1.0 + 2.0 + 6.0}
    assert watch.elements == {"softmax": 24}  # of the result, not of what is shown on the way
    assert watch.ns_per_element() == {"softmax": pytest.approx(9e9 / 24)}
    assert watch.shapes == {"softmax": [1, 2, 3, 4]}
    assert watch.bytes == {"softmax": 2 * 24 * 4}  # read and written


def test_every_kind_of_two_targets_once() -> None:
    machines = {name: Machine(tiny_program(preset(NATIVE, name))) for name in ("fullyqt", "tflm")}
    rows = operators.measure(machines, [[5, 6, 3], [7, 3]], repeats=2, steps=2)
    found = {row.operator: row.target for row in rows}
    assert found["softmax"] == found["layernorm"] == found["add"] == "fullyqt"
    assert found["requantize dyadic"] == "fullyqt"
    assert found["gemmlowp_softmax"] == found["tflite_layernorm"] == found["rescaled_add"] == "tflm"
    assert not set(found) & set(operators.LEFT_OUT) and len(found) == len(rows)
    (softmax,) = [row for row in rows if row.operator == "softmax"]
    assert softmax.shape == [2, 2, 3, 3]  # of the encoder: sentences, heads, queries, keys
    assert softmax.elements == 2 * 2 * 3 * 3 + 2 * 2 * (1 + 2) + 2 * 2 * 2 * 3  # and of two steps: own keys, source
    for row in rows:
        spread = row.ns_per_element
        assert 0 < spread.min <= spread.median <= spread.max
