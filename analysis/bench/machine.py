"""The computer, as far as speed depends on it, and what this installation would use of it."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numba

import hwsim
from analysis.bench.threads import PEERS, peer, usable_cores, version_of
from analysis.output.context import processor
from hwsim.operators.gemm.engines import ENGINE, available

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Flags of the kernel's list that an integer product can use: x86, then Arm."""
VARIABLE = "HWSIM_GEMM"
LIBRARIES = ("numpy", "numba", "llvmlite", "torch", "safetensors", "msgspec")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
CACHE_FILES = ("*.nbi", "*.nbc")


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Compiled kernels on disk."""

    folder: str
    files: int
    bytes: int
    writable: bool


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Who multiplies, and why."""

    chosen: str
    available: list[str]
    why: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything; versions and threads are None where a library is not installed, caches are in bytes."""

    processor: str
    features: dict[str, bool]
    cores: int
    threads: dict[str, int | None]
    caches: dict[str, int]
    engine: Engine
    python: str
    hwsim: str | None
    versions: dict[str, str | None]
    numba_cache: Cache


def examine() -> Machine:
    """The computer and the installation that this process has."""
    flags, torch = cpu_flags(), peer("torch")
    versions = {name: version_of(name) for name in (*LIBRARIES, *PEERS)}
    return Machine(
        processor=processor(),
        features={name: name in flags for name in FEATURES},
        cores=usable_cores(),
        threads={"numba": numba.get_num_threads(), "torch": None if torch is None else torch.get_num_threads()},
        caches=cache_sizes(CACHES),
        engine=engine(),
        python=platform.python_version(),
        hwsim=version_of("hwsim"),
        versions=versions if torch else versions | {"torch": None},
        numba_cache=numba_cache(),
    )


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Features by the kernel's names; empty where it lists none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return set()
    listed = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(listed, "").split())


def cache_sizes(folder: Path) -> dict[str, int]:
    """Bytes by name, L1d, L1i, L2 and so on, of the first core."""
    found = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        name = f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")
        unit = {"K": 1 << 10, "M": 1 << 20}.get(size[-1:], 1)
        found[name] = int(size.rstrip("KM")) * unit
    return found


def engine() -> Engine:
    """Of the products."""
    engines, asked = list(available()), os.environ.get(VARIABLE)
    why = f"{VARIABLE}={asked}" if asked else "the fastest that this CPU has"
    return Engine(chosen=ENGINE, available=engines, why=why)


def numba_cache() -> Cache:
    """Where numba keeps compiled kernels: the folder that its variable names, else beside the sources."""
    own = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(own) if own else Path(hwsim.__file__).parent
    files = [path for pattern in CACHE_FILES for path in folder.rglob(pattern)]
    return Cache(
        folder=str(folder),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        writable=os.access(folder, os.W_OK),
    )
