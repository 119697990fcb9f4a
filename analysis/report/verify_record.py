"""What `hwsim verify` found, as a file."""

from dataclasses import asdict

import msgspec

from analysis.inspect.provenance import scheme_provenance
from analysis.output.context import Context
from analysis.output.numbers import finite
from analysis.proof.verification import Score, Verification
from analysis.report.records import Record, equality_record
from hwsim.files import readable_json

RECORD = "verify.json"


def record(found: Verification, context: Context) -> Record:
    """Everything, as plain data."""
    scheme = found.configuration.scheme
    return {
        "context": asdict(context),
        "program": found.configuration.program.manifest.name,
        "scheme": msgspec.to_builtins(scheme),
        **scheme_provenance(scheme, found.configuration.plan.sites)._asdict(),
        "sentences": found.sentences,
        "accumulator": msgspec.to_builtins(found.accumulator),
        **equality_record(found.equality),
        "bleu": None if found.score is None else _score_record(found.score),
        "overflowing": msgspec.to_builtins(found.overflowing),
        "accumulators": msgspec.to_builtins(found.widths),
    }


def _score_record(score: Score) -> Record:
    return {
        "score": finite(score.ours.score),
        "interval_95_percent": [finite(score.ours.low), finite(score.ours.high)],
        "with_own_accumulators": None if score.own is None else finite(score.own.score),
        "difference_95_percent": None if score.difference is None else [finite(end) for end in score.difference],
        "signature": score.ours.signature,
    }


def files(found: Verification, context: Context) -> dict[str, bytes]:
    """`verify.json`."""
    return {RECORD: readable_json(record(found, context))}
