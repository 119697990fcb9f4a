"""`hwsim explain`: why two integer runs differ."""

from analysis.explain.dump import Dump, parse_call, read_dump
from analysis.explain.explain import explain
from analysis.explain.records import Cause, Explanation, SiteReport
from analysis.explain.schemes import SchemeComparison, compare_schemes
from analysis.explain.show import render

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
