"""One call of a program's function, run operation by operation by plain-Python kernels that count."""

from collections import Counter as Multiset
from typing import Any

import numpy as np

from hwsim.formats import IntFormat, Overflow
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.targets import TARGETS
from tests.oracle.accelerator import kernels, layernorms, softmaxes
from tests.oracle.accelerator.kernels import Addend, Operand, Table
from tests.oracle.accelerator.unit import Format, Ratio, Unit

OWN = {
    "fullyqt": 16,
    "tflm": 31,
    "cmsis-nn": 31,
    "tosa": 31,
    "ita": 8,
    "ita-head": 8,
    "pulp": 16,
    "deeploy": 16,
    "gemmini": 24,
    "ibert": 31,
}
OWN |= {"ita-head": 8, "deeploy": 16, "nvdla": 15, "onnxruntime": 24}
ENCODED = {"q31_double": 31, "q31_double_half_up": 31, "q31_single": 31, "q15": 15, "dyadic": 16, "nvdla": 15}
ENCODED |= {"narrow_after": 8, "narrow_before": 16, "float32": 24, "float32_inside": 24, "shift": 0}
"""Bits of multipliers: docs/accelerator.md, section 2, and docs/operators/requantization.md."""
MOVING = (ops.SplitHeads, ops.MergeHeads, ops.Append)
Arrays = dict[str, Any]


class Counting:
    """One call of a function, run operation by operation by kernels that count."""

    def __init__(self, program: Program, function: str, values: Arrays) -> None:
        self.program, self.values, self.unit = program, {**program.constants, **values}, Unit()
        self.checked = Multiset[str]()
        for op in program.functions[function].operations:
            if isinstance(op, MOVING):
                continue
            made = getattr(self, type(op).__name__.lower())(op)
            if not isinstance(op, ops.AnyProduct) or op.accumulator.overflow is Overflow.PROVEN:
                assert np.array(made).ravel().tolist() == self.values[op.output].ravel().tolist(), op.output
                self.checked[type(op).__name__] += 1

    def info(self, name: str) -> Any:
        return self.program.constant_info.get(name) or self.program.tensors[name]

    def bits(self, name: str) -> int:
        return self.info(name).format.bits

    def zero(self, name: str) -> int:
        return self.info(name).zero_point

    def result(self, name: str) -> Format:
        form = self.info(name).format
        return Format(self.zero(name), form.min, form.max)

    def rows(self, name: str) -> list[list[int]]:
        array = self.values[name]
        return array.reshape(-1, array.shape[-1]).tolist()

    def flat(self, name: str) -> list[int]:
        return self.values[name].ravel().tolist()

    def number(self, value: int | str) -> list[int]:
        return self.flat(value) if isinstance(value, str) else [value]

    def ratios(self, scheme: Any, bits: int | None = None) -> list[Ratio]:
        """One ratio, or one a channel, with the bits that the page says."""
        name, target = str(scheme.__struct_config__.tag), self.program.manifest.target
        if bits is None:
            bits = OWN[target] if name == TARGETS[target].requantization and name != "shift" else ENCODED[name]
        ms, es = self.number(scheme.multiplier), self.number(scheme.shift)
        rounding = getattr(getattr(scheme, "rounding", None), "value", "half_even")
        count = max(len(ms), len(es))
        return [Ratio(name, ms[j % len(ms)], es[j % len(es)], bits, rounding) for j in range(count)]

    def single(self, scheme: Any, bits: int | None = None) -> Ratio:
        (ratio,) = self.ratios(scheme, bits)
        return ratio

    def matmul(self, op: ops.MatMul) -> list[Any]:
        a, b, constant = self.values[op.a], self.values[op.b], op.b in self.program.constants
        if op.transpose_b:
            b = np.swapaxes(b, -1, -2)
        lefts = [a.reshape(-1, a.shape[-1])] if constant else list(a.reshape(-1, *a.shape[-2:]))
        rights = [b] if constant else list(b.reshape(-1, *b.shape[-2:]))
        bias = None if op.bias is None else self.flat(op.bias)
        return [
            kernels.matmul(
                self.unit,
                Operand(left.tolist(), self.bits(op.a), self.zero(op.a)),
                Operand(right.tolist(), self.bits(op.b), self.zero(op.b), constant),
                bias,
                op.accumulator.bits,
            )
            for left, right in zip(lefts, rights, strict=True)
        ]

    def projectheads(self, op: ops.ProjectHeads) -> list[Any]:
        context, weight = self.values[op.input], self.values[op.weight]
        d_head, ratios = context.shape[-1], self.ratios(op.requantization)
        bias, made = None if op.bias is None else self.flat(op.bias), []
        for one in context:
            heads = [
                (
                    Operand(rows.tolist(), self.bits(op.input), self.zero(op.input)),
                    Operand(columns.tolist(), self.bits(op.weight), 0, True),
                )
                for rows, columns in zip(one, np.split(weight, len(one), axis=1), strict=True)
            ]
            assert heads[0][1].codes[0] == weight[0, :d_head].tolist()
            made.append(
                kernels.project_heads(self.unit, heads, bias, ratios, self.result(op.heads), op.accumulator.bits)
            )
        if op.accumulator.overflow is Overflow.PROVEN:
            assert np.array([codes for codes, _ in made]).ravel().tolist() == self.flat(op.heads)
        return [total for _, total in made]

    def requantize(self, op: ops.Requantize) -> list[Any]:
        ratios = self.ratios(op.requantization, 16 if op.output == "generator.logits" else None)
        return kernels.requantize(self.unit, self.rows(op.input), ratios, self.bits(op.input), self.result(op.output))

    def shiftright(self, op: ops.ShiftRight) -> list[Any]:
        bits, bias = (
            (self.bits(op.input), self.bits(op.output)),
            self.flat(op.bias) if isinstance(op.bias, str) else None,
        )
        return kernels.shift_right(self.unit, self.rows(op.input), op.shift, op.rounding.value, bits, bias)

    def relu(self, op: ops.Relu) -> list[Any]:
        return kernels.relu(self.unit, self.rows(op.input))

    def embed(self, op: ops.Embed) -> list[Any]:
        words = Table(self.rows(op.table), self.bits(op.table), self.number(op.multiplier))
        places = Table(self.rows(op.positions), self.bits(op.positions), [op.position_multiplier])
        ids, first = self.values[op.ids].tolist(), int(self.values[op.position])
        return [kernels.embed(self.unit, row, first, words, places, op.shift, self.result(op.output)) for row in ids]

    def add(self, op: ops.Add) -> list[Any]:
        sides = [(op.a, op.a_multiplier), (op.b, op.b_multiplier)]
        ratios = [(name, Ratio("dyadic", m, op.shift, 16)) for name, m in sides]
        return kernels.add(self.unit, *map(self.addend, ratios), op.shift, self.result(op.output))

    def addend(self, side: tuple[str, Ratio]) -> Addend:
        name, ratio = side
        return Addend(self.flat(name), self.bits(name), self.zero(name), ratio)

    def rescaledadd(self, op: ops.RescaledAdd) -> list[Any]:
        sides = [(op.a, self.single(op.a_requantization)), (op.b, self.single(op.b_requantization))]
        output = None if op.output_requantization is None else self.single(op.output_requantization)
        result, held = self.result(op.output), op.operand
        operand = Format(0, held.min, held.max) if isinstance(held, IntFormat) else None
        return kernels.rescaled_add(self.unit, *map(self.addend, sides), op.left_shift, output, result, operand)

    def score_rows(self, op: Any) -> list[tuple[Unit, list[int], list[bool], int]]:
        """The first arguments of a softmax, of every row."""
        scores = self.values[op.input]
        allowed = np.ones(scores.shape, bool) if op.mask is None else self.values[op.mask][:, None, None, :] != 0
        shown = np.broadcast_to(allowed, scores.shape).reshape(-1, scores.shape[-1]).tolist()
        bits = self.bits(op.input)
        return [(self.unit, row, mask, bits) for row, mask in zip(self.rows(op.input), shown, strict=True)]

    def softmax(self, op: ops.Softmax) -> list[Any]:
        table, output = self.flat(op.table), self.single(op.output_requantization, 16)
        denominator = (self.single(op.denominator_requantization, 16), self.info(op.denominator).format.max)
        ends = (output.m, output.e, self.info(op.output).format.max)
        return [softmaxes.softmax(*row, table, denominator, ends) for row in self.score_rows(op)]

    def gemmlowpsoftmax(self, op: ops.GemmlowpSoftmax) -> list[Any]:
        constants = (op.multiplier, op.left_shift, self.bits(op.output))
        return [softmaxes.gemmlowp_softmax(*row, *constants) for row in self.score_rows(op)]

    def ibertsoftmax(self, op: ops.IBertSoftmax) -> list[Any]:
        ratio, polynomial = Ratio("dyadic", op.multiplier, op.shift, 16), (op.ln2, op.b, op.c)
        bits = self.bits(op.output)
        return [softmaxes.ibert_softmax(*row, polynomial, ratio, bits) for row in self.score_rows(op)]

    def itamax(self, op: ops.ItaMax) -> list[Any]:
        return [softmaxes.itamax(*row, op.shift, op.group, self.bits(op.output)) for row in self.score_rows(op)]

    def gemminisoftmax(self, op: ops.GemminiSoftmax) -> list[Any]:
        polynomial, bits = (op.ln2, op.b, op.c), self.bits(op.output)
        return [softmaxes.gemmini_softmax(*row, polynomial, bits) for row in self.score_rows(op)]

    def pulpsoftmax(self, op: ops.PulpSoftmax) -> list[Any]:
        polynomial, bits = (op.ln2, op.b, op.c), self.bits(op.output)
        return [softmaxes.pulp_softmax(*row, polynomial, bits) for row in self.score_rows(op)]

    def int16softmax(self, op: ops.Int16Softmax) -> list[Any]:
        tables, ratio = (self.flat(op.exp_table), self.flat(op.reciprocal_table)), self.single(op.requantization, 31)
        return [softmaxes.int16_softmax(*row, tables, ratio, op.clamped) for row in self.score_rows(op)]

    def qlinearsoftmax(self, op: ops.QLinearSoftmax) -> list[Any]:
        rest = self.flat(op.table), op.multiplier, self.bits(op.output)
        return [softmaxes.qlinear_softmax(*row, *rest) for row in self.score_rows(op)]

    def layernorm(self, op: ops.LayerNorm) -> list[Any]:
        schemes = [op.numerator_requantization, op.denominator_requantization]
        schemes += [op.quotient_requantization, op.output_requantization]
        ratios = tuple(self.single(scheme, 16) for scheme in schemes)
        limits = (self.result(op.numerator), self.result(op.denominator).hi, self.result(op.quotient))
        affine = (self.flat(op.gamma), self.flat(op.beta))
        rest = (self.bits(op.input), op.eps, ratios, limits, affine, self.result(op.output))
        return [layernorms.layernorm(self.unit, row, *rest) for row in self.rows(op.input)]

    def ibertlayernorm(self, op: ops.IBertLayerNorm) -> list[Any]:
        ratios, zero = self.ratios(op.requantization, 16), self.zero(op.input)
        rest = (zero, op.variance_shift, (self.flat(op.gamma), self.flat(op.beta)), ratios, self.result(op.output))
        return [layernorms.ibert_layernorm(self.unit, row, *rest) for row in self.rows(op.input)]

    def pulplayernorm(self, op: ops.PulpLayerNorm) -> list[Any]:
        affine, wraps = (self.flat(op.gamma), self.flat(op.beta)), op.overflow is Overflow.WRAP
        rest = (self.zero(op.input), affine, op.shift, self.result(op.output), wraps)
        return [layernorms.pulp_layernorm(self.unit, row, *rest) for row in self.rows(op.input)]

    def gemminilayernorm(self, op: ops.GemminiLayerNorm) -> list[Any]:
        affine, ratio = (self.flat(op.gamma), self.flat(op.beta)), self.single(op.requantization, 24)
        rest = (self.zero(op.input), affine, ratio, self.result(op.output))
        return [layernorms.gemmini_layernorm(self.unit, row, *rest) for row in self.rows(op.input)]

    def tflitelayernorm(self, op: ops.TfliteLayerNorm) -> list[Any]:
        ratio, zero = self.single(op.requantization, 31), self.zero(op.input)
        rest = (zero, (self.flat(op.gamma), self.flat(op.beta)), op.variance_limit, ratio, self.result(op.output))
        return [layernorms.tflite_layernorm(self.unit, row, *rest) for row in self.rows(op.input)]
