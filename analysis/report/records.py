"""A run as plain records, ready for JSON, CSV and the page; units are in the names, what is not finite is None."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from analysis.bleu import Bleu
from analysis.equality import Divergence, Equality
from analysis.report.provenance import Context
from analysis.run import ConfigurationResult, RunResult
from analysis.sensitivity import Row
from analysis.targets import Provenance, provenance
from hwsim.accelerator.energy import AJ_PER_PJ, Constant, EnergyTable
from hwsim.accelerator.estimate import Estimate, summary_rows
from hwsim.accelerator.events import LEVEL_OF
from reference.quantize.scheme import Scheme, extended
from reference.quantize.sites import Site

Record = dict[str, Any]

REPORT_VERSION = 1


def finite(value: float | None) -> float | None:
    """A number that JSON has, else None."""
    return value if value is not None and math.isfinite(value) else None


def report_record(result: RunResult, rows: Sequence[Row], context: Context) -> Record:
    """Everything: what `report.json` holds, and what the page is made from."""
    names = configuration_names(result)
    return {
        "report_version": REPORT_VERSION,
        "verdict": verdict(result),
        "context": {**asdict(context), "sentences": len(result.text), "beam_width": result.beam_width},
        "configurations": [
            configuration_record(result, one, name) for name, one in zip(names, result.configurations, strict=True)
        ],
        "sensitivity": [sensitivity_record(row) for row in rows if row.kind == "group"],
        "sensitivity_by_layer": [sensitivity_record(row) for row in rows if row.kind == "layer"],
        "sensitivity_by_site": [sensitivity_record(row) for row in rows if row.kind == "site"],
        "energy_constants": {table.name: constant_records(table) for table in _tables(result)},
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
        "sentences": len(result.text),
        "beam_width": result.beam_width,
        **_bleu_fields(result, one),
        **equality_record(one.equality),
        "loss_float": finite(one.accuracy.loss_float),
        "loss_quantized": finite(one.accuracy.loss_quantized),
        "loss_increase": finite(one.accuracy.loss_increase),
        "weight_bytes": program.weight_bytes,
        **_cost_fields(one.estimate),
        "sites": site_records(one),
    }


def scheme_provenance(scheme: Scheme, sites: dict[str, Site]) -> Provenance:
    """The target of a scheme, what that borrows, and what its hardware lacks at the sites of a model."""
    return provenance(scheme.target, extended(scheme, sites))


def accelerators(rows: Sequence[Row]) -> list[str]:
    """The targets whose sensitivity was measured."""
    return list(dict.fromkeys(row.accelerator for row in rows))


def _bleu_fields(result: RunResult, one: ConfigurationResult) -> Record:
    scores = {"float": result.bleu_float, "fake_quant": one.bleu_fake_quant, "integer": one.bleu_integer}
    fields: Record = {f"bleu_{name}": finite(score.score) for name, score in scores.items()}
    fields |= {f"bleu_{name}_95_percent": _interval(score) for name, score in scores.items()}
    fields["bleu_integer_minus_float_95_percent"] = [finite(end) for end in one.bleu_difference]
    fields["bleu_signature"] = one.bleu_integer.signature
    return fields


def _interval(score: Bleu) -> list[float | None]:
    return [finite(score.low), finite(score.high)]


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
    total, sentences = cost.total, cost.total.sentences
    return {
        "batch": 1,
        "priced_decoding": "greedy",
        "energy_table": cost.table.name,
        "energy_pj_per_sentence": total.energy_pj_per_sentence,
        "energy_low_pj_per_sentence": total.cost.low_aj / AJ_PER_PJ / sentences,
        "energy_high_pj_per_sentence": total.cost.high_aj / AJ_PER_PJ / sentences,
        "encode_energy_pj_per_sentence": cost.encode.energy_pj_per_sentence,
        "decode_energy_pj_per_sentence": cost.decode.energy_pj_per_sentence,
        "energy_pj_per_target_token": total.energy_pj_per_token,
        "dram_bytes_per_sentence": total.dram_bytes_per_sentence,
        "dram_bytes_per_target_token": total.dram_bytes_per_token,
        "macs_per_sentence": total.macs_per_sentence,
        "macs_per_target_token": total.macs_per_token,
        "cost": summary_rows(cost),
        "not_modelled": not_modelled_records(cost),
    }


def not_modelled_records(cost: Estimate) -> list[Record]:
    """Events of the whole text that the energy table has no constant for, by component and width."""
    return [
        {
            "component": entry.component.value,
            "bits": entry.bits,
            "count": entry.count,
            "unit": "bytes" if entry.component in LEVEL_OF else "operations",
        }
        for entry in sorted(cost.total.cost.not_modelled, key=lambda entry: (entry.component.value, entry.bits))
    ]


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
        "sqnr_db": finite(row.sqnr_db),
        "bleu": finite(row.bleu),
    }


def constant_records(table: EnergyTable) -> list[Record]:
    """The constants of an energy table that enter a sum."""
    used: dict[str, Constant] = {
        "multiplication": table.multiply_8,
        "addition, up to 8 bits": table.add_8,
        "addition, from 9 bits": table.add_32,
        f"SRAM, {table.sram_kib} KiB": table.sram_64_bits[table.sram_kib],
        "DRAM": table.dram_64_bits,
    }
    return [{"constant": name, **msgspec.structs.asdict(constant)} for name, constant in used.items()]


def _tables(result: RunResult) -> list[EnergyTable]:
    return list({one.estimate.table.name: one.estimate.table for one in result.configurations}.values())
