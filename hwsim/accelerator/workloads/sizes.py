"""What a workload from shapes alone is told: widths, sizes of a run, dimensions of a block."""

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar, Protocol

import msgspec

from hwsim.accelerator.layers import Phase, Size, Workload
from hwsim.accelerator.reading import short

SCORE_BITS = 12
"""Of scores at most: the table softmax has an entry for every distance."""
LIMITS = {
    "batch": (1, 1 << 16),
    "source_length": (1, 1 << 20),
    "target_length": (1, 1 << 12),
    "context": (0, 1 << 20),
    "beam": (1, 1 << 10),
}
"""Least and greatest of each size: a phase has layers for every decode step."""
MAX_BLOCKS, MAX_DIMENSION = 1 << 10, 1 << 20
MAX_EXTENT = 1 << 24
"""Of m, k and n, which multiply sizes and dimensions: the tiles that are tried are listed."""


def check_range(what: str, value: int, low: int, high: int) -> None:
    """Refuse in code what the types refuse in a file."""
    if not low <= value <= high:
        raise ValueError(f"{what} is {value}; allowed are {low} to {high}")


class Widths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bits of weights, activations, residual sums and accumulators: the defaults of docs/scheme.md."""

    weight: int = 8
    activation: int = 8
    residual: int = 16
    accumulator: int = 32

    def __post_init__(self) -> None:
        for field in ("weight", "activation", "residual"):
            check_range(f"widths.{field}", getattr(self, field), 2, 16)
        check_range("widths.accumulator", self.accumulator, 8, 63)

    @property
    def scores(self) -> int:
        return min(self.activation, SCORE_BITS)


SCHEMES = {
    "int8": Widths(),
    "int6": Widths(weight=6, activation=6),
    "int4": Widths(weight=4, activation=4),
    "w4a8": Widths(weight=4),
}


def find_widths(scheme: str | Widths) -> tuple[str, Widths]:
    """A scheme in words, and its widths.

    Raises
    ------
    ValueError
        If the name is unknown; the known ones are listed.
    """
    if isinstance(scheme, Widths):
        return f"w{scheme.weight}a{scheme.activation}", scheme
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {short(repr(scheme))}; known: {', '.join(SCHEMES)}")
    return scheme, SCHEMES[scheme]


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a run.

    Attributes
    ----------
    source_length, target_length
        Tokens that are encoded or prefilled, and decode steps.
    context
        Positions in the self cache before the first decode step.
    beam
        Hypotheses a sentence in decoding; each has cache reads of its own.
    """

    batch: int = 1
    source_length: int
    target_length: int = 0
    context: int = 0
    beam: int = 1

    @property
    def steps(self) -> range:
        """Keys of each decode step, its own included (section 8)."""
        return range(self.context + 1, self.context + self.target_length + 1)

    @property
    def hypotheses(self) -> int:
        """Rows of a decode step."""
        return self.batch * self.beam

    @property
    def target(self) -> str:
        """Target length, context and beam in words; empty where nothing is decoded."""
        if not self.target_length:
            return ""
        context = f" at context {self.context}" if self.context else ""
        return f"{self.target_length}{context}" + (f", beam {self.beam}" if self.beam > 1 else "")


def find_sizes(name: str, defaults: Mapping[str, int], given: Mapping[str, int | None], positions: int | None) -> Sizes:
    """Defaults, with what is given; a decoder's default of context -1 is the source length.

    Parameters
    ----------
    positions
        Greatest length of the model; None is any.

    Raises
    ------
    ValueError
        If the model has no such size, or a size is outside its limits.
    """
    chosen = dict(defaults)
    for size, value in given.items():
        if value is None:
            continue
        if size not in defaults:
            raise ValueError(f"{name} has no size {size}; it has {', '.join(defaults)}")
        check_range(size, value, *LIMITS[size])
        chosen[size] = value
    if chosen.get("context") == -1:
        chosen["context"] = chosen["source_length"]
    sizes = Sizes(**chosen)
    longest = max(sizes.source_length, sizes.context + sizes.target_length)
    if positions and longest > positions:
        raise ValueError(f"{name} has {positions} positions; a length of {longest} tokens was asked for")
    return sizes


class Activation(str, Enum):
    """The function behind a linear layer: none, ReLU on the accumulator, or a table of the code (GELU, tanh)."""

    NONE = "none"
    RELU = "relu"
    TABLE = "table"


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dimensions of a Transformer block.

    Attributes
    ----------
    d_head
        Of one head; None is d_model / n_heads.
    n_kv_heads
        Heads of keys and values, shared by groups of queries; None is n_heads.
    """

    d_model: Size
    n_heads: Size
    d_ff: Size
    d_head: Size | None = None
    n_kv_heads: Size | None = None
    activation: Activation = Activation.TABLE

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if isinstance(value, int):
                check_range(field, value, 1, MAX_BLOCKS if field.endswith("layers") else MAX_DIMENSION)
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads is {self.n_heads}; without d_head it must divide d_model, {self.d_model}")
        if self.n_heads % self.kv_heads:
            raise ValueError(f"n_kv_heads is {self.n_kv_heads}; it must divide n_heads, {self.n_heads}")

    @property
    def head(self) -> int:
        return self.d_head or self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads


class Model(Protocol):
    """Dimensions of a model that knows its layers; `DEFAULTS` are the sizes that it has.

    Attributes
    ----------
    positions
        Greatest length; None is any.
    """

    DEFAULTS: ClassVar[Mapping[str, int]]

    @property
    def positions(self) -> int | None: ...

    def phases(self, sizes: Sizes, widths: Widths) -> tuple[Phase, ...]:
        """Phases in the order in which they run."""


def build(name: str, model: Model, scheme: str | Widths, given: Mapping[str, int | None]) -> Workload:
    """A model at sizes, those that are not given being its defaults.

    Raises
    ------
    ValueError
        As `find_widths` and `find_sizes`, and for a product with an extent beyond `MAX_EXTENT`.
    """
    words, widths = find_widths(scheme)
    sizes = find_sizes(name, model.DEFAULTS, given, model.positions)
    phases = model.phases(sizes, widths)
    for layer in (layer for phase in phases for layer in phase.layers):
        if (p := layer.product) is not None and max(p.m, p.k, p.n) > MAX_EXTENT:
            raise ValueError(
                f"layer {layer.name} is a product of ({p.m}, {p.k}, {p.n}); allowed are up to {MAX_EXTENT}"
            )
    return Workload(
        name=name,
        scheme=words,
        batch=sizes.batch,
        source=str(sizes.source_length),
        target=sizes.target,
        sentences=sizes.batch,
        phases=phases,
    )
