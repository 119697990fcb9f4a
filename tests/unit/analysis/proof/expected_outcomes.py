"""What a search and a rounding must come to: the lengths of translations, and the code of a value."""

from fractions import Fraction

from analysis.workload import Model
from hwsim.program import Program
from reference.decoding import length_limit


def limits_of(model: Model, rows: list[list[int]]) -> list[int]:
    return [length_limit(len(row), model.network.config.max_positions) for row in rows]


def code(program: Program, site: str, value: Fraction | float) -> int:
    """HALF_EVEN, zero point already inside; clamp, and what is raised to 1."""
    info = program.tensors[site]
    rounded = round(value - info.zero_point) + info.zero_point
    lowest = 1 if site.endswith(".denominator") else info.format.min
    return max(lowest, min(rounded, info.format.max))
