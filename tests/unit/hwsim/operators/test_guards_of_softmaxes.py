"""Guards of every softmax at their edges; where a bound is of n keys, n is at its edge too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwsim.formats import IntFormat
from hwsim.operators.softmax import (
    gemmini_softmax,
    gemmlowp_softmax,
    ibert_softmax,
    itamax,
    pulp_softmax,
    softmax,
    softmax_int16,
)
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
    tally,
)

LARGEST = 2**31 - 1
SIGNED, UNSIGNED = ("signed codes of at most 16 bits", "unsigned codes of at most 16 bits")
Runner = Callable[..., object]


def on_row(kernel: Callable[..., Any], usual: dict[str, Any]) -> Runner:
    """A kernel on one row, with some of its arguments others; keys at `masked` are masked, lists are int32."""

    def run(row: object = (0,), masked: tuple[int, ...] = (), **changes: Any) -> object:
        scores = int32([row])
        allowed = np.ones(scores.shape, np.bool_)
        allowed[:, list(masked)] = False
        arguments = {name: int32(x) if isinstance(x, list) else x for name, x in (usual | changes).items()}
        return kernel(scores, allowed, **arguments, counters=tally())

    return run


def formats(name: str, good: IntFormat, wide: IntFormat, other: IntFormat, allowed: str) -> list[Edge]:
    """A format of 16 bits, of 17, and one of the other sign."""
    return [({name: good}, {name: bad}, f"{name} has format {bad}; allowed: {allowed}") for bad in (wide, other)]


# The table's

table_run = on_row(
    softmax,
    {
        "table": [9, 5, 2],
        "denominator_multiplier": 1,
        "denominator_shift": 0,
        "denominator": UINT16,
        "output_multiplier": 1,
        "output_shift": 0,
        "output": UINT8,
    },
)
TABLE: list[Edge] = [
    *both_ends("denominator_multiplier", "denominator multiplier", 1, LARGEST),
    *both_ends("denominator_shift", "denominator shift", 0, 62),
    *both_ends("output_multiplier", "output multiplier", 1, LARGEST),
    *both_ends("output_shift", "output shift", 0, 62),
    *formats("denominator", UINT16, UINT17, INT8, UNSIGNED),
    *formats("output", UINT16, UINT17, INT8, UNSIGNED),
    ({"table": [65535]}, {"table": [65536]}, "an element of table is 65536; allowed: 0 to 65535"),
    ({"table": [0]}, {"table": [-1]}, "an element of table is -1; allowed: 0 to 65535"),
    (
        {"row": [0, 2, 1]},
        {"row": [0, 3, 1]},
        "a score lies 3 below its row's greatest; allowed: 0 to 2, the table",
    ),
    (
        {"row": [-9, 2, 1], "masked": (0,)},
        {"row": [-9, 2, 1]},
        "a score lies 11 below its row's greatest; allowed: 0 to 2, the table",
    ),
    (  # 65535 * 65537 = 2^32 - 1
        {"row": [0] * 65537, "table": [65535, 0], "denominator_multiplier": LARGEST},
        {"row": [0] * 65538, "table": [65535, 0], "denominator_multiplier": LARGEST},
        f"sum * denominator_multiplier could reach {65538 * 65535 * LARGEST}{BELOW}",
    ),
]

# gemmlowp's and the int16 table's

gemmlowp_run = on_row(gemmlowp_softmax, {"multiplier": 2**30, "left_shift": 0, "output": INT8})
GEMMLOWP: list[Edge] = [
    *both_ends("multiplier", "multiplier", 2**30, LARGEST),
    *both_ends("left_shift", "left_shift", 0, 31),
    *formats("output", INT16, INT17, UINT8, SIGNED),
    (
        {"output": INT8},
        {"output": IntFormat(bits=8, narrow=True)},
        f"output has format {IntFormat(bits=8, narrow=True)}; allowed: formats that are not narrow",
    ),
    ({"row": [0] * 4095}, {"row": [0] * 4096}, "the number of keys in a row is 4096; allowed: 0 to 4095"),
]

FLAT = [2**14] * 513
int16_run = on_row(softmax_int16, {"exp_table": FLAT, "reciprocal_table": [0] * 513, "multiplier": 2**30, "shift": 31})
DISTANCE = "the greatest distance of two scores is"
INT16_TABLE: list[Edge] = [
    *both_ends("multiplier", "multiplier", 2**30, LARGEST),
    *both_ends("shift", "shift", 0, 62),
    ({"row": [32767]}, {"row": [32768]}, "an element of scores is 32768; allowed: -32768 to 32767"),
    ({"row": [-32768]}, {"row": [-32769]}, "an element of scores is -32769; allowed: -32768 to 32767"),
    (
        {"exp_table": [0] * 511 + [2**14] * 2},
        {"exp_table": [0] * 511 + [2**14 - 1] * 2},
        "exp_table at the greatest score is 16383; allowed: 16384 to 32767",
    ),
    (
        {"exp_table": [0, *FLAT[1:]]},
        {"exp_table": [-1, *FLAT[1:]]},
        "an element of exp_table is -1; allowed: 0 to 32767",
    ),
    (
        {"reciprocal_table": [-(2**15)] * 513},
        {"reciprocal_table": [-(2**15) - 1] * 513},
        "an element of reciprocal_table is -32769; allowed: -32768 to 32767",
    ),
    (
        {"row": [0] * 65538, "exp_table": [32767] * 513},
        {"row": [0] * 65539, "exp_table": [32767] * 513},
        f"n * the greatest entry of exp_table is {65539 * 32767}; allowed: 0 to {LARGEST}",
    ),
    (
        {"row": [0] * 131071, "exp_table": FLAT},
        {"row": [0] * 131072, "exp_table": FLAT},
        f"n * the greatest entry of exp_table is {2**31}; allowed: 0 to {LARGEST}",
    ),
    ({"shift": 0, "row": [4, 4]}, {"shift": 0, "row": [4, 5]}, f"{DISTANCE} 1; allowed: 0 to 0"),
    ({"shift": 15, "row": [0, 32767]}, {"shift": 15, "row": [-1, 32767]}, f"{DISTANCE} 32768; allowed: 0 to 32767"),
    (
        {"shift": 14, "row": [0, -16383, -20000], "masked": (2,)},
        {"shift": 14, "row": [0, -16383, -16384]},
        f"{DISTANCE} 16384; allowed: 0 to 16383",
    ),
    (
        {"shift": 16, "row": [-32768, 32767]},
        {"shift": 14, "row": [-32768, 32767]},
        f"{DISTANCE} 65535; allowed: 0 to 16383",
    ),
]

# I-BERT's and Gemmini's


def polynomial(kernel: Callable[..., Any], usual: dict[str, Any]) -> Runner:
    """`abc` is ln2, b, c."""
    run = on_row(kernel, usual)
    return lambda abc=(1, 1, 1), **changes: run(**dict(zip(("ln2", "b", "c"), abc, strict=True)), **changes)


ibert_run = polynomial(ibert_softmax, {"multiplier": 1, "shift": 0, "output": UINT8})
UP_TO = f"; allowed: 1 to {2**62 - 1}"
EXPONENTIAL = f"the greatest exponential is {2**62}; allowed: 0 to {2**62 - 1}"
IBERT: list[Edge] = [
    *both_ends("multiplier", "multiplier", 1, LARGEST),
    *both_ends("shift", "shift", 0, 62),
    *formats("output", UINT16, UINT17, INT8, UNSIGNED),
    ({"abc": (1, 1, 1)}, {"abc": (0, 1, 1)}, f"ln2 is 0{UP_TO}"),
    ({"abc": (1, 1, 1)}, {"abc": (1, 0, 1)}, f"b is 0{UP_TO}"),
    ({"abc": (1, 1, 1)}, {"abc": (1, 1, 0)}, f"c is 0{UP_TO}"),
    ({"abc": (1, 1, 1)}, {"abc": (2**62, 1, 1)}, f"ln2 is {2**62}{UP_TO}"),
    ({"abc": (1, 2**62 - 1, 1)}, {"abc": (1, 2**62, 1)}, f"b is {2**62}{UP_TO}"),
    ({"abc": (1, 1, 1)}, {"abc": (1, 1, 2**62)}, f"c is {2**62}{UP_TO}"),
    ({"abc": (2, 2**62 - 3, 1)}, {"abc": (2, 2**62 - 3, 2)}, f"(r + b) * r + c could reach {2**63}{BELOW}"),
    ({"abc": (1, 1, 2**32 - 1)}, {"abc": (1, 1, 2**32)}, EXPONENTIAL),
    ({"abc": (2**16 + 1, 1, 2**16 - 1)}, {"abc": (2**16 + 1, 1, 2**16)}, EXPONENTIAL),  # 2^16 * (2^16 - 1) + c
    (
        {"abc": (1, 1, 2**31), "multiplier": 3},
        {"abc": (1, 1, 2**31), "multiplier": 4},
        f"exponential * multiplier could reach {2**63}{BELOW}",
    ),
]

INT32, UINT32 = f"; allowed: 0 to {LARGEST}", f"; allowed: 0 to {2**32 - 1}"
WIDE, TOTAL = "the greatest exponential before its shift is", "the greatest sum of exponentials is"
OF_BOTH: list[Edge] = [
    *[
        ({"abc": (1, 1, 1)}, {"abc": abc}, f"{name} is {bad}; allowed: 1 to {LARGEST}")
        for bad in (0, 2**31)
        for name, abc in (("ln2", (bad, 1, 1)), ("b", (1, bad, 1)), ("c", (1, 1, bad)))
    ],
    ({"abc": (LARGEST, 1, 1)}, {"abc": (1, 1, LARGEST)}, f"b^2 + c is {2**31}{INT32}"),
    ({"abc": (1, 2000, 1)}, {"abc": (1, 46341, 1)}, f"b^2 + c is {46341**2 + 1}{INT32}"),
    (
        {"row": [LARGEST, -1], "masked": (1,)},
        {"row": [LARGEST, -1]},
        f"the greatest distance is {2**31}; allowed: -1 to {LARGEST}",
    ),
]

gemmini_run = polynomial(gemmini_softmax, {"output": INT8})
GEMMINI: list[Edge] = [
    *formats("output", INT16, INT17, UINT8, SIGNED),
    *OF_BOTH,
    ({"abc": (1, 1, LARGEST - 1)}, {"abc": (1, 1, LARGEST)}, f"b^2 + c is {2**31}{INT32}"),
    ({"row": [0, -31]}, {"row": [0, -32]}, "the greatest z is 32; allowed: 0 to 31"),
    ({"row": [0, -32], "masked": (1,)}, {"row": [0, -32, 1], "masked": (2,)}, "the greatest z is 32; allowed: 0 to 31"),
    ({"row": [0, -31]}, {"row": [0, -32767]}, "the greatest z is 32767; allowed: 0 to 31"),
    (
        {"row": [0, -31]},
        {"row": [0, -32768]},
        f"the greatest distance * floor(65536 / ln2) is {2**31}; allowed: -65536 to {LARGEST}",
    ),
    (  # z is 0: (1 - d)^2 + 1
        {"row": [0, -46341], "abc": (70000, 1, 1)},
        {"row": [0, -46342], "abc": (70000, 1, 1)},
        f"{WIDE} {46341**2 + 1}{INT32}",
    ),
    ({"row": [0, 0], "abc": (1, 1, 2**30 - 2)}, {"row": [0, 0], "abc": (1, 1, 2**30 - 1)}, f"{TOTAL} {2**31}{INT32}"),
]

UINT2 = IntFormat(bits=2, signed=False)
pulp_run = polynomial(pulp_softmax, {"output": UINT8})
PULP: list[Edge] = [
    *formats("output", UINT8, UINT17, INT8, UNSIGNED),
    ({"output": UINT8}, {"output": IntFormat(bits=9, signed=False)}, "output bits is 9; allowed: 2 to 8"),
    *OF_BOTH,
    (  # 255 * 16843009 = 2^32 - 1
        {"abc": (1, 1, 16843008)},
        {"abc": (1, 1, 16843009)},
        f"the greatest code times an exponential is {2**32 + 254}{UINT32}",
    ),
    (  # z stays 31: (31 - d + 1)^2 + 1
        {"row": [0, -46372]},
        {"row": [0, -46373]},
        f"{WIDE} {46341**2 + 1}{INT32}",
    ),
    (
        {"row": [0] * 3, "abc": (1, 1, 2**30 - 1), "output": UINT2},
        {"row": [0] * 4, "abc": (1, 1, 2**30 - 1), "output": UINT2},
        f"{TOTAL} {2**32}{UINT32}",
    ),
]

# ITA's

itamax_run = on_row(itamax, {"shift": 3, "group": 0, "output": UINT8})
ITAMAX: list[Edge] = [
    *both_ends("shift", "shift", 0, 8),
    *both_ends("group", "group", 0, LARGEST),
    *formats("output", UINT8, UINT17, INT8, UNSIGNED),
    ({"output": UINT8}, {"output": IntFormat(bits=9, signed=False)}, "output bits is 9; allowed: 2 to 8"),
]

EDGES: dict[str, tuple[Runner, list[Edge]]] = {
    "table": (table_run, TABLE),
    "gemmlowp": (gemmlowp_run, GEMMLOWP),
    "int16": (int16_run, INT16_TABLE),
    "ibert": (ibert_run, IBERT),
    "gemmini": (gemmini_run, GEMMINI),
    "pulp": (pulp_run, PULP),
    "itamax": (itamax_run, ITAMAX),
}
CASES = [(name, i) for name, (_, edges) in EDGES.items() for i in range(len(edges))]


@pytest.mark.parametrize(
    ("name", "number"), CASES, ids=lambda x: EDGES[x[0]][1][x[1]][-1] if isinstance(x, tuple) else x
)
def test_guards_at_their_edges(name: str, number: int) -> None:
    run, edges = EDGES[name]
    check_edge(run, edges[number])
