"""Terms of a program's datapath, and residual sums of targets to count and to measure."""

from hwsim.accelerator.events import Component
from hwsim.accelerator.layers import Term
from hwsim.accelerator.lowered.arithmetic import arithmetic
from hwsim.accelerator.lowered.residence import Call, Residence
from hwsim.program import Program
from hwsim.program.catalogue import NarrowAfter, Q31Double
from hwsim.program.operations import AnyAdd, Operation, RescaledAdd
from tests.unit.hwsim.program.one_operation import alone
from tests.unit.hwsim.program.program_edits import INT8

C = Component
ROWS, KEYS = 6, 7
"""Rows and columns of the small examples."""


def terms(program: Program, function: str, sizes: dict[str, int]) -> list[tuple[Operation, Term]]:
    """Every term of a call with its operation."""
    call = Call(Residence(program, program.functions[function]), sizes)
    return [(op, term) for op in program.functions[function].operations for term in arithmetic(op, call)]


def add(op: AnyAdd, zeros: tuple[int, int] = (0, 0)) -> Program:
    return alone(op, INT8, INT8, ["batch", KEYS], zeros=zeros)


NARROW, Q31 = NarrowAfter(multiplier=200, shift=8), Q31Double(multiplier=1 << 30, shift=35)
TOGETHER = RescaledAdd(output="y", a="x", b="z", a_requantization=NARROW, b_requantization=NARROW)
TFLITE_SUM = RescaledAdd(
    output="y", a="x", b="z", left_shift=20, a_requantization=Q31, b_requantization=Q31, output_requantization=Q31
)
