"""Estimates along an axis: scratchpads of several sizes, decode steps at several context lengths."""

from collections.abc import Callable

import msgspec

from analysis.estimates.request import Priced, Request, lengths, priced
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Phase, Workload
from hwsim.accelerator.options import Options
from hwsim.accelerator.reading import read_toml
from hwsim.accelerator.workloads.custom import CustomWorkload
from hwsim.program import Program

SRAM_KIB = tuple(2**power for power in range(3, 11))
CONTEXTS = tuple(2**power for power in range(2, 12))
"""Keys of a decode step, its own included."""


def against_sram(workload: Workload, hardware: Hardware, options: Options) -> dict[int, Estimate]:
    """KiB for tiles to the estimate with a scratchpad of that size, beside what is kept between layers.

    Sizes that do not hold the workload are left out.
    """
    found, kept = {}, 1024 * hardware.sram.resident_kib
    for kib in SRAM_KIB:
        sram = msgspec.structs.replace(hardware.sram, capacity_bytes=1024 * kib + kept)
        try:
            found[kib] = estimate(workload, msgspec.structs.replace(hardware, sram=sram), options)
        except ValueError:  # no tile fits
            continue
    return found


def against_context(request: Request, found: Priced, hardware: Hardware, options: Options) -> dict[int, Estimate]:
    """Keys to the estimate of the decode step that has so many, its own included.

    Empty if the workload decodes nothing, or its file lists layers.
    """
    step = _stepper(request, found)
    estimates: dict[int, Estimate] = {}
    if step is None:
        return estimates
    for keys in CONTEXTS:
        try:
            workload = step(keys)
        except ValueError:  # more keys than the model has positions
            break
        estimates[keys] = estimate(workload, hardware, options)
    return estimates


def _stepper(request: Request, found: Priced) -> Callable[[int], Workload] | None:
    """What makes a workload of one decode step; None where there is no such step."""
    program = found.program
    if program is not None:
        source, _ = lengths(request)[0]
        return lambda keys: _program_step(program, source, keys)
    if "decode" not in [phase.name for phase in found.workload.phases]:
        return None
    if request.model_file is not None:
        file = request.model_file
        return lambda keys: _only_decode(_custom_step(read_toml(file, CustomWorkload, "workload"), keys))
    return lambda keys: _only_decode(_shape_step(request, keys))


def _program_step(program: Program, source: int, keys: int) -> Workload:
    from hwsim.accelerator.lowered import function_layers

    sizes = {"batch": 1, "source": source, "target": 1, "past": keys - 1}
    phase = Phase(name="decode", tokens=1, layers=function_layers(program, "decode_step", sizes))
    return Workload(name=program.manifest.name, scheme=program.manifest.scheme, source=str(source), phases=(phase,))


def _shape_step(request: Request, keys: int) -> Workload:
    return priced(msgspec.structs.replace(request, target_length=(1,), context=keys - 1)).workload


def _custom_step(told: CustomWorkload, keys: int) -> Workload:
    return msgspec.structs.replace(told, target_length=1, context=keys - 1).workload()


def _only_decode(workload: Workload) -> Workload:
    return msgspec.structs.replace(workload, phases=(next(p for p in workload.phases if p.name == "decode"),))
