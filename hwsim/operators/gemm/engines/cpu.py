"""Which engines this processor has, and which one is used."""

import ctypes
import functools
import os
import platform

from llvmlite import binding

ENGINES = ("amx", "avx512-vnni", "avx-vnni", "avx2", "portable")
"""Every engine, the best first."""
NUMBERS = {name: number for number, name in enumerate(ENGINES)}

_NEEDS = {
    "amx": (("amx-tile", "amx-int8", "avx512f", "avx512vnni"),),
    "avx512-vnni": (("avx512f", "avx512vnni"),),
    "avx-vnni": (("avxvnni",), ("avx512vnni", "avx512vl")),
    "avx2": (("avx2",),),
    "portable": ((),),
}
"""Features that an engine needs, as alternatives."""
_OTHER_PROCESSOR = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


@functools.cache
def tiles_permitted() -> bool:
    """Whether the kernel lets this process use the tile registers; it is asked once."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0)


def available_with(features: dict[str, bool]) -> tuple[str, ...]:
    """The engines that a processor of these features has, the best first, whatever the kernel says."""
    return tuple(
        engine
        for engine in ENGINES
        if any(all(features.get(feature, False) for feature in needs) for needs in _NEEDS[engine])
    )


@functools.cache
def available() -> tuple[str, ...]:
    """The engines of this processor, the best first; only `portable` if Numba compiles for another one."""
    if any(os.environ.get(name) for name in _OTHER_PROCESSOR) or os.environ.get("NUMBA_ENABLE_AVX") == "0":
        return ENGINES[-1:]
    try:
        features = dict(binding.get_host_cpu_features())
    except RuntimeError:  # a processor that LLVM does not know
        features = {}
    return tuple(one for one in available_with(features) if one != "amx" or tiles_permitted())


def chosen(name: str | None, engines: tuple[str, ...]) -> str:
    """The engine of that name, or the best.

    Raises
    ------
    ValueError
        For a name that is none of an engine, or of one that this processor has not.
    """
    if not name:
        return engines[0]
    if name not in engines:
        got = f"HWSIM_GEMM is {name!r}, {'not available here' if name in ENGINES else 'no engine'}"
        raise ValueError(f"{got}; known: {', '.join(ENGINES)}; available: {', '.join(engines)}")
    return name


def eight_bits_of(engine: str) -> str:
    """The form of operands that is faster for 8-bit codes; engines without such a dot product take words."""
    return "pairs" if engine in ("avx2", "portable") else "quads"
