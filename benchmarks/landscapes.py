r"""Evaluators that are not Gaussian processes, for the comparison of search strategies.

The default strategy uses a Gaussian process, so a benchmark that is itself a Gaussian process may
favor it. Both functions have the interface of a user's evaluator, function(spec, budget, seed).

    PYTHONPATH=benchmarks phinas bench strategies --space benchmarks/layerwise.yaml \
        --evaluator landscapes:layerwise --target-network base
    ACCEL_NASBENCH=anb_dataset_jsons.tar.gz PYTHONPATH=benchmarks phinas bench strategies \
        --space accel_nasbench --evaluator landscapes:boosted --target-network base
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from phinas.nas.evaluators.accel_nasbench_surrogate import (
    benchmark_features,
    benchmark_space,
    read_records,
)
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.search_spaces.encoding import encode
from phinas.space.spec import ArchSpec

# Parameters of `layerwise`. They are assumptions, not measurements.
_MAX_ACCURACY = 0.80  # of an ideal network
_MAX_LOSS = 0.35  # accuracy that a network without layers loses
# Standard deviation of the part that no feature predicts, about that of Accel-NASBench's noise
_RUGGED_STD = 0.003
_WIDTHS = (16, 24, 40, 80, 96, 192)
_KERNELS, _EXPANSIONS = (3, 5, 7), (1, 3, 6)
_NUM_OPERATIONS = len(_KERNELS) * len(_EXPANSIONS)


def layerwise(spec: ArchSpec, _budget: int, _seed: int) -> float:
    """Synthetic accuracy of a network of the space benchmarks/layerwise.yaml.

    Smooth part: each layer adds capability to its stage, the n-th one divided by sqrt(n). The loss
    of accuracy of a stage decreases exponentially with its capability. The capability of a kernel
    and an expansion differs from stage to stage. Rugged part: each three consecutive operations
    have a random value, as in the NK landscapes (Kauffman and Weinberger, 1989).
    """
    operation_values, stage_weights, interaction_values = _sample_parameters()
    operations = [[] for _ in _WIDTHS]
    for stage in spec.stages:
        operation = _KERNELS.index(stage.kernel) * len(_EXPANSIONS) + _EXPANSIONS.index(
            int(stage.expansion)
        )
        operations[_WIDTHS.index(stage.width)] += [operation] * stage.depth
    loss = 0.0
    for stage_index, layers in enumerate(operations):
        capability = sum(
            operation_values[stage_index, layer] / np.sqrt(number)
            for number, layer in enumerate(layers, start=1)
        )
        loss += stage_weights[stage_index] * np.exp(-capability)
    chain = [layer for layers in operations for layer in layers]
    # One more operation stands for both ends.
    padded_chain = [_NUM_OPERATIONS, *chain, _NUM_OPERATIONS]
    interaction = sum(
        interaction_values[number, *padded_chain[number : number + 3]]
        for number in range(len(chain))
    ) / np.sqrt(len(chain))
    return float(_MAX_ACCURACY - _MAX_LOSS * loss + _RUGGED_STD * interaction)


@lru_cache(maxsize=1)
def _sample_parameters() -> tuple[FloatArray, FloatArray, FloatArray]:
    """The capability of each operation (stages, operations), the weights of the stages, and the
    random values of three consecutive operations (position, operation, operation, operation).
    """
    generator = np.random.default_rng(1989)
    size = np.array(
        [[0.5 + 0.1 * kernel + 0.1 * expansion for expansion in _EXPANSIONS] for kernel in _KERNELS]
    )
    operation_values = size.ravel() * generator.lognormal(
        0.0, 0.25, size=(len(_WIDTHS), _NUM_OPERATIONS)
    )
    stage_weights = generator.dirichlet(np.full(len(_WIDTHS), 4.0))
    return (
        operation_values,
        stage_weights,
        generator.standard_normal((21, *[_NUM_OPERATIONS + 1] * 3)),
    )


def boosted(spec: ArchSpec, _budget: int, _seed: int) -> float:
    """Accel-NASBench's ImageNet top-1 accuracy, predicted by boosted trees.

    The authors' surrogate is of this kind too. The environment variable ACCEL_NASBENCH has the path
    of their archive.
    """
    row = np.array([benchmark_space().to_indices(encode(benchmark_space(), spec))])
    return float(_fit_trees(os.environ["ACCEL_NASBENCH"]).predict(benchmark_features()(row))[0])


@lru_cache(maxsize=1)
def _fit_trees(path: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows, accuracies = read_records(Path(path).absolute())
    train_features = benchmark_features()(rows)
    trees = HistGradientBoostingRegressor(
        max_iter=1200,
        learning_rate=0.03,
        max_leaf_nodes=8,
        l2_regularization=1.0,
        max_features=0.5,
        random_state=0,
    )
    return trees.fit(train_features, accuracies)
