"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_SENTENCES = 100
SENSITIVITY_SENTENCES = 200

Model = Annotated[Path | None, typer.Option("--model", help="Model folder; default: the shipped English-German model.")]
Scheme = Annotated[Path | None, typer.Option("--scheme", help="Your own scheme, a TOML file.")]
Text = Annotated[Path | None, typer.Option("--text", help="Source sentences, one a line (plain, .gz or .xz).")]
Reference = Annotated[Path | None, typer.Option("--reference", help="Their translations, line by line.")]
Calibrate = Annotated[
    Path | None,
    typer.Option("--calibrate", help="Source text to calibrate on; default: 512 training sentences."),
]
CalibrateReference = Annotated[
    Path | None,
    typer.Option("--calibrate-reference", help="Translations of the calibration text; default: the float model's own."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace the file, or the folder of hwsim's own, that is there already.")
]
Beam = Annotated[int, typer.Option("--beam", min=1, help="Beam width; 1 is greedy.")]
Program = Annotated[Path, typer.Argument(help="Program file.")]
Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator", metavar="NAME|TOML", help="What is priced: a preset or a hardware record. Default: edge-256."
    ),
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="Whose arithmetic, see `hwsim targets`. Default: fullyqt."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="NAME", help="Whose arithmetic, see `hwsim targets`; repeatable. Default: fullyqt."
    ),
]
