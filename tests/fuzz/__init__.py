"""Malformed program files, made from whole ones by a seed and a number: refused in one line, or safe to run."""
