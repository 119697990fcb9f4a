"""What models share: layers of a block from shapes alone (docs/accelerator.md, section 1).

Zero points are 0, operators the default target's. Sites are those of this project's programs (docs/scheme.md); key and
value come before query, as in a program. Every decode step has the same sites.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from hwsim.accelerator.datapath import (
    Terms,
    embedding_terms,
    fullyqt_layernorm_terms,
    gain_terms,
    matmul_terms,
    relu_terms,
    requantize_terms,
    residual_terms,
    shift_terms,
    table_softmax_terms,
    table_terms,
)
from hwsim.accelerator.events import Operand
from hwsim.accelerator.layers import Layer, Part, Product, Rows, Stream, Vectors
from hwsim.accelerator.workloads.sizes import Activation, Shape, Widths, check_range

BIAS_BYTES, MULTIPLIER_BYTES, SHIFT_BYTES = 4, 2, 1
"""Of a column (section 9)."""
BIAS_BITS, MULTIPLIER_BITS, LOGIT_BITS, ID_BITS = 32, 16, 32, 32
MAX_LAYERS = 1 << 20
"""Of a decode phase."""


# --- layers -------------------------------------------------------------------------------------------------------


def product_layer(
    name: str, product: Product, epilogue: Terms = (), passes: int = 0, *, bias: bool = False, part: Part = Part.NONE
) -> Layer:
    """A product with zero points 0, and its epilogue in so many vector passes."""
    p = product
    macs = matmul_terms(
        p.count, p.m, p.k, p.n, a_bits=p.a_bits, b_bits=p.b_bits, accumulator_bits=p.accumulator_bits, bias=bias
    )
    vectors = Vectors(elements=p.count * p.m * p.n, passes=passes) if passes else Vectors()
    return Layer(name=name, operation="matmul", product=p, terms=macs + epilogue, vectors=vectors, part=part)


def linear(
    name: str,
    m: int,
    k: int,
    n: int,
    widths: Widths,
    *,
    activation: Activation = Activation.NONE,
    residual_bits: int = 0,
    output: Operand = Operand.ACTIVATION,
    a_heads: int = 1,
    output_heads: int = 1,
) -> Layer:
    """Bias, ReLU, requantize, table, residual sum: a pass for each that there is.

    A second operand of `residual_bits` makes a residual sum, whose width the result then has.
    """
    w, elements = widths, m * n
    epilogue = relu_terms(elements, w.accumulator) if activation is Activation.RELU else ()
    epilogue += requantize_terms(elements, w.accumulator, w.activation)
    if activation is Activation.TABLE:
        epilogue += table_terms(elements, w.activation)
    if residual_bits:
        epilogue += residual_terms(elements, residual_bits, w.activation, w.residual)
    product = Product(
        m=m,
        k=k,
        n=n,
        a_bits=w.activation,
        b_bits=w.weight,
        accumulator_bits=w.accumulator,
        output_bits=w.residual if residual_bits else w.activation,
        output=output,
        a_heads=a_heads,
        output_heads=output_heads,
        column_bytes=BIAS_BYTES + MULTIPLIER_BYTES + SHIFT_BYTES,
        residual_bits=residual_bits,
    )
    passes = 2 + (activation is not Activation.NONE) + (residual_bits > 0)
    return product_layer(name, product, epilogue, passes, bias=True)


def logits(name: str, m: int, k: int, n: int, widths: Widths, *, bias: bool = False) -> Layer:
    """A generator (equation (9), no bias) or a classifier: 32-bit results of one scale."""
    product = Product(
        m=m,
        k=k,
        n=n,
        a_bits=widths.activation,
        b_bits=widths.weight,
        accumulator_bits=widths.accumulator,
        output_bits=LOGIT_BITS,
        column_bytes=bias * BIAS_BYTES + MULTIPLIER_BYTES + SHIFT_BYTES,
    )
    return product_layer(name, product, requantize_terms(m * n, widths.accumulator, LOGIT_BITS), 1 + bias, bias=bias)


def row_layer(
    name: str,
    operation: str,
    rows: Rows,
    terms: Terms,
    *,
    passes: int,
    divisions: int = 0,
    roots: int = 0,
    part: Part = Part.NONE,
) -> Layer:
    """A row layer; divisions and roots are those of a row, elements those of its output."""
    vectors = Vectors(
        elements=rows.rows * rows.outputs[0].elements,
        passes=passes,
        divisions=rows.rows * divisions,
        roots=rows.rows * roots,
    )
    return Layer(name=name, operation=operation, rows=rows, terms=terms, vectors=vectors, part=part)


def softmax(name: str, rows: int, n: int, widths: Widths, part: Part = Part.NONE) -> Layer:
    """Table softmax of `rows` rows of n keys; numerators stay, the table is the datapath's."""
    bits = widths.activation
    shape = Rows(
        rows=rows,
        inputs=(Stream(operand=Operand.ACTIVATION, elements=n, bits=widths.scores),),
        outputs=(Stream(operand=Operand.ACTIVATION, elements=n, bits=bits),),
        kept_bytes=(n * bits + 7) // 8,
    )
    terms = table_softmax_terms(
        rows, n, score_bits=widths.scores, numerator_bits=bits, denominator_bits=bits, output_bits=bits
    )
    return row_layer(name, "softmax", shape, terms, passes=3, divisions=n, part=part)


def _affine_rows(rows: int, n: int, widths: Widths, bits: int) -> Rows:
    """Rows of n codes of `bits` bits that gamma and beta make activations of."""
    return Rows(
        rows=rows,
        inputs=(Stream(operand=Operand.ACTIVATION, elements=n, bits=bits),),
        outputs=(Stream(operand=Operand.ACTIVATION, elements=n, bits=widths.activation),),
        constants=(
            Stream(operand=Operand.WEIGHT, elements=n, bits=widths.weight),
            Stream(operand=Operand.WEIGHT, elements=n, bits=BIAS_BITS),
        ),
    )


def layernorm(name: str, rows: int, n: int, widths: Widths) -> Layer:
    """FullyQT LayerNorm of residual sums."""
    bits = widths.activation
    terms = fullyqt_layernorm_terms(
        rows,
        n,
        bits=widths.residual,
        numerator_bits=bits,
        denominator_bits=bits,
        quotient_bits=bits,
        gamma_bits=widths.weight,
        beta_bits=BIAS_BITS,
        output_bits=bits,
    )
    shape = _affine_rows(rows, n, widths, widths.residual)
    return row_layer(name, "layernorm", shape, terms, passes=3, divisions=n, roots=1)


def nonorm(name: str, rows: int, n: int, widths: Widths, bits: int) -> Layer:
    """MobileBERT's gamma * x + beta in place of LayerNorm: one pass."""
    terms = gain_terms(rows * n, bits, widths.weight, BIAS_BITS, widths.activation)
    return row_layer(name, "nonorm", _affine_rows(rows, n, widths, bits), terms, passes=1)


def embedding(name: str, rows: int, n: int, widths: Widths, output_bits: int) -> Layer:
    """Equation (8): id, the table's row with its multiplier, the position's row."""
    row = Stream(operand=Operand.WEIGHT, elements=n, bits=widths.weight)
    shape = Rows(
        rows=rows,
        inputs=(
            Stream(operand=Operand.ACTIVATION, elements=1, bits=ID_BITS),
            row,
            row,
            Stream(operand=Operand.WEIGHT, elements=1, bits=MULTIPLIER_BITS),
        ),
        outputs=(Stream(operand=Operand.ACTIVATION, elements=n, bits=output_bits),),
    )
    terms = embedding_terms(rows * n, widths.weight, widths.weight, output_bits)
    return row_layer(name, "embed", shape, terms, passes=1)


# --- parts of a block ---------------------------------------------------------------------------------------------


def attention(
    name: str,
    sequences: int,
    queries: int,
    keys: int,
    shape: Shape,
    widths: Widths,
    *,
    cached: bool = False,
    fresh: bool = False,
) -> tuple[Layer, Layer, Layer]:
    """Scores, softmax and context of `sequences` times `n_heads`; queries of a group share their keys.

    `cached` keys and values come from the cache; `fresh` if the last position is on chip already.
    """
    w, head = widths, shape.head
    count, m = sequences * shape.kv_heads, queries * (shape.n_heads // shape.kv_heads)
    results = count * m * keys
    shifted = head >= 4  # floor(log2(sqrt(d_head))) is not 0
    epilogue = shift_terms(results, w.accumulator) if shifted else ()
    epilogue += requantize_terms(results, w.accumulator, w.scores)
    scores = Product(
        count=count,
        m=m,
        k=head,
        n=keys,
        a_bits=w.activation,
        b_bits=w.activation,
        accumulator_bits=w.accumulator,
        output_bits=w.scores,
        b=Operand.KV_CACHE if cached else Operand.ACTIVATION,
        fresh=int(fresh),
    )
    context = msgspec.structs.replace(scores, k=keys, n=head, output_bits=w.activation, fresh_along="k")
    mixed = requantize_terms(count * m * head, w.accumulator, w.activation)
    return (
        product_layer(f"{name}.scores", scores, epilogue, 1 + shifted, part=Part.SCORES),
        softmax(f"{name}.softmax.output", count * m, keys, w, Part.SOFTMAX),
        product_layer(f"{name}.context", context, mixed, 1, part=Part.CONTEXT),
    )


def key_value(name: str, rows: int, shape: Shape, widths: Widths, *, cached: bool = False) -> tuple[Layer, Layer]:
    """Projections of keys and values, into the cache or not."""
    output, heads = Operand.KV_CACHE if cached else Operand.ACTIVATION, shape.kv_heads

    def projection(part: str) -> Layer:
        n = heads * shape.head
        return linear(f"{name}.{part}", rows, shape.d_model, n, widths, output=output, output_heads=heads)

    return projection("key"), projection("value")


def attend(
    name: str,
    sequences: int,
    queries: int,
    keys: int,
    shape: Shape,
    widths: Widths,
    *,
    residual_bits: int,
    cached: bool = False,
    fresh: bool = False,
) -> tuple[Layer, ...]:
    """Projection of queries, attention, projection of its output with the residual sum."""
    rows, heads, inner = sequences * queries, shape.n_heads, shape.n_heads * shape.head
    return (
        linear(f"{name}.query", rows, shape.d_model, inner, widths, output_heads=heads),
        *attention(name, sequences, queries, keys, shape, widths, cached=cached, fresh=fresh),
        linear(f"{name}.output", rows, inner, shape.d_model, widths, residual_bits=residual_bits, a_heads=heads),
    )


def feed_forward(name: str, rows: int, shape: Shape, widths: Widths, *, residual_bits: int) -> tuple[Layer, Layer]:
    """Two linear layers with the activation between them, and the residual sum."""
    return (
        linear(f"{name}.hidden", rows, shape.d_model, shape.d_ff, widths, activation=shape.activation),
        linear(f"{name}.output", rows, shape.d_ff, shape.d_model, widths, residual_bits=residual_bits),
    )


def post_norm(layers: Iterable[Layer], rows: int, shape: Shape, widths: Widths) -> tuple[Layer, ...]:
    """A sublayer and the LayerNorm behind it, which bears its name."""
    sublayer = tuple(layers)
    stem = sublayer[-1].name.removesuffix(".output")
    return *sublayer, layernorm(f"{stem}.layernorm.output", rows, shape.d_model, widths)


def encoder_block(sequences: int, length: int, shape: Shape, widths: Widths) -> tuple[Layer, ...]:
    """Post-norm self-attention and feed-forward of an encoder."""
    w, rows, bits = widths, sequences * length, widths.activation
    mix = attend("self_attention", sequences, length, length, shape, w, residual_bits=bits)
    return (
        *post_norm((*key_value("self_attention", rows, shape, w), *mix), rows, shape, w),
        *post_norm(feed_forward("feed_forward", rows, shape, w, residual_bits=bits), rows, shape, w),
    )


# --- stacks and steps -----------------------------------------------------------------------------------------------


def placed(layers: Iterable[Layer], prefix: str) -> Iterator[Layer]:
    """The same layers under another site; shapes and terms are shared."""
    for layer in layers:
        yield msgspec.structs.replace(layer, name=f"{prefix}{layer.name}")


def stacked(blocks: int, layers: tuple[Layer, ...], stem: str) -> Iterator[Layer]:
    """So many blocks of the same layers: `stem.0.`, `stem.1.`, ..."""
    for index in range(blocks):
        yield from placed(layers, f"{stem}.{index}.")


def decoded(steps: range, first: tuple[Layer, ...], grown: Callable[[int], tuple[Layer, ...]]) -> Iterator[Layer]:
    """All decode steps, which differ in their self-attention alone.

    Parameters
    ----------
    steps
        Keys of each step.
    first
        Layers of the first one.
    grown
        The layers of a block, named as within it, that depend on the number of keys.

    Raises
    ------
    ValueError
        If there are more than `MAX_LAYERS` layers in all.
    """
    check_range("layers of a decode phase", len(steps) * len(first), 1, MAX_LAYERS)
    sites = [(layer, layer.name.split(".", 2)[-1]) for layer in first]
    for keys in steps:
        new = {layer.name: layer for layer in grown(keys)}
        for layer, site in sites:
            yield msgspec.structs.replace(new[site], name=layer.name) if site in new else layer
