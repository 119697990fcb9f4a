"""GELU by polynomial, and functions by table."""

import numpy as np
import pytest

from tests.conformance import ours
from tests.conformance.cases import CODES, generator
from tests.conformance.comparison import Results
from tests.conformance.oracles import ibert, litert, tosa
from tests.oracle.activation import code_table
from tests.oracle.constants import ibert_gelu_constants

INT16 = np.arange(-(1 << 15), 1 << 15)
OPERATORS = {"gelu": "GELU", "sigmoid": "LOGISTIC", "tanh": "TANH"}
INPUT_SCALES = [0.0078125, 0.02, 0.037, 0.0625, 0.11]
FIXED_OUTPUT = {"sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0)}


def test_ibert_gelu(results: Results) -> None:
    """Every int16 code at every power of two that I-BERT's GELU takes as a scale."""
    comparison = results.start("ibert_gelu", "transformers", "I-BERT")
    for exponent in range(16):
        b, c, offset = ibert_gelu_constants(2.0**-exponent)
        got = ours.ibert_gelu(INT16, b=b, c=c, offset=offset)
        comparison.add(got, -ibert.gelu(INT16, 2.0**-exponent), case=f"scale 2^-{exponent}")
    comparison.finish(min(CODES, 16 << 16))


@pytest.mark.parametrize("function", list(OPERATORS))
def test_int8_table(results: Results, function: str) -> None:
    """LiteRT evaluates the function in binary32: no entry's real value is so near to a tie that it matters."""
    comparison = results.start("table_lookup", "ai-edge-litert", "LiteRT", case=f"int8 {function}")
    configurations = [(scale, zero) for scale in INPUT_SCALES for zero in (0, -128, 17)]
    for scale, zero in configurations:
        output = FIXED_OUTPUT.get(function, (scale * 0.73, zero // 2))
        q = generator(f"{function} {scale} {zero}").integers(-128, 128, -(-CODES // len(configurations)))
        q[:256] = np.arange(-128, 128)
        options = {"scales": (scale, output[0]), "zero_points": (zero, output[1])}
        want = litert.unary(OPERATORS[function], q.astype(np.int8), **options)
        in_scale, out_scale = (float(np.float32(value)) for value in (scale, output[0]))
        table = code_table(function, in_scale, zero, (-128, 127), out_scale, output[1], (-128, 127))
        comparison.add(ours.table_lookup(q, table, -128), want, case=f"scale {scale}, zero point {zero}")
    comparison.finish(CODES)


@pytest.mark.parametrize("scales", [(2.0**-12, 2.0**-12), (2.0**-13, 1.7e-4), (1e-4, 1e-4), (5e-4, 3e-4)])
def test_int16_interpolation(results: Results, scales: tuple[float, float]) -> None:
    """Every int16 code of LiteRT's GELU.

    Its table is read off at the 512 codes where nothing is interpolated, the last entry from the last code.
    """
    comparison = results.start("table_interpolate", "ai-edge-litert", "LiteRT", case=f"int16 gelu {scales}")
    want = litert.unary("GELU", INT16.astype(np.int16), scales=scales).astype(np.int64)
    left, right = want[-128], want[-1]
    ends = left + (((INT16 - left) * 127 + 64) >> 7)
    last = INT16[np.flatnonzero(ends == right)[0]]
    got = ours.table_interpolate(INT16, np.append(want[::128], last))
    comparison.add(got, want, case=f"scales {scales}")
    comparison.finish(1 << 16)


def test_tosa_table(results: Results) -> None:
    """TABLE leaves 7 fractional bits, which a RESCALE takes off."""
    comparison = results.start("table_interpolate", "tosa-tools", "TOSA TABLE and RESCALE")
    for batch in range(-(-CODES // INT16.size)):
        rng = generator(f"TABLE {batch}")
        table = np.clip(np.cumsum(rng.integers(-500, 505, 513)), -32768, 32767).astype(np.int16)
        if batch == 0:
            table = np.where(np.arange(513) % 2 == 0, -16384, 16383).astype(np.int16)
        wide = tosa.table(INT16.astype(np.int16), table)[:, None]
        half = np.array([1 << 30], np.int32), np.array([37], np.int8)
        want = tosa.rescale(wide, *half, rounding=tosa.SINGLE_ROUND, output=np.int16)[:, 0]
        comparison.add(ours.table_interpolate(INT16, table), want, case=f"table {batch}")
    comparison.finish(CODES)
