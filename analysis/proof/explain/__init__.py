"""`hwsim explain`: why two integer runs differ."""

from analysis.proof.explain.dump import Dump, parse_call, read_dump
from analysis.proof.explain.explain import explain
from analysis.proof.explain.records import Cause, Explanation, SiteReport
from analysis.proof.explain.schemes import SchemeComparison, compare_schemes
from analysis.proof.explain.show import render

__all__ = [
    "Cause",
    "Dump",
    "Explanation",
    "SchemeComparison",
    "SiteReport",
    "compare_schemes",
    "explain",
    "parse_call",
    "read_dump",
    "render",
]
