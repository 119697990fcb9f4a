"""Walks the operations of a program's function: every tensor in plain integers, in the target's own widths."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.program import Operation, Program
from hwsim.program.operations import MatMul
from tests.replay import layernorm_steps as norms
from tests.replay import products, sums
from tests.replay import softmax_steps as softmaxes
from tests.replay.context import Context, Values, tag_of
from tests.replay.registers import Lost, counting
from tests.replay.widths import Widths, widths_of

Step = Callable[[Context, Any, Values], None]

STEPS: dict[str, Step] = {
    "embed": products.embed,
    "matmul": products.matmul,
    "shift_right": products.shift_right,
    "relu": products.relu,
    "requantize": products.requantize,
    "split_heads": products.split_heads,
    "merge_heads": products.merge_heads,
    "project_heads": products.project_heads,
    "append": products.append,
    "softmax": softmaxes.table_step,
    "gemmlowp_softmax": softmaxes.gemmlowp_step,
    "int16_softmax": softmaxes.int16_step,
    "ibert_softmax": softmaxes.ibert_step,
    "itamax": softmaxes.itamax_step,
    "gemmini_softmax": softmaxes.gemmini_step,
    "pulp_softmax": softmaxes.pulp_step,
    "qlinear_softmax": softmaxes.qlinear_step,
    "layernorm": norms.four_parts_step,
    "ibert_layernorm": norms.ibert_step,
    "pulp_layernorm": norms.pulp_step,
    "tflite_layernorm": norms.tflite_step,
    "gemmini_layernorm": norms.gemmini_step,
    "add": sums.add,
    "rescaled_add": sums.rescaled_add,
}
"""What computes each operation, by its tag in the program file."""


def activation_bits(program: Program) -> int:
    """The widest activation that a matrix product reads."""
    return max(
        (program.tensors[op.a].format.bits for _, op in program.operations() if isinstance(op, MatMul)), default=0
    )


class Replay:
    """A program beside the hardware that it is for.

    Parameters
    ----------
    program
        Made by lowering or loaded from a file.
    widths
        Another hardware than that of the program's target.

    Attributes
    ----------
    lost
        Values that a register cut; of a tensor's equal values only the first is computed, and counted, in each call.
    """

    def __init__(self, program: Program, widths: Widths | None = None) -> None:
        self.lost = Lost()
        widths = widths or widths_of(program.manifest.target, activation_bits(program))
        self.context = Context(program, counting(widths, self.lost))

    def run(self, function: str, inputs: Mapping[str, NDArray[Any]]) -> Values:
        """Every tensor of one call by name, the inputs among them; errors as `walk`."""
        values = {name: np.asarray(array, np.int64) for name, array in inputs.items()}
        for _ in self.walk(function, values):
            pass
        return values

    def walk(self, function: str, values: Values) -> Iterator[Operation]:
        """One operation after another, each once its tensors are in `values`; the next reads what is there by then.

        Raises
        ------
        ValueError
            If an operation has no step, or the hardware has no result for what it meets.
        """
        for operation in self.context.program.functions[function].operations:
            tag = tag_of(operation)
            if tag not in STEPS:
                raise ValueError(f"no replay of the operation {tag!r}; there are {', '.join(STEPS)}")
            STEPS[tag](self.context, operation, values)
            yield operation
