"""A network as a row of numbers that its accuracy can be learned from.

Its choices, each as a number (log of a size; one column a word), 0 where a choice is idle; for each
field, and each word of one, the sum over the network; for each stage the number of its layers; and
the logarithms of what the network and each of its stages cost, which is known exactly. The costs
carry most of what few trials can tell (measured on Accel-NASBench's records,
Kendall tau from 15 trials: 0.51 by choices alone, 0.62 with the network's costs, 0.68 with the
stages' too; from 30: 0.68, 0.77, 0.77).
"""

from collections.abc import Callable

import numpy as np

from phinas.nas.surrogate.gaussian_process import Floats, Groups
from phinas.space.search_spaces.cost_tables import METRICS, Integers
from phinas.space.search_spaces.inactive_choices import Idleness, Indices
from phinas.space.search_spaces.search_space import Decision, SearchSpace, place_of

_COSTS = [METRICS.index(metric) for metric in ("flops", "params", "activations")]
Price = Callable[[Indices], Integers]

_SAMPLE = 2048  # random networks, by which the columns are standardised


class Features:
    """Of the networks of a space: rows of mean 0 and variance 1 over the space. groups: of each
    feature, those that are alike."""

    def __init__(self, space: SearchSpace, costs: Price, by_stage: Price) -> None:
        """costs and by_stage price networks, as CostTables.batch and by_stage do."""
        self._space, self._price, self._price_stages = space, costs, by_stage
        self._idleness = Idleness(space)
        decisions = space.decisions
        self._codes = [_code(decision) for decision in decisions]
        labels = [label for decision in decisions for label in _labels(decision)]
        self._sums = np.array(
            [[label == other for other in sorted(set(labels))] for label in labels],
            dtype=np.float64,
        )
        counts = [len(decision.values) for decision in decisions]
        sample = self._raw(
            np.random.default_rng(0).integers(0, counts, size=(_SAMPLE, len(counts)))
        )
        self._mean, self._deviation = sample.mean(0), sample.std(0)
        self._kept = self._deviation > 1e-9 * np.abs(sample).max(0)
        self.groups = self._grouped(labels)

    def __call__(self, indices: Indices) -> Floats:
        """(networks, decisions) -> (networks, features)."""
        return (self._raw(indices)[:, self._kept] - self._mean[self._kept]) / self._deviation[
            self._kept
        ]

    def _grouped(self, labels: list[str]) -> Groups:
        """Of each feature, which group it is of: the choices of one field, the sums, the layers,
        what the network costs, what its stages cost."""
        stages, costs = len(self._space.base.stages), len(_COSTS)
        kinds = [
            *(label.split()[0] for label in labels),
            *["sums"] * self._sums.shape[1],
            *["layers"] * (stages + 1),
        ]
        kinds += ["costs"] * costs + ["stages' costs"] * (costs * stages)
        return np.unique(np.array(kinds)[self._kept], return_inverse=True)[1]

    def _raw(self, indices: Indices) -> Floats:
        idle = self._idleness.mask(indices)
        columns = np.concatenate(
            [code[indices[:, j]] * ~idle[:, j, None] for j, code in enumerate(self._codes)], axis=1
        )
        return np.concatenate(
            [columns, columns @ self._sums, self._layers(indices), self._costs(indices)], axis=1
        )

    def _layers(self, indices: Indices) -> Floats:
        space = self._space
        counts = np.zeros((len(indices), len(space.base.stages) + 1))
        for stage in range(len(space.base.stages)):
            for layer in range(space.layers(stage)):
                counts[:, stage] += self._idleness.present(indices, stage, layer)
        counts[:, -1] = counts.sum(1)
        return np.log1p(counts)

    def _costs(self, indices: Indices) -> Floats:
        by_stage = np.moveaxis(self._price_stages(indices)[:, :, _COSTS], 1, 0)
        return np.log1p(np.concatenate([self._price(indices)[:, _COSTS], *by_stage], axis=1))


def _is_of_numbers(decision: Decision) -> bool:
    return all(isinstance(value, int | float) for value in decision.values)


def _labels(decision: Decision) -> list[str]:
    """Of each of its columns, what may be summed with it: the field, and the word."""
    field = place_of(decision.name).field
    return (
        [field] if _is_of_numbers(decision) else [f"{field} {value}" for value in decision.values]
    )


def _code(decision: Decision) -> Floats:
    """(values, columns): a centred number for each value, or a centred one-hot for words."""
    if _is_of_numbers(decision):
        code = np.log1p(np.array([[float(value)] for value in decision.values]))
    else:
        code = np.eye(len(decision.values))
    code = code - code.mean(0)
    return code / (code.std() or 1.0)
