"""Why the codes of a site differ on equal inputs: declared differences, then rules that reproduce B's codes."""

from collections.abc import Callable, Sequence

import numpy as np

from analysis.proof.divergence import stages
from analysis.proof.explain.declared import explain_declared
from analysis.proof.explain.products import explain_product, explain_through_product
from analysis.proof.explain.records import Cause
from analysis.proof.explain.rules import Rounded, explain_rounding, observe, rank
from analysis.proof.explain.tables import explain_swap, explain_table
from analysis.proof.explain.tally import Sample, Tally
from hwsim.machine.machine import operation_of
from hwsim.program import Program
from hwsim.program.operations import AnySoftmax, MatMul, Operation, Relu, Requantize, Softmax

ENOUGH, PRODUCTS = 1_000, 2_000
"""Codes of either kind that rules are tried on beside an exact declared cause, and whose products are held."""
SCALE_SHOWN = 1e-3
"""Snapping moves scales by less."""
Known = Callable[[str], bool]


def find_causes(
    a: Program, b: Program | None, site: str, tally: Tally, compared: Known
) -> tuple[list[Cause], list[str]]:
    """Causes, exact ones first, and what else is true of all differing codes; `compared` knows which sites were."""
    operation, samples = tally.operation, tally.samples
    causes = [] if b is None else explain_declared(a, b, operation, site, samples)
    observations = [*([] if isinstance(operation, AnySoftmax) else _channels(samples)), *_scales(a, b, site)]
    if any(cause.exact for cause in causes):  # the codes need no other cause, the reader may like one
        samples = _thinned(samples, ENOUGH)
    match operation:
        case MatMul():
            causes += explain_product(a, operation, _thinned(samples, PRODUCTS))
        case Relu():
            causes += _relu(operation, samples)
        case Softmax() if site == operation.numerator:
            causes += explain_table(a, operation, samples)
        case _:
            rounded = _rounded(a, site, samples)
            causes += explain_rounding(rounded)
            observations = observe(rounded) + observations
            if not any(cause.exact for cause in causes):
                causes += _further_back(a, site, operation, samples, compared)
    return rank(causes), observations


def _thinned(samples: list[Sample], most: int) -> list[Sample]:
    """About so many codes of either kind in all."""
    return [sample.thinned(-(-most // len(samples))) for sample in samples]


def _further_back(
    program: Program, site: str, operation: Operation, samples: list[Sample], compared: Known
) -> list[Cause]:
    """Causes in what the site was made of, where that itself could not be compared."""
    if isinstance(operation, Softmax) and not compared(operation.numerator):
        return explain_swap(program, operation, site, samples)
    if isinstance(operation, Requantize) and not compared(operation.input):
        maker = operation_of(program, operation.input)
        if isinstance(maker, MatMul):
            few = _thinned(samples, PRODUCTS)
            return explain_through_product(program, maker, few, _rounded(program, site, few))
    return []


def _rounded(program: Program, site: str, samples: Sequence[Sample]) -> list[Rounded]:
    return [
        Rounded(stage, x, y)
        for sample in samples
        for stage, x, y in zip(
            stages(program, site, sample.at, sample.values), sample.codes(sample.a), sample.codes(sample.b), strict=True
        )
    ]


def _relu(operation: Relu, samples: Sequence[Sample]) -> list[Cause]:
    kept = np.concatenate([s.of(s.values[operation.input]) == s.of(s.b) for s in samples])
    return [Cause(kind="relu", text="B leaves ReLU out", checked=kept.size, reproduced=int(kept.sum()))]


def _channels(samples: Sequence[Sample]) -> list[str]:
    """The channel, if all differing codes are in one of several."""
    differing = [sample.indices[sample.of(sample.a) != sample.of(sample.b), -1] for sample in samples]
    channels = np.unique(np.concatenate(differing))
    if len(channels) == 1 and max(sample.a.shape[-1] for sample in samples) > 1 and sum(map(len, differing)) > 1:
        return [f"all differing codes are in channel {channels[0]} of the last axis"]
    return []


def _scales(a: Program, b: Program | None, site: str) -> list[str]:
    mine, other = a.tensors[site].scale, None if b is None or site not in b.tensors else b.tensors[site].scale
    if mine is None or other is None or abs(other / mine - 1) < SCALE_SHOWN:
        return []
    return [
        f"a code means {other:.6g} in B, {mine:.6g} in A: the scales differ, so equal codes would not be equal values"
    ]
