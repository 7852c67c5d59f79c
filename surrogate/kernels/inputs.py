"""Inputs of a network in the order of the kernels."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def time_first(pulses, center, factor):
    """Return (pulses - center) factor with time first; pulses : (n_signals, n_pulses, n_features).

    Seven times faster than NumPy, whose inner loop is as long as there are features.
    """
    n_signals, n_pulses, n_features = pulses.shape
    result = np.empty((n_pulses, n_signals, n_features), np.float32)
    for i in range(n_pulses):
        for j in range(n_signals):
            for k in range(n_features):
                result[i, j, k] = (pulses[j, i, k] - center[k]) * factor[k]
    return result
