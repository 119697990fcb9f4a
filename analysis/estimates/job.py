"""A whole `hwsim estimate`: check, price, write files, return what is printed."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import RenderableType

from analysis.estimates import compare as comparing
from analysis.estimates import gemm, records, tables
from analysis.estimates.applies import check_content, check_input, flag, refuse_untiled
from analysis.estimates.machine import machine, options
from analysis.estimates.request import Priced, Request, priced
from analysis.inspect.provenance import Provenance, program_provenance
from analysis.output.places import Content
from analysis.output.reserved import Outputs
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.files import readable_json


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown and written, by the names of the options."""

    compare: tuple[str, str] | None = None
    sort: str = "energy"
    all_rows: bool = False
    csv: Path | None = None
    json: Path | None = None
    trace: Path | None = None
    plots: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """What is written but figures, by option."""
        found = {"--csv": self.csv, "--json": self.json, "--trace": self.trace}
        return {name: path for name, path in found.items() if path is not None}

    @property
    def most(self) -> int | None:
        """Layers that are printed."""
        return None if self.all_rows else tables.DEAREST


def check(request: Request, output: Output) -> None:
    """Refuse options that exclude each other or would change nothing.

    Raises
    ------
    ValueError
        Names the option.
    """
    asked = _asked(request, output)
    for one in asked:
        check_input(one)
    tables.check_sort(output.sort)
    if asked[0].untiled:
        refuse_untiled({name: getattr(output, name) for name in ("compare", "trace", "plots")})
    if output.compare is not None:
        _refuse(output, ("csv", "trace", "plots"), "is of one estimate, not of two; leave out it or --compare")


def run(request: Request, output: Output, places: Outputs) -> list[RenderableType]:
    """Price, write the files, and return what to print.

    Raises
    ------
    ValueError
        For every fault of what is priced; nothing is written then.
    """
    if output.compare is not None:
        return _compared(_asked(request, output), output, output.compare, places)
    if request.untiled:
        return _untiled(request, output, places)
    found = priced(request)
    return _written(request, found, _estimate(request, found), output, places)


def _estimate(request: Request, found: Priced) -> Estimate:
    mapping, hardware = options(request), machine(request)
    check_content(request, found.workload, hardware)
    if found.program is not None and mapping.sparsity is not None:
        from hwsim.accelerator.lowered import check_sparsity

        check_sparsity(found.program, mapping.sparsity)
    return estimate(found.workload, hardware, mapping)


def _origin(found: Priced) -> Provenance | None:
    return None if found.program is None else program_provenance(found.program)


def _written(
    request: Request, found: Priced, result: Estimate, output: Output, places: Outputs
) -> list[RenderableType]:
    """Everything is made before anything is written."""
    origin = _origin(found)
    notes: list[str] = []
    record = records.estimate_record(result, origin)
    made: dict[str, Content] = {}
    if output.csv is not None:
        made["--csv"] = records.csv_text(records.layer_rows(result))
    if output.json is not None:
        made["--json"] = readable_json(gemm.tiled_record(result, record) if request.gemm else record)
    if output.trace is not None:
        from hwsim.accelerator.trace import trace

        made["--trace"] = trace(result).encode()
    if output.plots is not None:
        from analysis.estimates.figures import pictures

        made["--plots"], notes = pictures(request, found, result)
    for option, content in made.items():
        places.write(option, content)
    return [*tables.tables(result, origin, output.sort, output.most), *notes]


def _asked(request: Request, output: Output) -> Sequence[Request]:
    """What is priced: one, or the two that are compared."""
    return [request] if output.compare is None else comparing.asked(request, output.compare)


def _compared(
    asked: Sequence[Request], output: Output, names: tuple[str, str], places: Outputs
) -> list[RenderableType]:
    sides = comparing.alike(asked)
    found = [priced(side) for side in sides]
    a, b = (_estimate(side, its) for side, its in zip(sides, found, strict=True))
    origin = _origin(found[0])
    if output.json is not None:
        places.write("--json", readable_json(comparing.comparison_record(names, a, b, origin)))
    return comparing.comparison_tables(names, a, b, output.sort, output.most, origin)


def _untiled(request: Request, output: Output, places: Outputs) -> list[RenderableType]:
    workload, hardware = priced(request).workload, machine(request)
    check_content(request, workload, hardware)
    result = gemm.price_untiled(workload, hardware, options(request))
    if output.csv is not None:
        places.write("--csv", records.csv_text(gemm.untiled_rows(result)))
    if output.json is not None:
        places.write("--json", readable_json(gemm.untiled_record(result)))
    return gemm.untiled_tables(result, output.sort, output.most)


def _refuse(output: Output, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(output, name) is not None:
            raise ValueError(f"{flag(name)} {why}")
