"""What a program or a scheme owes to others: its target, what that borrows, and what hardware it lacks."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from hwsim.program import Program
from hwsim.program.targets import target
from reference.quantize.scheme import Scheme, extended
from reference.quantize.sites import Site, sites_among


class Provenance(NamedTuple):
    """Whose arithmetic it is: operator -> lender, and widths that the hardware lacks (None where not known)."""

    target: str
    borrowed: dict[str, str]
    extended: list[str] | None

    def __str__(self) -> str:
        """For example `target ita: residual and layernorm borrowed from pulp; extended: 4-bit weights`."""
        lenders: dict[str, list[str]] = {}
        for operator, lender in self.borrowed.items():
            lenders.setdefault(lender, []).append(operator)
        parts = [f"{_and(operators)} borrowed from {lender}" for lender, operators in lenders.items()]
        parts = parts or ["every operator native"]
        if self.extended is None:
            parts.append("widths not said")
        elif self.extended:
            parts.append(f"extended: {', '.join(self.extended)}")
        return f"target {self.target}: {'; '.join(parts)}"


class _Origin(msgspec.Struct):
    """What is read of a program's origin."""

    scheme: Scheme


def provenance(name: str, lacking: Sequence[str] | None) -> Provenance:
    """Provenance under a target, and what its hardware lacks.

    Raises
    ------
    ValueError
        For an unknown target; lists the known ones.
    """
    return Provenance(name, target(name).borrowed, None if lacking is None else list(lacking))


def scheme_provenance(scheme: Scheme, sites: dict[str, Site]) -> Provenance:
    """The target of a scheme, what that borrows, and what its hardware lacks at the sites of a model."""
    return provenance(scheme.target, extended(scheme, sites))


def program_provenance(program: Program) -> Provenance:
    """What a program file says: its target, and what the scheme that it was lowered from extends."""
    name = program.manifest.target
    try:
        scheme = msgspec.json.decode(program.manifest.origin, type=_Origin).scheme
        lacking = extended(scheme, sites_among(program.tensors, scheme.arithmetic))
    except (msgspec.DecodeError, ValueError, RecursionError):  # `origin` is for the reader, and may be anything
        return provenance(name, None)
    return provenance(name, lacking if scheme.target == name else None)


def _and(words: Sequence[str]) -> str:
    return " and ".join(", ".join(words).rsplit(", ", 1))
