"""`hwsim train`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say


def train(
    command: typer.Context,
    out: Annotated[Path, typer.Option(help="Model folder; a run that was stopped there is resumed.")],
    text: options.Text = None,
    reference: options.Reference = None,
    validation: Annotated[Path | None, typer.Option(help="Held-out source sentences.")] = None,
    validation_reference: Annotated[Path | None, typer.Option(help="Their translations.")] = None,
    vocabulary: Annotated[int, typer.Option(min=32, help="Size of the joint BPE vocabulary.")] = 4000,
    d_model: int = 256,
    heads: int = 4,
    d_head: int = 64,
    d_ff: int = 1024,
    layers: Annotated[int, typer.Option(help="Encoder layers, and as many decoder layers.")] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 21,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 2026,
    tied: Annotated[bool, typer.Option(help="One matrix for both embeddings and the generator.")] = True,
) -> None:
    """Train a float model; interrupt it at will, the same command resumes after the last whole epoch.

    Example: `hwsim train --out model --epochs 21`
    """
    from analysis.output.reserved import continued
    from reference.data import corpus
    from reference.models.translation import TransformerConfig
    from reference.train import TrainingRecipe, prepare

    config = TransformerConfig(
        vocabulary_size=vocabulary,
        d_model=d_model,
        n_heads=heads,
        d_head=d_head,
        d_ff=d_ff,
        encoder_layers=layers,
        decoder_layers=layers,
        tied=tied,
    )
    given = text is not None or reference is not None
    if given != (validation is not None or validation_reference is not None):
        raise ValueError("your own --text needs --validation text of its own, and the other way round")
    body = shared.read_text(text, reference) if given else corpus("train")
    held_out = shared.read_text(validation, validation_reference) if given else corpus("validation")
    command.with_resource(continued("--out", out))
    trainer = prepare(out, config, TrainingRecipe(epochs=epochs, seed=seed), body, held_out)
    if trainer.epoch >= epochs:
        say(f"{out}: {trainer.epoch} epochs are done, nothing is left to train")
    while trainer.epoch < epochs:
        with shared.progress(f"epoch {trainer.epoch + 1} of {epochs}", trainer.steps_per_epoch) as advance:
            record = trainer.run_epoch(partial(advance, 1))
        say(", ".join(f"{key} {value}" for key, value in record.items()))
