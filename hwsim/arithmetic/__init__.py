"""Scalar arithmetic on integers: rounding, saturation, roots, fixed point, binary32, and every rule of scaling."""

from hwsim.arithmetic import compilation

compilation.install()
