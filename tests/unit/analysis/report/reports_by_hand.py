"""A run of two configurations whose figures were chosen, not computed: what a report says of it is known by hand."""

from types import SimpleNamespace
from typing import Any

import msgspec

from analysis.accuracy.accuracy import Accuracy
from analysis.accuracy.bleu import Bleu
from analysis.accuracy.sensitivity import Row
from analysis.output.context import Context
from analysis.proof.equality import Divergence, Equality
from analysis.run import RunResult, Scores, Translations
from hwsim.accelerator.cost.estimate import Estimate
from hwsim.accelerator.zeros import SiteZeros, ZeroCounts
from hwsim.formats import IntFormat
from reference.quantize.scheme import Scheme, preset
from reference.quantize.sites import Role, Site, SiteSet
from tests.unit.analysis.estimates.estimates_by_hand import estimated

GROUPS = {"encoder.embedding": "embedding", "encoder.0.self_attention.scores": "attention"}
CONTEXT = Context(
    command="hwsim run", model="model, SHA-256 abc", seed=12345, hwsim_version="1.2", commit="c0ffee",
    python_version="3.11", torch_version="2.4", machine="a machine", finished="2026-01-02T03:04:05+00:00",
    seconds=125.0,
)  # fmt: skip


def bleu(score: float, low: float, high: float) -> Bleu:
    return Bleu(score=score, low=low, high=high, signature="nrefs:1")


def errors(sqnr_db: float, largest: float, cosine: float) -> Any:
    return SimpleNamespace(sqnr_db=sqnr_db, max_error=largest, cosine=cosine)


def configuration(name: str, target: str = "fullyqt", factor: int = 1, **changes: Any) -> Any:
    """Its counts are multiplied by a factor, which tells two apart."""
    sites = {site: Site(name=site, set=SiteSet.DATAPATH, role=Role.FREE, group=group) for site, group in GROUPS.items()}
    scheme = _named(preset("int8", target), name)
    tensors = {
        "encoder.embedding": SimpleNamespace(format=IntFormat(bits=8)),
        "encoder.0.self_attention.scores": SimpleNamespace(format=IntFormat(bits=16)),
        "encoder.0.self_attention.scores.shifted": SimpleNamespace(format=IntFormat(bits=20)),
    }
    equality = Equality()
    for number, site in enumerate(tensors, start=1):
        equality.add(site, 1000 * factor * number, 0)
    fields = {
        "configuration": SimpleNamespace(
            scheme=scheme,
            plan=SimpleNamespace(scheme=scheme, sites=sites),
            program=SimpleNamespace(weight_bytes=1_234_567 * factor, tensors=tensors),
        ),
        "equality": equality,
        "integer": Translations(ids=[[], []], text=["gut", f"{name} made it"]),
        "scores": Scores(
            integer=bleu(28.25 / factor, 26.0 / factor, 30.5 / factor),
            fake_quant=bleu(28.5 / factor, 26.25 / factor, 30.75 / factor),
            difference=(-1.5 * factor, 0.25 * factor),
        ),
        "accuracy": Accuracy(
            loss_float=2.5,
            loss_quantized=2.5 + 0.0625 * factor,
            interval=(0.03125 * factor, 0.125 * factor),
            sites={
                "encoder.embedding": errors(40.0 / factor, 0.5, 0.99975),
                "encoder.0.self_attention.scores": errors(30.0 / factor, 0.012345, 0.98765),
            },
        ),
        "estimate": estimated(),
        "own_estimate": _of_one_sentence(estimated()),
        "zeros": ZeroCounts(sites={"a": SiteZeros(macs=300, macs_zero=60), "b": SiteZeros(macs=100, macs_zero=40)}),
    }  # fmt: skip
    return SimpleNamespace(**fields | changes)


def _of_one_sentence(whole: Estimate) -> Estimate:
    """All that two sentences cost, as if it were of one."""
    return msgspec.structs.replace(whole, total=msgspec.structs.replace(whole.total, sentences=1))


def _named(scheme: Scheme, name: str) -> Scheme:
    return msgspec.structs.replace(scheme, name=name)


DIVERGED = Divergence(
    site="encoder.embedding", call="encode", sentence=2, index=(0, 3, 1), machine=17, reference=18, accumulator=4321,
    before_rounding=17.25, tie_distance=0.25,
)  # fmt: skip


def different(one: Any) -> Any:
    """The configuration as if 3 codes and 2 tokens had differed."""
    equality = Equality(tokens_different=2, overflows=5, overflows_fake_quant=5, first=DIVERGED)
    for site, (compared, _) in one.equality.by_site.items():
        equality.add(site, compared, 3 if site == "encoder.embedding" else 0)
    return SimpleNamespace(**vars(one) | {"equality": equality})


def run(*configurations: Any, beam_width: int = 1) -> RunResult:
    """Two sentences."""
    made: Any = SimpleNamespace(
        source=("good", "this one"),
        references=("gut!", "dies"),
        beam_width=beam_width,
        floating=Translations(ids=[[], []], text=["gut", "float made it"]),
        bleu_float=bleu(29.0, 27.5, 31.0),
        configurations=list(configurations),
    )
    return made


def rows() -> list[Row]:
    """Of two groups at three widths, one of them not measured at 6 bits; and a layer."""
    found = [
        Row(kind="group", name=name, bits=bits, loss_increase=loss, sqnr_db=6.0 * bits)
        for name, bits, loss in (
            ("layernorm", 8, 0.001), ("layernorm", 4, 0.02), ("feed_forward", 8, -0.002), ("feed_forward", 6, 0.01),
            ("feed_forward", 4, 0.3),
        )
    ]  # fmt: skip
    return [*found, Row(kind="layer", name="encoder.0", bits=4, loss_increase=0.15, sqnr_db=20.0, bleu=27.04)]
