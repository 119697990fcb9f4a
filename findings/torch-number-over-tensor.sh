#!/usr/bin/env bash
# torch 2.13.0, CPU, float32: `127.0 / absmax`, as quantizers write the inverse of a scale.
# Expected: IEEE division, rounded once, as `torch.full_like(x, 127.0) / x`, as `torch.tensor(127.0) / x` and as numpy.
# Seen (2026-11-29): a Python number over a tensor is the tensor's reciprocal times the number, rounded twice: about a
# quarter of random quotients are one unit in the last place off. A 0-dimensional tensor in the number's place is exact.
# So: scales computed by `qmax / absmax` are not those that other tools compute from the same absmax, and codes at a tie
# go the other way; write the number as a tensor where scales must agree bit for bit.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q "torch==2.13.0" "numpy==2.4.0" 2>/dev/null

venv/bin/python - > seen <<'PY'
import torch

print(torch.__version__.split("+")[0])
absmax = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) * 100 + 0.01
exact = torch.from_numpy(__import__("numpy").float32(127.0) / absmax.numpy())
for name, quotient in (
    ("number / tensor", 127.0 / absmax),
    ("0-dimensional tensor / tensor", torch.tensor(127.0) / absmax),
    ("full tensor / tensor", torch.full_like(absmax, 127.0) / absmax),
):
    share = (quotient != exact).double().mean().item()
    steps = (quotient.view(torch.int32) - exact.view(torch.int32)).abs().max().item()
    print(f"{name}: {share:.1f} differ from one rounding, by {steps} unit(s) in the last place at most")
print("reciprocal times number:", torch.equal(127.0 / absmax, absmax.reciprocal() * 127.0))
PY

cat > expected <<'TXT'
2.13.0
number / tensor: 0.3 differ from one rounding, by 1 unit(s) in the last place at most
0-dimensional tensor / tensor: 0.0 differ from one rounding, by 0 unit(s) in the last place at most
full tensor / tensor: 0.0 differ from one rounding, by 0 unit(s) in the last place at most
reciprocal times number: True
TXT
cat seen
diff expected seen
