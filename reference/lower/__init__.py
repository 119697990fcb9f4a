"""Lowering: a model and its quantization plan become an integer program."""

from reference.lower.lowering import lower

__all__ = ["lower"]
