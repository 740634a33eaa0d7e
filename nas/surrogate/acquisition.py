"""What a network that is not measured yet promises, given what is believed of its accuracy and
known of its cost.
"""

import numpy as np
from scipy.special import erfcx, ndtr

from phinas.nas.surrogate.gaussian_process import FloatArray


def log_expected_improvement(
    mean: FloatArray, std: FloatArray, best: float | FloatArray
) -> FloatArray:
    """log E[max(0, X - best)] of normal X (Jones et al., 1998), in the form that does not underflow
    far below the best (Ament et al., arXiv:2310.20708, equation 9)."""
    z = (mean - best) / std
    clipped_z = np.maximum(z, -1.0)
    log_direct = np.log(
        np.exp(-(clipped_z**2) / 2) / np.sqrt(2 * np.pi) + clipped_z * ndtr(clipped_z)
    )
    # farther out the last term loses its digits, and what is left of it changes little
    far_z = np.clip(z, -1e3, -1.0)
    log_tail = (
        -(z**2) / 2
        - np.log(2 * np.pi) / 2
        + np.log1p(np.sqrt(np.pi / 2) * erfcx(-far_z / np.sqrt(2)) * far_z)
    )
    return np.log(std) + np.where(z > -1.0, log_direct, log_tail)
