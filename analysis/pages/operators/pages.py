"""The generated parts of docs: tables between markers, and docs/targets.md. Made from records, no study is run."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.inspect.target_limits import Limit, activations, limits, records
from analysis.inspect.target_tables import OPERATORS, widths
from analysis.output.numbers import count, fixed, signed
from analysis.pages.operators.where import LIVES, SCHEMES, Place
from hwsim.files import write_whole
from hwsim.program.catalogue import CATALOGUE
from hwsim.program.targets import TARGETS, LimitName, Target
from reference.quantize.scheme import NATIVE, PRESETS, extended, preset

ERRORS = Path("operators", "errors.json")
CONFORMANCE = Path("results", "conformance.json")
PAGES = ("requantization", "softmax", "layernorm", "activation", "accumulator")
Record = dict[str, Any]


def encode(record: Record) -> bytes:
    """A record as JSON, the same bytes for the same record."""
    return (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()


def write_pages(docs: Path) -> None:
    """Write everything that is generated."""
    for path, text in generated(docs).items():
        write_whole(path, text)


def generated(docs: Path) -> dict[Path, str]:
    """Every page with generated text, as it has to be.

    Raises
    ------
    ValueError
        If a page lacks a marker.
    """
    record = _read(docs / ERRORS)
    texts = {docs / "targets.md": targets_page(docs)}
    for page in PAGES:
        path = docs / "operators" / f"{page}.md"
        text = replaced(path.read_text(), "errors", error_table(record, page))
        texts[path] = replaced(text, "where", where_table(page))
    return texts


def replaced(text: str, name: str, block: str) -> str:
    """A page with the text between its two markers of this name replaced."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"a page needs one {start} and one {end}; it has {text.count(start)} and {text.count(end)}")
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{block.strip()}\n{end}{rest.partition(end)[2]}"


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


@cache
def _environment() -> Environment:
    environment = Environment(loader=PackageLoader("analysis.pages"), undefined=StrictUndefined, autoescape=False)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(count=count, fixed=fixed, signed=signed)
    return environment


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def error_table(record: Record, page: str) -> str:
    """The errors of a page, domain by domain."""
    studies = [_by_domain(study["findings"]) for study in record["studies"] if study["page"] == page]
    return _render("operator_errors.md.jinja", studies=studies, context=record["context"])


def _by_domain(findings: list[Record]) -> list[Record]:
    """Findings of one domain together; a domain that the row above has is not said again."""
    order = list(dict.fromkeys(finding["domain"] for finding in findings))
    together = sorted(findings, key=lambda finding: order.index(finding["domain"]))
    above = [None, *(finding["domain"] for finding in together)]
    return [
        one | {"domain": "" if one["domain"] == before else one["domain"]}
        for one, before in zip(together, above, strict=False)
    ]


def where_table(page: str) -> str:
    """Where each operator of a page lives, and whose it is."""
    schemes = [(record, users(one_scheme=record.name)) for record in CATALOGUE.values()]
    places = [(place, users(place)) for place in LIVES[page]]
    return _render("operator_where.md.jinja", places=places, schemes=schemes if page == SCHEMES else [])


def users(place: Place | None = None, *, one_scheme: str = "") -> dict[str, str]:
    """Targets with an operator of their own, and targets that borrow it, as text; empty where there are none."""
    found: dict[str, dict[str, None]] = {"native": {}, "borrowed": {}}
    for one in (record for each in TARGETS.values() for _, record in records(each)):
        for operator in _operators(one, place, one_scheme):
            record = one.operators.get(operator)  # what a target does with heads is its own
            found["native" if record is None or record.native else "borrowed"][one.name] = None
    return {kind: ", ".join(names) for kind, names in found.items()}


def _operators(one: Target, place: Place | None, one_scheme: str) -> Iterator[str]:
    """The operator of a target that is this one, if any."""
    if one.requantization == one_scheme:
        yield "requantization"
    if place is not None and place.operator and getattr(one, place.operator) == place.method:
        yield place.operator


# docs/targets.md


def targets_page(docs: Path) -> str:
    """The whole page; sections of results are there if their files are."""
    conformance = docs / CONFORMANCE
    reports = sorted((docs / "results" / "targets").glob("*/report.json"))
    return _render(
        "targets.md.jinja",
        targets=list(TARGETS.values()),
        operators=OPERATORS,
        oracles=[(page, place, users(place)) for page in PAGES for place in LIVES[page]],
        catalogue=CATALOGUE,
        chosen=CONFIGURATIONS,
        widths=widths,
        records=[(name, record, activations(record)) for one in TARGETS.values() for name, record in records(one)],
        code=_code,
        beyond=[f"`{name}`" for name in get_args(LimitName)],
        limit_names=list(dict.fromkeys(limit.name for one in TARGETS.values() for limit in limits(one))),
        limit_rows=list(_limit_rows()),
        read=list(_read_limits()),
        configurations=_configurations(),
        conformance=_read(conformance) if conformance.exists() else [],
        results=[row for path in reports for row in _result_rows(path, docs)],
    )


def _code(name: str) -> str:
    """The name of a record, the target's in code letters."""
    target, *rest = name.split(", ")
    return ", ".join([f"`{target}`", *rest])


def _limit_rows() -> Iterator[tuple[str, dict[str, str]]]:
    for one in TARGETS.values():
        for name, record in records(one):
            yield name, {limit.name: limit.value for limit in limits(record)}


def _read_limits() -> Iterator[tuple[str, str, str, str]]:
    """(record, its limits, where they were read, version); those of int16 that are also int8's are not said again."""
    for one in TARGETS.values():
        said: set[Limit] = set()
        for name, record in records(one):
            places: dict[tuple[str, str], list[str]] = {}
            for limit in limits(record):
                if limit.source and limit not in said:
                    places.setdefault((limit.where, limit.source), []).append(limit.name)
                    said.add(limit)
            yield from ((name, ", ".join(names), where, source) for (where, source), names in places.items())


CONFIGURATIONS = (NATIVE, *PRESETS)


def _configurations() -> list[tuple[str, list[str]]]:
    """What each named configuration of each target extends, in a model of one encoder and one decoder layer."""
    from reference.models.translation import Transformer, TransformerConfig
    from reference.quantize.graph import trace
    from reference.quantize.sites import enumerate_sites

    graph = trace(Transformer(TransformerConfig(vocabulary_size=8, encoder_layers=1, decoder_layers=1)))
    return [
        (name, ["; ".join(extended(preset(chosen, name), enumerate_sites(graph, one))) for chosen in CONFIGURATIONS])
        for name, one in TARGETS.items()
    ]


def _result_rows(path: Path, docs: Path) -> Iterator[Record]:
    """One row for each configuration of a report."""
    report = _read(path)
    for one in report["configurations"]:
        yield one | {
            "borrowed": [f"{operator} ({lender})" for operator, lender in dict(one.get("borrowed", {})).items()],
            "extended": one.get("extended") or [],
            "target": one.get("target", path.parent.name),
            "link": path.parent.relative_to(docs).as_posix(),
            "commit": (report["context"].get("commit") or "unknown")[:12],
        }
