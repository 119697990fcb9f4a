"""Scratchpad tiles of a product: which are tried, what they move, how long they take, which is best."""

from hwsim.accelerator.tiling.candidates import DoesNotFit
from hwsim.accelerator.tiling.choice import search
from hwsim.accelerator.tiling.plans import Move, Plan, TilePrices, Tiling, plan
from hwsim.accelerator.tiling.problem import Accesses
from hwsim.accelerator.tiling.schedule import Step, Transfer, steps

__all__ = [
    "Accesses",
    "DoesNotFit",
    "Move",
    "Plan",
    "Step",
    "TilePrices",
    "Tiling",
    "Transfer",
    "plan",
    "search",
    "steps",
]
