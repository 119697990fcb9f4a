"""Quantization: strict fake-quant functions, calibration and snapping of scales."""
