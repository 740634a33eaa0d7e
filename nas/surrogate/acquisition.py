"""Acquisition functions: the value of measuring a network, given the posterior of its score."""

import numpy as np
from scipy.special import erfcx, ndtr

from phinas.nas.surrogate.gaussian_process import FloatArray


def log_expected_improvement(
    mean: FloatArray, std: FloatArray, best: float | FloatArray
) -> FloatArray:
    """Logarithm of the expected improvement, log E[max(0, X - best)] for normal X (Jones et al.,
    1998).

    The form does not underflow far below `best` (Ament et al., arXiv:2310.20708, equation 9).

    Args:
        mean: Means of X.
        std: Standard deviations of X, above 0.
        best: The best value so far.
    """
    z = (mean - best) / std
    clipped_z = np.maximum(z, -1.0)
    log_direct = np.log(
        np.exp(-(clipped_z**2) / 2) / np.sqrt(2 * np.pi) + clipped_z * ndtr(clipped_z)
    )
    # Below -1000 the last term loses precision, and it changes little.
    far_z = np.clip(z, -1e3, -1.0)
    log_tail = (
        -(z**2) / 2
        - np.log(2 * np.pi) / 2
        + np.log1p(np.sqrt(np.pi / 2) * erfcx(-far_z / np.sqrt(2)) * far_z)
    )
    return np.log(std) + np.where(z > -1.0, log_direct, log_tail)
