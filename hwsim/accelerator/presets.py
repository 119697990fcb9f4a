"""Known accelerators, and those that a user describes in a file."""

from functools import cache
from pathlib import Path

from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.reading import read_toml, unknown_name

_FOLDER = Path(__file__).parent / "preset_files"

PRESETS = ("edge-256", "ita", "ethos-u55-256", "gemmini-16", "keller-5nm")
"""Names of the presets; the first is the default."""


def hardware(name_or_path: str | Path) -> Hardware:
    """A preset, or the record of a file.

    Parameters
    ----------
    name_or_path
        One of `PRESETS`, or a path that ends in `.toml`.

    Raises
    ------
    ValueError
        If there is no such preset, or the file is at fault, see `hwsim.accelerator.reading.read_toml`.
    """
    name = str(name_or_path)
    if name in PRESETS:
        return _preset(name)
    if name.endswith(".toml"):
        return read_toml(Path(name), Hardware, "hardware")
    raise ValueError(unknown_name("hardware", name, PRESETS))


def preset_text(name: str) -> str:
    """The TOML file of one of `PRESETS`."""
    return _file(name).read_text(encoding="utf-8")


@cache
def _preset(name: str) -> Hardware:
    return read_toml(_file(name), Hardware, "hardware")


def _file(name: str) -> Path:
    return _FOLDER / f"{name}.toml"
