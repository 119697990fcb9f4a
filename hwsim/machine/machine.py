"""Runs a program: codes in, codes out, every tensor observable, every event counted."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Counter
from hwsim.machine.steps import products, rows, sums
from hwsim.machine.steps.workspace import Array, Values, Workspace
from hwsim.program import Function, Program
from hwsim.program import operations as ops
from hwsim.program.operations import Operation, written
from hwsim.program.validate import validate

Observer = Callable[[str, Array], None]

STEPS: dict[type[Operation], Callable[[Workspace, Any, Values], None]] = {
    ops.Embed: products.embed,
    ops.MatMul: products.matmul,
    ops.ShiftRight: products.shift_right,
    ops.Relu: products.relu,
    ops.Requantize: products.requantize,
    ops.SplitHeads: products.split_heads,
    ops.MergeHeads: products.merge_heads,
    ops.ProjectHeads: products.project_heads,
    ops.Append: products.append,
    ops.Softmax: rows.softmax,
    ops.GemmlowpSoftmax: rows.gemmlowp_softmax,
    ops.IBertSoftmax: rows.ibert_softmax,
    ops.ItaMax: rows.itamax,
    ops.GemminiSoftmax: rows.gemmini_softmax,
    ops.PulpSoftmax: rows.pulp_softmax,
    ops.Int16Softmax: rows.int16_softmax,
    ops.QLinearSoftmax: rows.qlinear_softmax,
    ops.LayerNorm: rows.layernorm,
    ops.IBertLayerNorm: rows.ibert_layernorm,
    ops.PulpLayerNorm: rows.pulp_layernorm,
    ops.TfliteLayerNorm: rows.tflite_layernorm,
    ops.GemminiLayerNorm: rows.gemmini_layernorm,
    ops.Add: sums.add,
    ops.RescaledAdd: sums.rescaled_add,
}
"""What runs each operation."""


class Machine:
    """A validated program, ready to run.

    Parameters
    ----------
    program
        Validated here, which also proves its accumulators.

    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.reach = validate(program)
        self._workspace = Workspace(program, self.reach)

    def run(self, function: str, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
        """Run one function.

        Parameters
        ----------
        function
            Its name, `encode` or `decode_step`.
        inputs
            One integer array for each of the function's inputs; codes must lie within their format.
        observe
            Called with (name, array) for every tensor, in the order in which they are made. It must not change them.

        Returns
        -------
        dict
            The function's outputs by name, int32 codes.

        Raises
        ------
        ValueError
            If an input is missing, unknown, of the wrong shape, or holds a value outside its format.
        """
        if function not in self.program.functions:
            raise ValueError(f"unknown function {function!r}; the program has {', '.join(self.program.functions)}")
        definition = self.program.functions[function]
        values = self._bind(definition, inputs)
        for operation in definition.operations:
            STEPS[type(operation)](self._workspace, operation, values)
            if observe is not None:
                for name in written(operation):
                    observe(name, values[name])
        return {name: values[name] for name in definition.outputs}

    @property
    def counters(self) -> dict[str, NDArray[np.int64]]:
        """Tensor -> events (one element a `Counter` member) of the operation that made it, over all runs so far."""
        return self._workspace.counters

    @property
    def totals(self) -> dict[Counter, int]:
        """Events of all runs, over all tensors."""
        total = sum(self.counters.values(), np.zeros(len(Counter), np.int64))
        return {counter: int(total[counter]) for counter in Counter}

    # --- inputs -------------------------------------------------------------------------------------------------

    def _bind(self, function: Function, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Check the inputs and find out what each symbolic dimension is in this call."""
        if set(inputs) != set(function.inputs):
            missing, extra = set(function.inputs) - set(inputs), set(inputs) - set(function.inputs)
            raise ValueError(f"{function.name}: missing inputs {sorted(missing)}, unknown inputs {sorted(extra)}")
        sizes: dict[str, int] = {}
        values = {}
        for name in function.inputs:
            array = np.asarray(inputs[name])
            info = self.program.tensors[name]
            if array.dtype.kind not in "iub":
                raise ValueError(f"input {name} has dtype {array.dtype}; integers are needed")
            self._check_shape(name, array.shape, info.dims, sizes)
            if array.size and not (info.format.min <= array.min() and array.max() <= info.format.max):
                raise ValueError(f"input {name} holds a value outside {info.format}")
            wide = info.format.bits > 31
            values[name] = np.asarray(array, np.int64 if wide else np.int32, order="C")
        self._check_sums(function.name, sizes)
        return values

    def _check_sums(self, function: str, sizes: dict[str, int]) -> None:
        """Check the dimensions that are sums; a sum of sums comes after its terms."""
        for dimension in self.program.manifest.dimensions:
            if dimension.terms and all(term in sizes for term in dimension.terms):
                total, what = sum(sizes[term] for term in dimension.terms), " + ".join(dimension.terms)
                if total > dimension.maximum:
                    raise ValueError(f"{function}: {what} is {total}, {dimension.name} has at most {dimension.maximum}")
                if sizes.setdefault(dimension.name, total) != total:
                    raise ValueError(f"{function}: {dimension.name} is {sizes[dimension.name]}, but {what} is {total}")

    def _check_shape(self, name: str, shape: tuple[int, ...], dims: list[str | int], sizes: dict[str, int]) -> None:
        if len(shape) != len(dims):
            raise ValueError(f"input {name} has shape {shape}; its dimensions are {dims}")
        for size, dim in zip(shape, dims, strict=True):
            wanted = sizes.setdefault(dim, size) if isinstance(dim, str) else dim
            limit = self.program.dimensions[dim].maximum if isinstance(dim, str) else dim
            if size != wanted or size > limit:
                raise ValueError(f"input {name} has shape {shape}: {dim} is {size}, needed {min(wanted, limit)}")


def operation_of(program: Program, tensor: str) -> Operation:
    """The operation that makes a tensor; the error lists similar names."""
    for _, operation in program.operations():
        if tensor in written(operation):
            return operation
    similar = [name for name in program.tensors if tensor.split(".")[-1] in name][:4]
    raise ValueError(f"no operation makes {tensor!r}; perhaps {', '.join(similar) or 'see `hwsim show`'}")
