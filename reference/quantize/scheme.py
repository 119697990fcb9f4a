"""Quantization schemes: which bits, signedness, granularity and estimator each site gets, by pattern."""

from collections import Counter
from collections.abc import Container, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from hwsim.formats import Accumulator, IntFormat, Overflow
from hwsim.program.catalogue import Float32Inside, Shift, scheme_type
from hwsim.program.targets import DEFAULT_TARGET, Heads, LayerNormMethod, LimitName, SoftmaxMethod, Target
from hwsim.program.targets import target as named_target
from hwsim.reading import read_toml_table
from reference.quantize.sites import Role, Site, layernorm_of, softmax_of

Bits = Annotated[int, Meta(ge=2, le=16)]
Granularity = Literal["per_tensor", "per_channel"]
Estimator = Literal["ema", "min_max"]
MOST_RANGE = 4
SCORE_BITS = 12
"""Of scores at most, unless a rule gives an ITAMax more: an exponential is a table of all distances."""
INT16_BITS = 16
"""Of scores and probabilities of the int16 table softmax."""
GAMMA_BITS: dict[LayerNormMethod, int] = {"ibert": 2, "pulp": 32, "tflite": 16, "gemmini": 8}
"""Of a LayerNorm's weight where the operator has its own format; I-BERT's is a sign."""


BYTES: dict[SoftmaxMethod, str] = {"itamax": "ITAMax", "pulp": "iSoftmax", "qlinear": "QLinearSoftmax"}
"""Softmaxes whose output has 8 bits at most, by the names that they have elsewhere."""


def _check_range(owner: str, field: str, value: int, lowest: int, highest: int) -> None:
    """Refuse in code what the types refuse in a file."""
    if not lowest <= value <= highest:
        raise ValueError(f"{owner}: {field} is {value}; allowed are {lowest} to {highest}")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings for the sites that match `pattern` (shell style: `*`, `?`, `[...]`); later rules win.

    `range` is the share of its calibrated range that a site's format spans.
    """

    pattern: str
    bits: Bits | None = None
    signed: bool | None = None
    narrow: bool | None = None
    symmetric: bool | None = None
    granularity: Granularity | None = None
    estimator: Estimator | None = None
    range: Annotated[float, Meta(gt=0, le=MOST_RANGE)] | None = None
    requantization: str | None = None
    softmax: SoftmaxMethod | None = None
    layernorm: LayerNormMethod | None = None

    def __post_init__(self) -> None:
        if self.bits is not None:
            _check_range(f"rule {self.pattern!r}", "bits", self.bits, 2, 16)
        if self.range is not None and not 0 < self.range <= MOST_RANGE:
            raise ValueError(f"rule {self.pattern!r}: range is {self.range}; allowed are above 0, to {MOST_RANGE}")
        if self.requantization is not None:
            _check_requantization(self.pattern, self.requantization)
        for field, known in (("softmax", get_args(SoftmaxMethod)), ("layernorm", get_args(LayerNormMethod))):
            if getattr(self, field) not in (None, *known):
                raise ValueError(
                    f"rule {self.pattern!r}: {field} is {getattr(self, field)!r}; known: {', '.join(known)}"
                )


def _check_requantization(pattern: str, name: str) -> None:
    """Refuse an unknown scheme, and those that make no codes of accumulators by one ratio."""
    try:
        scheme = scheme_type(name)
    except ValueError as error:
        raise ValueError(f"rule {pattern!r}: {error}") from error
    if scheme in (Shift, Float32Inside):
        raise ValueError(f"rule {pattern!r}: requantization {name!r} has no ratio of its own here; use another")


METHODS = ("softmax", "layernorm")
"""Fields of a rule that choose an operator, and not a format."""


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheme settled for one site."""

    bits: int
    signed: bool
    narrow: bool
    symmetric: bool
    granularity: Granularity
    estimator: Estimator
    range: float
    requantization: str

    @property
    def format(self) -> IntFormat:
        return IntFormat(bits=self.bits, signed=self.signed, narrow=self.narrow)


class Scheme(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quantization scheme; what no rule says follows FullyQT (docs/scheme.md lists the sites and their formats).

    `sqrt_mode` is the treatment of sqrt(d_head); `multiplier_bits` limits the significant bits of every multiplier;
    `power_of_two` rounds every free scale up to a power of two (with `multiplier_bits = 1`: the stock contract).
    `target` names whose arithmetic it is (`hwsim.program.targets`); what `scheme_for` is not told and a scheme file
    leaves open is the target's native configuration. `beyond` names limits of the target that the scheme may break.
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
    beyond: list[LimitName] = []
    rules: list[Rule] = []

    def __post_init__(self) -> None:
        for field in ("weight_bits", "activation_bits", "residual_bits"):
            _check_range(f"scheme {self.name}", field, getattr(self, field), 2, 16)
        _check_range(f"scheme {self.name}", "multiplier_bits", self.multiplier_bits, 1, 31)
        named_target(self.target)

    @property
    def arithmetic(self) -> Target:
        """The target's record for activations of this width."""
        return named_target(self.target).at(self.activation_bits)

    def softmax_at(self, site: str) -> SoftmaxMethod:
        """The softmax that makes a site, `*.softmax.output`."""
        chosen = [rule.softmax for rule in self.rules if rule.softmax and fnmatchcase(site, rule.pattern)]
        return chosen[-1] if chosen else self.arithmetic.softmax

    def layernorm_at(self, site: str) -> LayerNormMethod:
        """The LayerNorm that makes a site, `*.layernorm.output`."""
        chosen = [rule.layernorm for rule in self.rules if rule.layernorm and fnmatchcase(site, rule.pattern)]
        return chosen[-1] if chosen else self.arithmetic.layernorm

    @property
    def heads(self) -> Heads:
        """What the target does with heads."""
        return self.arithmetic.heads

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
            for method in METHODS:
                wanted = [name for name in sites if name.endswith(f".{method}.output")]
                if getattr(rule, method) and not any(fnmatchcase(name, rule.pattern) for name in wanted):
                    raise ValueError(
                        f"scheme {self.name}: pattern {rule.pattern!r} matches no {method}; they are "
                        f"{', '.join(wanted[:4]) or 'none here'}"
                    )
        return {name: self._settle(site) for name, site in sites.items()}

    def _settle(self, site: Site) -> SiteSettings:
        settings = self._default(site)
        for rule in self.rules:
            if fnmatchcase(site.name, rule.pattern):
                fields = msgspec.structs.asdict(rule).items()
                given = {k: v for k, v in fields if v is not None and k not in ("pattern", *METHODS)}
                settings = msgspec.structs.replace(settings, **given)
        _refuse_impossible(site, settings, self)
        return settings

    def _default(self, site: Site) -> SiteSettings:
        bits, target = self._default_bits(site), self.arithmetic
        # Operands of a product of two activations are symmetric, so that the array needs no correction terms.
        factor = site.name.rsplit(".", 1)[-1] in ("query", "key", "value")
        signs = _is_sign(site, self)
        row_scaled = site.role is Role.WEIGHT and not site.name.endswith((".gamma", "positions.weight"))
        per_channel = signs or (row_scaled and (target.granularity == "per_channel" or _is_looked_up(site)))
        return SiteSettings(
            bits=bits,
            signed=site.role is not Role.POSITIVE,
            narrow=signs,
            symmetric=site.role is not Role.FREE or factor or bits > target.zero_point_bits,
            granularity="per_channel" if per_channel else "per_tensor",
            estimator="min_max" if site.role is Role.WEIGHT or self._wraps(site) else "ema",
            range=self.arithmetic.residual_range if _is_sum(site) and self.residual_bits <= 8 else 1.0,
            requantization=self._requantization(site),
        )

    def _requantization(self, site: Site) -> str:
        own = self.arithmetic
        return (own.residual_requantization or own.requantization) if _is_sum(site) else own.requantization

    def _wraps(self, site: Site) -> bool:
        """Whether a code beyond the range would wrap: the range then is the widest that was seen."""
        normalised = site.name.endswith(".layernorm.output") and self.layernorm_at(site.name) == "pulp"
        return normalised and self.arithmetic.layernorm_overflow is Overflow.WRAP

    def _default_bits(self, site: Site) -> int:
        if site.role is Role.LOGITS:
            return 32
        if site.name.endswith(".gamma"):
            return GAMMA_BITS.get(self.layernorm_at(layernorm_of(site.name)), self.weight_bits)
        if site.role is Role.WEIGHT:
            return self.weight_bits
        if site.name.endswith(".scores"):
            method = self.softmax_at(softmax_of(site.name))
            return INT16_BITS if method == "int16" else min(self.activation_bits, SCORE_BITS)
        if site.name.endswith(".softmax.output"):
            return INT16_BITS if self.softmax_at(site.name) == "int16" else self.activation_bits
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
    chosen = [site for site in sites.values() if site.role is not Role.LOGITS and not _is_fixed(site, scheme)]
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
    return found + _other_operators(scheme, sites) + [f"beyond the limit {name}" for name in scheme.beyond]


def _other_operators(scheme: Scheme, sites: dict[str, Site]) -> list[str]:
    """Operators that rules choose in place of the target's own."""
    target, settled = scheme.arithmetic, scheme.resolve(sites)
    own = (target.requantization, target.residual_requantization)
    chosen: Counter[str] = Counter()
    for name, site in sites.items():
        if name.endswith(".softmax.output") and scheme.softmax_at(name) != target.softmax:
            chosen[f"softmax {scheme.softmax_at(name)}"] += 1
        if name.endswith(".layernorm.output") and scheme.layernorm_at(name) != target.layernorm:
            chosen[f"layernorm {scheme.layernorm_at(name)}"] += 1
        if _is_requantized(site) and settled[name].requantization not in own:
            chosen[f"requantization {settled[name].requantization}"] += 1
    return [f"{what}{_at(count)}" for what, count in chosen.items()]


def _is_requantized(site: Site) -> bool:
    """Whether the scheme's requantization makes a site: products and sums, but embeddings and logits, always dyadic."""
    inner = (".softmax.", ".layernorm.")
    made = site.role not in (Role.WEIGHT, Role.LOGITS) and not site.name.endswith("embedding")
    return made and not any(part in site.name for part in inner)


def _at(count: int) -> str:
    return f" at {count} site{'s' if count > 1 else ''}"


def _is_sum(site: Site) -> bool:
    return site.name.endswith(".residual")


def _is_fixed(site: Site, scheme: Scheme) -> bool:
    """Whether an operator says for itself what format a site has."""
    if site.name.endswith(".gamma"):
        return scheme.layernorm_at(layernorm_of(site.name)) in GAMMA_BITS
    int16 = site.name.endswith(".scores") and scheme.softmax_at(softmax_of(site.name)) == "int16"
    return int16 or (site.name.endswith(".softmax.output") and scheme.softmax_at(site.name) == "int16")


def _is_sign(site: Site, scheme: Scheme) -> bool:
    """Whether a gamma is a sign only, its magnitude being in the multipliers."""
    return site.name.endswith(".gamma") and scheme.layernorm_at(layernorm_of(site.name)) == "ibert"


def _is_of_heads(site: Site, target: Target) -> bool:
    """Whether a weight projects heads one by one."""
    return target.heads == "projected" and site.name.endswith("attention.output.weight")


def _is_looked_up(site: Site) -> bool:
    """Whether a weight is an embedding's or the generator's, which are dyadic under every target."""
    return site.name.endswith((".embedding.weight", ".logits.weight"))


def _refuse_impossible(site: Site, settings: SiteSettings, scheme: Scheme) -> None:
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
    one_scale = site.name.endswith((".gamma", "positions.weight")) and not _is_sign(site, scheme)
    if settings.granularity == "per_channel" and one_scale:
        raise ValueError(wants + "this parameter has one scale; use per_tensor")
    if settings.granularity == "per_channel" and _is_of_heads(site, scheme.arithmetic):
        raise ValueError(wants + f"a head has one multiplier under target {scheme.target}; use per_tensor")
    if _is_sign(site, scheme) and (settings.bits, settings.narrow) != (2, True):
        raise ValueError(wants + f"gamma is a sign under target {scheme.target}, 2 bits and narrow; remove the rule")
    _refuse_softmax(site, settings, scheme)


def _refuse_softmax(site: Site, settings: SiteSettings, scheme: Scheme) -> None:
    """Refuse formats of scores and probabilities that their softmax does not have."""
    wants, bits = f"site {site.name}: ", settings.bits
    if site.name.endswith(".softmax.output"):
        method = scheme.softmax_at(site.name)
        if method in BYTES and bits > 8:
            raise ValueError(wants + f"{BYTES[method]} makes at most 8 bits, not {bits}; use a rule with bits = 8")
        if method == "int16" and bits != INT16_BITS:
            raise ValueError(wants + f"the int16 table softmax makes {INT16_BITS} bits, not {bits}; remove the rule")
    if site.name.endswith(".scores"):
        method = scheme.softmax_at(softmax_of(site.name))
        if bits > SCORE_BITS and method not in ("itamax", "int16"):
            table = (
                "an exp table" if method in ("table", "qlinear") else "a table of fake-quant's (the kernel has none)"
            )
            raise ValueError(
                wants + f"scores of {bits} bits need {table} of 2^{bits} entries under target "
                f"{scheme.target}; allowed are 2 to {SCORE_BITS}"
            )
        if method == "int16" and bits != INT16_BITS:
            raise ValueError(wants + f"the int16 table softmax reads {INT16_BITS} bits, not {bits}; remove the rule")


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
    return Scheme(**(_native(named_target(target), fields.get("activation_bits")) | fields))


def _native(target: Target, activation_bits: int | None = None) -> dict[str, Any]:
    """The native configuration, or that of activations of this width."""
    if isinstance(activation_bits, int):
        target = target.at(activation_bits)
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
    fields = read_toml_table(path, "scheme")
    try:
        own = named_target(str(fields.get("target", DEFAULT_TARGET)))
        native = msgspec.to_builtins(_native(own, fields.get("activation_bits")))
        if isinstance(accumulator := fields.get("accumulator"), dict):
            fields["accumulator"] = native["accumulator"] | accumulator
        return msgspec.convert(native | fields, Scheme)
    except (msgspec.ValidationError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a scheme: {reason}{_known_at(reason)}") from error


def _known_at(message: str) -> str:
    """The names that a field knows, where a message says that it holds none of them."""
    known = {"softmax": SoftmaxMethod, "layernorm": LayerNormMethod, "beyond": LimitName}
    fields = [field for field in known if f".{field}" in message]
    return f"; known: {', '.join(get_args(known[fields[0]]))}" if "Invalid enum" in message and fields else ""
