#!/usr/bin/env bash
# numba 0.68.1 (llvmlite 0.50.0), `njit(cache=True)` on the closures of one factory, compiled by two processes in turn.
# Expected: a third process that loads both from the cache has two functions, wherever they are called from.
# Seen (2026-11-29): the symbol of a compiled function has its name, its types and a number that counts functions of the
# process, but nothing of what a closure holds. The first closure that either process compiles gets the same number, so
# both lie in the cache under one symbol. Called from Python each is right, by an address of its own. Called from other
# compiled code both are looked up by symbol, and one of them runs for both, without a warning: here twice x * 2,
# where x * 2 and x * 3 are asked for. This needs no two processes at once, as numba-cache-two-processes.sh does.
# So: give each closure of a factory a `__qualname__` of its own before `njit` sees it, by what it closes over (second
# part: right), or do not cache such functions.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q "numba==0.68.1" "llvmlite==0.50.0" "numpy==2.4.0" 2>/dev/null

cat > factory.py <<'PY'
import os

from numba import njit


def make(k):
    def times(x):
        return x * k

    if "NAMED" in os.environ:
        times.__qualname__ += f"_{k}"
    return njit(cache=True)(times)
PY
cat > both.py <<'PY'
from factory import make
from numba import njit

two, three = make(2), make(3)
print("from Python:", two(10), three(10), "of which from the cache:", len(two.stats.cache_hits) + len(three.stats.cache_hits))


@njit
def both(x):
    return two(x), three(x)


print("from compiled code:", *both(10))
PY
run() { # run CACHE
    export NUMBA_CACHE_DIR="$folder/$1"
    venv/bin/python -c "from factory import make; print('one process: make(2)(10) =', make(2)(10))"
    venv/bin/python -c "from factory import make; print('another: make(3)(10) =', make(3)(10))"
    venv/bin/python both.py
}
{
    venv/bin/python -c "import llvmlite, numba; print(numba.__version__, llvmlite.__version__)"
    run plain
    echo "with names of their own"
    NAMED=1 run named
} > seen

cat > expected <<'TXT'
0.68.1 0.50.0
one process: make(2)(10) = 20
another: make(3)(10) = 30
from Python: 20 30 of which from the cache: 2
from compiled code: 20 20
with names of their own
one process: make(2)(10) = 20
another: make(3)(10) = 30
from Python: 20 30 of which from the cache: 2
from compiled code: 20 30
TXT
cat seen
diff expected seen
