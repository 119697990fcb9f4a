"""Golden model of an integer Transformer accelerator: codes in, codes out, bit for bit.

Integers only; torch is never imported. The machine and the kernels, which are compiled, are imported at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hwsim.compare import compare
from hwsim.formats import Accumulator, Counter, Granularity, IntFormat, Overflow, Rounding, Scaling
from hwsim.program import Program

if TYPE_CHECKING:
    from hwsim import kernels
    from hwsim.accelerator.cost.estimate import estimate
    from hwsim.accelerator.lowered import program_workload
    from hwsim.accelerator.presets import hardware
    from hwsim.accelerator.workloads import workload
    from hwsim.machine import Machine
    from hwsim.program.loading import load

__all__ = [
    "Accumulator",
    "Counter",
    "Granularity",
    "IntFormat",
    "Machine",
    "Overflow",
    "Program",
    "Rounding",
    "Scaling",
    "compare",
    "estimate",
    "hardware",
    "kernels",
    "load",
    "program_workload",
    "workload",
]

_AT_FIRST_USE = {
    "Machine": "hwsim.machine",
    "estimate": "hwsim.accelerator.cost.estimate",
    "hardware": "hwsim.accelerator.presets",
    "load": "hwsim.program.loading",
    "program_workload": "hwsim.accelerator.lowered",
    "workload": "hwsim.accelerator.workloads",
}


if not TYPE_CHECKING:  # or a type checker would take every name

    def __getattr__(name: str) -> Any:
        if name == "kernels":
            return import_module("hwsim.kernels")
        if name in _AT_FIRST_USE:
            return getattr(import_module(_AT_FIRST_USE[name]), name)
        raise AttributeError(f"hwsim has no {name!r}; its names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
