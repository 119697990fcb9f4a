"""No compiled kernel contains a floating-point type: not in its signatures, its variables or its LLVM IR.

Numba inspects only what it compiled itself, nothing that it loaded from its cache, so the kernels are compiled anew in
a process with a cache folder of its own: this module is run there, and prints what it found as JSON.
"""

import importlib
import json
import os
import pkgutil
import re
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import hwsim
from hwsim.arithmetic import fixedpoint
from hwsim.formats import Accumulator, IntFormat, Overflow, Rounding, Scaling
from hwsim.machine import Machine, native
from hwsim.machine.kernels import (
    accumulators,
    caches,
    embedding,
    heads,
    layernorms,
    ordered,
    products,
    projected,
    rows,
    softmaxes,
    sums,
)
from hwsim.operators.activation import table_interpolate
from hwsim.operators.gemm import engines
from hwsim.operators.gemm.engines import amx
from hwsim.operators.gemm.engines.blocks import KERNELS as DWORD_KERNELS
from hwsim.operators.gemm.engines.kernels import ADDRESSES
from hwsim.operators.requantize import shift_right
from reference.quantize.scheme import Scheme, preset
from tests import ROOT
from tests.small.programs import tiny_program
from tests.unit.hwsim.machine import few_operations
from tests.unit.hwsim.machine import test_products_equal_steps as product_cases
from tests.unit.hwsim.machine import test_rows_equal_steps as row_cases
from tests.unit.hwsim.machine import test_softmax_instructions as plan_softmaxes
from tests.unit.hwsim.machine.machine_inputs import encode_inputs, run_both
from tests.unit.hwsim.operators import test_converters as converters
from tests.unit.hwsim.operators.kernel_checks import (
    check_add,
    check_embed,
    check_layernorm,
    check_matmul,
    check_requantize,
    check_shift_right,
    check_softmax,
    int32,
    int64,
    no_events,
)
from tests.unit.hwsim.operators.scheme_cases import MULTIPLIERS, SCHEMES, RescaledAdd, check_rescaled_add, check_scheme
from tests.unit.hwsim.operators.softmax_cases import KERNELS, check_softmax_of
from tests.unit.hwsim.operators.softmax_cases import pinned as softmax_cases
from tests.unit.hwsim.operators.test_accumulator_kernels import check_accumulator, every
from tests.unit.hwsim.operators.test_accumulator_kernels import extreme as extreme_products
from tests.unit.hwsim.operators.test_activation_kernels import INT16, STEEP, check_mean
from tests.unit.hwsim.operators.test_gemmini_layernorm import check as check_gemmini_norm
from tests.unit.hwsim.operators.test_kernels_properties import INT8, INT_MIN, NORM, PLAIN, extreme
from tests.unit.hwsim.operators.test_layernorm_kernels import KERNELS as NORMS
from tests.unit.hwsim.operators.test_layernorm_kernels import check_norm
from tests.unit.hwsim.operators.test_layernorm_kernels import pinned as norm_cases
from tests.unit.hwsim.operators.test_ordered_products import large, spread
from tests.unit.hwsim.operators.test_qlinear_softmax import check as check_qlinear

PRODUCTS = {**DWORD_KERNELS, **amx.TILE_KERNELS}
"""The compiled products of the engines, by engine and form."""
ABSENT = re.compile(r"\.engines\.amx\.(quads_|TILE_KERNELS\[amx )")
"""Kernels that a processor without tile registers cannot compile."""
NUMBA_FLOAT = re.compile(r"\b(?:float|complex)\d+")
LLVM_FLOAT = re.compile(r"\b(?:half|bfloat|float|double|fp128|x86_fp80|ppc_fp128)\b")
NOT_CODE = re.compile(
    r"""
    "(?:[^"\\]|\\.)*"        # quoted names and strings
  | ;.*                      # comments
  | ^!.*                     # metadata
  | [%@!$\#][-\w.$]+         # names of variables, functions, metadata, comdats, attributes
  | ^[-\w.$]+:               # labels
    """,
    re.VERBOSE | re.MULTILINE,
)


def floats_of_ir(ir: str) -> list[str]:
    """The lines of LLVM IR that use a floating-point type; names, strings, comments and metadata may say 'float'."""
    return [line.strip() for line in NOT_CODE.sub("", ir).splitlines() if LLVM_FLOAT.search(line)]


def floats_of(kernel: Dispatcher) -> list[str]:
    """What is of a floating-point type in the compiled versions of a kernel."""
    found = []
    for signature, compiled in kernel.overloads.items():
        types = {"signature": compiled.signature, **compiled.type_annotation.typemap}
        found += [f"{name}: {kind}" for name, kind in types.items() if NUMBA_FLOAT.search(str(kind))]
        found += floats_of_ir(kernel.inspect_llvm(signature))
    return found


def has_ir(kernel: Dispatcher) -> bool:
    """Whether a kernel was compiled, and the IR of each version of it defines the native function."""
    names = {signature: re.escape(compiled.fndesc.mangled_name) for signature, compiled in kernel.overloads.items()}
    ir = {signature: kernel.inspect_llvm(signature) for signature in names}
    return bool(names) and all(re.search(rf'^define .*@"?{names[key]}"?\(', ir[key], re.MULTILINE) for key in names)


def kernels() -> Iterator[tuple[str, Dispatcher]]:
    """Every jitted function of every module of hwsim, by its full name."""
    for found in pkgutil.walk_packages(hwsim.__path__, "hwsim."):
        module = importlib.import_module(found.name)
        named = {}
        for name, value in vars(module).items():
            members = {f"{name}[{key!s}]": one for key, one in value.items()} if isinstance(value, dict) else {}
            for member, one in {name: value, **members}.items():
                if isinstance(one, Dispatcher) and one.py_func.__module__ == found.name:
                    named.setdefault(one, f"{found.name}.{member}")
        yield from ((name, one) for one, name in named.items())


def call_every_kernel() -> None:
    """Call every public function with every dtype that it takes, so that the kernels are compiled as they are used."""
    for acc in (INT_MIN, INT_MIN.astype(np.int64)):
        check_requantize(acc, int64([1]), int64([31]), 0, INT8)
        check_shift_right(acc, 1)
        for rounding in Rounding:
            shift_right(acc, 1, no_events(), rounding)
    table = int32([[1, 2]])
    check_add(table, table, (0, 0), (1, 1), 1, 0, INT8)
    check_embed(int64([[0]]), 0, table, int64([1]), table, 1, 1, 0, INT8)
    for bits, rule in product((32, 33), Overflow):
        check_matmul(*extreme(3, 5, 7), Accumulator(bits=bits, overflow=rule))
    check_softmax(*PLAIN)
    check_layernorm(*NORM)
    check_layernorm(*NORM, 1)
    call_every_scheme()
    for acc in every(32):
        check_accumulator(extreme_products(3), acc)
    for narrow, wide in zip(every(10, 4), every(31, 4), strict=True):
        check_accumulator(spread(5, 3, 9), narrow)
        check_accumulator(large(spread(5, 3, 9)), wide)
    for name in KERNELS:
        check_softmax_of(*softmax_cases(name)[0])
    check_qlinear(int32([[1, 2]]), [1, 1], 1, INT8)
    for name, centred in product(NORMS, (True, False)):
        check_norm(*norm_cases(name, centred)[0])
    check_gemmini_norm(int32([[1, 2]]), [1, 2], [1, 2], (1, 1))
    call_every_converter()
    table_interpolate(INT16, STEEP)
    fixedpoint.half_even_divide(1, 2)
    fixedpoint.is_divide_tie(1, 2)
    call_every_engine()


def call_every_engine() -> None:
    """Compile the products of every engine that this processor has; pack and append."""
    for name, product_of in PRODUCTS.items():
        if name.split()[0] in (*engines.available(), "emulated"):
            product_of.compile(ADDRESSES)
    if "amx" in engines.available():
        amx.quads_signed.compile(ADDRESSES)
        amx.quads_unsigned.compile(ADDRESSES)
    for name in ("quads", "pairs"):
        dtype = np.int8 if name == "quads" else np.int16
        packed = np.zeros(getattr(engines, f"{name}_shape")(1, 1), dtype)
        row, bias, result = np.ones(1, dtype), int32([0]), int32([[0]])
        engines.pack_centred(np.ones((1, 1), dtype), 0, packed)
        engines.put_column(packed, 0, row, 0)
        engines.put_depth(packed, 0, row, 0)
        getattr(engines, f"multiply_{name}")(np.ones((1, 4 // packed.itemsize), dtype), packed, bias, 1, result)
    for bits, value in ((32, 1), (32, 300), (33, 1)):
        check_matmul(int32([[value]]), int32([[1]]), None, (0, 0), Accumulator(bits=bits))


def call_every_converter() -> None:
    """Accumulators of both dtypes, and the mean."""
    for acc in (int32([[1, 2]]), int64([[1, 2]])):
        converters.check_shift(acc, [1], [0], 1, Rounding.FLOOR, INT8)
        converters.check_convert(acc, 0, [1], 1, INT8)
    check_mean(int32([[1, 2]]), 0)


def call_every_scheme() -> None:
    """Accumulators of both dtypes by every scheme, and sums by those that add."""
    for (scheme, rounding), dtype in product(SCHEMES, (np.int32, np.int64)):
        m = 1 if scheme == "shift" else MULTIPLIERS[scheme][0]
        acc = np.array([[-5, 0, 3]], dtype)
        check_scheme(scheme, rounding, acc, int64([m]), int64([33]), 0, INT8)
        if scheme != "float32_inside":
            code = int32([[1]])
            check_rescaled_add(
                *RescaledAdd(scheme, rounding, code, code, (0, 0), 0, ((m, 33), (m, 33)), (m, 33), 0, INT8)
            )


MODULES = (accumulators, caches, embedding, heads, layernorms, ordered, products, projected, rows, softmaxes, sums)
FACTORIES = [
    factory
    for module in MODULES
    for factory in vars(module).values()
    if hasattr(factory, "cache_info") and factory.__module__ == module.__name__
]
"""What makes the kernels of the machine, for the dtypes of a program's tensors."""


def run_every_kernel_of_plans() -> None:
    """Small programs of 8 and 12 bits, as a session too, and operations that they lack."""
    for scheme in (preset("int8"), Scheme(name="a12", activation_bits=12)):
        machine = Machine(tiny_program(scheme))
        run_both(machine, lambda name, codes: None)
        session = machine.session("encode", "decode_step", encode_inputs())
        assert session is not None
        inputs = {"target_ids": np.full((3, 1), 5), "decode_step.position": np.array(0)}
        session.step(inputs, np.arange(3))
    for case in {case.kind: case for case in plan_softmaxes.CASES.values()}.values():
        scores = np.zeros((1, plan_softmaxes.HEADS, 1, 3), np.int32)
        plan_softmaxes.check(case, Machine(plan_softmaxes.program_of(case, None)), scores, None)
    for name in row_cases.NORMS:
        few_operations.same(row_cases.norm_of(name, 3, row_cases.PLACES[0]))
    row_cases.test_rescaled_sum(*row_cases.RATIOS[-1])
    row_cases.test_shift_with_a_bias(32, Rounding.FLOOR)
    row_cases.test_heads_of_an_accumulator()
    row_cases.test_accumulators_merged_and_appended()
    for overflow in ("saturate", "wrap"):
        product_cases.test_weights_in_wide_accumulators(overflow)
        product_cases.test_activations(overflow, transpose=True)
    product_cases.test_every_head_has_its_ratio()
    product_cases.test_projected_heads_of_wide_codes(IntFormat(bits=16))


def made_kernels() -> Iterator[tuple[str, Dispatcher]]:
    """The kernels of all plans that are made meanwhile."""
    made: list[native.Code] = []
    sound = native.assemble

    def assemble(instructions: Any) -> native.Code:
        made.append(sound(instructions))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "assemble", assemble)
        run_every_kernel_of_plans()
    for code in made:
        for kernel in code.kernels:
            inner = [str(cell.cell_contents) for cell in kernel.py_func.__closure__ or ()]
            yield f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__} of {inner}", kernel


def report() -> dict[str, Any]:
    call_every_kernel()
    made = dict(made_kernels())
    never = [factory.__name__ for factory in FACTORIES if not factory.cache_info().currsize]
    assert not never, f"make these in made_kernels: {never}"
    every_kernel = {**dict(kernels()), **made}
    return {name: {"has_ir": has_ir(kernel), "floats": floats_of(kernel)} for name, kernel in every_kernel.items()}


def test_no_kernel_contains_a_float(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    command = [sys.executable, "-W", "error", "-m", "tests.unit.hwsim.operators.test_no_float_in_kernels"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    sources = [path.read_text() for path in (ROOT / "hwsim").rglob("*.py")]
    assert sum(" of [" in name for name in found) > len(FACTORIES)
    assert [name for name, kernel in found.items() if " of [" in name and not kernel["has_ir"]] == []
    found = {name: kernel for name, kernel in found.items() if " of [" not in name or kernel["floats"]}
    written = sum(len(re.findall(r"\n@(njit|inner)\b", source)) for source in sources)
    assert sum("[" not in name for name in found) == written
    loops = Counter(name.split("[")[0] for name in found if "[" in name and ".engines." not in name)
    assert loops == {
        "hwsim.operators.rescale.LOOPS": len(Scaling),
        "hwsim.operators.residual.SUMS": len(Scaling) - 1,
        "hwsim.operators.requantize.SHIFTS": len(Rounding),
    }
    assert sum(".engines." in name for name in found if "[" in name) == len(PRODUCTS)
    absent = {name for name in found if ABSENT.search(name)} if "amx" not in engines.available() else set()
    missing = {name for name, kernel in found.items() if not kernel["has_ir"]}
    assert missing - absent == set(), "call these in call_every_kernel"
    assert {name: kernel["floats"] for name, kernel in found.items() if kernel["floats"]} == {}


# The check can fail, and only for the right reason

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled without JIT")


def halved(x: int) -> float:
    return x / 2


def halved_inside(x: int) -> np.int64:
    return np.int64(x * 0.5)


def rooted(values: np.ndarray) -> np.int64:
    return np.int64(np.sqrt(values[0]))


def narrow_inside(x: int) -> np.int32:
    return np.int32(np.float32(x) + np.float32(x))


def says_float(half: int) -> int:
    """A kernel of integers whose names and strings speak of floats."""
    double = half * 3
    if double < 0:
        raise ValueError("neither float nor double")
    for float32 in range(double):
        half += float32
    return half


@compiled_only
@pytest.mark.parametrize(
    ("function", "argument", "kinds"),
    [
        (halved, 3, ["double", "float64"]),
        (halved_inside, 3, ["double", "float64"]),
        (rooted, np.arange(3), ["double", "float64"]),
        (narrow_inside, 3, ["float", "float32"]),
    ],
)
def test_a_planted_float_is_found(function: Callable[..., Any], argument: Any, kinds: list[str]) -> None:
    """In the IR and, apart from that, in the types that Numba inferred."""
    kernel = numba.njit(function)
    kernel(argument)
    in_ir, inferred = kinds
    found = floats_of(kernel)
    assert has_ir(kernel)
    assert [line for line in found if re.search(rf"\b{in_ir}\b", line)]
    assert [line for line in found if line.endswith((f": {inferred}", f"-> {inferred}"))]


@compiled_only
def test_names_and_strings_are_no_floats() -> None:
    kernel = numba.njit(says_float)
    kernel(3)
    assert has_ir(kernel)
    assert "double" in kernel.inspect_llvm(kernel.signatures[0])
    assert floats_of(kernel) == []


@pytest.mark.parametrize(
    "line",
    ["%5 = sitofp i64 %x to double", "store <8 x float> %v, ptr %p", "define half @f(i64 %half)", "ret bfloat 0"],
)
def test_floats_of_ir_are_found(line: str) -> None:
    text = f'; double\n!0 = !{{!"float"}}\nhalf.endif:\n@"float" = constant [6 x i8] c"double"\n  {line}\n'
    assert len(floats_of_ir(text)) == 1


@compiled_only
def test_a_kernel_without_ir_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was never called, and one that was loaded from a cache: Numba warns and shows nothing."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    file = tmp_path / "planted.py"
    file.write_text("from numba import njit\n@njit(cache=True)\ndef half(x):\n    return x / 2\n")
    compiled, cached = (runpy.run_path(str(file))["half"] for _ in range(2))
    assert not has_ir(compiled)
    assert compiled(3) == cached(3) == 1.5
    assert has_ir(compiled)
    with pytest.warns(UserWarning, match="Inspection disabled for cached code"):
        assert not has_ir(cached)


if __name__ == "__main__":
    print(json.dumps(report()))
