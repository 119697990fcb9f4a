"""What a program declares while it is written: tensors, constants, and the operations of each function."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwsim import program as ir
from hwsim.formats import IntFormat
from hwsim.program import operations as ops
from reference.models.translation import Transformer
from reference.quantize.graph import Node, Symbol
from reference.quantize.plan import Plan
from reference.quantize.plan.constants import Quantizer
from reference.quantize.strict import StrictArithmetic


class Lowering:
    """Collects tensors, constants and operations, node by node."""

    def __init__(self, model: Transformer, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self.strict = StrictArithmetic(model, plan)
        self.tensors: dict[str, ir.TensorInfo] = {}
        self.info: dict[str, ir.ConstantInfo] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        self.operations: dict[str, list[ops.Operation]] = {"encode": [], "decode_step": []}

    # --- tensors ------------------------------------------------------------------------------------------------

    def tensor(self, name: str, fmt: IntFormat, dims: tuple[str | int, ...], quantizer: Quantizer | None = None) -> str:
        """Declare a tensor; returns its name, as all of these do."""
        self.tensors[name] = ir.TensorInfo(
            name=name,
            format=fmt,
            dims=list(dims),
            zero_point=quantizer.zero_point if quantizer else 0,
            scale=quantizer.scale if quantizer else None,
        )
        return name

    def activation(self, symbol: Symbol) -> str:
        """Declare a tensor with the quantizer of its site."""
        quantizer = self.plan.quantizers[symbol.site]
        return self.tensor(symbol.name, quantizer.format, symbol.dims, quantizer)

    def inner(self, site: str, dims: tuple[str | int, ...]) -> str:
        """Declare a site within an operation."""
        return self.activation(Symbol(name=site, site=site, dims=dims))

    def accumulator(self, name: str, dims: tuple[str | int, ...]) -> str:
        """Declare a tensor as wide as the scheme's accumulators."""
        return self.tensor(name, IntFormat(bits=self.plan.scheme.accumulator.bits), dims)

    # --- constants ----------------------------------------------------------------------------------------------

    def constant(self, name: str, values: Tensor, fmt: IntFormat, role: str) -> str:
        """Declare a constant, once; a second time with other values is a ValueError."""
        if name in self.info:
            if not np.array_equal(self.arrays[name], values.numpy()):
                raise ValueError(f"constant {name} would have two values")
        else:
            wide = values.to(torch.float64).numpy() if values.is_floating_point() else values.numpy()
            self.arrays[name] = wide.astype(np.int32 if fmt.bits <= 32 and fmt.signed else np.int64)
            self.info[name] = ir.ConstantInfo(name=name, format=fmt, shape=list(values.shape), role=role)  # type: ignore[arg-type]
        return name

    def weight(self, site: str, codes: Tensor) -> str:
        """Declare the codes of a weight, at its width."""
        return self.constant(site, codes, self.plan.weights[site].format, "weight")

    def bias(self, name: str, codes: Tensor, bits: int | None = None) -> str:
        """Declare a bias; a ValueError names one that does not fit its width."""
        fmt = IntFormat(bits=bits or self.plan.scheme.bias_bits)
        if int(codes.abs().max()) >= fmt.max:
            row = int(codes.abs().argmax())
            raise ValueError(
                f"{name}: row {row} does not fit {fmt} at its scale; plan the model as it is now, which leaves it room"
            )
        return self.constant(name, codes, fmt, "bias")

    def multipliers(self, name: str, values: Tensor) -> int | str:
        """One number if all are alike, else the name of a constant."""
        if bool((values == values[0]).all()):
            return int(values[0])
        bits = max(16, int(values.max()).bit_length())
        return self.constant(name, values, IntFormat(bits=bits, signed=False), "multiplier")

    def shifts(self, name: str, values: Tensor) -> int | str:
        """As `multipliers`."""
        if bool((values == values[0]).all()):
            return int(values[0])
        return self.constant(name, values, IntFormat(bits=6, signed=False), "shift")

    def emit(self, node: Node, operation: ops.Operation) -> None:
        """Append an operation to the function of a node."""
        self.operations[node.function].append(operation)
