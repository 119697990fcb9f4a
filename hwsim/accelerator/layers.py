"""What is priced: layers, phases, workloads (docs/accelerator.md, section 1), as shapes and widths."""

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from hwsim.accelerator.events import Component, Operand
from hwsim.accelerator.options import Sparsity

Size = Annotated[int, Meta(ge=1)]
Bits = Annotated[int, Meta(ge=2, le=64)]
Count = Annotated[int, Meta(ge=0)]


class Term(msgspec.Struct, frozen=True, gc=False):
    """`count` like operations of the datapath; `second_bits` is the other factor's width, else 0."""

    component: Component
    bits: int
    second_bits: int
    count: int


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """Work of the vector unit on `elements` codes: passes over all, divisions and square roots in all."""

    elements: Count = 0
    passes: Count = 0
    divisions: Count = 0
    roots: Count = 0


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """`count` products of an (m, k) by a (k, n) matrix.

    Attributes
    ----------
    a, b, output, residual
        What the operands are.
    column_bytes
        Bytes of bias, multipliers and shifts that a column has.
    residual_bits
        Width of a second activation that the epilogue reads, element for element; 0 if there is none.
    a_heads, output_heads
        Of how many heads a row of a or of the output is made: each is packed by itself, as scores and context read
        and write it (section 9).
    sparsity
        N:M skipping that this weight has by itself, whatever the mapping says of others.
    fresh
        1 if the last row of the context's b, or column of the scores' b, is on chip already (section 8), else 0.
    fresh_along
        "n" or "k": the dimension of b that `fresh` shortens.
    a_on_chip, b_on_chip, output_on_chip, residual_on_chip
        Has neither transfers nor room in (7): rows of fused attention, activations that are resident.
    """

    count: Size = 1
    m: Size
    k: Size
    n: Size
    a_bits: Bits
    b_bits: Bits
    accumulator_bits: Bits = 32
    output_bits: Bits
    a: Operand = Operand.ACTIVATION
    b: Operand = Operand.WEIGHT
    output: Operand = Operand.ACTIVATION
    column_bytes: Count = 0
    residual_bits: Count = 0
    residual: Operand = Operand.ACTIVATION
    a_heads: Size = 1
    output_heads: Size = 1
    sparsity: Sparsity | None = None
    fresh: Annotated[int, Meta(ge=0, le=1)] = 0
    fresh_along: str = "n"
    a_on_chip: bool = False
    b_on_chip: bool = False
    output_on_chip: bool = False
    residual_on_chip: bool = False

    def __post_init__(self) -> None:
        for what, heads, codes in (("a", self.a_heads, self.k), ("output", self.output_heads, self.n)):
            if codes % heads:
                raise ValueError(f"{what}: rows of {codes} codes are not {heads} heads of one size")
        if self.sparsity is not None and self.b is not Operand.WEIGHT:
            raise ValueError(f"{self.sparsity} sparsity of {self.b.value}; only weights are skipped")

    @property
    def macs(self) -> int:
        return self.count * self.m * self.k * self.n


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that a row layer reads or writes: `elements` codes a row; what is on chip has no transfers."""

    operand: Operand
    elements: Count
    bits: Bits
    on_chip: bool = False


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A row layer: `rows` rows, each read from `inputs` and written to `outputs` in so many passes.

    Attributes
    ----------
    inputs, outputs
        Per row; the first input of a softmax are the scores. An embedding reads ids and the rows that it looks up.
    constants
        Fetched once: `elements` in all.
    kept_bytes
        Bytes a row that stay in the scratchpad between passes: numerators of a table softmax.
    """

    rows: Size
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    constants: tuple[Stream, ...] = ()
    kept_bytes: Count = 0


class Part(str, Enum):
    """The place of a layer in an attention; fused attention needs the three of one `attention` in a row."""

    NONE = ""
    SCORES = "scores"
    SOFTMAX = "softmax"
    CONTEXT = "context"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer: a product with its epilogue, or rows. Just one of `product` and `rows` is there.

    Attributes
    ----------
    name
        Its site: `encoder.0.self_attention.scores`.
    operation
        Its kind: `matmul`, `softmax`, `layernorm`, `embed`, ...
    repeat
        How often it runs, one after the other.
    terms
        Datapath operations of one run, products and epilogue.
    vectors
        Vector work of one run: of an epilogue, or of the rows.
    macs_zero
        Of one run's MACs those with a zero operand, as a run counted them.
    part
        Its place in an attention.
    """

    name: str
    operation: str
    repeat: Size = 1
    product: Product | None = None
    rows: Rows | None = None
    terms: tuple[Term, ...]
    vectors: Vectors = Vectors()
    macs_zero: Count = 0
    part: Part = Part.NONE

    def __post_init__(self) -> None:
        if (self.product is None) == (self.rows is None):
            raise ValueError(f"layer {self.name}: it is a product or rows, just one of them")
        macs = self.product.macs if self.product is not None else 0
        for component in (Component.MAC_MULTIPLY, Component.MAC_ADD):
            counted = sum(term.count for term in self.terms if term.component is component)
            if counted != macs:
                raise ValueError(f"layer {self.name}: {counted} {component.value} in its terms, but {macs} MACs")
        results = self.product.count * self.product.m * self.product.n if self.product is not None else 0
        work = self.vectors
        if self.product is not None and (work.passes * (work.elements - results) or work.divisions or work.roots):
            raise ValueError(f"layer {self.name}: its epilogue is passes over all {results} results; got {work}")
        if self.macs_zero > macs:
            raise ValueError(f"layer {self.name}: {self.macs_zero} zero MACs of {macs}")


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """Layers in the order in which they run; `tokens` are those that its cost is divided by."""

    name: str
    tokens: Size
    layers: tuple[Layer, ...]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What is priced.

    Attributes
    ----------
    name
        Of the model.
    scheme
        Widths in words: `int8`, `w4a8`.
    batch, source, target
        Sizes as stated; source and target tokens of a sentence in words, as they may be many: "20", "3 to 61".
    sentences
        How many inputs the phases hold in all.
    """

    name: str
    scheme: str
    batch: Size = 1
    source: str = ""
    target: str = ""
    sentences: Size = 1
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError(f"workload {self.name}: it has no phase; at least one is needed")
