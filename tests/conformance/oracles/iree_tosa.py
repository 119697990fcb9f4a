"""TOSA's scaling primitive as IREE compiles it: `tosa.apply_scale`, element by element, on the CPU."""

from collections.abc import Callable
from functools import cache
from typing import Any

import iree.compiler
import iree.runtime
import numpy as np
from numpy.typing import NDArray

SINGLE_ROUND, DOUBLE_ROUND = "SINGLE_ROUND", "DOUBLE_ROUND"

_MODULE = """
#element = affine_map<(i) -> (i)>
func.func @scale(%x: tensor<?xi32>, %m: tensor<?xi32>, %e: tensor<?xi8>) -> tensor<?xi32> {{
  %first = arith.constant 0 : index
  %size = tensor.dim %x, %first : tensor<?xi32>
  %empty = tensor.empty(%size) : tensor<?xi32>
  %y = linalg.generic {{indexing_maps = [#element, #element, #element, #element], iterator_types = ["parallel"]}}
      ins(%x, %m, %e : tensor<?xi32>, tensor<?xi32>, tensor<?xi8>) outs(%empty : tensor<?xi32>) {{
    ^bb0(%value: i32, %multiplier: i32, %shift: i8, %unused: i32):
      %scaled = tosa.apply_scale %value, %multiplier, %shift rounding_mode<{mode}> : (i32, i32, i8) -> i32
      linalg.yield %scaled : i32
  }} -> tensor<?xi32>
  return %y : tensor<?xi32>
}}
"""


def apply_scale(
    x: NDArray[np.int32], multiplier: NDArray[np.int32], shift: NDArray[np.int8], *, rounding: str
) -> NDArray[np.int32]:
    """x * multiplier / 2^shift of vectors, rounded; shifts of 2 to 62. int32, not clamped."""
    return np.asarray(_compiled(rounding)(x, multiplier, shift).to_host())


@cache
def _compiled(mode: str) -> Callable[..., Any]:
    options = ["--iree-llvmcpu-target-cpu=generic"]
    binary = iree.compiler.compile_str(_MODULE.format(mode=mode), target_backends=["llvm-cpu"], extra_args=options)
    context = iree.runtime.SystemContext(config=iree.runtime.Config("local-sync"))
    context.add_vm_module(iree.runtime.VmModule.copy_buffer(context.instance, binary))
    function: Callable[..., Any] = context.modules.module.scale
    return function
