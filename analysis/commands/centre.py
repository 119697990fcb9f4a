"""`hwsim centre`."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared


def centre(
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    top: Annotated[
        float, typer.Option(min=-20, max=20, help="Where the greatest score of a row is to lie, in nat.")
    ] = 1.5,
    model: options.Model = None,
    calibrate: options.Calibrate = None,
    calibrate_reference: options.CalibrateReference = None,
) -> None:
    """The same model with key biases that keep scores where ITAMax sees them: for targets with a wired score scale.

    Examples: `hwsim centre --out centred` and then `hwsim run --model centred --target ita`
    """
    from analysis.workload import load_model
    from hwsim.files import write_whole
    from reference.checkpoint import save_checkpoint
    from reference.quantize.centring import centred

    loaded = load_model(model)
    if out.exists() and out.samefile(loaded.folder):
        raise ValueError(f"--out is the model's own folder, {out}: give another")
    with shared.progress("centring", None):
        network = centred(loaded.network, shared.calibration(loaded, calibrate, calibrate_reference), top)
    write_whole(out / "vocabulary.model", (loaded.folder / "vocabulary.model").read_bytes())
    save_checkpoint(out, network.config, network.state_dict())
    print(f"{out}: the same model; the greatest score of a row lies near {top:g} nat")
