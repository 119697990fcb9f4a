"""How many threads everything may use, and what of others is installed."""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numba

PEERS = ("ctranslate2", "onnxruntime")
"""What the extra `bench` installs to be compared with."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int) -> int:
    """Refuse more threads than cores: they would wait for each other, not work.

    Raises
    ------
    ValueError
        Names the option.
    """
    if not 1 <= threads <= usable_cores():
        raise ValueError(f"--threads {threads}; allowed: 1 to {usable_cores()}, the cores that this process may use")
    return threads


def launched_threads() -> int:
    """Threads that numba started with: the most that it can use."""
    return int(getattr(numba.config, "NUMBA_NUM_THREADS"))  # noqa: B009  # its stubs do not know the name


def set_threads(threads: int) -> None:
    """For every library of this process; peers that open sessions are told when they do."""
    import torch

    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, launched_threads()))


def peer(name: str) -> Any:
    """The module of a peer, or torch, or None where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return None


def version_of(name: str) -> str | None:
    """Of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missing() -> list[str]:
    """One line for each peer that is left out."""
    return [
        f"{name} is not installed and left out; `pip install 'hwsim[bench]'` brings it"
        for name in PEERS
        if peer(name) is None
    ]
