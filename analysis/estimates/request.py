"""What a user asks to have priced, on what, and how: options checked, and made into a workload and a machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from analysis.estimates.parsing import check_known, sparsity
from hwsim.accelerator.layers import Workload
from hwsim.accelerator.workloads import SCHEMES, WORKLOADS, read_gemm_csv, read_workload, workload
from hwsim.program import Program


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `hwsim estimate` that say what is priced, by their names there; None where not given."""

    program: Path | None = None
    workload: str | None = None
    model_file: Path | None = None
    gemm: Path | None = None
    config: str | None = None
    batch: int | None = None
    source_length: tuple[int, ...] = ()
    target_length: tuple[int, ...] = ()
    context: int | None = None
    beam: int | None = None
    accelerator: str | None = None
    array: str | None = None
    dataflow: str | None = None
    fold: str | None = None
    sram_kib: int | None = None
    clock_mhz: float | None = None
    bandwidth: float | None = None
    energy_table: str | None = None
    boundary: str | None = None
    objective: str | None = None
    tiles: str | None = None
    psum_bits: int | None = None
    attention: str | None = None
    sparsity: str | None = None
    zero_gating: Path | None = None

    @property
    def golden(self) -> bool:
        """A GEMM table on a machine made from the options: no accelerator was named."""
        return self.gemm is not None and self.accelerator is None

    @property
    def untiled(self) -> bool:
        """A GEMM table on an array without a scratchpad."""
        return self.golden and self.sram_kib is None


class Priced(NamedTuple):
    """A workload, and the program that it is of, if it is of one."""

    workload: Workload
    program: Program | None = None


# --- the workload -----------------------------------------------------------------------------------------------------


def priced(request: Request) -> Priced:
    """The workload that the options ask for.

    Raises
    ------
    ValueError
        For unknown names, files that cannot be read, and sizes that are not the model's.
    """
    if request.program is not None:
        return _of_program(request, request.program)
    if request.gemm is not None:
        return Priced(_of_gemm(request, request.gemm))
    if request.model_file is not None:
        return Priced(read_workload(request.model_file))
    return Priced(_of_shapes(request))


def _of_shapes(request: Request) -> Workload:
    assert request.workload is not None  # `check`
    check_known("--workload", request.workload, WORKLOADS)
    return workload(
        request.workload,
        _scheme(request),
        batch=request.batch,
        source_length=_one("--source-length", request.source_length),
        target_length=_one("--target-length", request.target_length),
        context=request.context,
        beam=request.beam,
    )


def _of_gemm(request: Request, path: Path) -> Workload:
    widths = SCHEMES[_scheme(request)]
    asked = sparsity(request.sparsity)
    return read_gemm_csv(path, widths.activation, widths.weight, output_bits=widths.activation, sparsity=asked)


def _scheme(request: Request) -> str:
    name = next(iter(SCHEMES)) if request.config is None else request.config
    check_known("--config", name, SCHEMES)
    return name


def _one(name: str, lengths: Sequence[int]) -> int | None:
    if len(lengths) > 1:
        raise ValueError(f"{name} is there {len(lengths)} times; a workload from shapes has one length")
    return lengths[0] if lengths else None


def _of_program(request: Request, path: Path) -> Priced:
    from hwsim.accelerator.lowered import program_workload
    from hwsim.program.loading import load

    program = load(path)
    zeros = None
    if request.zero_gating is not None:
        from analysis.estimates.zeros import read_zeros

        zeros = read_zeros(request.zero_gating, program)
    return Priced(program_workload(program, lengths(request), zeros), program)


def lengths(request: Request) -> list[tuple[int, int]]:
    """Source and target tokens of a program's sentences; 20 to 20 if none is given.

    Raises
    ------
    ValueError
        If they do not pair up.
    """
    sources, targets = request.source_length, request.target_length
    if len(sources) != len(targets):
        raise ValueError(
            f"--source-length is there {len(sources)} times, but --target-length {len(targets)} times; they go in pairs"
        )
    return list(zip(sources, targets, strict=True)) or [(20, 20)]
