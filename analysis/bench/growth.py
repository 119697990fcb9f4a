"""How time grows with tokens, sentences at once, layers and width; each along its own axis from one model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.bench.memory import Stepper
from analysis.bench.subjects import Rows, random_model, random_ranges, random_rows, subject
from analysis.bench.timing import Spread, interleaved
from hwsim.machine import Machine
from reference.models.translation import TransformerConfig
from reference.quantize.scheme import Scheme

CENTRE = TransformerConfig(vocabulary_size=4000)
"""The shape of the shipped model."""
TOKENS, BATCH = 16, 16
AXES: dict[str, tuple[int, ...]] = {
    "tokens": (8, 16, 32, 64, 128),
    "batch": (1, 4, 16, 64),
    "layers": (1, 2, 4, 8),
    "d_model": (64, 128, 256, 512),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One point: seconds to encode `batch` sentences of so many tokens and to decode as many again."""

    axis: str
    value: int
    seconds: Spread


@dataclass(frozen=True, kw_only=True)
class Growth:
    """All points, and by axis the exponent of the last step: 1 is linear."""

    points: list[Row]
    exponent: dict[str, float]


def configuration(axis: str, value: int) -> TransformerConfig:
    """The model at one point of an axis."""
    if axis == "layers":
        return replace(CENTRE, encoder_layers=value, decoder_layers=value)
    if axis == "d_model":
        return replace(CENTRE, d_model=value, n_heads=max(1, value // 64), d_head=min(64, value), d_ff=4 * value)
    return CENTRE


def fixed_steps(machine: Machine, rows: Rows, steps: int) -> Callable[[], object]:
    """Encode, and so many steps of greedy search that no EOS ends."""

    def run() -> object:
        stepper, every = Stepper(machine, rows), np.arange(len(rows))
        tokens = np.full(len(rows), machine.program.manifest.bos_id)
        for _ in range(steps):
            tokens = stepper.step(tokens, every).argmax(-1).astype(np.int64)
        return tokens

    return run


def exponent(points: Sequence[Row]) -> float:
    """Slope between the last two points, both axes logarithmic."""
    one, other = points[-2:]
    return math.log(other.seconds.median / one.seconds.median) / math.log(other.value / one.value)


def measure(scheme: Scheme, *, repeats: int, seed: int, axes: dict[str, tuple[int, ...]] = AXES) -> Growth:
    """Points of one axis take turns."""
    machines: dict[TransformerConfig, Machine] = {}
    points: list[Row] = []
    exponents = {}
    for axis, values in axes.items():
        work = {}
        for value in values:
            config = configuration(axis, value)
            if config not in machines:
                machines[config] = _machine(config, scheme, seed)
            tokens, batch = value if axis == "tokens" else TOKENS, value if axis == "batch" else BATCH
            work[str(value)] = fixed_steps(machines[config], random_rows(config, batch, tokens, seed), tokens)
        seconds = interleaved(work, repeats)
        found = [Row(axis=axis, value=value, seconds=seconds[str(value)]) for value in values]
        points += found
        exponents[axis] = exponent(found)
    return Growth(points=points, exponent=exponents)


def _machine(config: TransformerConfig, scheme: Scheme, seed: int) -> Machine:
    network = random_model(config, seed)
    return subject("growth", network, scheme, random_ranges(network, seed), []).machine
