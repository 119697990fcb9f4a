"""The PyTorch side: float Transformer, training, quantization, and lowering to a program."""
