"""Strict fake-quant of the int16 softmax against docs/operators/softmax.md, section 3, in integers and Fractions."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from hwsim.formats import Scaling
from reference.quantize.strict.scaling import lookup
from reference.quantize.strict.softmax import softmax_int16
from tests.unit.reference.quantize.page_arithmetic import INT16, clamp, half_away, narrow, scaled


def page_table(f, low: float, high: float) -> list[int]:
    """Section 7 of the page."""
    step = (high - low) / 512

    def at(x: float) -> float:
        return f(x) * 2**15

    def up(v: float) -> int:
        return half_away(Fraction(v))

    entries = []
    for i in range(512):
        x = low + i * step
        middle = up((at(x + step) + up(at(x))) / 2)
        entries.append(clamp(up(at(x)) - up((middle - up(at(x + step / 2))) / 2), INT16))
    return [*entries, clamp(up(at(high)), INT16)]


EXP = page_table(math.exp, -10.0, 0.0)
RECIPROCAL = page_table(lambda x: 1 / (1 + x), 0.0, 1.0)


def py_lookup(table: list[int], v: int) -> int:
    i, o = 256 + v // 128, v % 128
    return table[i] + ((table[i + 1] - table[i]) * o + 64) // 128


def py_softmax_int16(q: list[int], ok: list[bool], m: int, e: int, clamped: bool = True, exp=EXP) -> list[int]:
    if not any(ok):
        return [0] * len(q)
    top = max(x for x, allowed in zip(q, ok, strict=True) if allowed)
    t = [clamp(scaled(x - top, Scaling.Q31_DOUBLE, m, e) + 32767, INT16) for x in q]
    exponential = [py_lookup(exp, x) if allowed else 0 for x, allowed in zip(t, ok, strict=True)]
    h = 32 - sum(exponential).bit_length()
    v = (sum(exponential) * 2 ** (h - 1) + 2**13) >> 14
    rho = py_lookup(RECIPROCAL, clamp(v - 98304, INT16))
    out = [(x * rho + 2 ** (30 - h)) >> (31 - h) for x in exponential]
    return [min(max(x, 0), 32767) if clamped else (x + 2**15) % 2**16 - 2**15 for x in out]


def codes(scores: Tensor, allowed: Tensor | None, m: int, e: int, clamped: bool = True, exp=None, reciprocal=None):
    tables = torch.tensor(exp or EXP), torch.tensor(reciprocal or RECIPROCAL)
    return softmax_int16(scores, allowed, *tables, multiplier=m, shift=e, slope=0.001, clamped=clamped)


AUTHORS = [
    (1717960704, 29, [0, 0], [16384, 16384]),
    (1717960704, 29, [5, 5, 5], [10922, 10922, 10922]),
    (2124404351, 30, [-6776, -20950], [32320, 448]),
    (1073741824, 30, [-12871, -19687, -10719, 3534], [2190, 774, 3041, 26763]),
    (1717960704, 34, [-32768, -32768, -28726, *[-32768] * 5], [4064, 4064, 4322, *[4064] * 5]),
    (1099494851, 24, [15764, 22293, 14536, 28514, 26691, 28887, 28834, 23563], [1, 1, 1, 487, 1, 20315, 11958, 1]),
]
"""ARM-software/CMSIS-NN 99f736a, arm_softmax_s16, and tflite-micro 90b983c, SoftmaxInt16, compiled and run."""


@pytest.mark.parametrize(("m", "e", "row", "want"), AUTHORS)
def test_codes_are_those_of_the_c_libraries(m, e, row, want):
    assert codes(narrow([row]), None, m, e)[0].tolist() == want


def test_only_a_row_of_one_key_tells_the_clamp():
    one, two = narrow([[31312]]), narrow([[31312, -32768]])
    assert [codes(one, None, 1717960704, 29, clamped).item() for clamped in (True, False)] == [32767, -32768]
    far = [codes(two, None, 1717960704, 29, clamped)[0].tolist() for clamped in (True, False)]
    assert far[0] == far[1] == [32766, 2]
    alone = torch.tensor([[True, False]])
    assert codes(two, alone, 1717960704, 29, False).tolist() == [[-32768, 0]]


@pytest.mark.parametrize(("m", "e"), [(1717960704, 34), (1717960704, 28), (2**31 - 1, 31), (2**30, 47)])
@pytest.mark.parametrize("clamped", [True, False])
def test_rows_are_the_page(m, e, clamped):
    """Masked keys above the others, an empty row, one key, equal codes, and both ends of int16 where they are legal."""
    torch.manual_seed(7)
    limit = min(2**15, (2**31 >> max(31 - e, 0)) // 2)
    spread = torch.logspace(0, 4, 30).unsqueeze(-1)
    scores = (torch.randn(2, 30, 19) * spread).round().clamp(-limit, limit - 1)
    allowed = torch.rand(30, 19) < 0.7
    allowed[0], allowed[1], allowed[2:4] = False, torch.arange(19) == 11, True
    scores[0, 2], scores[0, 3, :2] = 5, torch.tensor([-limit, limit - 1])
    got = codes(scores, allowed, m, e, clamped)
    pairs = [(q, ok) for part in scores.long().tolist() for q, ok in zip(part, allowed.tolist(), strict=True)]
    assert got.dtype == torch.float32
    assert got.flatten(0, 1).tolist() == [py_softmax_int16(q, ok, m, e, clamped) for q, ok in pairs]


@pytest.mark.parametrize("row", [[0, -65534], [0, -65535]])
def test_the_furthest_key_has_the_first_code_of_the_table(row):
    """Where the table falls from 12800 to 0 between its first two entries, at the ratios 1 and 2."""
    steep = [12800, 0, *EXP[2:]]
    for e in (30, 29):
        want = py_softmax_int16(row, [True] * len(row), 2**30, e, exp=steep)
        assert codes(narrow([row]), None, 2**30, e, exp=steep)[0].tolist() == want
        assert want[1] > 8000


def test_a_sum_that_rounds_up_to_2_has_the_last_code_of_the_table():
    # 9 * 29127 = 2^18 - 1, h = 14: v = 2^17, clamped to code 32767, 127/128 of the way from 12800 to 0: 100.
    steep = [*RECIPROCAL[:-2], 12800, 0]
    got = codes(narrow([[0] * 9]), None, 2**30, 31, exp=[29127] * 513, reciprocal=steep)
    assert got[0].tolist() == [(29127 * 100 + 2**16) >> 17] * 9


def test_lookup_interpolates_and_rounds_half_up():
    table = torch.arange(513) * -3
    table[512] = 2000
    v = torch.tensor([-32768, -32747, -32746, -1, 0, 127, 32640, 32704, 32767])
    # 21/128 of -3 is -0.492 and 22/128 -0.516; 127/128 is -2.977. The last entry lies 3533 above that before it.
    assert lookup(table, v).tolist() == [0, 0, -1, -768, -768, -771, -1533, 234, 1972]
    assert lookup(torch.tensor([0] * 256 + [0, 1] + [0] * 255), torch.tensor([63, 64, 65])).tolist() == [0, 1, 1]


def test_the_gradient_is_the_jacobian_in_units_of_the_output():
    scores = narrow([[3000, -2000, 0, 9000], [1, 2, 3, 4]], gradient=True)
    allowed = torch.tensor([[True, True, True, False], [False] * 4])
    weights = torch.tensor([1.0, -2, 5, 7], dtype=torch.float64)
    (codes(scores, allowed, 1717960704, 31) * weights).sum().backward()
    p = torch.softmax(scores.detach()[0, :3].double() * 0.001, -1)
    want = 2**15 * 0.001 * p * (weights[:3] - (weights[:3] * p).sum())
    torch.testing.assert_close(scores.grad[0, :3].double(), want, rtol=1e-5, atol=1e-6)
    assert scores.grad[0, 3] == 0 and scores.grad[1].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"m": 2**30 - 1}, "multiplier 1073741823; allowed are 1073741824 to 2147483647"),
        ({"e": 63}, "shift 63; allowed are 0 to 62"),
        ({"exp": EXP[:-1]}, r"exp table of shape \(512,\); allowed is \(513,\)"),
        ({"exp": [-1, *EXP[1:]]}, "exp table -1; allowed are 0 to 32767"),
        ({"exp": [*EXP[1:], 2**15]}, "exp table 32768; allowed are 0 to 32767"),
        ({"exp": [*EXP[:-2], 2**14 - 1, 2**14 - 1]}, "greatest score 16383; allowed are 16384 to 32767"),
        ({"reciprocal": RECIPROCAL[1:]}, r"reciprocal table of shape \(512,\); allowed is \(513,\)"),
        ({"reciprocal": [*RECIPROCAL[1:], -(2**15) - 1]}, "reciprocal table -32769; allowed are -32768 to 32767"),
    ],
)
def test_constants_that_the_page_does_not_allow_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        codes(narrow([[1, 2]]), None, **{"m": 2**30, "e": 31, **change})


def test_a_distance_has_16_bits_and_a_row_a_sum_of_31():
    with pytest.raises(ValueError, match="scores 65536 apart; allowed are less than 65536, 16 bits"):
        codes(narrow([[0, 65536]]), None, 2**30, 40)
    assert codes(narrow([[0, 65535]]), None, 2**30, 30).tolist() == [[2, 32766]]
    # 2^(31-16) times 65535 is below 2^31, 2^(31-15) times 32769 is not
    codes(narrow([[0, 65535]]), None, 2**30, 16)
    with pytest.raises(ValueError, match="doubling high multiply takes at most 2\\^31"):
        codes(narrow([[0, 32769]]), None, 2**30, 15)
    keys = (2**31 - 1) // 32767
    codes(torch.zeros(1, keys), None, 2**30, 31)
    with pytest.raises(ValueError, match=f"softmax_int16 keys {keys + 1}; allowed are 1 to {keys}"):
        codes(torch.zeros(1, keys + 1), None, 2**30, 31)
