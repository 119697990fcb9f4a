"""A whole `hwsim estimate`: check, price, write files, return what is printed."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import RenderableType

from analysis.estimates import compare as comparing
from analysis.estimates import gemm, records, tables
from analysis.estimates.machine import machine, options
from analysis.estimates.outputs import check_files, check_folder
from analysis.estimates.request import Priced, Request, check, flag, priced, refuse_untiled
from analysis.inspect.provenance import Provenance, program_provenance
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.files import write_whole


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


def run(request: Request, output: Output) -> list[RenderableType]:
    """Price, write the files, and return what to print.

    Raises
    ------
    ValueError
        For every fault of the request, and for files that cannot be written; nothing is written of a faulty request.
    """
    check(request)
    tables.check_sort(output.sort)
    if request.untiled:
        refuse_untiled({name: getattr(output, name) for name in ("trace", "plots")})
    if output.compare is not None:
        _refuse(output, ("csv", "trace", "plots"), "is of one estimate, not of two; leave out it or --compare")
    check_files(request.files | _records(output.compare), output.files)
    if output.compare is not None:
        return _compared(request, output, output.compare)
    if request.untiled:
        return _untiled(request, output)
    if output.plots is not None:
        check_folder("--plots", output.plots, output.files)
    found = priced(request)
    return _written(request, found, _estimate(request, found), output)


def _records(compared: tuple[str, str] | None) -> dict[str, Path]:
    return {f"--compare {name}": Path(name) for name in compared or () if name.endswith(".toml")}


def _estimate(request: Request, found: Priced) -> Estimate:
    mapping = options(request)
    if found.program is not None and mapping.sparsity is not None:
        from hwsim.accelerator.lowered import check_sparsity

        check_sparsity(found.program, mapping.sparsity)
    return estimate(found.workload, machine(request), mapping)


def _origin(found: Priced) -> Provenance | None:
    return None if found.program is None else program_provenance(found.program)


def _written(request: Request, found: Priced, result: Estimate, output: Output) -> list[RenderableType]:
    """Everything is made before anything is written."""
    origin = _origin(found)
    notes: list[str] = []
    record = records.estimate_record(result, origin)
    makers: list[Callable[[], None]] = []
    if output.csv is not None:
        makers.append(_file(output.csv, records.csv_text(records.layer_rows(result))))
    if output.json is not None:
        makers.append(_json(output.json, gemm.tiled_record(result, record) if request.gemm else record))
    if output.trace is not None:
        from hwsim.accelerator.trace import trace

        makers.append(_file(output.trace, trace(result).encode()))
    if output.plots is not None:
        from analysis.estimates.figures import pictures
        from analysis.output.folder import write_folder

        folder, (files, notes) = output.plots, pictures(request, found, result)
        makers.append(lambda: write_folder(folder, files))
    for make in makers:
        make()
    return [*tables.tables(result, origin, output.sort, output.most), *notes]


def _file(path: Path, content: str | bytes) -> Callable[[], None]:
    return lambda: write_whole(path, content)


def _json(path: Path, record: records.Record) -> Callable[[], None]:
    content = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    return _file(path, content)


def _compared(request: Request, output: Output, names: tuple[str, str]) -> list[RenderableType]:
    one, other = comparing.sides(request, names)
    found = [priced(side.request) for side in (one, other)]
    a, b = (_estimate(side.request, its) for its, side in zip(found, (one, other), strict=True))
    origin = _origin(found[0])
    if output.json is not None:
        _json(output.json, comparing.comparison_record(names, a, b, origin))()
    return comparing.comparison_tables(names, a, b, output.sort, output.most, origin)


def _untiled(request: Request, output: Output) -> list[RenderableType]:
    result = gemm.price_untiled(priced(request).workload, machine(request), options(request))
    if output.csv is not None:
        _file(output.csv, records.csv_text(gemm.untiled_rows(result)))()
    if output.json is not None:
        _json(output.json, gemm.untiled_record(result))()
    return gemm.untiled_tables(result, output.sort, output.most)


def _refuse(output: Output, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(output, name) is not None:
            raise ValueError(f"{flag(name)} {why}")
