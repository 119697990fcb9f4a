"""Runs a program: `machine` calls the steps, `steps` the kernels."""

from hwsim.machine.machine import Machine, operation_of
from hwsim.machine.plan import Observer
from hwsim.machine.steps import STEPS

__all__ = ["STEPS", "Machine", "Observer", "operation_of"]
