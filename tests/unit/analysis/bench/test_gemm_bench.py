"""Products: what is drawn, that peers are held against us, and what a row says."""

import sys

import numpy as np
import pytest

from analysis.bench import gemm
from analysis.bench.gemm import Case
from analysis.bench.onnx_model import matmul_integer
from analysis.bench.timing import Spread
from hwsim.operators.gemm.engines import ENGINE, available

CASES = [
    Case(m=3, k=5, n=4),
    Case(m=3, k=5, n=4, signed=False),
    Case(m=2, k=3, n=2, weight_bits=4),
    Case(batch=6, m=2, k=3, n=5),
    Case(batch=6, m=2, k=3, n=5, signed=False),
]


def alike(seconds: float) -> Spread:
    return Spread(min=seconds, median=seconds, max=seconds)


def plain(a: np.ndarray, b: np.ndarray) -> list[int]:
    """a @ b.T in Python integers, one row after the other."""
    left, right = a.reshape(-1, *a.shape[-2:]).tolist(), b.reshape(-1, *b.shape[-2:]).tolist()
    return [
        sum(x * y for x, y in zip(row, column, strict=True))
        for one, other in zip(left, right, strict=True)
        for row in one
        for column in other
    ]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.batch} {case.operands}")
def test_every_contender_multiplies(case: Case, threads: int) -> None:
    a, b = gemm.draw(case, np.random.default_rng(3))
    wanted = plain(a, b)
    products = gemm.peers(case, a, b, threads) | {
        name: engine(a, b) for name, engine in gemm.engines(case, threads).items()
    }
    assert {"float32_blas", *((ENGINE,) if case.batch > 1 else available())} <= set(products)
    assert ("torch_int_mm" in products) == (case.signed and case.batch == 1)
    for name, product in products.items():
        assert np.asarray(product()).astype(np.int64).reshape(-1).tolist() == wanted, name


def test_codes_fill_their_widths() -> None:
    a, b = gemm.draw(Case(m=64, k=64, n=64, signed=False, weight_bits=4), np.random.default_rng(0))
    assert (a.min(), a.max(), b.min(), b.max()) == (0, 255, -8, 7)
    a, b = gemm.draw(Case(m=64, k=64, n=64), np.random.default_rng(0))
    assert (a.min(), a.max(), b.min(), b.max()) == (-128, 127, -128, 127)


def test_a_row_by_hand() -> None:
    case = Case(batch=3, m=10, k=20, n=50, weight_bits=6)
    seconds = {"hwsim": alike(2e-6), "float32_blas": alike(1e-6), "torch_int_mm": alike(8e-6)}
    row = gemm.row(case, "engine", 2, seconds, {"float32_blas": True, "torch_int_mm": False})
    assert (row.batch, row.m, row.k, row.n, row.threads, row.engine) == (3, 10, 20, 50, 2, "engine")
    assert row.operands == "int8 x int6"
    assert row.gops == pytest.approx(30.0)  # 2 * 3 * 10 * 20 * 50 operations in 2 us
    assert row.ratio == {"torch_int_mm": None, "float32_blas": 0.5, "onnxruntime": None}  # a wrong product has none


def test_a_peer_with_another_product_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(case: Case, a: np.ndarray, b: np.ndarray, threads: int) -> dict[str, gemm.Product]:
        right = (a @ b.T).astype(np.int32)
        return {
            "float32_blas": lambda: right,
            "onnxruntime": lambda: right + (np.arange(right.size) == 1).reshape(2, 2),
        }

    monkeypatch.setattr(gemm, "peers", wrong)
    row, *others = gemm.measure([Case(m=2, k=3, n=2)], threads=1, repeats=1, rng=np.random.default_rng(0))
    assert [one.engine for one in (row, *others)] == list(available())
    assert row.exact == {"float32_blas": True, "onnxruntime": False}
    assert row.ratio["onnxruntime"] is None and row.ratio["float32_blas"] is not None
    assert set(row.seconds) == {"hwsim", "float32_blas", "onnxruntime"}


def test_a_missing_peer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    case = Case(m=2, k=3, n=2)
    assert "onnxruntime" not in gemm.peers(case, *gemm.draw(case, np.random.default_rng(0)), 1)


def test_the_model_of_one_node_byte_by_byte() -> None:
    """The parts of the format that a reader can check with a pencil: lengths, names, types, shapes."""
    found = matmul_integer(np.zeros((2, 300), np.uint8), np.zeros((300, 1), np.int8), 7, constant=False)
    assert found.startswith(b"\x08\x08\x3a")  # ir_version 8; field 7, the graph
    assert found.endswith(b"\x42\x04\x0a\x00\x10\x0d")  # field 8: domain "", version 13
    # name "a"; type: a tensor of elements of type 2 (uint8), dimensions 2 and 300, which is 0xac 0x02 in base 128
    assert b"\x0a\x01a\x12\x0f\x0a\x0d\x08\x02\x12\x09\x0a\x02\x08\x02\x0a\x03\x08\xac\x02" in found
    # the zero point: no dimensions, type 2, name "z", one raw byte
    assert b"\x10\x02\x42\x01z\x4a\x01\x07" in found


@pytest.mark.parametrize("low", [-128, 0])
def test_the_ends_of_both_ranges(low: int) -> None:
    """Codes that no other zero point than the one in use would hold: (-128, 127) or (0, 255) with -128 and 127."""
    a, b = np.array([[low, low + 255]], np.int32), np.array([[-128, 127]], np.int32)
    wanted = -128 * low + 127 * (low + 255)
    for name, product in gemm.peers(Case(m=1, k=2, n=1, signed=low < 0), a, b, 1).items():
        assert int(product()[0, 0]) == wanted, name
