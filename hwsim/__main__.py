"""The command line, as `hwsim` and as `python -m hwsim`: the one module of this package that needs all of the project.

A wheel claims one name, `hwsim`: the packages that stand on it, `reference` and `analysis`, lie in a folder inside it,
which is on the import path of this process and of no other. In a clone they lie beside it.
"""

import sys
from pathlib import Path

HOME = Path(__file__).parent / "_bundle"
if not HOME.is_dir():
    HOME = Path(__file__).parents[1]


def main() -> None:
    """Run the command line with our own packages ahead of all others of their names."""
    sys.path.insert(0, str(HOME))
    from analysis.cli import main as command

    command()


if __name__ == "__main__":
    main()
