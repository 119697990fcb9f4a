"""Numbers for people: sensible digits, units, a true minus sign, and a dash for what there is not."""

import math

NONE = "–"
_PREFIXES = {1e-12: "p", 1e-9: "n", 1e-6: "µ", 1e-3: "m", 1.0: "", 1e3: "k", 1e6: "M", 1e9: "G", 1e12: "T"}


def finite(value: float | None) -> float | None:
    """A number that JSON has, else None."""
    return value if value is not None and math.isfinite(value) else None


def fixed(value: float | None, digits: int = 2) -> str:
    """With so many decimals."""
    return NONE if value is None else _minus(f"{value:.{digits}f}")


def signed(value: float | None, digits: int = 2) -> str:
    """As `fixed`, with the sign of a gain."""
    return NONE if value is None else _minus(f"{value:+.{digits}f}")


def significant(value: float | None) -> str:
    """Three significant digits."""
    return NONE if value is None else _minus(f"{value:#.3g}".rstrip("."))


def count(value: float | None) -> str:
    """A whole number, in groups of three digits."""
    return NONE if value is None else f"{value:,.0f}"


def si(value: float | None, unit: str) -> str:
    """Three significant digits with an SI prefix: `si(0.0323, "J")` is 32.3 mJ."""
    if value is None:
        return NONE
    size = abs(value)
    factor = max((factor for factor in _PREFIXES if size >= 0.9995 * factor), default=1e-12 if value else 1.0)
    scaled = value / factor
    digits = 0 if factor == 1.0 and value == int(value) else max(0, 2 - sum(abs(scaled) >= x for x in (9.995, 99.95)))
    return _minus(f"{scaled:.{digits}f}") + f"\N{NO-BREAK SPACE}{_PREFIXES[factor]}{unit}".rstrip()


def energy(energy_pj: float | None) -> str:
    """Picojoules as joules with a prefix."""
    return si(None if energy_pj is None else energy_pj * 1e-12, "J")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Seconds, from two minutes on minutes and seconds."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds) // 60} min {int(seconds) % 60} s"
