"""How Numba compiles here: not at all for who debugs, helpers without ways in for Python, into a cache that is safe.

That is safe for processes that compile at once, and for one that is stopped while it saves:

Numba numbers the files of compiled code by what the index of a function holds at that moment, and writes the index
before the code. Two processes that compile two variants of one function, by dtype or by constant, can so both write
number 7, and the index then gives one of them the other's code; a process that ends between the two writes leaves an
index that points to older code (read in numba 0.68, numba/core/caching.py, IndexDataCacheFile.save). Here every piece
of code has a name that nothing else ever had, and is whole before the index knows it. What two processes can still lose
is an entry of the index, which is then compiled again.
"""

import sys
import uuid
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, TypeVar

from numba import njit
from numba.core import config
from numba.core.caching import IndexDataCacheFile
from numba.core.registry import CPUDispatcher

INTERPRETED = bool(vars(config)["DISABLE_JIT"])
"""Whether numba compiles nothing, for who debugs a kernel."""
Function = TypeVar("Function", bound=Callable[..., Any])

WITHOUT_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""What numba is to leave out: the ways in for Python and for C, much of what a small function takes to compile."""


class _Inner(CPUDispatcher):
    """A compiled function that only compiled code calls; Python gets in through another one, made when it calls."""

    def __call__(self, *args: Any) -> Any:
        return self._entry(*args)

    @cached_property
    def _entry(self) -> Any:
        function = self

        @njit(nogil=True)
        def entry(*args: Any) -> Any:
            return function(*args)

        return entry


def inner(function: Any = None, **options: Any) -> Any:
    """`njit(cache=True, nogil=True)` of a function that compiled code calls, compiled without wrappers.

    Python may call it too, in tests, and waits for an entry that no cache keeps.
    """
    if function is None:
        return lambda function: inner(function, **options)
    if INTERPRETED:
        return function
    made = _Inner(function, targetoptions={"nopython": True, "nogil": True, **WITHOUT_WRAPPERS, **options})
    made.enable_caching()
    return made


def named(*constants: Any) -> Callable[[Function], Function]:
    """Give a function of a factory a name of its own, by the constants that it closes over; to be used below `njit`.

    Numba's symbols are a function's name, its types and a number that begins anew in every process. Two functions of
    one factory that were compiled in two processes can so have one symbol, and a third process, which loads both from
    the cache, would call one for the other.
    """

    def rename(function: Function) -> Function:
        parts = (getattr(constant, "__name__", str(constant)) for constant in constants)
        function.__qualname__ += "_" + "_".join("".join(c if c.isalnum() else "_" for c in part) for part in parts)
        return function

    return rename


def save(self: Any, key: Any, data: Any) -> None:
    """Save compiled code under its key; in place of `IndexDataCacheFile.save`.

    What a full disk, a quota or the rights of the folder do not let be kept is used all the same, and compiled again in
    the next process.
    """
    try:
        known = self._load_index()
        name = known.get(key) or self._data_name(uuid.uuid4().int)
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})
    except OSError as error:
        _say_once(f"compiled kernels are not kept in {self._cache_path}: {error.strerror}")


@cache
def _say_once(line: str) -> None:
    if sys.stderr is not None:  # closed by whoever started us
        print(line, file=sys.stderr)


def install() -> None:
    """Let every cache of this process save so."""
    IndexDataCacheFile.save = save  # type: ignore[method-assign]
