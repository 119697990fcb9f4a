"""What pyproject.toml allows, what was tested and what CI tries are one story; so are the README's commands.

`.ci/pin` writes both files of versions; `.ci/portion.txt` is kept by hand.
"""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
TESTED = ROOT / ".ci" / "constraints.txt"
OLDEST = ROOT / ".ci" / "oldest.txt"
AS_TESTED = "torch"
"""Its old releases have no build for the CPU that could be installed everywhere: CI tries one release."""

REQUIREMENTS = [
    *map(Requirement, PROJECT["dependencies"]),
    *(Requirement(one) for extra in PROJECT["optional-dependencies"].values() for one in extra),
]


def lines(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def version(requirement: Requirement) -> Version:
    """The one version that a line of a file of versions allows."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


PINS = {path: {canonicalize_name(one.name): one for one in lines(path.read_text())} for path in (TESTED, OLDEST)}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_has_a_tested_version_within_its_bounds(requirement: Requirement) -> None:
    pin = PINS[TESTED][canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version(pin))


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_oldest_versions_are_the_lower_bounds(requirement: Requirement) -> None:
    pin = PINS[OLDEST][canonicalize_name(requirement.name)]
    bounds = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    tested = version(PINS[TESTED][AS_TESTED])
    assert [version(pin)] == ([tested] if requirement.name == AS_TESTED else bounds)


def test_each_package_has_one_version() -> None:
    for path, pins in PINS.items():
        assert len(lines(path.read_text())) == len(pins)


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_pins_hold_for_every_python(minor: int) -> None:
    """What a package needs in turn may depend on Python, but nothing that a user of 3.11 has is missing on 3.13."""
    assert f"Programming Language :: Python :: 3.{minor}" in PROJECT["classifiers"]
    assert f"3.{minor}" in README
    for name, pin in PINS[TESTED].items():
        here = {"python_full_version": f"3.{minor}.0", "python_version": f"3.{minor}", "sys_platform": "linux"}
        system = {"platform_machine": "x86_64", "platform_python_implementation": "CPython"}
        assert pin.marker is None or pin.marker.evaluate({**here, **system}), name


def test_what_runs_with_other_versions_is_there() -> None:
    paths = [line.split("#")[0].strip() for line in (ROOT / ".ci" / "portion.txt").read_text().splitlines()]
    assert [path for path in paths if path and not (ROOT / path).exists()] == []
    assert len(set(paths) - {""}) > 10


def test_the_commands_of_the_readme_install_the_tested_versions() -> None:
    commands = re.findall(r"^python3 .*pip install.*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert all(f" -c {TESTED.relative_to(ROOT)} " in command for command in commands)
