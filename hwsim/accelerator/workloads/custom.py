"""A user's own workload in TOML: a list of layers, or the dimensions of a model.

Common keys: `name`; `scheme` (int8, int6, int4, w4a8) or a table `[widths]` (weight, activation, residual,
accumulator). Then either layers, which run as one phase `forward`, once each unless `repeat` says otherwise:

    [[layer]]
    name = "mix"
    kind = "gemm"      # (m, k) by (k, n), `count` of them; bare: no bias, no epilogue
    m = 64
    k = 512
    n = 512
    count = 1
    bits = [8, 4]      # of both operands; default: activation and weight of the widths
    operand = "weight" # what b is: weight, activation or kv_cache

    [[layer]]
    name = "soft"
    kind = "softmax"   # or "layernorm": m rows of n, at the widths; no k

or one model, `[transformer]`, `[bert]` or `[gpt]`, with the fields of `EncoderDecoder`, `Bert` or `Gpt2`, and beside it
the sizes `batch`, `source_length`, `target_length`, `context`, `beam`.
"""

from collections import Counter
from enum import Enum
from pathlib import Path

import msgspec

from hwsim.accelerator.events import Operand
from hwsim.accelerator.layers import Layer, Phase, Product, Size, Workload
from hwsim.accelerator.reading import check_name, read_toml, short
from hwsim.accelerator.workloads.bert import Bert
from hwsim.accelerator.workloads.blocks import layernorm, product_layer, softmax
from hwsim.accelerator.workloads.encoder_decoder import EncoderDecoder
from hwsim.accelerator.workloads.gpt2 import Gpt2
from hwsim.accelerator.workloads.sizes import LIMITS, MAX_DIMENSION, Model, Widths, build, check_range, find_widths
from hwsim.accelerator.workloads.topology import MAX_NAME


class Kind(str, Enum):
    GEMM = "gemm"
    SOFTMAX = "softmax"
    LAYERNORM = "layernorm"


class SecondOperand(str, Enum):
    """What b of a GEMM may be."""

    WEIGHT = "weight"
    ACTIVATION = "activation"
    KV_CACHE = "kv_cache"


class CustomLayer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One layer; `k`, `count`, `bits` and `operand` are those of a GEMM alone."""

    name: str
    kind: Kind
    m: Size
    n: Size
    k: Size | None = None
    count: Size | None = None
    bits: tuple[int, int] | None = None
    operand: SecondOperand | None = None
    repeat: Size = 1

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"layer {short(repr(self.name))}: name must be printable and not blank")
        if len(self.name) > MAX_NAME:
            raise ValueError(f"layer {short(self.name)}: name has {len(self.name)} letters; allowed are {MAX_NAME}")
        for field in ("m", "n", "k", "count", "repeat"):
            if (value := getattr(self, field)) is not None:
                check_range(f"layer {self.name}: {field}", value, 1, MAX_DIMENSION)
        for bits in self.bits or ():
            check_range(f"layer {self.name}: bits", bits, 2, 16)
        if self.kind is Kind.GEMM:
            if self.k is None:
                raise ValueError(f"layer {self.name}: a gemm needs k")
        else:
            for field in ("k", "count", "bits", "operand"):
                if getattr(self, field) is not None:
                    raise ValueError(f"layer {self.name}: {self.kind.value} has no {field}; it has m rows of n")

    def layer(self, widths: Widths) -> Layer:
        """The layer at the widths of the workload."""
        match self.kind:
            case Kind.SOFTMAX:
                made = softmax(self.name, self.m, self.n, widths)
            case Kind.LAYERNORM:
                made = layernorm(self.name, self.m, self.n, widths)
            case Kind.GEMM:
                made = product_layer(self.name, self._product(widths))
        return msgspec.structs.replace(made, repeat=self.repeat)

    def _product(self, widths: Widths) -> Product:
        assert self.k is not None  # __post_init__
        operand = Operand((self.operand or SecondOperand.WEIGHT).value)
        a_bits, b_bits = self.bits or (
            widths.activation,
            widths.weight if operand is Operand.WEIGHT else widths.activation,
        )
        return Product(
            count=self.count or 1,
            m=self.m,
            k=self.k,
            n=self.n,
            a_bits=a_bits,
            b_bits=b_bits,
            b=operand,
            accumulator_bits=widths.accumulator,
            output_bits=widths.activation,
        )


class CustomWorkload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user's file; just one of `layer`, `transformer`, `bert` and `gpt` is there."""

    name: str
    scheme: str | None = None
    widths: Widths | None = None
    batch: int | None = None
    source_length: int | None = None
    target_length: int | None = None
    context: int | None = None
    beam: int | None = None
    layer: tuple[CustomLayer, ...] = ()
    transformer: EncoderDecoder | None = None
    bert: Bert | None = None
    gpt: Gpt2 | None = None

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if self.scheme is not None and self.widths is not None:
            raise ValueError("scheme and widths are both there; give one of them")
        whole = [what for what in ("layer", "transformer", "bert", "gpt") if getattr(self, what)]
        if len(whole) != 1:
            raise ValueError(f"{' and '.join(whole) or 'nothing'} to price; give one of layer, transformer, bert, gpt")

    def workload(self) -> Workload:
        """What is priced.

        Raises
        ------
        ValueError
            If the scheme is unknown, a name occurs twice, or a size is not the model's or outside its limits.
        """
        chosen: str | Widths = self.widths or self.scheme or "int8"
        sizes = {size: getattr(self, size) for size in LIMITS}
        model: Model | None = self.transformer or self.bert or self.gpt
        if model is not None:
            return build(self.name, model, chosen, sizes)
        if given := [size for size, value in sizes.items() if value is not None]:
            raise ValueError(f"{given[0]} is given, but layers have their own sizes; remove it")
        (name, times), *_ = Counter(layer.name for layer in self.layer).most_common(1)
        if times > 1:
            raise ValueError(f"layer {name} is there {times} times; names must differ")
        words, widths = find_widths(chosen)
        layers = tuple(layer.layer(widths) for layer in self.layer)
        return Workload(name=self.name, scheme=words, phases=(Phase(name="forward", tokens=1, layers=layers),))


def read_workload(path: Path) -> Workload:
    """A user's workload.

    Raises
    ------
    ValueError
        If the file cannot be read or says what cannot be; one line that names it.
    """
    told = read_toml(path, CustomWorkload, "workload")
    try:
        return told.workload()
    except ValueError as error:
        raise ValueError(f"workload {path}: {error}") from None
