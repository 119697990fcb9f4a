"""Runs a program: the machine, the steps by which operations call their kernels, and what it counts on the way."""
