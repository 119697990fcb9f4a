"""Whole programs: equal to the machine where they fit their hardware, and not where they do not."""

import typing

import msgspec
import pytest

from hwsim.machine import Machine
from hwsim.program import Operation, Program
from hwsim.program.targets import TARGETS
from reference.quantize.scheme import Scheme, preset
from tests.replay.comparison import Tally, compare
from tests.replay.replay import STEPS, Replay
from tests.replay.widths import WIDTHS
from tests.small.models import small_model
from tests.small.programs import lowered
from tests.small.sentences import copied, sentences

NARROW = {"pulp": 8, "deeploy": 8}
"""Bits of multipliers whose products with the sums of the small model stay in an int32."""
KEY = "encoder.0.self_attention.key"


def program_of(target: str) -> Program:
    """A small program of a target's native configuration."""
    scheme: Scheme = preset("native", target)
    bits = min(NARROW.get(target, 31), scheme.multiplier_bits)
    scheme = msgspec.structs.replace(scheme, multiplier_bits=bits)
    return lowered(small_model(seed=3), scheme, copied(sentences(4)))


def tally_of(program: Program, *, each: bool = False) -> Tally:
    return compare(Machine(program), Replay(program), sentences(3), each=each)


def test_every_operation_of_a_program_has_a_step() -> None:
    assert {operation.__struct_config__.tag for operation in typing.get_args(Operation)} <= STEPS.keys()


def test_every_target_has_widths() -> None:
    assert TARGETS.keys() <= WIDTHS.keys()


@pytest.mark.parametrize("target", TARGETS)
def test_a_program_within_its_hardware_gives_the_codes_of_the_machine(target: str) -> None:
    tally = tally_of(program_of(target))
    assert (tally.different, tally.first) == (0, None)
    assert tally.codes > 10_000
