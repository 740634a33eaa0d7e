"""What earlier searches of the same space tell the model of the score.

Other images, recipes or resolutions give other scores, but the same networks are often among the
better ones. A Gaussian process is fitted to each earlier search. Its posterior mean is one more
feature of the model, with a linear effect: the mean of the new process is that of the earlier one
times a weight (Kennedy and O'Hagan, 2000), plus what the other features explain. The weight has a
normal prior around 0 whose variance is tuned, so the first trials show how much the earlier search
counts. It is about 0 for one that tells nothing, and negative for one that ranks networks the other
way around.

The feature is in units of the standard deviation of the earlier scores. A search whose scores are
noise has a posterior mean that is almost constant, so its feature is about 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phinas.nas.surrogate.accuracy_model import fit_accuracy_model
from phinas.nas.surrogate.features import FeatureEncoder
from phinas.nas.surrogate.gaussian_process import (
    FloatArray,
    GaussianProcess,
    mean_and_scale,
    single_threaded_blas,
)
from phinas.nas.surrogate.score_scale import choose_scale
from phinas.space.search_spaces.inactive_choices import Indices

_MAX_DEVIATION = 8.0  # of a predicted score, in standard deviations of the earlier scores


@dataclass(frozen=True)
class EarlierSearch:
    """The complete trials of an earlier search of the same space.

    Attributes:
        name: Its run directory, as the user named it.
        rows: Indices of the choices of each trial, (trials, decisions).
        scores: (trials,).
    """

    name: str
    rows: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]


class TransferEncoder:
    """Encodes networks with the features of the space, and the predictions of earlier searches.

    Args:
        encoder: The features of the space.
        searches: The earlier searches, each with at least MIN_TRIALS trials.
        sample: Random networks of the space, at which each prediction has mean 0, (networks,
            decisions).
    """

    def __init__(
        self, encoder: FeatureEncoder, searches: Sequence[EarlierSearch], sample: Indices
    ) -> None:
        self._encoder = encoder
        self._processes = [_fit_process(encoder, search) for search in searches]
        self._scales = [mean_and_scale(process.targets)[1] for process in self._processes]
        # Each search has a weight of its own.
        first_group = int(encoder.groups.max()) + 1
        self.groups = np.append(encoder.groups, first_group + np.arange(len(searches)))
        self.num_linear_groups = len(searches)
        self._centers = self._predict(encoder(sample)).mean(0)

    def __call__(self, indices: Indices) -> FloatArray:
        features = self._encoder(indices)
        deviations = self._predict(features) - self._centers
        # A linear function may predict any score far from the trials.
        np.clip(deviations, -_MAX_DEVIATION, _MAX_DEVIATION, out=deviations)
        return np.concatenate([features, deviations], axis=1)

    def log_flops(self, indices: Indices) -> FloatArray:
        return self._encoder.log_flops(indices)

    @single_threaded_blas()
    def _predict(self, features: FloatArray) -> FloatArray:
        """The predictions of all searches, (networks, features) -> (networks, searches)."""
        return np.stack(
            [
                process.mean(features) / scale
                for process, scale in zip(self._processes, self._scales, strict=True)
            ],
            axis=1,
        )


def _fit_process(encoder: FeatureEncoder, search: EarlierSearch) -> GaussianProcess:
    scores = np.array(search.scores)
    return fit_accuracy_model(
        encoder, np.array(search.rows), scores[:, None], scale=choose_scale(scores)
    ).process
