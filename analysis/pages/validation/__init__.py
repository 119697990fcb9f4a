"""The cost model against published figures: silicon and Vela (docs/accelerator.md, section 12)."""

from analysis.pages.validation import silicon, vela
from analysis.pages.validation.points import Fit, Point, Role

__all__ = ["Fit", "Point", "Role", "fits", "validation"]


def validation() -> tuple[Point, ...]:
    """Every published figure beside the model's, computed anew."""
    return (*silicon.points(), *vela.points())


def fits() -> tuple[Fit, ...]:
    """The factors of section 11, one a node, each from one published figure."""
    return silicon.fits()
