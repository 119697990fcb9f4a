"""Guards of every layer normalisation at their edges: variances, sums and biases that just fit, and that do not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwsim.formats import IntFormat, Overflow
from hwsim.operators.layernorm import LayerNormConstants, ibert_layernorm, layernorm, pulp_layernorm, tflite_layernorm
from tests.unit.hwsim.operators.edges import (
    BELOW,
    INT8,
    INT16,
    INT17,
    UINT8,
    UINT16,
    UINT17,
    Edge,
    both_ends,
    check_edge,
    int32,
    int64,
    tally,
    zero_points,
)

LARGEST = 2**31 - 1
CODES = "codes of at most 16 bits"
Runner = Callable[..., object]

# (5a) to (5f)

CONSTANTS = LayerNormConstants(
    eps=1,
    output_zero_point=0,
    **{f"{name}_multiplier": 1 for name in ("numerator", "denominator", "quotient", "output")},
    **{f"{name}_shift": 0 for name in ("numerator", "denominator", "quotient", "output")},
    numerator=INT16,
    denominator=UINT16,
    quotient=INT8,
    output=INT8,
)


def fullyqt(x: object = (0, 0), gamma: object = None, beta: object = None, zero: int = 0, **changes: Any) -> object:
    codes = int32([x])
    n = codes.shape[1]
    known = {name: changes.pop(name) for name in CONSTANTS._fields if name in changes}
    return layernorm(
        codes,
        int32([0] * n if gamma is None else gamma),
        int64([0] * n if beta is None else beta),
        CONSTANTS._replace(**known),
        tally(),
        zero=zero,
        **changes,
    )


def variance(greatest: int, n: int, codes: str, eps: int) -> str:
    return f"V could reach {greatest} (n = {n}, codes {codes}, eps {eps}); allowed: 0 to 2^52 - 1"


AFFINE = f"(quotient * gamma + beta) * multiplier could reach {2**63}{BELOW}"
FULLYQT: list[Edge] = [
    *[
        edge
        for name in ("numerator", "denominator", "quotient", "output")
        for edge in (
            *both_ends(f"{name}_multiplier", f"{name} multiplier", 1, LARGEST),
            *both_ends(f"{name}_shift", f"{name} shift", 0, 62),
        )
    ],
    *zero_points("zero", "output_zero_point"),
    ({"numerator": INT16}, {"numerator": INT17}, f"numerator has format int17; allowed: signed {CODES}"),
    ({"numerator": INT8}, {"numerator": UINT8}, f"numerator has format uint8; allowed: signed {CODES}"),
    ({"denominator": UINT16}, {"denominator": UINT17}, f"denominator has format uint17; allowed: unsigned {CODES}"),
    ({"denominator": UINT8}, {"denominator": INT8}, f"denominator has format int8; allowed: unsigned {CODES}"),
    ({"quotient": INT16}, {"quotient": INT17}, f"quotient has format int17; allowed: signed {CODES}"),
    ({"quotient": INT8}, {"quotient": UINT8}, f"quotient has format uint8; allowed: signed {CODES}"),
    ({"output": INT16}, {"output": INT17}, f"output has format int17; allowed: {CODES}"),
    ({"output": UINT16}, {"output": UINT17}, f"output has format uint17; allowed: {CODES}"),
    ({"x": [2**16 - 1]}, {"x": [2**16]}, "an element of x is 65536; allowed: -32768 to 65535"),
    ({"x": [-(2**15)]}, {"x": [-(2**15) - 1]}, "an element of x is -32769; allowed: -32768 to 65535"),
    ({"gamma": [0, 2**16 - 1]}, {"gamma": [0, 2**16]}, "an element of gamma is 65536; allowed: -32768 to 65535"),
    ({"gamma": [-(2**15), 0]}, {"gamma": [-(2**15) - 1, 0]}, "an element of gamma is -32769; allowed: -32768 to 65535"),
    ({"eps": 0}, {"eps": -1}, variance(-1, 2, "0 to 0", -1)),
    ({"eps": 2**52 - 1}, {"eps": 2**52}, variance(2**52, 2, "0 to 0", 2**52)),
    (  # n^2 * (hi - lo)^2 / 4
        {"x": [-1, 3, 0], "eps": 2**52 - 37},
        {"x": [-1, 3, 0], "eps": 2**52 - 36},
        variance(2**52, 3, "-1 to 3", 2**52 - 36),
    ),
    (  # n^2 * max(x^2) of x - zero
        {"x": [-1, 3, 0], "zero": 7, "centred": False, "eps": 2**52 - 577},
        {"x": [-1, 3, 0], "zero": 7, "centred": False, "eps": 2**52 - 576},
        variance(2**52, 3, "-8 to -4", 2**52 - 576),
    ),
    (
        {"x": [5, 3, 0], "zero": -2, "centred": False, "eps": 2**52 - 442},
        {"x": [5, 3, 0], "zero": -2, "centred": False, "eps": 2**52 - 441},
        variance(2**52, 3, "2 to 7", 2**52 - 441),
    ),
    (  # a long row of one great code: V is eps, and its terms leave int64
        {"x": [65535] * 46341},
        {"x": [65535] * 46342},
        f"n * sum(x^2) could reach {46342**2 * 65535**2}{BELOW}",
    ),
    ({"beta": [0, 2**63 - 1]}, {"beta": [-(2**63), 0]}, AFFINE),
    ({"beta": [5, 2**63 - 385], "gamma": [0, 3]}, {"beta": [5, 2**63 - 384], "gamma": [0, 3]}, AFFINE),
    ({"beta": [385 - 2**63, 5], "gamma": [1, -3]}, {"beta": [384 - 2**63, 5], "gamma": [1, -3]}, AFFINE),
    ({"beta": [0, 2**62 - 1], "output_multiplier": 2}, {"beta": [0, 2**62], "output_multiplier": 2}, AFFINE),
    ({"beta": [0, 2**63 - 513], "output_shift": 10}, {"beta": [0, 2**63 - 512], "output_shift": 10}, AFFINE),
    ({"beta": [0, 2**62 - 1], "output_shift": 62}, {"beta": [0, 2**63 - 2**61], "output_shift": 62}, AFFINE),
]

# One result


def with_gamma(kernel: Callable[..., object], usual: dict[str, Any]) -> Runner:
    """A kernel on one row; without a gamma and a bias they are 0."""

    def run(x: object = (0, 0), gamma: object = None, bias: object = None, **changes: Any) -> object:
        codes = int32([x])
        n = codes.shape[1]
        arguments = {
            name: int64(value) if isinstance(value, list) else value for name, value in (usual | changes).items()
        }
        weights = int32([0] * n if gamma is None else gamma), int64([0] * n if bias is None else bias)
        return kernel(codes, *weights, **arguments, counters=tally())

    return run


COMMON: dict[str, Any] = {"zero": 0, "zero_point": 0, "output": INT8}
ibert = with_gamma(ibert_layernorm, {**COMMON, "multiplier": [1], "shift": [0], "variance_shift": 0})
pulp = with_gamma(pulp_layernorm, {**COMMON, "shift": 0})
tflite = with_gamma(tflite_layernorm, {**COMMON, "variance_limit": 1, "multiplier": 2**30, "shift": 31})


def shared(low: int, high: int, greatest_zero: int = 2**16 - 1) -> list[Edge]:
    """Guards of all three, gamma in [low, high]."""
    gamma = f"; allowed: {low} to {high}"
    return [
        *shared_ends(greatest_zero),
        ({"gamma": [0, high]}, {"gamma": [0, high + 1]}, f"an element of gamma is {high + 1}{gamma}"),
        ({"gamma": [low, 0]}, {"gamma": [low - 1, 0]}, f"an element of gamma is {low - 1}{gamma}"),
    ]


def shared_ends(greatest_zero: int = 2**16 - 1) -> list[Edge]:
    """Those of all three, whatever gamma is."""
    bias = f"; allowed: -{2**62} to {2**62}"
    return [
        *zero_points("zero_point"),
        ({"zero": -(2**15)}, {"zero": -(2**15) - 1}, "zero is -32769; allowed: -32768 to 65535"),
        ({"zero": greatest_zero}, {"zero": 2**16}, "zero is 65536; allowed: -32768 to 65535"),
        ({"x": [0]}, {"x": [2**16]}, "an element of x is 65536; allowed: -32768 to 65535"),
        ({"x": [-(2**15)]}, {"x": [-(2**15) - 1]}, "an element of x is -32769; allowed: -32768 to 65535"),
        ({"bias": [0, 0]}, {"bias": [0, 2**62 + 1]}, f"an element of bias is {2**62 + 1}{bias}"),
        ({"bias": [0, 0]}, {"bias": [-(2**62) - 1, 0]}, f"an element of bias is {-(2**62) - 1}{bias}"),
        ({"output": INT16}, {"output": INT17}, f"output has format int17; allowed: {CODES}"),
        ({"output": UINT16}, {"output": UINT17}, f"output has format uint17; allowed: {CODES}"),
    ]


ROOT = [65535, 362, 5, 1]
"""65535^2 + 362^2 + 5^2 + 1 = 2^32 - 1."""
ROW_VARIANCE = f"V of a row is {2**32}; allowed: 0 to {2**32 - 1}"
IBERT: list[Edge] = [
    *shared(-1, 1),
    *both_ends("variance_shift", "variance_shift", 0, 31),
    *[
        ({"multiplier": [good]}, {"multiplier": [bad]}, f"an element of multiplier is {bad}; allowed: 1 to {LARGEST}")
        for good, bad in ((1, 0), (LARGEST, LARGEST + 1))
    ],
    *[
        ({"shift": [good]}, {"shift": [bad]}, f"an element of shift is {bad}; allowed: 0 to 62")
        for good, bad in ((0, -1), (62, 63))
    ],
    ({"multiplier": [1, 1]}, {"multiplier": [1] * 3}, "multiplier has 3 elements; allowed: 1 or 2"),
    ({"shift": [1, 1]}, {"shift": [1] * 3}, "shift has 3 elements; allowed: 1 or 2"),
    (
        {"bias": [2**62, -(2**62)]},
        {"bias": [0, 2**62 + 1]},
        f"an element of bias is {2**62 + 1}; allowed: -{2**62} to {2**62}",
    ),
    ({"x": ROOT, "centred": False}, {"x": [*ROOT, 1], "centred": False}, ROW_VARIANCE),
    (
        {"x": [*ROOT, 1], "centred": False, "variance_shift": 1},
        {"x": [*ROOT, 1], "centred": False, "variance_shift": 0},
        ROW_VARIANCE,
    ),
]
NARROW = IntFormat(bits=8, narrow=True)
RMS = {"x": [-128, 0], "centred": False, "product_bits": 32}
PULP: list[Edge] = [  # any int32 is a gamma
    *shared_ends(),
    *both_ends("shift", "shift", 0, 31),
    *both_ends("product_bits", "product_bits", 2, 63),
    *[
        ({"overflow": good}, {"overflow": Overflow.PROVEN}, "overflow is proven; allowed: saturate, wrap")
        for good in (Overflow.SATURATE, Overflow.WRAP)
    ],
    (
        {"overflow": Overflow.SATURATE, "output": NARROW},
        {"overflow": Overflow.WRAP, "output": NARROW},
        "output is int8n; allowed where codes wrap: formats that are not narrow",
    ),
    (  # -128 * 2^24 = -2^31
        {**RMS, "gamma": [2**24, 0]},
        {**RMS, "gamma": [2**24 + 1, 0]},
        f"y * gamma is {-(2**31) - 128}; allowed: {-(2**31)} to {2**31 - 1}",
    ),
    (
        {**RMS, "gamma": [1 - 2**24, 0]},
        {**RMS, "gamma": [-(2**24), 0]},
        f"y * gamma is {2**31}; allowed: {-(2**31)} to {2**31 - 1}",
    ),
    (  # a mean of 2, and deviations of 2 and -2
        {"x": [4, 0], "gamma": [3, 3], "product_bits": 4},
        {"x": [4, 0], "gamma": [4, 4], "product_bits": 4},
        "y * gamma is 8; allowed: -8 to 7",
    ),
    (
        {"bias": [2**62, -(2**62)]},
        {"bias": [0, 2**62 + 1]},
        f"an element of bias is {2**62 + 1}; allowed: -{2**62} to {2**62}",
    ),
]


def rounded_values(least: int, greatest: int, multiplier: int, shift: int) -> str:
    got = f"acc of {least} to {greatest} by multipliers to {multiplier}, shifts to {shift}"
    return f"{got}; allowed: acc * 2^max(31 - shift, 0) from -2^31 to 2^31 - 1"


SQUARES = f"sum(x'^2) * floor(2^20 / n) is {32769**2 * 2**20}; allowed: 0 to {2**50}"
TFLITE: list[Edge] = [
    *shared(-(2**15), 2**15 - 1, 2**15),
    *both_ends("variance_limit", "variance_limit", 1, LARGEST),
    *both_ends("multiplier", "multiplier", 2**30, LARGEST),
    *both_ends("shift", "shift", 0, 62),
    ({"x": np.zeros(2**20)}, {"x": np.zeros(2**20 + 1)}, f"n is {2**20 + 1}; allowed: 1 to {2**20}"),
    ({"x": [32768]}, {"x": [32769]}, SQUARES),
    ({"x": [0], "zero": -32768}, {"x": [-1], "zero": 32768}, SQUARES),
    (  # v = floor((bias + 512) / 1024)
        {"bias": [0, 2**41 - 513]},
        {"bias": [0, 2**41 - 512]},
        rounded_values(0, 2**31, 2**30, 31),
    ),
    (
        {"bias": [-(2**41) - 511, 0]},
        {"bias": [-(2**41) - 512, 0]},
        rounded_values(-(2**31) - 1, 0, 2**30, 31),
    ),
    ({"bias": [0, 511], "shift": 0}, {"bias": [0, 512], "shift": 0}, rounded_values(0, 1, 2**30, 0)),
]

EDGES: dict[str, tuple[Runner, list[Edge]]] = {
    "fullyqt": (fullyqt, FULLYQT),
    "ibert": (ibert, IBERT),
    "pulp": (pulp, PULP),
    "tflite": (tflite, TFLITE),
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, (_, edges) in EDGES.items() for i in range(len(edges))]
)
def test_guards_at_their_edges(name: str, number: int) -> None:
    run, edges = EDGES[name]
    check_edge(run, edges[number])
