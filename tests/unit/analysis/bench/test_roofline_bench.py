"""The roof and the kernels beneath it, by hand."""

import pytest

from analysis.bench import gemm, operators, roofline
from analysis.bench.gemm import Case
from analysis.bench.timing import Spread


def product(case: Case, ours: float, **others: float) -> gemm.Row:
    seconds = {name: Spread(min=one / 2, median=one, max=one) for name, one in {"hwsim": ours, **others}.items()}
    return gemm.row(case, "engine", 1, seconds, {"float32_blas": True, "onnxruntime": True, "torch_int_mm": False})


def test_the_peak_is_the_fastest_turn_of_an_exact_integer_product() -> None:
    case = Case(m=10, k=10, n=50)  # 10,000 operations
    slow = product(case, 1e-6, onnxruntime=1e-6)
    fast = product(case, 2e-6, onnxruntime=5e-7, float32_blas=1e-9, torch_int_mm=1e-9)  # real, and wrong
    gops, by, on = roofline.peak([slow, fast])
    assert gops == pytest.approx(40.0)  # in 0.25 us
    assert (by, on) == ("onnxruntime", "(10, 10, 50) int8 x int8")
    assert roofline.peak([slow.__class__(**{**vars(slow), "seconds": {"hwsim": slow.seconds["hwsim"]}})])[1] == "engine"


@pytest.mark.parametrize(("peak", "top", "share"), [(1000.0, 25.0, 0.4), (20.0, 20.0, 0.5)])
def test_a_product_is_held_against_the_lower_roof(peak: float, top: float, share: float) -> None:
    """(2, 4, 3), batch 5, 4-bit weights: 5 * (8 + 6 + 24) = 190 bytes, 240 operations; here in 24 ns, 10 Gop/s."""
    point = roofline.product_point(product(Case(batch=5, m=2, k=4, n=3, weight_bits=4), 24e-9), peak, 25 * 190 / 240)
    assert point.per_byte == pytest.approx(240 / 190)
    assert (point.rate, point.roof, point.share) == pytest.approx((10.0, top, share))
    assert point.engine == "engine"


def test_an_operator_is_held_against_a_copy() -> None:
    """8 bytes an element and 40 GB/s: 5e9 elements a second at most, 2e9 of them in 0.5 ns each."""
    spread = Spread(min=0.1, median=0.5, max=0.9)
    row = operators.Row(
        operator="add", target="tflm", shape=[2], elements=2, ns_per_element=spread, bytes_per_element=8.0
    )
    point = roofline.operator_point(row, 40.0)
    assert (point.rate, point.roof, point.share) == pytest.approx((2.0, 5.0, 0.4))
