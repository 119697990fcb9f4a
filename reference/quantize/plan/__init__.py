"""From ranges to integers: every scale snapped to what the target's hardware encodes, every constant settled.

`constants` and `planner` are what all share; `embedding`, `products`, `softmax`, `layernorm` and `residual` settle one
kind of operation each; `make` walks the model. `snap` rounds a ratio to a multiplier and a shift.
"""

from reference.quantize.plan.make import make_plan
from reference.quantize.plan.planner import Plan

__all__ = ["Plan", "make_plan"]
