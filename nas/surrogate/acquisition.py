"""What a network that is not measured yet promises, given what is believed of its accuracy and
known of its cost.
"""

import numpy as np
from scipy.special import erfcx, ndtr

from phinas.nas.surrogate.gaussian_process import Floats


def log_expected_improvement(mean: Floats, deviation: Floats, best: float | Floats) -> Floats:
    """log E[max(0, X - best)] of normal X (Jones et al., 1998), in the form that does not underflow
    far below the best (Ament et al., arXiv:2310.20708, equation 9)."""
    z = (mean - best) / deviation
    near = np.maximum(z, -1.0)
    plain = np.log(np.exp(-(near**2) / 2) / np.sqrt(2 * np.pi) + near * ndtr(near))
    far = np.clip(
        z, -1e3, -1.0
    )  # farther out the last term loses its digits, and what is left of it changes little
    tail = (
        -(z**2) / 2
        - np.log(2 * np.pi) / 2
        + np.log1p(np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2)) * far)
    )
    return np.log(deviation) + np.where(z > -1.0, plain, tail)
