"""Documents: links lead somewhere, and each page names all that it is about."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from hwsim.accelerator.cost.estimate import estimate
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.workloads import read_workload, workload
from hwsim.formats import Granularity, Overflow, Rounding
from hwsim.program.catalogue import CATALOGUE
from hwsim.program.operations import Operation
from hwsim.program.targets import TARGETS
from tests import ROOT
from tests.small.models import sites_of

PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link


def test_every_page_is_reached_from_the_readme() -> None:
    reached, pages = set(), [ROOT / "README.md"]
    while pages:
        page = pages.pop().resolve()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            pages += [page.parent / link for link in LINK.findall(page.read_text())]
    assert {page.resolve() for page in PAGES} <= reached


def test_the_page_of_sites_names_every_site() -> None:
    text = (ROOT / "docs" / "scheme.md").read_text()
    names = re.findall(r"`([a-zA-Z_.*]+)`", text.split("## Sites")[1])
    endings = {name.rsplit(".", 1)[-1] for name in names}
    for site in sites_of():
        assert site.rsplit(".", 1)[-1] in endings or any(fnmatchcase(site, name) for name in names), site


def names_in(page: str) -> set[str]:
    """Everything that a page sets in code letters."""
    return set(re.findall(r"`\"?([^`\"]+)\"?`", (ROOT / "docs" / page).read_text()))


@pytest.mark.parametrize("page", ["operators/requantization.md", "program.md"])
def test_every_requantization_scheme_is_named(page: str) -> None:
    assert set(CATALOGUE) <= names_in(page)


def test_every_operation_and_choice_of_a_program_is_named() -> None:
    names = names_in("program.md")
    assert {str(operation.__struct_config__.tag) for operation in get_args(Operation)} <= names
    for choices in (Rounding, Overflow, Granularity):
        assert {choice.value for choice in choices} <= names


def test_every_operator_has_its_equations_on_a_page() -> None:
    tags = {str(operation.__struct_config__.tag) for operation in get_args(Operation)}
    for page, ending in (("softmax", ("softmax", "itamax")), ("layernorm", ("layernorm",))):
        assert {tag for tag in tags if tag.endswith(ending)} <= names_in(f"operators/{page}.md")


def test_every_target_is_named() -> None:
    assert set(TARGETS) <= names_in("targets.md")
    assert {lender for target in TARGETS.values() for lender in target.borrowed.values()} <= {*TARGETS, "tflite"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_knows_the_machine_that_it_was_written_on(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(work|tmp|root|home)/", page.read_text())


FILES = re.findall(r"```toml (\w+)\n(.*?)```", (ROOT / "docs" / "accelerator.md").read_text(), re.DOTALL)


@pytest.mark.parametrize(("kind", "text"), FILES, ids=[kind for kind, _ in FILES])
def test_files_on_the_page_of_the_accelerator_work(kind: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.toml"
    path.write_text(text)
    machine, work = hardware("edge-256"), workload("tiny11")
    if kind == "hardware":
        machine = hardware(str(path))
    elif kind == "workload":
        work = read_workload(path)
    else:
        machine = replace(machine, energy_table=str(path))
    assert estimate(work, machine).total.cost.energy_aj > 0


def test_the_page_of_the_accelerator_shows_every_kind_of_file() -> None:
    assert {kind for kind, _ in FILES} == {"hardware", "workload", "energy"}
