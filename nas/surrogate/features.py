"""A network as a row of numbers that its accuracy can be learned from.

Its choices, each as a number (log of a size; one column a word), 0 where a choice is inactive; for
each field, and each word of one, the sum over the network; for each stage the number of its layers;
and the logarithms of what the network and each of its stages cost, which is known exactly. The
costs carry most of what few trials can tell (measured on Accel-NASBench's records,
Kendall tau from 15 trials: 0.51 by choices alone, 0.62 with the network's costs, 0.68 with the
stages' too; from 30: 0.68, 0.77, 0.77).
"""

from collections.abc import Callable

import numpy as np

from phinas.nas.surrogate.gaussian_process import FeatureGroups, FloatArray
from phinas.space.search_spaces.cost_tables import METRICS, IntArray
from phinas.space.search_spaces.inactive_choices import InactiveChoices, Indices
from phinas.space.search_spaces.search_space import Decision, SearchSpace, parse_field_path

_COSTS = [METRICS.index(metric) for metric in ("flops", "params", "activations")]
CostFn = Callable[[Indices], IntArray]

_SAMPLE_SIZE = 2048  # random networks, by which the columns are standardized


class FeatureEncoder:
    """Of the networks of a space: rows of mean 0 and variance 1 over the space. groups: of each
    feature, those that are alike."""

    def __init__(self, space: SearchSpace, costs: CostFn, stage_costs: CostFn) -> None:
        """costs and stage_costs compute costs, as CostTables.batch_costs and stage_costs do."""
        self._space, self._cost_fn, self._stage_cost_fn = space, costs, stage_costs
        self._inactive_choices = InactiveChoices(space)
        decisions = space.decisions
        self._codes_by_decision = [_value_codes(decision) for decision in decisions]
        labels = [label for decision in decisions for label in _column_labels(decision)]
        self._sum_matrix = np.array(
            [[label == other for other in sorted(set(labels))] for label in labels],
            dtype=np.float64,
        )
        counts = [len(decision.values) for decision in decisions]
        sample = self._encode(
            np.random.default_rng(0).integers(0, counts, size=(_SAMPLE_SIZE, len(counts)))
        )
        self._mean, self._std = sample.mean(0), sample.std(0)
        self._is_varying = self._std > 1e-9 * np.abs(sample).max(0)
        self.groups = self._assign_groups(labels)

    def __call__(self, indices: Indices) -> FloatArray:
        """(networks, decisions) -> (networks, features)."""
        return (
            self._encode(indices)[:, self._is_varying] - self._mean[self._is_varying]
        ) / self._std[self._is_varying]

    def _assign_groups(self, labels: list[str]) -> FeatureGroups:
        """Of each feature, which group it is of: the choices of one field, the sums, the layers,
        what the network costs, what its stages cost."""
        stages, costs = len(self._space.base.stages), len(_COSTS)
        group_names = [
            *(label.split()[0] for label in labels),
            *["sums"] * self._sum_matrix.shape[1],
            *["layers"] * (stages + 1),
        ]
        group_names += ["costs"] * costs + ["stages' costs"] * (costs * stages)
        return np.unique(np.array(group_names)[self._is_varying], return_inverse=True)[1]

    def _encode(self, indices: Indices) -> FloatArray:
        inactive = self._inactive_choices.inactive_mask(indices)
        columns = np.concatenate(
            [
                code[indices[:, j]] * ~inactive[:, j, None]
                for j, code in enumerate(self._codes_by_decision)
            ],
            axis=1,
        )
        return np.concatenate(
            [
                columns,
                columns @ self._sum_matrix,
                self._layer_counts(indices),
                self._costs(indices),
            ],
            axis=1,
        )

    def _layer_counts(self, indices: Indices) -> FloatArray:
        space = self._space
        counts = np.zeros((len(indices), len(space.base.stages) + 1))
        for stage in range(len(space.base.stages)):
            for layer in range(space.max_depth(stage)):
                counts[:, stage] += self._inactive_choices.layer_mask(indices, stage, layer)
        counts[:, -1] = counts.sum(1)
        return np.log1p(counts)

    def _costs(self, indices: Indices) -> FloatArray:
        stage_costs = np.moveaxis(self._stage_cost_fn(indices)[:, :, _COSTS], 1, 0)
        return np.log1p(np.concatenate([self._cost_fn(indices)[:, _COSTS], *stage_costs], axis=1))


def _is_numeric(decision: Decision) -> bool:
    return all(isinstance(value, int | float) for value in decision.values)


def _column_labels(decision: Decision) -> list[str]:
    """Of each of its columns, what may be summed with it: the field, and the word."""
    field = parse_field_path(decision.name).field
    return [field] if _is_numeric(decision) else [f"{field} {value}" for value in decision.values]


def _value_codes(decision: Decision) -> FloatArray:
    """(values, columns): a centered number for each value, or a centered one-hot for words."""
    if _is_numeric(decision):
        code = np.log1p(np.array([[float(value)] for value in decision.values]))
    else:
        code = np.eye(len(decision.values))
    code = code - code.mean(0)
    return code / (code.std() or 1.0)
