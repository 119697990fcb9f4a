"""Documents: links lead somewhere, and each page names all that it is about."""

import re
from dataclasses import MISSING, asdict, fields
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
from reference.models.translation import Transformer
from reference.models.translation import TransformerConfig as Config
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


def rows_of(page: str, header: str) -> dict[str, str]:
    """First and second cell of a table's rows, without code letters."""
    table = (ROOT / "docs" / page).read_text().split(f"| {header} |")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `(\S+)` \| ([^|]+) \|", table, re.MULTILINE))


def test_the_page_of_the_model_has_every_field() -> None:
    told = rows_of("model.md", "field")
    known = {field.name: "none" if field.default is MISSING else str(field.default).lower() for field in fields(Config)}
    assert told == known


def test_the_page_of_the_model_has_every_tensor_with_its_shape() -> None:
    """Sizes that differ from each other, so that no shape is another's."""
    config = Config(
        vocabulary_size=41, d_model=8, n_heads=3, d_head=5, d_ff=11, encoder_layers=2, decoder_layers=1, tied=False
    )
    sizes = {**asdict(config), "inner": config.n_heads * config.d_head}
    told = {}
    for name, shape in rows_of("model.md", "tensor").items():
        extents = tuple(sizes[part] for part in shape.strip("()").split(", "))
        for layer in range(sizes[f"{name.partition('.')[0]}_layers"] if ".I." in name else 1):
            for attention in ("self_attention", "cross_attention") if ".S" in name else ("",):
                told[name.replace(".I.", f".{layer}.").replace(".S", f".{attention}")] = extents
    assert told == {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}


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
