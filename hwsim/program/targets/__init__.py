"""Targets: the arithmetic of particular accelerators, as bundles of operators with their limits. Data only.

Every operator of a target is `native`, read in the accelerator's own sources, or `borrowed` from another target, or
from the library named, because this one has none or computes it in float. A width that the hardware does not have is
`extended`: hwsim runs it by the same equations; so is a limit that a scheme says it may break. Tables and reports print
them all. docs/targets.md is made from these records.
"""

from hwsim.program.targets.accelerators import DEEPLOY, GEMMINI, ITA, ITA_HEAD, NVDLA, PULP
from hwsim.program.targets.libraries import CMSIS_NN, FULLYQT, IBERT, ONNXRUNTIME, TFLM, TOSA
from hwsim.program.targets.records import (
    Bound,
    Granularity,
    Heads,
    LayerNormMethod,
    LimitName,
    Limits,
    Operator,
    ResidualMethod,
    SoftmaxMethod,
    Source,
    Target,
    Trait,
)

__all__ = [
    "DEFAULT_TARGET",
    "TARGETS",
    "Bound",
    "Granularity",
    "Heads",
    "LayerNormMethod",
    "LimitName",
    "Limits",
    "Operator",
    "ResidualMethod",
    "SoftmaxMethod",
    "Source",
    "Target",
    "Trait",
    "target",
]

TARGETS: dict[str, Target] = {
    one.name: one
    for one in (
        *(FULLYQT, TFLM, CMSIS_NN, TOSA, ITA, ITA_HEAD, PULP, DEEPLOY),
        *(GEMMINI, IBERT, NVDLA, ONNXRUNTIME),
    )
}
"""Every target by name; `fullyqt` is the default."""

DEFAULT_TARGET = "fullyqt"


def target(name: str) -> Target:
    """A target by name; the error lists the known ones."""
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; known: {', '.join(TARGETS)}")
    return TARGETS[name]
