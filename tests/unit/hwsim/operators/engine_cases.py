"""Products of the engines, called by address, beside products and packed operands made by NumPy alone."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from hwsim.operators.gemm.engines import available
from hwsim.operators.gemm.engines.amx import TILE_KERNELS
from hwsim.operators.gemm.engines.kernels import kernels_of

Array = np.ndarray[Any, Any]
FRAME, UNTOUCHED = 3, 1234567


class Form(NamedTuple):
    """How the operands of a form are stored."""

    a: type[np.integer]
    b: type[np.integer]
    size: int
    groups: int
    """Elements of k in a group, and what the number of groups is a multiple of."""


FORMS = {
    "quads_unsigned": Form(np.uint8, np.int8, 4, 16),
    "quads_signed": Form(np.int8, np.int8, 4, 16),
    "pairs": Form(np.int16, np.int16, 2, 1),
}


class Case(NamedTuple):
    """Operands (m, k filled up), (n, k), and the bias, (n,)."""

    a: Array
    b: Array
    bias: Array


def products() -> dict[tuple[str, str], Callable[..., int]]:
    """Every product that this processor has, and those of emulated tiles, by engine and form."""
    found = {(engine, form): getattr(kernels_of(engine), form) for engine in available() for form in FORMS}
    emulated = {("emulated", form): TILE_KERNELS[f"emulated {form}"] for form in FORMS if form != "pairs"}
    return {**found, **emulated}


def packed(b: Array, form: Form) -> Array:
    """(panels, groups, 16, size), zeros beyond n and k."""
    n, k = b.shape
    panels, groups = -(-n // 16), -(-k // (form.size * form.groups)) * form.groups
    padded = np.zeros((panels * 16, groups * form.size), form.b)
    padded[:n, :k] = b
    return np.ascontiguousarray(padded.reshape(panels, 16, groups, form.size).transpose(0, 2, 1, 3))


def expected(case: Case) -> Array:
    """The sums in int64, brought to 32 bits."""
    k = case.b.shape[1]
    sums = case.a[:, :k].astype(np.int64) @ case.b.astype(np.int64).T + case.bias
    return ((sums + (1 << 31)) % (1 << 32) - (1 << 31)).astype(np.int64)


def any_of(rng: np.random.Generator, dtype: type[np.integer], shape: tuple[int, ...]) -> Array:
    """All values, or the two ends alone."""
    info = np.iinfo(dtype)
    if rng.integers(4) == 0:
        return rng.choice(np.array([info.min, info.max], dtype), shape)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def cases(form: Form, seed: int, count: int, most: int = 71) -> Iterator[Case]:
    """Ragged products; what fills up the rows of a is as random as the rest."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        m, k, n = (int(size) for size in rng.integers(1, most, 3))
        k_filled = -(-k // form.size) * form.size + form.size * int(rng.integers(2)) * (k % 64 == 0)
        k = k_filled if k % 64 == 0 else k
        yield Case(any_of(rng, form.a, (m, k_filled)), any_of(rng, form.b, (n, k)), any_of(rng, np.int32, (n,)))


def multiplied(product: Callable[..., int], case: Case, form: Form) -> Array:
    """The result inside a frame that must stay untouched, (m + 2 * FRAME, n + 2 * FRAME)."""
    m, n, b = len(case.a), len(case.b), packed(case.b, form)
    framed = np.full((m + 2 * FRAME, n + 2 * FRAME), UNTOUCHED, np.int32)
    inside = framed[FRAME:-FRAME, FRAME:-FRAME]
    of_a = case.a.ctypes.data, case.a.strides[0], m, case.a.shape[1] // form.size
    product(*of_a, b.ctypes.data, b.strides[0], case.bias.ctypes.data, n, inside.ctypes.data, inside.strides[0])
    return framed


def check_product(product: Callable[..., int], case: Case, form: Form) -> None:
    """The product is NumPy's, and nothing beside it was written."""
    framed = multiplied(product, case, form)
    want = np.full(framed.shape, UNTOUCHED, np.int64)
    want[FRAME:-FRAME, FRAME:-FRAME] = expected(case)
    shapes = case.a.shape, case.b.shape
    assert np.array_equal(framed, want), f"{shapes}: {np.argwhere(framed != want)[:3].tolist()}"
