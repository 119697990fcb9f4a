"""`hwsim quantize`."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say


def quantize(
    command: typer.Context,
    out: Annotated[Path, typer.Option(help="Program file to write.")],
    force: options.Force = False,
    config: Annotated[
        str | None,
        typer.Option(help="int8, int6, int4, w4a8 or native. Default: int8 for fullyqt, native for other targets."),
    ] = None,
    scheme: options.Scheme = None,
    target: options.Target = None,
    model: options.Model = None,
    calibrate: options.Calibrate = None,
    calibrate_reference: options.CalibrateReference = None,
) -> None:
    """Calibrate a checkpoint, lower it, prove its accumulators, write the program file.

    Examples: `hwsim quantize --config int8 --out int8.hwsim` · `hwsim quantize --target ita --out ita.hwsim` ·
    `hwsim quantize --scheme mine.toml --out mine.hwsim`
    """
    from analysis.inspect.provenance import scheme_provenance
    from analysis.workload import check_inputs, configure, load_model
    from reference.quantize.plan.products import dropped_factor

    if config and scheme:
        raise ValueError("one program has one scheme: give --config or --scheme, not both")
    outputs = shared.reserve(command, files={"--out": out}, force=force)
    configs = [config] if config else None
    chosen = shared.choose_schemes(configs, scheme, [target] if target else None)[0]  # int8 is the first of fullyqt's
    loaded = load_model(model)
    check_inputs(loaded, [chosen])
    ranges = shared.calibrated(loaded, calibrate, calibrate_reference)
    made = configure(loaded, chosen, ranges)
    written = outputs.write("--out", made.program.encoded())
    rule = chosen.accumulator.overflow.value
    say(f"{written}: scheme {chosen.name}, {made.program.weight_bytes:,} bytes of weights, accumulators {rule}")
    say(scheme_provenance(chosen, made.plan.sites))
    if chosen.sqrt_mode == "dropped":
        say(f"sqrt_mode dropped: scores are {dropped_factor(loaded.network.config.d_head):.4f} times their real value")
