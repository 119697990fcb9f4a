"""Strict fake-quant: a network on integer codes in float tensors, exactly as the machine computes them.

`strict` runs a model; the other files are its functions, one equation of docs/numerics.md or docs/operators each.
"""

from reference.quantize.strict.strict import StrictArithmetic

__all__ = ["StrictArithmetic"]
