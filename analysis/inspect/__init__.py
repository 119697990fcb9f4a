"""What is in a program, and whose arithmetic it is."""
