"""Strict fake-quant: a network on integer codes in float tensors, exactly as the machine computes them."""
