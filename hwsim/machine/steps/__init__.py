"""How each operation of a program calls its kernel: products, rows, sums, on the workspace that they share."""
