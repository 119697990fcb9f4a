"""Translating with a float model, with fake-quant and with the machine."""
