"""PyTorch: the integer matrix product and the two fake quantizers."""

import numpy as np
import torch
from numpy.typing import NDArray


def int_mm(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """torch._int_mm of (m, k) and (k, n): int32 accumulators.

    Exact on every CPU if b has 7 bits: without VNNI, sums of two products saturate to 16 bits. b is copied: torch 2.13
    returns garbage for k = 1 if b's strides are those of a transposed matrix.
    """
    return np.asarray(torch._int_mm(torch.from_numpy(a), torch.from_numpy(b.copy(order="C"))).numpy())


def fake_quantize(
    x: NDArray[np.float32], scale: float, zero_point: int, quant_min: int, quant_max: int
) -> NDArray[np.float32]:
    """torch.fake_quantize_per_tensor_affine."""
    result = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, zero_point, quant_min, quant_max)
    return np.asarray(result.numpy())


def fake_quantize_per_channel(
    x: NDArray[np.float32],
    scale: NDArray[np.float32],
    zero_point: NDArray[np.int32],
    axis: int,
    quant_min: int,
    quant_max: int,
) -> NDArray[np.float32]:
    """torch.fake_quantize_per_channel_affine along `axis`."""
    result = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x), torch.from_numpy(scale), torch.from_numpy(zero_point), axis, quant_min, quant_max
    )
    return np.asarray(result.numpy())
