"""Lowering: a model and its quantization plan become an integer program.

`program` walks the model's nodes and writes the manifest; `nodes` and `rows` say which operations each kind of node and
each record of constants becomes; `lowering` is where tensors and constants are declared.
"""

from reference.lower.program import lower

__all__ = ["lower"]
