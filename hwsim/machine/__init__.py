"""Runs a program: a `machine` runs plans of instructions; `steps` run one operation by its checked function."""

from hwsim.machine.machine import Machine, operation_of
from hwsim.machine.plan import Observer
from hwsim.machine.steps import STEPS

__all__ = ["STEPS", "Machine", "Observer", "operation_of"]
