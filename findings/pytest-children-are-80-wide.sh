#!/usr/bin/env bash
# pytest 9.0.1 and pytest-xdist 3.8.0, Python linked with GNU readline: how wide a child process of a test prints in a pipe.
# Expected: as wide by `pytest` as by hand; `os.environ` has no COLUMNS in either, and none is handed on.
# Seen (2026-11-29): pytest imports readline (by way of pdb), whose initialisation sets LINES and COLUMNS in the
# environment of the C library behind the back of `os.environ`; `subprocess` without `env=` hands that one on. So a
# child of a test (and every worker of pytest-xdist, whose own `os.environ` then has it) believes that a terminal of 80
# columns was asked for. Programs whose tables obey COLUMNS print other ones under test; pass `env=` or remove the name.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q "pytest==9.0.1" "pytest-xdist==3.8.0" 2>/dev/null
cat > test_width.py <<'PY'
import os
import subprocess
import sys

CHILD = [sys.executable, "-c", "import os; print(os.environ.get('COLUMNS'))"]


def told():
    inherited = subprocess.run(CHILD, capture_output=True, text=True, check=True).stdout.strip()
    given = subprocess.run(CHILD, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.strip()
    return f"os.environ {os.environ.get('COLUMNS')}, child {inherited}, child with env= {given}"


def test_width():
    open(os.environ["TOLD"], "a").write(told() + "\n")


if __name__ == "__main__":
    print(told())
PY
unset COLUMNS LINES
export TOLD=$folder/seen
echo "by hand: " > seen
venv/bin/python test_width.py >> seen < /dev/null
echo "pytest: " >> seen
venv/bin/python -m pytest -q -p no:cacheprovider test_width.py > /dev/null < /dev/null
echo "pytest -n 1: " >> seen
venv/bin/python -m pytest -q -p no:cacheprovider -n 1 test_width.py > /dev/null < /dev/null

cat > expected <<'TXT'
by hand: 
os.environ None, child None, child with env= None
pytest: 
os.environ None, child 80, child with env= None
pytest -n 1: 
os.environ 80, child 80, child with env= 80
TXT
cat seen
diff expected seen
