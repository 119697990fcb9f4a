"""Strict fake-quant: a network on integer codes in float tensors, exactly as the machine computes them.

`strict` runs a model, `operators` chooses the function behind each record of constants; the other files hold these
functions, one an equation of docs/numerics.md or docs/operators.
"""

from reference.quantize.strict.strict import Codes, StrictArithmetic

__all__ = ["Codes", "StrictArithmetic"]
