"""Why the codes of a site differ on equal inputs: declared differences, then rules that reproduce B's codes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.proof.divergence import stages
from analysis.proof.explain.declared import explain_declared
from analysis.proof.explain.products import explain_product, explain_through_product
from analysis.proof.explain.records import Cause
from analysis.proof.explain.rules import Rounded, explain_rounding, observe, rank
from analysis.proof.explain.tables import explain_swap, explain_table
from analysis.proof.explain.tally import Sample, Tally
from hwsim.machine import operation_of
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.operations import AnySoftmax, MatMul, Operation, Relu, Requantize, Softmax

ENOUGH, PRODUCTS = 1_000, 2_000
"""Codes of either kind that rules are tried on beside an exact declared cause, and whose products are held."""
SCALE_SHOWN = 1e-3
"""Snapping moves scales by less."""
Known = Callable[[str], bool]


class Differing(NamedTuple):
    """Codes of a site of A that differ on equal inputs; `sure` if an exact cause is known already."""

    program: Program
    site: str
    samples: list[Sample]
    compared: Known
    sure: bool

    def rounded(self) -> list[Rounded]:
        """The last rounding in A of every code, and the codes of both."""
        return [
            Rounded(stage, x, y)
            for sample in self.samples
            for stage, x, y in zip(
                stages(self.program, self.site, sample.at, sample.values),
                sample.codes(sample.a),
                sample.codes(sample.b),
                strict=True,
            )
        ]


class Found(NamedTuple):
    """Causes, and what else is true of all differing codes."""

    causes: list[Cause]
    observations: list[str]


def find_causes(
    a: Program, b: Program | None, site: str, tally: Tally, compared: Known
) -> tuple[list[Cause], list[str]]:
    """Causes, exact ones first, and what else is true of all differing codes; `compared` knows which sites were."""
    operation, samples = tally.operation, tally.samples
    causes = [] if b is None else explain_declared(a, b, operation, site, samples)
    observations = [*([] if isinstance(operation, AnySoftmax) else _channels(samples)), *_scales(a, b, site)]
    sure = _sure(causes)
    if sure:  # the codes need no other cause, the reader may like one
        samples = _thinned(samples, ENOUGH)
    found = CAUSES[type(operation)](operation, Differing(a, site, samples, compared, sure))
    return rank(causes + found.causes), found.observations + observations


def _sure(causes: Sequence[Cause]) -> bool:
    return any(cause.exact for cause in causes)


def _product(operation: MatMul, at: Differing) -> Found:
    return Found(explain_product(at.program, operation, _thinned(at.samples, PRODUCTS)), [])


def _table_softmax(operation: Softmax, at: Differing) -> Found:
    """The numerator is an entry of the table; what was swapped there shows in the others if it was not compared."""
    if at.site == operation.numerator:
        return Found(explain_table(at.program, operation, at.samples), [])
    found = _rounding(operation, at)
    if at.sure or _sure(found.causes) or at.compared(operation.numerator):
        return found
    swapped = explain_swap(at.program, operation, at.site, at.samples)
    return found._replace(causes=found.causes + swapped)


def _requantize(operation: Requantize, at: Differing) -> Found:
    """The cause may lie in the product before, if that itself could not be compared."""
    found = _rounding(operation, at)
    if at.sure or _sure(found.causes) or at.compared(operation.input):
        return found
    maker = operation_of(at.program, operation.input)
    if not isinstance(maker, MatMul):
        return found
    few = at._replace(samples=_thinned(at.samples, PRODUCTS))
    through = explain_through_product(at.program, maker, few.samples, few.rounded())
    return found._replace(causes=found.causes + through)


def _rounding(operation: Operation, at: Differing) -> Found:
    rounded = at.rounded()
    return Found(explain_rounding(rounded), observe(rounded))


def _thinned(samples: list[Sample], most: int) -> list[Sample]:
    """About so many codes of either kind in all."""
    return [sample.thinned(-(-most // len(samples))) for sample in samples]


def _relu(operation: Relu, at: Differing) -> Found:
    kept = np.concatenate([s.of(s.values[operation.input]) == s.of(s.b) for s in at.samples])
    return Found([Cause(kind="relu", text="B leaves ReLU out", checked=kept.size, reproduced=int(kept.sum()))], [])


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


CAUSES: dict[type[Operation], Callable[[Any, Differing], Found]] = {
    ops.Embed: _rounding,
    ops.MatMul: _product,
    ops.ShiftRight: _rounding,
    ops.Relu: _relu,
    ops.Requantize: _requantize,
    ops.SplitHeads: _rounding,
    ops.MergeHeads: _rounding,
    ops.ProjectHeads: _rounding,
    ops.Append: _rounding,
    ops.Softmax: _table_softmax,
    ops.GemmlowpSoftmax: _rounding,
    ops.IBertSoftmax: _rounding,
    ops.ItaMax: _rounding,
    ops.GemminiSoftmax: _rounding,
    ops.PulpSoftmax: _rounding,
    ops.Int16Softmax: _rounding,
    ops.QLinearSoftmax: _rounding,
    ops.LayerNorm: _rounding,
    ops.IBertLayerNorm: _rounding,
    ops.PulpLayerNorm: _rounding,
    ops.TfliteLayerNorm: _rounding,
    ops.GemminiLayerNorm: _rounding,
    ops.Add: _rounding,
    ops.RescaledAdd: _rounding,
}
"""Where causes are looked for, by operation."""
