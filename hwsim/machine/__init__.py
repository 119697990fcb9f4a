"""Runs a program: `machine` calls the steps, `steps` the kernels."""

from hwsim.machine.machine import STEPS, Machine, Observer, operation_of

__all__ = ["STEPS", "Machine", "Observer", "operation_of"]
