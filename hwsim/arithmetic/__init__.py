"""Scalar arithmetic on integers: rounding, saturation, roots, fixed point, binary32, and every rule of scaling."""
