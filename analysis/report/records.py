"""A run as plain records, ready for JSON, CSV and the page; units are in the names, what is not finite is None."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from analysis.accuracy.bleu import Bleu
from analysis.accuracy.bootstrap import Interval
from analysis.accuracy.parts import Row
from analysis.estimates.records import configuration_record as mapping_record
from analysis.estimates.records import phase_record
from analysis.inspect.provenance import scheme_provenance
from analysis.output.context import Context
from analysis.output.numbers import finite
from analysis.proof.equality import Divergence, Equality
from analysis.run import ConfigurationResult, RunResult
from hwsim.accelerator.cost.estimate import COST_MODEL, Estimate, PhaseCost
from hwsim.accelerator.prices import AJ_PER_PJ, prices_of
from hwsim.accelerator.zeros import ZeroCounts

Record = dict[str, Any]

REPORT_VERSION = 3


def report_record(result: RunResult, rows: Sequence[Row], context: Context) -> Record:
    """Everything: what `report.json` holds, and what the page is made from."""
    names = configuration_names(result)
    return {
        "report_version": REPORT_VERSION,
        "verdict": verdict(result),
        "context": {**asdict(context), **_text_fields(result)},
        "configurations": [
            configuration_record(result, one, name) for name, one in zip(names, result.configurations, strict=True)
        ],
        "sensitivity": [sensitivity_record(row) for row in rows if row.kind == "group"],
        "sensitivity_by_layer": [sensitivity_record(row) for row in rows if row.kind == "layer"],
        "sensitivity_by_site": [sensitivity_record(row) for row in rows if row.kind == "site"],
        "accelerator": accelerator_record(result),
    }


def configuration_names(result: RunResult) -> list[str]:
    """Names of the schemes; of like names all but the first are numbered."""
    names: list[str] = []
    for one in result.configurations:
        name, number = one.configuration.scheme.name, 1
        while (unique := name if number == 1 else f"{name} ({number})") in names:
            number += 1
        names.append(unique)
    return names


def verdict(result: RunResult) -> Record:
    """Sums over all configurations. What was never compared is not equal."""
    equalities = [one.equality for one in result.configurations]
    totals = {
        name: sum(getattr(equality, name) for equality in equalities)
        for name in ("codes_compared", "codes_different", "tokens_different", "overflows")
    }
    equal = bool(equalities) and all(equality.equal for equality in equalities)
    return {"equal": equal, **totals}


def configuration_record(result: RunResult, one: ConfigurationResult, name: str) -> Record:
    """All that is said of one configuration."""
    program = one.configuration.program
    scheme = one.configuration.scheme
    return {
        "name": name,
        **scheme_provenance(scheme, one.configuration.plan.sites)._asdict(),
        "weight_bits": scheme.weight_bits,
        "activation_bits": scheme.activation_bits,
        "scheme": msgspec.to_builtins(scheme),
        **_text_fields(result),
        **_bleu_fields(result, one),
        **equality_record(one.equality),
        "loss_float": finite(one.accuracy.loss_float),
        "loss_quantized": finite(one.accuracy.loss_quantized),
        "loss_increase": finite(one.accuracy.loss_increase),
        "loss_increase_95_percent": _ends(one.accuracy.interval),
        "weight_bytes": program.weight_bytes,
        **_cost_fields(one.estimate),
        **_own_length_fields(one.own_estimate),
        "macs_zero_fraction": zero_fraction(one.zeros),
        "zeros": msgspec.to_builtins(one.zeros),
        "sites": site_records(one),
    }


def accelerators(rows: Sequence[Row]) -> list[str]:
    """The targets whose sensitivity was measured."""
    return list(dict.fromkeys(row.accelerator for row in rows))


def forced_on(result: RunResult) -> str:
    """What the decoder reads where losses and errors are measured, and whose lengths are priced."""
    return forced_words(result.references is not None)


def forced_words(has_references: bool) -> str:
    """As records say it."""
    return "reference" if has_references else "float translation"


def _text_fields(result: RunResult) -> Record:
    forced = {"teacher_forced_on": forced_on(result), "priced_lengths": forced_on(result)}
    return {"sentences": len(result.source), "beam_width": result.beam_width, **forced}


def _bleu_fields(result: RunResult, one: ConfigurationResult) -> Record:
    """None throughout where there is no reference."""
    found = one.scores
    ours, theirs = (None, None) if found is None else (found.integer, found.fake_quant)
    scores = {"float": result.bleu_float, "fake_quant": theirs, "integer": ours}
    fields: Record = {f"bleu_{name}": None if score is None else finite(score.score) for name, score in scores.items()}
    fields |= {f"bleu_{name}_95_percent": None if score is None else _interval(score) for name, score in scores.items()}
    fields["bleu_integer_minus_float_95_percent"] = None if found is None else _ends(found.difference)
    fields["bleu_signature"] = None if ours is None else ours.signature
    return fields


def _interval(score: Bleu) -> list[float | None]:
    return [finite(score.low), finite(score.high)]


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [finite(end) for end in interval]


def equality_record(equality: Equality) -> Record:
    """What was compared, what differed, and where first."""
    return {
        "codes_compared": equality.codes_compared,
        "codes_different": equality.codes_different,
        "tokens_different": equality.tokens_different,
        "overflows": equality.overflows,
        "first_divergence": _divergence(equality.first),
    }


def _divergence(first: Divergence | None) -> Record | None:
    if first is None:
        return None
    real = None if first.before_rounding is None else finite(first.before_rounding)
    return {**asdict(first), "index": list(first.index), "before_rounding": real}


def _cost_fields(cost: Estimate) -> Record:
    """Figures of one sentence on the average; `cost` has each phase, its totals over the text and its components."""
    total = cost.total
    return {
        "batch": cost.workload.batch,
        "priced_decoding": "greedy",
        "cost_model": COST_MODEL,
        "accelerator": cost.hardware.name,
        "energy_table": cost.table.name,
        "boundary": cost.hardware.boundary.value,
        **_energy_fields(total),
        **{f"{phase.name}_energy_pj_per_sentence": phase.per_sentence(phase.cost.energy_pj) for phase in cost.phases},
        **{f"{phase.name}_cycles_per_sentence": phase.per_sentence(phase.cycles.total) for phase in cost.phases},
        "energy_pj_per_target_token": total.per_token(total.cost.energy_pj),
        "cycles_per_sentence": total.per_sentence(total.cycles.total),
        "seconds_per_sentence": total.per_sentence(cost.seconds),
        "target_tokens_per_sentence": total.per_sentence(total.tokens),
        "dram_bytes_per_sentence": total.per_sentence(total.cost.dram_bytes),
        "dram_bytes_per_target_token": total.per_token(total.cost.dram_bytes),
        "macs_per_sentence": total.per_sentence(total.cost.macs),
        "macs_per_target_token": total.per_token(total.cost.macs),
        "cost": [phase_record(phase, cost.hardware) for phase in (*cost.phases, total)],
    }


def _own_length_fields(cost: Estimate) -> Record:
    """Figures of one sentence on the average, as long as the machine made it."""
    total = cost.total
    figures = {
        "target_tokens": total.tokens,
        "cycles": total.cycles.total,
        "seconds": cost.seconds,
        "dram_bytes": total.cost.dram_bytes,
        "energy_pj": total.cost.energy_pj,
    }
    return {f"own_length_{name}_per_sentence": total.per_sentence(figure) for name, figure in figures.items()}


def zero_fraction(zeros: ZeroCounts) -> float | None:
    """Of all MACs of the run those with a zero operand."""
    total = zeros.total
    return total.macs_zero / total.macs if total.macs else None


def _energy_fields(phase: PhaseCost) -> Record:
    """Nominal energy of a sentence, and at the ends of the band of DRAM."""
    energies = {"energy": "energy_aj", "energy_low": "low_aj", "energy_high": "high_aj"}
    return {
        f"{name}_pj_per_sentence": phase.per_sentence(getattr(phase.cost, field) / AJ_PER_PJ)
        for name, field in energies.items()
    }


def accelerator_record(result: RunResult) -> Record | None:
    """The machine that every configuration is priced on, how they are mapped to it, and its energy table."""
    if not result.configurations:
        return None
    cost = result.configurations[0].estimate
    record = mapping_record(cost.workload, cost.hardware, cost.options, cost.table)
    constants = [row._asdict() for row in prices_of(cost.hardware, cost.table).constants()]
    return {
        **{key: value for key, value in record.items() if key != "workload"},
        "energy_table": {**record["energy_table"], "constants": constants},
    }


def site_records(one: ConfigurationResult) -> list[Record]:
    """One record a site, in order of execution; error figures are None where the float model has no such value."""
    sites, tensors, records = one.configuration.plan.sites, one.configuration.program.tensors, []
    for site, (compared, different) in one.equality.by_site.items():
        error = one.accuracy.sites.get(site)
        known = sites.get(site) or sites[site.rpartition(".")[0]]  # a stage within a site, as `scores.shifted`
        records.append(
            {
                "site": site,
                "group": known.group,
                "bits": tensors[site].format.bits,
                "codes_compared": compared,
                "codes_different": different,
                "sqnr_db": finite(error.sqnr_db) if error else None,
                "max_error": finite(error.max_error) if error else None,
                "cosine": finite(error.cosine) if error else None,
            }
        )
    return records


def sensitivity_record(row: Row) -> Record:
    """One target at one width; the key of its name is its kind: group, layer or site."""
    return {
        "kind": row.kind,
        row.kind: row.name,
        "target": row.accelerator,
        "bits": row.bits,
        "loss_increase": finite(row.loss_increase),
        "loss_increase_95_percent": _ends(row.interval),
        "sqnr_db": finite(row.sqnr_db),
        "bleu": finite(row.bleu),
    }
