"""Quantization schemes: which bits, signedness, granularity and estimator each site gets, by pattern."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hwsim.formats import Accumulator, IntFormat
from reference.quantize.sites import Role, Site

Bits = Annotated[int, Meta(ge=2, le=16)]
Granularity = Literal["per_tensor", "per_channel"]
Estimator = Literal["ema", "min_max"]


def _check_range(owner: str, field: str, value: int, lowest: int, highest: int) -> None:
    """Refuse in code what the types refuse in a file."""
    if not lowest <= value <= highest:
        raise ValueError(f"{owner}: {field} is {value}; allowed are {lowest} to {highest}")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings for the sites that match `pattern` (shell style: `*`, `?`, `[...]`); later rules win."""

    pattern: str
    bits: Bits | None = None
    signed: bool | None = None
    narrow: bool | None = None
    symmetric: bool | None = None
    granularity: Granularity | None = None
    estimator: Estimator | None = None

    def __post_init__(self) -> None:
        if self.bits is not None:
            _check_range(f"rule {self.pattern!r}", "bits", self.bits, 2, 16)


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheme settled for one site."""

    bits: int
    signed: bool
    narrow: bool
    symmetric: bool
    granularity: Granularity
    estimator: Estimator

    @property
    def format(self) -> IntFormat:
        return IntFormat(bits=self.bits, signed=self.signed, narrow=self.narrow)


class Scheme(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quantization scheme; what no rule says follows FullyQT (docs/scheme.md lists the sites and their formats).

    `sqrt_mode` is the treatment of sqrt(d_head); `multiplier_bits` limits the significant bits of every multiplier;
    `power_of_two` rounds every free scale up to a power of two (with `multiplier_bits = 1`: the stock contract).
    """

    name: str
    weight_bits: Bits = 8
    activation_bits: Bits = 8
    residual_bits: Bits = 16
    accumulator: Accumulator = Accumulator()
    sqrt_mode: Literal["shift", "merged", "dropped"] = "shift"
    multiplier_bits: Annotated[int, Meta(ge=1, le=16)] = 16
    power_of_two: bool = False
    rules: list[Rule] = []

    def __post_init__(self) -> None:
        for field in ("weight_bits", "activation_bits", "residual_bits"):
            _check_range(f"scheme {self.name}", field, getattr(self, field), 2, 16)
        _check_range(f"scheme {self.name}", "multiplier_bits", self.multiplier_bits, 1, 16)

    @property
    def bias_bits(self) -> int:
        """Biases are INT32, or as wide as a wider accumulator, up to what float64 carries."""
        return min(53, max(32, self.accumulator.bits))

    def resolve(self, sites: dict[str, Site]) -> dict[str, SiteSettings]:
        """Settings of every site.

        Raises
        ------
        ValueError
            If a pattern matches no site, or a site is asked for something that the datapath has no hardware for.
        """
        for rule in self.rules:
            if not any(fnmatchcase(name, rule.pattern) for name in sites):
                raise ValueError(
                    f"scheme {self.name}: pattern {rule.pattern!r} matches no site; sites look like "
                    f"{', '.join(list(sites)[:4])}"
                )
        return {name: self._settle(site) for name, site in sites.items()}

    def _settle(self, site: Site) -> SiteSettings:
        settings = self._default(site)
        for rule in self.rules:
            if fnmatchcase(site.name, rule.pattern):
                given = {k: v for k, v in msgspec.structs.asdict(rule).items() if v is not None and k != "pattern"}
                settings = msgspec.structs.replace(settings, **given)
        _refuse_impossible(site, settings)
        return settings

    def _default(self, site: Site) -> SiteSettings:
        bits = self.activation_bits
        if site.role is Role.WEIGHT:
            bits = self.weight_bits
        elif site.role is Role.LOGITS:
            bits = 32
        elif site.name.endswith(".residual"):
            bits = self.residual_bits
        # Operands of a product of two activations are symmetric, so that the array needs no correction terms.
        factor = site.name.rsplit(".", 1)[-1] in ("query", "key", "value")
        row_scaled = site.role is Role.WEIGHT and not site.name.endswith((".gamma", "positions.weight"))
        return SiteSettings(
            bits=bits,
            signed=site.role is not Role.POSITIVE,
            narrow=False,
            symmetric=site.role is not Role.FREE or factor,
            granularity="per_channel" if row_scaled else "per_tensor",
            estimator="min_max" if site.role is Role.WEIGHT else "ema",
        )


def _refuse_impossible(site: Site, settings: SiteSettings) -> None:
    """Refuse what an integer array cannot do without extra hardware, with the alternatives."""
    wants = f"site {site.name}: "
    if site.role is Role.LOGITS:
        if settings.bits != 32:
            raise ValueError(wants + "logits are INT32 with one scale; remove the rule")
        return
    if site.role is not Role.FREE and not settings.symmetric:
        raise ValueError(wants + f"a {site.role.value} site has zero point 0; use symmetric = true")
    if site.role is Role.FREE and settings.symmetric and not settings.signed:
        raise ValueError(wants + "unsigned and symmetric loses what is below zero; use signed or symmetric = false")
    if site.role is not Role.FREE and settings.signed == (site.role is Role.POSITIVE):
        raise ValueError(wants + f"a {site.role.value} site is {'unsigned' if settings.signed else 'signed'}")
    if settings.granularity == "per_channel" and site.role is not Role.WEIGHT:
        raise ValueError(
            wants + "scales per feature cannot leave the accumulator of the next product; use per_tensor, or more bits"
        )
    if settings.granularity == "per_channel" and site.name.endswith((".gamma", "positions.weight")):
        raise ValueError(wants + "this parameter has one scale; use per_tensor")
    if site.name.endswith(".scores") and settings.bits > 12:
        raise ValueError(wants + f"scores of {settings.bits} bits need too large an exp table; allowed are 2 to 12")


PRESETS = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="int8"),
        Scheme(name="int6", weight_bits=6, activation_bits=6),
        Scheme(name="int4", weight_bits=4, activation_bits=4),
        Scheme(name="w4a8", weight_bits=4, activation_bits=8),
    )
}


def preset(name: str) -> Scheme:
    """A named scheme; the error lists the known ones."""
    if name not in PRESETS:
        raise ValueError(f"unknown configuration {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def read_scheme(path: Path) -> Scheme:
    """Read a scheme from a TOML file.

    Raises
    ------
    ValueError
        If the file is missing, is not TOML, or has an unknown or impossible field; the message names it.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Scheme)
    except OSError as error:
        raise ValueError(f"cannot read scheme {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a scheme: {error}") from error
