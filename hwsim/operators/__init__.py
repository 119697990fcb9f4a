"""The kernels: one file or folder an operator of docs/numerics.md and docs/operators. They do not import each other."""
