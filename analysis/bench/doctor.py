"""What `hwsim doctor` prints."""

from collections.abc import Mapping

from rich import box
from rich.table import Column, Table

from analysis.bench.machine import Cache, Machine
from analysis.output.numbers import NONE

MEGA = 1e6


def table(found: Machine) -> Table:
    """One line a fact."""
    rows = [
        ("CPU", f"{found.processor}, {found.cores} usable cores"),
        ("features", ", ".join(name for name, there in found.features.items() if there) or "none that matter"),
        ("not there", ", ".join(name for name, there in found.features.items() if not there)),
        ("caches", ", ".join(f"{name} {size // 1024:,} KiB" for name, size in found.caches.items()) or NONE),
        ("threads", _threads(found.threads)),
        ("product engine", f"{found.engine.chosen}: {found.engine.why}"),
        ("engines", ", ".join(found.engine.available)),
        ("Python", found.python),
        ("hwsim", found.hwsim or "not installed"),
        *((name, version or "not installed") for name, version in found.versions.items()),
        ("kernel cache", _cache(found.numba_cache)),
    ]
    columns = (Column(name, overflow="fold") for name in ("what", "here"))
    made = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for row in rows:
        made.add_row(*row)
    return made


def _threads(found: Mapping[str, int | None]) -> str:
    return ", ".join(f"{name} {number or 'not installed'}" for name, number in found.items())


def _cache(found: Cache) -> str:
    state = "" if found.writable else ", NOT WRITABLE: every start compiles"
    return f"{found.folder}: {found.files} files, {found.bytes / MEGA:.1f} MB{state}"
