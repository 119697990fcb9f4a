"""Matrix products of codes: what the machine calls, beside int8 and float32 products of others, each checked."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.bench import threads as threading
from analysis.bench.onnx_model import matmul_integer
from analysis.bench.timing import Spread, Work, interleaved, speedups
from hwsim.formats import Accumulator, Counter
from hwsim.operators.gemm import matmul
from hwsim.operators.gemm.engines import ENGINE, available, eight_bits_of, pack_centred, pairs_shape, quads_shape
from hwsim.operators.gemm.engines.kernels import kernels_of

Codes = NDArray[np.int32]
Product = Callable[[], NDArray[np.int32]]

PEERS = ("torch_int_mm", "float32_blas", "onnxruntime")
OURS = "hwsim"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One product (batch, m, k) x (batch, k, n); without a batch the second operand is a constant weight."""

    m: int
    k: int
    n: int
    batch: int = 1
    signed: bool = True
    """Of the first operand's codes, 8 bits wide."""
    weight_bits: int = 8

    @property
    def operations(self) -> int:
        """A multiplication and an addition each."""
        return 2 * self.batch * self.m * self.k * self.n

    @property
    def operands(self) -> str:
        return f"{'int8' if self.signed else 'uint8'} x int{self.weight_bits}"


SHAPES = (
    *((64, 512, 512), (256, 512, 512), (512, 512, 2048), (512, 2048, 512), (1024, 1024, 1024)),
    (1, 512, 512),
)
CASES = (
    *(Case(m=m, k=k, n=n) for m, k, n in SHAPES),
    *(Case(m=m, k=k, n=n, signed=False) for m, k, n in ((256, 512, 512), (512, 2048, 512), (1, 512, 512))),
    *(Case(m=256, k=512, n=512, weight_bits=bits) for bits in (6, 4)),
    Case(batch=256, m=32, k=64, n=32),
    Case(batch=256, m=32, k=32, n=64, signed=False),
    Case(batch=256, m=1, k=64, n=32),
    Case(batch=256, m=1, k=32, n=64, signed=False),
)
"""Layers of d_model 512; then scores and contexts of 64 sentences with 4 heads, whole and one decode step."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One engine on one case. A ratio is how many times as fast as the peer we are, None where it did not run.

    `exact`: whether the peer's product is ours, code by code.
    """

    engine: str
    operands: str
    batch: int
    m: int
    k: int
    n: int
    threads: int
    gops: float
    seconds: dict[str, Spread]
    exact: dict[str, bool]
    ratio: dict[str, float | None]


def draw(case: Case, rng: np.random.Generator) -> tuple[Codes, Codes]:
    """Codes a (m, k) and b (n, k), or with the batch before them, of the whole range of their widths."""
    lead = (case.batch,) if case.batch > 1 else ()
    low, high = (-128, 128) if case.signed else (0, 256)
    half = 1 << (case.weight_bits - 1)
    a = rng.integers(low, high, (*lead, case.m, case.k)).astype(np.int32)
    return a, rng.integers(-half, half, (*lead, case.n, case.k)).astype(np.int32)


def engines(case: Case, threads: int) -> dict[str, Callable[[Codes, Codes], Product]]:
    """Engine by name: a function of the operands that makes the call to time. Weights are packed before, codes narrow.

    Rows are shared out among threads, as the machine does. Products of two activations are those of `matmul`, by the
    engine of this process, on one thread; it packs the second operand.
    """
    if case.batch > 1:
        return {ENGINE: _public}
    return {name: partial(_engine, name, threads) for name in available()}


def _public(a: Codes, b: Codes) -> Product:
    left = a.astype(np.int8) if a.min() < 0 else a.astype(np.uint8)
    counters = np.zeros(len(Counter), np.int64)
    return lambda: np.asarray(matmul(left, b, None, accumulator=Accumulator(), counters=counters))


def _engine(name: str, threads: int, a: Codes, b: Codes) -> Product:
    """The engine's own product on a packed weight, as a plan of the machine calls it."""
    (m, k), n = a.shape, len(b)
    words = eight_bits_of(name) == "pairs"
    signed = words or bool(a.min() < 0)
    left = np.zeros((m, -(-k // 4) * 4), np.int16 if words else np.int8 if signed else np.uint8)
    left[:, :k] = a
    packed: NDArray[Any] = np.zeros(pairs_shape(n, k) if words else quads_shape(n, k), np.int16 if words else np.int8)
    pack_centred(b, 0, packed)
    kernels, bias, result = kernels_of(name), np.zeros(n, np.int32), np.empty((m, n), np.int32)
    multiply = kernels.pairs if words else kernels.quads_signed if signed else kernels.quads_unsigned
    groups, strides = -(-k // packed.shape[3]), (left.strides[0], packed.strides[0], result.strides[0])
    arrays = left, packed, bias, result
    places = [array.ctypes.data for array in arrays]
    size = m if m == 1 else -(-m // threads)

    def rows(first: int, kept: object = arrays) -> None:  # their addresses alone would not keep them
        count, a_at, result_at = min(size, m - first), places[0] + first * strides[0], places[3] + first * strides[2]
        multiply(a_at, strides[0], count, groups, places[1], strides[1], places[2], n, result_at, strides[2])

    pool = ThreadPoolExecutor(threads) if threads > 1 and m > 1 else None

    def product() -> NDArray[np.int32]:
        if pool is None:
            rows(0)
        else:
            list(pool.map(rows, range(0, m, size)))
        return result

    return product


def peers(case: Case, a: Codes, b: Codes, threads: int) -> dict[str, Product]:
    """The same product by others, in the types that they like best; made once, before the clock runs."""
    columns = np.ascontiguousarray(b.swapaxes(-1, -2))
    real = torch.from_numpy(a.astype(np.float32)), torch.from_numpy(columns.astype(np.float32))
    multiply = torch.mm if case.batch == 1 else torch.bmm
    found: dict[str, Product] = {"float32_blas": lambda: multiply(*real).numpy()}
    if case.signed and case.batch == 1:  # the one kind that torch has
        narrow = torch.from_numpy(a.astype(np.int8)), torch.from_numpy(columns.astype(np.int8))
        found["torch_int_mm"] = lambda: torch._int_mm(*narrow).numpy()
    if (runtime := threading.peer("onnxruntime")) is not None:
        found["onnxruntime"] = _onnxruntime(runtime, case, a, columns, threads)
    return found


def _onnxruntime(runtime: object, case: Case, a: Codes, columns: Codes, threads: int) -> Product:
    """MatMulInteger of uint8 and int8: signed codes get the zero point 128."""
    zero = 128 if case.signed else 0
    left, right = (a + zero).astype(np.uint8), columns.astype(np.int8)
    constant = case.batch == 1
    options = runtime.SessionOptions()  # type: ignore[attr-defined]  # a peer's module, loaded by name
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would slow whoever comes next
    session = runtime.InferenceSession(  # type: ignore[attr-defined]
        matmul_integer(left, right, zero, constant=constant), options, providers=["CPUExecutionProvider"]
    )
    feeds = {"a": left} if constant else {"a": left, "b": right}
    return lambda: np.asarray(session.run(None, feeds)[0])


def measure(cases: Sequence[Case], *, threads: int, repeats: int, rng: np.random.Generator) -> list[Row]:
    """Every engine on every case."""
    return [row for case in cases for row in _measure(case, threads, repeats, rng)]


def _measure(case: Case, threads: int, repeats: int, rng: np.random.Generator) -> list[Row]:
    a, b = draw(case, rng)
    others = peers(case, a, b, threads)
    rows = []
    for name, engine in engines(case, threads).items():
        ours = engine(a, b)
        wanted = ours().copy()
        exact = {peer: bool(np.array_equal(product(), wanted)) for peer, product in others.items()}
        work: dict[str, Work] = {OURS: ours, **others}
        rows.append(row(case, name, threads, interleaved(work, repeats), exact))
    return rows


def row(case: Case, engine: str, threads: int, seconds: dict[str, Spread], exact: dict[str, bool]) -> Row:
    """What was measured; a peer with another product has no ratio."""
    honest = [peer for peer in PEERS if exact.get(peer, False)]
    none = dict.fromkeys(PEERS)
    return Row(
        engine=engine,
        operands=case.operands,
        batch=case.batch,
        m=case.m,
        k=case.k,
        n=case.n,
        threads=threads,
        gops=case.operations / seconds[OURS].median / 1e9,
        seconds=seconds,
        exact=exact,
        ratio=none | speedups(seconds, OURS, honest),
    )
