"""What `hwsim estimate` knows by name, a line each, and its presets as files to begin with."""

import msgspec

from hwsim.accelerator import energy_tables, presets
from hwsim.accelerator.reading import nearest, short
from hwsim.accelerator.workloads import SCHEMES, WORKLOADS


def catalogue() -> list[str]:
    """Every accelerator, workload, energy table and config with what its record says of it, one a line."""
    parts = {
        "Accelerators (--accelerator; --print-toml gives the file)": [
            (name, presets.hardware(name).description) for name in presets.PRESETS
        ],
        "Workloads (--workload)": [(name, _words(model)) for name, model in WORKLOADS.items()],
        "Energy tables (--energy-table; --print-toml gives the file)": [
            (name, energy_tables.energy_table(name).description) for name in energy_tables.TABLES
        ],
        "Configs (--config): bits": [(name, _words(widths)) for name, widths in SCHEMES.items()],
    }
    width = max(len(name) for rows in parts.values() for name, _ in rows)
    lines: list[str] = []
    for title, rows in parts.items():
        lines += [title, *(f"  {name:{width}}  {text}" for name, text in rows), ""]
    return lines[:-1]


def template(name: str) -> str:
    """The TOML file of an accelerator or an energy table.

    Raises
    ------
    ValueError
        If none has the name; the nearest known one is told, or all are.
    """
    known = [*presets.PRESETS, *energy_tables.TABLES]
    if name not in known:
        raise ValueError(f"--print-toml is {short(repr(name))}; {nearest(name, known)}")
    return presets.preset_text(name) if name in presets.PRESETS else energy_tables.table_text(name)


def _words(record: object) -> str:
    """Fields of a record as `d_model 768`, those of a record in it behind its name; what is None is left out."""
    parts = []
    for field, value in msgspec.to_builtins(record).items():
        if isinstance(value, dict):
            parts.append(f"{field} ({_words(value)})")
        elif value is not None:
            parts.append(f"{field} {value}")
    return ", ".join(parts)
