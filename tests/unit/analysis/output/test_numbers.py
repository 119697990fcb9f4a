"""Numbers as people read them: sensible digits, and None for what JSON has no number for."""

import math

from analysis.output.numbers import duration, energy, finite, fixed, si, signed, significant


def test_numbers_have_sensible_digits() -> None:
    assert [fixed(-1.256), fixed(None), signed(0.5), significant(0.012345)] == ["−1.26", "–", "+0.50", "0.0123"]
    assert [significant(x) for x in (0.0, 1.3, 123.4)] == ["0.00", "1.30", "123"]
    shown = [si(x, "B").replace("\N{NO-BREAK SPACE}", " ") for x in (0, 7, 999, 999.6, 1234, 99_950, 3.3e9, 2.5)]
    assert shown == ["0 B", "7 B", "999 B", "1.00 kB", "1.23 kB", "100 kB", "3.30 GB", "2.50 B"]
    assert [energy(x).replace("\N{NO-BREAK SPACE}", " ") for x in (32.3e9, 0.5, None)] == ["32.3 mJ", "0.50 pJ", "–"]
    assert [duration(9.96), duration(119.9), duration(125)] == ["10.0 s", "119.9 s", "2 min 5 s"]


def test_what_is_not_finite_is_none() -> None:
    assert [finite(x) for x in (math.nan, math.inf, -math.inf, None, 1.5)] == [None, None, None, None, 1.5]
