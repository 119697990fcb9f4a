"""The compiled products of every engine, and the one that the process uses under a name of its own.

A caller compiled by Numba does not hold the engine's code: it calls a symbol, which is bound when the process starts.
So no cache of a caller knows an engine, and none can bring back the code of another one. The engines' own code is in
caches whose keys hold the engine's name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import binding
from numba import types

from hwsim.operators.gemm.engines import amx
from hwsim.operators.gemm.engines.blocks import KERNELS, Kernel
from hwsim.operators.gemm.engines.emission import FORMS

ADDRESSES = (types.intp,) * 10
SIGNATURE = types.intp(*ADDRESSES)


class Kernels(NamedTuple):
    """The three products of an engine, each on addresses: see `blocks.kernel`."""

    quads_unsigned: Kernel
    quads_signed: Kernel
    pairs: Kernel


def kernels_of(engine: str) -> Kernels:
    """The products of an engine."""
    if engine == "amx":
        return Kernels(amx.quads_unsigned, amx.quads_signed, KERNELS["avx512-vnni pairs"])
    return Kernels(*(KERNELS[f"{engine} {form}"] for form in FORMS))


def symbol(form: str) -> str:
    """What callers call."""
    return f"hwsim_gemm_{form}"


def bind(engine: str) -> None:
    """Compile the engine's products, or load them from the cache, and bind the symbols to them."""
    for form, product in kernels_of(engine)._asdict().items():
        binding.add_symbol(symbol(form), address(product))


def address(product: Any) -> int:
    """Where the native function of a product of addresses is."""
    product.compile(ADDRESSES)
    compiled = product.overloads[ADDRESSES]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name))


External = Callable[..., int]
quads_unsigned: External
quads_signed: External
pairs: External
quads_unsigned, quads_signed, pairs = (types.ExternalFunction(symbol(form), SIGNATURE) for form in FORMS)
