"""ReLU: equation (6) of docs/numerics.md."""

import numpy as np

from hwsim.operators.arguments import Accumulators, check_array


def relu(acc: Accumulators) -> Accumulators:
    """max(acc, 0), equation (6); it rounds nothing and has no events.

    Parameters
    ----------
    acc : int32 or int64, any shape
        C-contiguous accumulators.

    Returns
    -------
    the dtype and shape of acc

    Raises
    ------
    ValueError
        For another dtype or layout.
    """
    check_array("acc", acc, (np.int32, np.int64))
    return np.maximum(acc, acc.dtype.type(0))
