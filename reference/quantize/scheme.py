"""Quantization schemes: which bits, signedness, granularity and estimator each site gets, by pattern."""

from collections import Counter
from collections.abc import Container, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hwsim.formats import Accumulator, IntFormat
from hwsim.program.targets import DEFAULT_TARGET, Target
from hwsim.program.targets import target as named_target
from reference.quantize.sites import Role, Site

Bits = Annotated[int, Meta(ge=2, le=16)]
Granularity = Literal["per_tensor", "per_channel"]
Estimator = Literal["ema", "min_max"]
SCORE_BITS = 12
"""Of scores at most, unless a rule gives an ITAMax more: an exponential is a table of all distances."""


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
    `target` names whose arithmetic it is (`hwsim.program.targets`); what `scheme_for` is not told and a scheme file
    leaves open is the target's native configuration.
    """

    name: str
    target: str = DEFAULT_TARGET
    weight_bits: Bits = 8
    activation_bits: Bits = 8
    residual_bits: Bits = 16
    accumulator: Accumulator = Accumulator()
    sqrt_mode: Literal["shift", "merged", "dropped"] = "shift"
    multiplier_bits: Annotated[int, Meta(ge=1, le=31)] = 16
    power_of_two: bool = False
    rules: list[Rule] = []

    def __post_init__(self) -> None:
        for field in ("weight_bits", "activation_bits", "residual_bits"):
            _check_range(f"scheme {self.name}", field, getattr(self, field), 2, 16)
        _check_range(f"scheme {self.name}", "multiplier_bits", self.multiplier_bits, 1, 31)
        named_target(self.target)

    @property
    def arithmetic(self) -> Target:
        """The target's record."""
        return named_target(self.target)

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
        _refuse_impossible(site, settings, self.arithmetic)
        return settings

    def _default(self, site: Site) -> SiteSettings:
        bits, target = self._default_bits(site), self.arithmetic
        # Operands of a product of two activations are symmetric, so that the array needs no correction terms.
        factor = site.name.rsplit(".", 1)[-1] in ("query", "key", "value")
        signs = _is_sign(site, target)
        row_scaled = site.role is Role.WEIGHT and not site.name.endswith((".gamma", "positions.weight"))
        per_channel = signs or (row_scaled and (target.granularity == "per_channel" or _is_looked_up(site)))
        return SiteSettings(
            bits=bits,
            signed=site.role is not Role.POSITIVE,
            narrow=signs,
            symmetric=site.role is not Role.FREE or factor or bits > target.zero_point_bits,
            granularity="per_channel" if per_channel else "per_tensor",
            estimator="min_max" if site.role is Role.WEIGHT else "ema",
        )

    def _default_bits(self, site: Site) -> int:
        if site.role is Role.LOGITS:
            return 32
        if _is_fixed(site, self.arithmetic):
            return 2 if _is_sign(site, self.arithmetic) else 16
        if site.role is Role.WEIGHT:
            return self.weight_bits
        if site.name.endswith(".scores"):
            return min(self.activation_bits, SCORE_BITS)
        return self.residual_bits if _is_sum(site) else self.activation_bits


def extended(scheme: Scheme, sites: dict[str, Site]) -> list[str]:
    """What a scheme asks for and its target's hardware does not have, in words, each once.

    `4-bit weights` is the scheme's own width, `16-bit weights at 3 sites` that of rules. Logits are INT32 everywhere,
    and what an operator fixes for itself is not the scheme's to choose. An overflow rule is no width.

    Parameters
    ----------
    sites
        Of the model: `enumerate_sites`, or `sites_among` the tensors of a program.

    Raises
    ------
    ValueError
        As `Scheme.resolve`.
    """
    target, settled = scheme.arithmetic, scheme.resolve(sites)
    chosen = [site for site in sites.values() if site.role is not Role.LOGITS and not _is_fixed(site, target)]
    weights = [site for site in chosen if site.role is Role.WEIGHT]
    sums = [site for site in chosen if _is_sum(site)]
    codes = [site for site in chosen if site.role is not Role.WEIGHT and not _is_sum(site)]

    def lacking(what: str, where: Iterable[Site], own: int, native: Container[int]) -> list[str]:
        widths = Counter(settled[site.name].bits for site in where)
        return [f"{b}-bit {what}{'' if b == own else _at(n)}" for b, n in widths.items() if b not in native]

    affine = [site for site in chosen if not settled[site.name].symmetric]
    rows = [s for s in weights if settled[s.name].granularity == "per_channel" and not _is_looked_up(s)]
    found = lacking("weights", weights, scheme.weight_bits, target.weight_bits)
    found += lacking("activations", codes, scheme.activation_bits, target.activation_bits)
    found += lacking("residual sum", sums, scheme.residual_bits, (target.residual_bits, *target.activation_bits))
    if scheme.accumulator.bits != target.accumulator.bits:
        found.append(f"{scheme.accumulator.bits}-bit accumulator")
    if scheme.multiplier_bits > target.multiplier_bits:
        found.append(f"{scheme.multiplier_bits}-bit multipliers")
    found += lacking("zero points", affine, 0, range(target.zero_point_bits + 1))
    if rows and target.granularity == "per_tensor":
        found.append(f"per-channel weights{_at(len(rows))}")
    return found


def _at(count: int) -> str:
    return f" at {count} site{'s' if count > 1 else ''}"


def _is_sum(site: Site) -> bool:
    return site.name.endswith(".residual")


def _is_fixed(site: Site, target: Target) -> bool:
    """Whether the target's LayerNorm says what format gamma has."""
    return site.name.endswith(".gamma") and target.layernorm != "fullyqt"


def _is_sign(site: Site, target: Target) -> bool:
    """Whether a gamma is a sign only, its magnitude being in the multipliers."""
    return site.name.endswith(".gamma") and target.layernorm == "ibert"


def _is_looked_up(site: Site) -> bool:
    """Whether a weight is an embedding's or the generator's, which are dyadic under every target."""
    return site.name.endswith((".embedding.weight", ".logits.weight"))


def _refuse_impossible(site: Site, settings: SiteSettings, target: Target) -> None:
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
    one_scale = site.name.endswith((".gamma", "positions.weight")) and not _is_sign(site, target)
    if settings.granularity == "per_channel" and one_scale:
        raise ValueError(wants + "this parameter has one scale; use per_tensor")
    if _is_sign(site, target) and (settings.bits, settings.narrow) != (2, True):
        raise ValueError(wants + f"gamma is a sign under target {target.name}, 2 bits and narrow; remove the rule")
    if site.name.endswith("softmax.output") and target.softmax == "itamax" and settings.bits > 8:
        raise ValueError(wants + f"ITAMax makes at most 8 bits, not {settings.bits}; use a rule with bits = 8")
    if site.name.endswith(".scores") and settings.bits > SCORE_BITS and target.softmax != "itamax":
        table = "an exp table" if target.softmax == "table" else "a table of fake-quant's (the kernel has none)"
        raise ValueError(
            wants + f"scores of {settings.bits} bits need {table} of 2^{settings.bits} entries under target "
            f"{target.name}; allowed are 2 to {SCORE_BITS}"
        )


PRESETS = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="int8"),
        Scheme(name="int6", weight_bits=6, activation_bits=6),
        Scheme(name="int4", weight_bits=4, activation_bits=4),
        Scheme(name="w4a8", weight_bits=4, activation_bits=8),
    )
}


NATIVE = "native"
"""The configuration that a target's hardware has."""


def preset(name: str, target: str = DEFAULT_TARGET) -> Scheme:
    """A named configuration of a target; the errors list the known ones."""
    if target == DEFAULT_TARGET and name in PRESETS:
        return PRESETS[name]
    if name not in (*PRESETS, NATIVE):
        raise ValueError(f"unknown configuration {name!r}; known: {', '.join((*PRESETS, NATIVE))}")
    wanted = PRESETS.get(name)
    fields: dict[str, Any] = {"name": f"{target}-{name}"}
    if wanted:
        fields |= {"weight_bits": wanted.weight_bits, "activation_bits": wanted.activation_bits}
        least = named_target(target).least_score_bits
        if wanted.activation_bits < least:
            fields["rules"] = [Rule(pattern="*.scores", bits=least)]
    return scheme_for(target, **fields)


def scheme_for(target: str, **fields: Any) -> Scheme:
    """A scheme; what `fields` do not say is the target's native configuration."""
    return Scheme(**(_native(named_target(target)) | fields))


def _native(target: Target) -> dict[str, Any]:
    return {
        "target": target.name,
        "weight_bits": target.weight_bits[0],
        "activation_bits": target.activation_bits[0],
        "residual_bits": target.residual_bits,
        "accumulator": target.accumulator,
        "sqrt_mode": target.sqrt_mode,
        "multiplier_bits": target.multiplier_bits,
    }


def read_scheme(path: Path) -> Scheme:
    """Read a scheme from a TOML file.

    Raises
    ------
    ValueError
        If the file is missing, is not TOML, or has an unknown or impossible field; the message names it.
    """
    try:
        fields = msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
        native = msgspec.to_builtins(_native(named_target(str(fields.get("target", DEFAULT_TARGET)))))
        if isinstance(accumulator := fields.get("accumulator"), dict):
            fields["accumulator"] = native["accumulator"] | accumulator
        return msgspec.convert(native | fields, Scheme)
    except OSError as error:
        raise ValueError(f"cannot read scheme {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a scheme: {error}") from error
