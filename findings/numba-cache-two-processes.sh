#!/usr/bin/env bash
# numba 0.68.1 (llvmlite 0.50.0), `njit(cache=True)`, two processes that compile at the same time.
# Expected: at worst one of the two entries is lost and is compiled again, as each file is written under another name
# and then renamed.
# Seen (2026-11-29): one function's file, name and line share one index, of all signatures and of all closures of one
# factory. A save (IndexDataCacheFile.save) reads the index, takes the least number that it does not use for its data,
# writes the index and then the data; nothing is locked, and a load does not compare the data with the key. Two
# processes that read the same index take the same number: the index of the second stays, with the data of whichever is
# written last, and from then on a process that asks for the second's key may run the first's code, without a warning:
# here x + 1 instead of x + 2.
# So: do not fill a cache from two processes, as test workers, ranks or array jobs do; let one process compile all
# variants first, or give each its own NUMBA_CACHE_DIR. A cache that may have been filled so is to be removed.
# numba is not patched: an audit hook on `open` only makes each process wait for the other, as a scheduler might.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q "numba==0.68.1" "llvmlite==0.50.0" "numpy==2.4.0" 2>/dev/null

cat > factory.py <<'PY'
from numba import njit


def make(c):
    @njit(cache=True)
    def f(x):
        return x + c

    return f
PY
cat > call.py <<'PY'
import os
import pathlib
import sys
import time

role, c = sys.argv[1], int(sys.argv[2])


def wait(marker):
    end = time.monotonic() + 60
    while not os.path.exists(marker) and time.monotonic() < end:  # a lock in numba would let the other never come
        time.sleep(0.01)


def hook(event, arguments):
    if event != "open" or not isinstance(arguments[0], str):
        return
    if ".nbi.tmp" in arguments[0]:  # about to write the index, which it has read
        pathlib.Path(f"{role} has read the index").touch()
        if role == "first":
            wait("second has read the index")
        else:
            wait("first has written the index")
    elif ".nbc.tmp" in arguments[0] and role == "first":  # about to write the data
        pathlib.Path("first has written the index").touch()
        wait("second is done")


if role != "later":
    sys.addaudithook(hook)
from factory import make  # noqa: E402

f = make(c)
print(f"{role} process: make({c})(10) = {f(10)}, from the cache: {bool(f.stats.cache_hits)}, right: {f.py_func(10)}")
if role == "second":
    pathlib.Path("second is done").touch()
PY
run() {
    NUMBA_CACHE_DIR="$folder/$1" venv/bin/python call.py "$2" "$3"
}
venv/bin/python -c "import llvmlite, numba; print(numba.__version__, llvmlite.__version__)" > seen
{
    echo "one after the other"
    run apart later 1
    run apart later 2
    run apart later 2
    echo "at the same time"
} >> seen
run together first 1 > first &
pid=$!
run together second 2 > second
wait "$pid"
cat first second >> seen
{
    run together later 2
    echo "data files: $(find together -name '*.nbc' | wc -l)"
} >> seen

cat > expected <<'TXT'
0.68.1 0.50.0
one after the other
later process: make(1)(10) = 11, from the cache: False, right: 11
later process: make(2)(10) = 12, from the cache: False, right: 12
later process: make(2)(10) = 12, from the cache: True, right: 12
at the same time
first process: make(1)(10) = 11, from the cache: False, right: 11
second process: make(2)(10) = 12, from the cache: False, right: 12
later process: make(2)(10) = 11, from the cache: True, right: 12
data files: 1
TXT
cat seen
diff expected seen
