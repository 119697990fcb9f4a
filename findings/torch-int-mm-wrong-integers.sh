#!/usr/bin/env bash
# torch 2.13.0, CPU (x86-64, oneDNN 3.12): `torch._int_mm` of int8 matrices, which is all integers.
# Expected: the exact int32 product, or an error.
# Seen (2026-11-29), without a warning, in two cases:
# 1. An operand that is a transposed column, as `w.t()` of an (n, 1) weight (a sum of one product) or `x.t()` of a (k,
#    1) column (a result of one row): its strides are (1, 1), oneDNN refuses such a leading dimension, torch does not
#    look at the refusal, and nothing is written: `out` keeps what it held, and without `out` the result is what the
#    memory held. `.contiguous()` and `.clone()` do not help, as strides (1, 1) pass for contiguous; `.reshape` to its
#    own shape does. pytorch issue 195066 tells the same of stride 0, which Inductor makes; no compiler is needed.
# 2. Without VNNI instructions (here oneDNN is told to use none; AVX512_CORE gives the same as AVX2): products are added
#    in pairs in 16 bits that saturate, of a + 128 as unsigned bytes, and 128 times the sum of b is taken off after. Two
#    times 127 * 127 is 255. It is exact where b lies in -64..63, whatever a is. `torch.cpu._is_vnni_supported()` asks
#    the processor only, and says yes all the same.
# So: check `_int_mm` by a trial on the machine that runs it, in shapes and in extreme values; reshape transposed
# columns; golden files made with it may hold products that no other machine gives.
# Case 1 is run twice, as the processor is and with oneDNN kept to AVX2. Whether the processor has VNNI is in the first
# line, which is not compared.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q "torch==2.13.0" "numpy==2.4.0" 2>/dev/null

cat > exact.py <<'PY'
import torch


def exact(a, b):
    columns = list(zip(*b.tolist()))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a.tolist()]


def into_sevens(a, b):
    try:
        return torch._int_mm(a, b, out=torch.full((a.shape[0], b.shape[1]), 7, dtype=torch.int32)).tolist()
    except RuntimeError:
        return "refused"
PY
cat > columns.py <<'PY'
import itertools

import torch
from exact import exact, into_sevens

sizes = (1, 2, 3, 7, 16, 33)
generator = torch.Generator().manual_seed(0)


def codes(rows, columns):  # small enough to be exact without VNNI too
    return torch.randint(-8, 8, (rows, columns), generator=generator, dtype=torch.int8)


def wrong_shapes(name, left, right):
    wrong, untouched = set(), True
    for m, k, n in itertools.product(sizes, repeat=3):
        a = codes(k, m).t() if left else codes(m, k)
        b = codes(n, k).t() if right else codes(k, n)
        got = into_sevens(a, b)
        if got != exact(a, b):
            wrong.add((m, k, n))
            untouched &= got == [[7] * n] * m
    return name, wrong, untouched


print(torch.__version__.split("+")[0])
column_left = {(1, k, n) for k in sizes[1:] for n in sizes}
column_right = {(m, 1, n) for m in sizes for n in sizes[1:]}
for (name, wrong, untouched), told in (
    (wrong_shapes("a @ b", False, False), set()),
    (wrong_shapes("x.t() @ b", True, False), column_left),
    (wrong_shapes("a @ w.t()", False, True), column_right),
    (wrong_shapes("x.t() @ w.t()", True, True), column_left | column_right),
):
    print(f"{name}: {len(wrong)} of 216 shapes wrong, untouched: {untouched}, just the columns: {wrong == told}")
a, w = torch.tensor([[3], [-2]], dtype=torch.int8), torch.tensor([[5], [7], [-9]], dtype=torch.int8)
print("exact", exact(a, w.t()))
for name, b in (
    ("w.t()", w.t()),
    ("w.t().contiguous()", w.t().contiguous()),
    ("w.t().clone()", w.t().clone()),
    ("w.t().reshape(1, 3)", w.t().reshape(1, 3)),
):
    print(name, tuple(b.stride()), into_sevens(a, b))
PY
cat > pairs.py <<'PY'
import torch
from exact import exact

generator = torch.Generator().manual_seed(0)


def codes(rows, columns, least=-128, most=127):
    return torch.randint(least, most + 1, (rows, columns), generator=generator, dtype=torch.int8)


def in_pairs(a, b):
    def total(row, column):
        products = [(x + 128) * y for x, y in zip(row, column)]
        pairs = (x + y for x, y in zip(products[::2], products[1::2]))
        return sum(max(-32768, min(32767, pair)) for pair in pairs) - 128 * sum(column)

    columns = list(zip(*b.tolist()))
    return [[total(row, column) for column in columns] for row in a.tolist()]


both = torch.full((16, 2), 127, dtype=torch.int8), torch.full((2, 16), 127, dtype=torch.int8)
print("127 * 127 + 127 * 127 =", set(torch._int_mm(*both).flatten().tolist()))
for name, bounds in (("any a, any b", (-128, 127)), ("any a, b in -64..63", (-64, 63))):
    a, b = codes(16, 64), codes(64, 16, *bounds)
    got = torch._int_mm(a, b).tolist()
    print(f"{name}: exact: {got == exact(a, b)}, as in saturating pairs: {got == in_pairs(a, b)}")
PY
venv/bin/python columns.py > seen
{
    echo "ONEDNN_MAX_CPU_ISA=AVX2"
    ONEDNN_MAX_CPU_ISA=AVX2 venv/bin/python columns.py
    ONEDNN_MAX_CPU_ISA=AVX2 venv/bin/python pairs.py
} >> seen
venv/bin/python -c "import torch; print('this processor has VNNI:', torch.cpu._is_vnni_supported())"

cat > expected <<'TXT'
2.13.0
a @ b: 0 of 216 shapes wrong, untouched: True, just the columns: True
x.t() @ b: 30 of 216 shapes wrong, untouched: True, just the columns: True
a @ w.t(): 30 of 216 shapes wrong, untouched: True, just the columns: True
x.t() @ w.t(): 60 of 216 shapes wrong, untouched: True, just the columns: True
exact [[15, 21, -27], [-10, -14, 18]]
w.t() (1, 1) [[7, 7, 7], [7, 7, 7]]
w.t().contiguous() (1, 1) [[7, 7, 7], [7, 7, 7]]
w.t().clone() (1, 1) [[7, 7, 7], [7, 7, 7]]
w.t().reshape(1, 3) (3, 1) [[15, 21, -27], [-10, -14, 18]]
ONEDNN_MAX_CPU_ISA=AVX2
2.13.0
a @ b: 0 of 216 shapes wrong, untouched: True, just the columns: True
x.t() @ b: 30 of 216 shapes wrong, untouched: True, just the columns: True
a @ w.t(): 30 of 216 shapes wrong, untouched: True, just the columns: True
x.t() @ w.t(): 60 of 216 shapes wrong, untouched: True, just the columns: True
exact [[15, 21, -27], [-10, -14, 18]]
w.t() (1, 1) [[7, 7, 7], [7, 7, 7]]
w.t().contiguous() (1, 1) [[7, 7, 7], [7, 7, 7]]
w.t().clone() (1, 1) [[7, 7, 7], [7, 7, 7]]
w.t().reshape(1, 3) (3, 1) [[15, 21, -27], [-10, -14, 18]]
127 * 127 + 127 * 127 = {255}
any a, any b: exact: False, as in saturating pairs: True
any a, b in -64..63: exact: True, as in saturating pairs: True
TXT
cat seen
diff expected seen
