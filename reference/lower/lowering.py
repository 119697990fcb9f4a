"""Lowering: a model and its quantization plan become an integer program."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwsim import program as ir
from hwsim.formats import IntFormat
from hwsim.program import operations as ops
from hwsim.program.catalogue import AnyRequantization, Dyadic, Q31Double
from reference.models.translation import Transformer
from reference.quantize.graph import Kind, Node, Symbol
from reference.quantize.plan import Plan
from reference.quantize.plan.constants import (
    AddConstants,
    GemminiSoftmaxConstants,
    GemmlowpConstants,
    IBertLayerNormConstants,
    IBertSoftmaxConstants,
    ItaMaxConstants,
    LayerNormConstants,
    PulpLayerNormConstants,
    Quantizer,
    Rescale,
    SoftmaxConstants,
    TfliteLayerNormConstants,
)
from reference.quantize.plan.snap import Snapped
from reference.quantize.sites import POSITIONS_WEIGHT
from reference.quantize.strict import StrictArithmetic, exact
from reference.tokenizer import BOS, EOS, PAD, Tokenizer

MASK = IntFormat(bits=2, signed=False)
IDS = IntFormat(bits=32, signed=False)


@torch.no_grad()
def lower(
    model: Transformer, plan: Plan, *, name: str, tokenizer: Tokenizer | None = None, origin: str = ""
) -> ir.Program:
    """Lower a planned model. `hwsim.program.validate` proves the result; `Program.save` writes it."""
    return _Lowering(model, plan).program(name, tokenizer.hash if tokenizer else "", origin)


class _Lowering:
    """Collects tensors, constants and operations, node by node."""

    def __init__(self, model: Transformer, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self.strict = StrictArithmetic(model, plan)
        self.tensors: dict[str, ir.TensorInfo] = {}
        self.info: dict[str, ir.ConstantInfo] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        self.operations: dict[str, list[ops.Operation]] = {"encode": [], "decode_step": []}

    def program(self, name: str, tokenizer_hash: str, origin: str) -> ir.Program:
        graph, positions = self.plan.graph, self.model.config.max_positions
        self._tensor("source_ids", IDS, ("batch", "source"))
        self._tensor("source_mask", MASK, ("batch", "source"))
        self._tensor("target_ids", IDS, ("batch", "target"))
        for function in self.operations:
            self._tensor(f"{function}.position", IDS, ())
        past = [symbol for pair in graph.past for symbol in pair]
        present = [symbol for pair in graph.present for symbol in pair]
        cross = [symbol for pair in graph.cross for symbol in pair]
        for symbol in past:
            self._activation(symbol)
        for node in graph.nodes:
            getattr(self, f"_{node.kind.value}")(node)
        inputs = {
            "encode": ["source_ids", "source_mask", "encode.position"],
            "decode_step": ["target_ids", "decode_step.position", "source_mask", *(s.name for s in cross + past)],
        }
        outputs = {
            "encode": [symbol.name for symbol in cross],
            "decode_step": [graph.logits.name, *(s.name for s in present)],
        }
        manifest = ir.Manifest(
            name=name,
            scheme=self.plan.scheme.name,
            target=self.plan.target.name,
            tokenizer_sha256=tokenizer_hash,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            max_positions=positions,
            logit_scale=self.plan.logit_scale,
            origin=origin,
            dimensions=[
                ir.Dimension(name="batch", maximum=1 << 16),
                ir.Dimension(name="source", maximum=positions),
                ir.Dimension(name="target", maximum=1),
                ir.Dimension(name="past", maximum=max(1, positions - 1)),
                ir.Dimension(name="keys", maximum=positions, terms=["past", "target"]),
            ],
            tensors=list(self.tensors.values()),
            constants=list(self.info.values()),
            functions=[
                ir.Function(name=f, inputs=inputs[f], outputs=outputs[f], operations=operations)
                for f, operations in self.operations.items()
            ],
            states=[
                ir.State(function="decode_step", past=old.name, present=new.name)
                for old, new in zip(past, present, strict=True)
            ],
        )
        return ir.Program(manifest, self.arrays)

    # --- tensors and constants ----------------------------------------------------------------------------------

    def _tensor(
        self, name: str, fmt: IntFormat, dims: tuple[str | int, ...], quantizer: Quantizer | None = None
    ) -> str:
        self.tensors[name] = ir.TensorInfo(
            name=name,
            format=fmt,
            dims=list(dims),
            zero_point=quantizer.zero_point if quantizer else 0,
            scale=quantizer.scale if quantizer else None,
        )
        return name

    def _activation(self, symbol: Symbol) -> str:
        quantizer = self.plan.quantizers[symbol.site]
        return self._tensor(symbol.name, quantizer.format, symbol.dims, quantizer)

    def _inner(self, site: str, dims: tuple[str | int, ...]) -> str:
        return self._activation(Symbol(name=site, site=site, dims=dims))

    def _accumulator(self, name: str, dims: tuple[str | int, ...]) -> str:
        return self._tensor(name, IntFormat(bits=self.plan.scheme.accumulator.bits), dims)

    def _constant(self, name: str, values: Tensor, fmt: IntFormat, role: str) -> str:
        if name in self.info:
            if not np.array_equal(self.arrays[name], values.numpy()):
                raise ValueError(f"constant {name} would have two values")
        else:
            wide = values.to(torch.float64).numpy() if values.is_floating_point() else values.numpy()
            self.arrays[name] = wide.astype(np.int32 if fmt.bits <= 32 and fmt.signed else np.int64)
            self.info[name] = ir.ConstantInfo(name=name, format=fmt, shape=list(values.shape), role=role)  # type: ignore[arg-type]
        return name

    def _weight(self, site: str, codes: Tensor) -> str:
        return self._constant(site, codes, self.plan.weights[site].format, "weight")

    def _bias(self, name: str, codes: Tensor, bits: int | None = None) -> str:
        fmt = IntFormat(bits=bits or self.plan.scheme.bias_bits)
        if int(codes.abs().max()) >= fmt.max:
            raise ValueError(f"{name} does not fit {fmt} at its scale; use fewer bits at its inputs")
        return self._constant(name, codes, fmt, "bias")

    def _multipliers(self, name: str, values: Tensor) -> int | str:
        if bool((values == values[0]).all()):
            return int(values[0])
        bits = max(16, int(values.max()).bit_length())
        return self._constant(name, values, IntFormat(bits=bits, signed=False), "multiplier")

    def _shifts(self, name: str, values: Tensor) -> int | str:
        if bool((values == values[0]).all()):
            return int(values[0])
        return self._constant(name, values, IntFormat(bits=6, signed=False), "shift")

    # --- operations ---------------------------------------------------------------------------------------------

    def _emit(self, node: Node, operation: ops.Operation) -> None:
        self.operations[node.function].append(operation)

    def _embed(self, node: Node) -> None:
        assert isinstance(node.module, nn.Embedding)
        constants = self.plan.embed[node.site]
        positions = self.strict.parameter(POSITIONS_WEIGHT, self.model.positions)
        self._emit(
            node,
            ops.Embed(
                output=self._activation(node.output),
                ids="source_ids" if node.function == "encode" else "target_ids",
                position=f"{node.function}.position",
                table=self._weight(constants.table, self.strict.parameter(constants.table, node.module.weight)),
                positions=self._weight(POSITIONS_WEIGHT, positions),
                multiplier=self._multipliers(f"{constants.table}.multiplier", constants.multipliers),
                position_multiplier=constants.position_multiplier,
                shift=constants.shift,
            ),
        )

    def _product(self, node: Node, b: str, bias: str | None = None, transpose_b: bool = False) -> str:
        accumulator = self._accumulator(f"{node.site}.accumulator", node.output.dims)
        self._emit(
            node,
            ops.MatMul(
                output=accumulator,
                a=node.inputs[0].name,
                b=b,
                bias=bias,
                transpose_b=transpose_b,
                accumulator=self.plan.scheme.accumulator,
            ),
        )
        return accumulator

    def _linear_product(self, node: Node) -> str:
        assert isinstance(node.module, nn.Linear)
        site = f"{node.site}.weight"
        weight = self.strict.parameter(site, node.module.weight)
        bias = exact.quantize_bias(node.module.bias, self.plan.linear[node.site].bias_scale, self.plan.scheme.bias_bits)
        return self._product(node, self._weight(site, weight), self._bias(f"{node.site}.bias", bias))

    def _requantize(self, node: Node, accumulator: str, multiplier: int | str, shift: int | str) -> None:
        scheme = Dyadic if node.kind is Kind.LOGITS else self.plan.target.scheme
        operation = ops.Requantize(
            output=self._activation(node.output),
            input=accumulator,
            requantization=cast(AnyRequantization, scheme(multiplier=multiplier, shift=shift)),
        )
        self._emit(node, operation)

    def _requantize_rows(self, node: Node, accumulator: str) -> None:
        constants = self.plan.linear[node.site]
        self._requantize(
            node,
            accumulator,
            self._multipliers(f"{node.site}.multiplier", constants.multipliers),
            self._shifts(f"{node.site}.shift", constants.shifts),
        )

    def _linear(self, node: Node) -> None:
        self._requantize_rows(node, self._linear_product(node))

    def _linear_relu(self, node: Node) -> None:
        accumulator = self._linear_product(node)
        rectified = self._accumulator(f"{node.site}.rectified", node.output.dims)
        self._emit(node, ops.Relu(output=rectified, input=accumulator))
        self._requantize_rows(node, rectified)

    def _scores(self, node: Node) -> None:
        accumulator, constants = self._product(node, node.inputs[1].name), self.plan.scores[node.site]
        if constants.shift is not None:
            shifted = self._accumulator(f"{node.site}.shifted", node.output.dims)
            self._emit(node, ops.ShiftRight(output=shifted, input=accumulator, shift=constants.shift))
            accumulator = shifted
        self._requantize(node, accumulator, *constants.requantization)

    def _context(self, node: Node) -> None:
        accumulator = self._product(node, node.inputs[1].name, transpose_b=True)
        self._requantize(node, accumulator, *self.plan.context[node.site])

    def _logits(self, node: Node) -> None:
        assert isinstance(node.module, nn.Embedding)
        constants = self.plan.logits[node.site]
        weight = self._weight(constants.table, self.strict.parameter(constants.table, node.module.weight))
        multipliers = self._multipliers(f"{constants.table}.multiplier", constants.multipliers)
        self._requantize(node, self._product(node, weight), multipliers, constants.shift)

    def _softmax(self, node: Node) -> None:
        constants = self.plan.softmax[node.site]
        if isinstance(constants, SoftmaxConstants):
            self._emit(node, self._table_softmax(node, constants))
            return
        common = self._softmax_fields(node)
        match constants:
            case GemmlowpConstants(multiplier=m, left_shift=shift):
                self._emit(node, ops.GemmlowpSoftmax(**common, multiplier=m, left_shift=shift))
            case IBertSoftmaxConstants(ln2=ln2, b=b, c=c, requantization=(m, e)):
                self._emit(node, ops.IBertSoftmax(**common, ln2=ln2, b=b, c=c, multiplier=m, shift=e))
            case ItaMaxConstants(shift=shift, group=group):
                self._emit(node, ops.ItaMax(**common, shift=shift, group=group))
            case GemminiSoftmaxConstants(ln2=ln2, b=b, c=c):
                self._emit(node, ops.GemminiSoftmax(**common, ln2=ln2, b=b, c=c))

    def _softmax_fields(self, node: Node) -> dict[str, Any]:
        return {"output": self._activation(node.output), "input": node.inputs[0].name, "mask": node.mask}

    def _table_softmax(self, node: Node, constants: SoftmaxConstants) -> ops.Softmax:
        dims, table = node.output.dims, self.strict.table(node.site)
        bits = self.plan.settings[f"{node.site}.numerator"].bits
        return ops.Softmax(
            numerator=self._inner(f"{node.site}.numerator", dims),
            denominator=self._inner(f"{node.site}.denominator", (*dims[:-1], 1)),
            **self._softmax_fields(node),
            table=self._constant(f"{node.site}.table", table, IntFormat(bits=bits, signed=False), "table"),
            denominator_requantization=_dyadic(constants.denominator),
            output_requantization=_dyadic(constants.output),
        )

    def _layernorm(self, node: Node) -> None:
        norm = node.module
        assert isinstance(norm, nn.LayerNorm)
        constants = self.plan.layernorm[node.site]
        if isinstance(constants, LayerNormConstants):
            self._emit(node, self._fullyqt_layernorm(node, norm, constants))
            return
        common = self._layernorm_fields(node, norm)
        match constants:
            case IBertLayerNormConstants(variance_shift=shift):
                m = self._multipliers(f"{node.site}.multiplier", constants.multipliers)
                e = self._shifts(f"{node.site}.shift", constants.shifts)
                rescale = Dyadic(multiplier=m, shift=e)
                self._emit(node, ops.IBertLayerNorm(**common, variance_shift=shift, requantization=rescale))
            case PulpLayerNormConstants(shift=shift):
                self._emit(node, ops.PulpLayerNorm(**common, shift=shift))
            case TfliteLayerNormConstants(variance_limit=limit, requantization=(m, e)):
                rescaled = Q31Double(multiplier=m, shift=e)
                self._emit(node, ops.TfliteLayerNorm(**common, variance_limit=limit, requantization=rescaled))

    def _layernorm_fields(self, node: Node, norm: nn.LayerNorm) -> dict[str, Any]:
        gamma = self.strict.parameter(f"{node.site}.gamma", norm.weight)
        beta, bits = self.strict.beta(node.site, norm)
        return {
            "output": self._activation(node.output),
            "input": node.inputs[0].name,
            "gamma": self._weight(f"{node.site}.gamma", gamma),
            "beta": self._bias(f"{node.site}.beta", beta, bits),
        }

    def _fullyqt_layernorm(self, node: Node, norm: nn.LayerNorm, constants: LayerNormConstants) -> ops.LayerNorm:
        dims = node.output.dims
        return ops.LayerNorm(
            numerator=self._inner(f"{node.site}.numerator", dims),
            denominator=self._inner(f"{node.site}.denominator", (*dims[:-1], 1)),
            quotient=self._inner(f"{node.site}.quotient", dims),
            **self._layernorm_fields(node, norm),
            eps=constants.eps,
            numerator_requantization=_rescale(constants.numerator),
            denominator_requantization=_rescale(constants.denominator),
            quotient_requantization=_rescale(constants.quotient),
            output_requantization=_rescale(constants.output),
        )

    def _add(self, node: Node) -> None:
        constants = self.plan.add[node.site]
        a, b = (symbol.name for symbol in node.inputs)
        output = self._activation(node.output)
        if isinstance(constants, AddConstants):
            (m_a, m_b), e = constants.multipliers, constants.shift
            self._emit(node, ops.Add(output=output, a=a, b=b, a_multiplier=m_a, b_multiplier=m_b, shift=e))
            return
        operation = ops.RescaledAdd(
            output=output,
            a=a,
            b=b,
            left_shift=constants.left_shift,
            a_requantization=self._scheme(constants.a),
            b_requantization=self._scheme(constants.b),
            output_requantization=None if constants.output is None else self._scheme(constants.output),
        )
        self._emit(node, operation)

    def _scheme(self, snapped: Snapped) -> AnyRequantization:
        """A ratio in the target's scheme."""
        return cast(AnyRequantization, self.plan.target.scheme(multiplier=snapped.multiplier, shift=snapped.shift))

    def _split_heads(self, node: Node) -> None:
        self._emit(node, ops.SplitHeads(output=self._activation(node.output), input=node.inputs[0].name))

    def _merge_heads(self, node: Node) -> None:
        self._emit(node, ops.MergeHeads(output=self._activation(node.output), input=node.inputs[0].name))

    def _extend(self, node: Node) -> None:
        past, new = (symbol.name for symbol in node.inputs)
        self._emit(node, ops.Append(output=self._activation(node.output), past=past, input=new))


def _rescale(to: Rescale) -> Dyadic:
    return Dyadic(multiplier=to.multiplier, shift=to.shift)


def _dyadic(snapped: Snapped) -> Dyadic:
    return Dyadic(multiplier=snapped.multiplier, shift=snapped.shift)
