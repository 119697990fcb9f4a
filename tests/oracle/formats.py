"""Limits of integer formats, clamps and counted saturations (section 0)."""


def limits(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Smallest and largest code (lo, hi) of a format (the table of section 0)."""
    if not signed:
        return 0, (1 << bits) - 1
    high = (1 << (bits - 1)) - 1
    return (-high if narrow else -high - 1), high


def clamp(value: int, lo: int, hi: int) -> int:
    """min(max(value, lo), hi) (section 0)."""
    return min(max(value, lo), hi)


def saturate(value: int, lo: int, hi: int) -> tuple[int, int]:
    """`sat` of section 0: the clamped value, and 1 if the clamp moved it, else 0."""
    clamped = clamp(value, lo, hi)
    return clamped, int(clamped != value)


def saturate_row(values: list[int], lo: int, hi: int) -> tuple[list[int], int]:
    """`sat` of every element of a row, and the number of events."""
    pairs = [saturate(value, lo, hi) for value in values]
    return [value for value, _ in pairs], sum(event for _, event in pairs)


def wrap(value: int, lo: int, bits: int) -> int:
    """((value - lo) mod 2^bits) + lo (section 2)."""
    return (value - lo) % (1 << bits) + lo
