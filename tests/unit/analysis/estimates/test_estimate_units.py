"""Units of an estimate: the prefix on either side of every switch, the digits, in tables and in figures."""

import pytest

from analysis.estimates.figures import _byte_scale, _scale
from analysis.estimates.rows import shortened
from analysis.estimates.tables import energy, percent, quantity

# Attojoules and what is printed: a picojoule is 10^6 of them.
ENERGIES = [
    (0, "0 J"),
    (1, "0.00 pJ"),
    (4_999, "0.00 pJ"),
    (5_001, "0.01 pJ"),
    (500_000, "0.50 pJ"),
    (1_000_000, "1.00 pJ"),
    (9_994_000, "9.99 pJ"),
    (9_996_000, "10.0 pJ"),
    (99_940_000, "99.9 pJ"),
    (99_960_000, "100 pJ"),
    (500_000_000, "500 pJ"),
    (999_400_000, "999 pJ"),
    (999_600_000, "1.00 nJ"),
    (1_234_000_000, "1.23 nJ"),
    (999_400_000_000, "999 nJ"),
    (999_600_000_000, "1.00 uJ"),
    (45_600_000_000_000, "45.6 uJ"),
    (999_400_000_000_000, "999 uJ"),
    (999_600_000_000_000, "1.00 mJ"),
    (7_500_000_000_000_000, "7.50 mJ"),
    (999_400_000_000_000_000, "999 mJ"),
    (999_600_000_000_000_000, "1.00 J"),
    (2_000_000_000_000_000_000, "2 J"),
    (2_340_000_000_000_000_000, "2.34 J"),
    (1_500_000_000_000_000_000_000, "1.50 kJ"),
]


@pytest.mark.parametrize(("attojoules", "shown"), ENERGIES)
def test_energies(attojoules: int, shown: str) -> None:
    assert energy(attojoules) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0, "B", "0 B"),
        (0, "", "0"),
        (1, "B", "1 B"),
        (999, "B", "999 B"),
        (1_000, "B", "1.00 kB"),  # thousands, not 1024
        (1_024, "B", "1.02 kB"),
        (9_994, "B", "9.99 kB"),
        (9_996, "B", "10.0 kB"),
        (999_400, "B", "999 kB"),
        (999_600, "B", "1.00 MB"),
        (1_048_576, "B", "1.05 MB"),
        (999_400_000, "B", "999 MB"),
        (999_600_000, "B", "1.00 GB"),
        (4_000_000_000, "B/s", "4.00 GB/s"),
        (999_600_000_000, "B", "1.00 TB"),
        (2_500_000_000_000_000, "B", "2500 TB"),
        (160, "", "160"),
        (260_000, "", "260 k"),
        (5_000_000, "", "5.00 M"),
        (500_000_000, "Hz", "500 MHz"),
        (1_000_000_000, "Hz", "1.00 GHz"),
        (1, "s", "1 s"),
        (1.5, "s", "1.50 s"),
        (0.01, "s", "10.0 ms"),
        (0.000_999_4, "s", "999 us"),
        (0.000_999_6, "s", "1.00 ms"),
        (4.068e-6, "s", "4.07 us"),
        (2e-9, "s", "2.00 ns"),
        (999.4e-9, "s", "999 ns"),
        (999.6e-9, "s", "1.00 us"),
        (0.7e-9, "s", "700 ps"),
        (0.5, "", "500 m"),
    ],
)
def test_quantities(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "-"), (0.0, "0.0%"), (0.004, "0.4%"), (0.325, "32.5%"), (0.12784, "12.8%"), (1.0, "100.0%")],
)
def test_shares(share: float | None, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("attojoules", "factor", "unit"),
    [
        (1, 1e6, "pJ"),
        (999_999_999, 1e6, "pJ"),
        (1_000_000_000, 1e9, "nJ"),
        (999_999_999_999, 1e9, "nJ"),
        (1_000_000_000_000, 1e12, "uJ"),
        (999_999_999_999_999, 1e12, "uJ"),
        (1_000_000_000_000_000, 1e15, "mJ"),
        (5_000_000_000_000_000_000, 1e15, "mJ"),
    ],
)
def test_units_of_an_axis_of_energy(attojoules: int, factor: float, unit: str) -> None:
    assert _scale(attojoules) == (factor, unit)


@pytest.mark.parametrize(
    ("count", "factor", "unit"),
    [
        (0, 1, "B"),
        (999, 1, "B"),
        (1_000, 1e3, "kB"),
        (999_999, 1e3, "kB"),
        (1_000_000, 1e6, "MB"),
        (999_999_999, 1e6, "MB"),
        (1_000_000_000, 1e9, "GB"),
    ],
)
def test_units_of_an_axis_of_bytes(count: int, factor: float, unit: str) -> None:
    assert _byte_scale(count) == (factor, unit)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a" * 42, "a" * 42),
        ("a" * 22 + "b" * 21, "a" * 19 + "..." + "b" * 19),
        ("decoder.0.encoder_attention.normalization.output", "decoder.0.encoder_a...ormalization.output"),
    ],
)
def test_long_names_lose_their_middle(name: str, shown: str) -> None:
    assert shortened(name) == shown
