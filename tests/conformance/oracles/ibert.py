"""I-BERT as transformers ships it: integers carried in float64, the scale a power of two so that x / S is exact."""

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.ibert.quant_modules import FixedPointMul, IntGELU, IntLayerNorm, IntSoftmax

Real = NDArray[np.float64]


def gelu(q: NDArray[np.integer], scale: float) -> Real:
    """IntGELU of integer codes: the integers before their (negative) scale is multiplied in."""
    module = IntGELU(quant_mode=True).eval()
    step = torch.tensor([scale], dtype=torch.float64)
    with torch.no_grad():
        value, out_scale = module(_real(q) * step, step)
    return np.asarray(torch.round(value / out_scale).numpy())


def int_exp(d: NDArray[np.integer], scale: float) -> Real:
    """IntSoftmax.int_exp of differences to the greatest, none above zero."""
    module = IntSoftmax(output_bit=8, quant_mode=True).eval()
    with torch.no_grad():
        value, _ = module.int_exp(_real(d), torch.tensor([scale], dtype=torch.float64))
    return np.asarray(value.numpy())


def softmax(q: NDArray[np.integer], scale: float, *, exponent: int, output_bits: int) -> Real:
    """IntSoftmax of rows (m, n), whose 16-bit activation has learned to divide exponentials by 2^exponent.

    The scale that int_exp returns is replaced by 1: the activation divides by it and multiplies by it again, which is
    the identity but for the rounding of float64.
    """
    module = IntSoftmax(output_bit=output_bits, quant_mode=True).double().eval()
    int_exp, one = module.int_exp, torch.ones(1, dtype=torch.float64)
    module.int_exp = lambda x, step: (int_exp(x, step)[0], one)
    top = 2.0**exponent * (2**15 - 1)
    module.act.x_min, module.act.x_max = (torch.full((1,), bound, dtype=torch.float64) for bound in (-top, top))
    step = torch.tensor([scale], dtype=torch.float64)
    with torch.no_grad():
        value, out_scale = module(_real(q) * step, step)
    return np.asarray((value / out_scale).numpy()).reshape(q.shape)


def layernorm(
    q: NDArray[np.integer], gamma: Real, beta: Real, *, scale: float, shift: int
) -> tuple[NDArray[np.float64], Real]:
    """IntLayerNorm of rows (m, n): the integers before the scale, and the scale of each column.

    Parameters
    ----------
    q : (m, n)
    gamma, beta : float64, (n,)
        gamma may not be zero.
    scale : float
        A power of two.
    shift : int
        The module's variance shift, which it learns in training.
    """
    module = IntLayerNorm(q.shape[-1], eps=0.0, output_bit=8, quant_mode=True).double().eval()
    module.weight.data = torch.from_numpy(gamma)
    module.bias.data = torch.from_numpy(beta)
    module.shift = torch.tensor([float(shift)], dtype=torch.float64)
    module.dim_sqrt = torch.sqrt(torch.tensor(float(q.shape[-1]), dtype=torch.float64))
    step = torch.tensor([scale], dtype=torch.float64)
    with torch.no_grad():
        value, out_scale = module(_real(q)[None] * step, step)
    integers = torch.round(value / out_scale)[0]
    return np.asarray(integers.numpy()), np.asarray(out_scale.numpy()).reshape(-1)


def _real(codes: NDArray[np.integer]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(codes, np.float64))


def requantize(
    q: NDArray[np.integer],
    ratio: Real,
    bits: int,
    other: NDArray[np.integer] | None = None,
    other_ratio: Real | None = None,
) -> Real:
    """FixedPointMul: integers times one ratio each, as dyadic numbers with 31-bit numerators; and a second operand."""
    scale = torch.from_numpy(ratio)
    arguments = [_real(q) * scale, scale, bits, torch.ones(1, dtype=torch.float64)]
    if other is not None and other_ratio is not None:
        other_scale = torch.from_numpy(other_ratio)
        arguments += [_real(other) * other_scale, other_scale]
    return np.asarray(FixedPointMul.apply(*arguments).numpy(), np.float64).reshape(q.shape)
