"""Sensitivity by part: what kinds of parts there are, and what was measured of one."""

from dataclasses import dataclass
from typing import Literal

from analysis.accuracy.bootstrap import Interval
from hwsim.program.targets import DEFAULT_TARGET

Kind = Literal["group", "layer", "site"]
KINDS: tuple[Kind, ...] = ("group", "layer", "site")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target at one width: loss increase over float in nat per token, SQNR of the logits in dB, BLEU if wanted.

    `interval` is the 95% interval of the increase over sentences, the same resamples for every row of a text.
    `accelerator` is the name in `hwsim.program.targets` whose `int8` is the baseline.
    """

    kind: Kind
    name: str
    bits: int
    loss_increase: float
    sqnr_db: float
    bleu: float | None = None
    accelerator: str = DEFAULT_TARGET
    interval: Interval | None = None


def layer_of(site: str) -> str:
    """`encoder.0` and the like; `embedding` or `generator` for what is in no layer."""
    stack, _, rest = site.partition(".")
    number = rest.partition(".")[0]
    if number.isdigit():
        return f"{stack}.{number}"
    return "generator" if stack == "generator" else "embedding"
