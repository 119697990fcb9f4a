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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from numba import njit
from numba.core import config
from numba.core.caching import Cache, FunctionCache, IndexDataCacheFile
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
        _say_once(error.strerror, f" in {self._cache_path}")


def enable_caching(self: CPUDispatcher) -> None:
    """Keep what is compiled of a function, if any folder can hold it; in place of `CPUDispatcher.enable_caching`."""
    try:
        self._cache = FunctionCache(self.py_func)  # type: ignore[attr-defined, no-untyped-call]
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        _say_once("no folder for them can be written; NUMBA_CACHE_DIR may name one")


@contextmanager
def compiled_otherwise(self: Cache) -> Iterator[None]:
    """What cannot be read or kept is compiled; in place of `Cache._guard_against_spurious_io_errors`."""
    try:
        yield
    except OSError as error:
        _say_once(error.strerror, f" in {self.cache_path}")


def _say_once(reason: str | None, where: str = "") -> None:
    """One line for all folders."""
    if reason not in _SAID:
        _SAID.add(reason)
        if sys.stderr is not None:  # closed by whoever started us
            print(f"compiled kernels are not kept{where}: {reason}", file=sys.stderr)


_SAID: set[str | None] = set()


def install() -> None:
    """Let every cache of this process do so."""
    IndexDataCacheFile.save = save  # type: ignore[method-assign]
    CPUDispatcher.enable_caching = enable_caching  # type: ignore[assignment, method-assign]
    Cache._guard_against_spurious_io_errors = compiled_otherwise  # type: ignore[method-assign]
