"""One decode step of the shipped model: 64 sentences, and one alone, after 16 tokens of each."""

from typing import Any

import numpy as np
import pytest

from analysis.bench.memory import Stepper
from analysis.bench.subjects import random_rows, subject
from analysis.workload import load_model
from hwsim.machine import Machine
from reference.quantize.calibrate import calibrate
from reference.quantize.scheme import preset
from reference.train import bucketed

TOKENS = 16


@pytest.fixture(scope="module")
def machine() -> Machine:
    """Calibrated on random ids: the same work at every code."""
    network = load_model().network
    rows = random_rows(network.config, 16, TOKENS, 1)
    ranges = calibrate(network, list(bucketed(list(zip(rows, rows, strict=True)), 16 * TOKENS)))
    return subject("shipped", network, preset("int8", "fullyqt"), ranges, []).machine


@pytest.mark.parametrize("sentences", [64, 1])
def test_decode_step(benchmark: Any, machine: Machine, sentences: int) -> None:
    stepper = Stepper(machine, random_rows(load_model().network.config, sentences, TOKENS, 2))
    tokens, every = np.full(sentences, machine.program.manifest.bos_id), np.arange(sentences)
    for _ in range(TOKENS):
        stepper.step(tokens, every)
    kept = dict(stepper.kept)

    def step() -> None:
        stepper.kept, stepper.position = dict(kept), TOKENS
        stepper.step(tokens, every)

    benchmark(step)
