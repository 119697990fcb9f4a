"""Where things lie, for tests at any depth."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository."""
GOLDEN = ROOT / "tests" / "golden"
"""Published numbers with their sources, and program files of before."""
