"""What can be timed alone."""

from enum import Enum


class Part(str, Enum):
    """A part of `hwsim bench`, as it is typed."""

    GEMM = "gemm"
    MODEL = "model"
    OPERATORS = "operators"
