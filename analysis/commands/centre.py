"""`hwsim centre`."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say

MOST_TOP = 20


def centre(
    command: typer.Context,
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    force: options.Force = False,
    top: Annotated[float, typer.Option(help="Where the greatest score of a row is to lie, -20 to 20 nat.")] = 1.5,
    model: options.Model = None,
    calibrate: options.Calibrate = None,
    calibrate_reference: options.CalibrateReference = None,
) -> None:
    """The same model with key biases that keep scores where ITAMax sees them: for `ita` and `deeploy`, B = 5.

    The float model's translations stay what they are.

    Examples: `hwsim centre --out centred` and then `hwsim run --model centred --target ita`
    """
    from analysis.workload import load_model
    from hwsim.reading import read_whole
    from reference.checkpoint import checkpoint_files
    from reference.quantize.centring import centred
    from reference.quantize.kept import FOLDER

    if not -MOST_TOP <= top <= MOST_TOP:
        raise ValueError(f"--top is {top:g}; it must be from {-MOST_TOP} to {MOST_TOP} nat")
    outputs = shared.reserve(command, folders={"--out": out}, force=force, kept=f"{FOLDER}/*.json")
    loaded = load_model(model)
    with shared.progress("centring", None):
        network = centred(loaded.network, shared.calibration(loaded, calibrate, calibrate_reference), top)
    files = checkpoint_files(network.config, network.state_dict())
    files["vocabulary.model"] = read_whole(loaded.folder / "vocabulary.model", "vocabulary")
    say(f"{outputs.write('--out', files)}: the same model, its keys centred at {top:g} nat")
