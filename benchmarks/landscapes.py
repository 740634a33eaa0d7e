r"""Evaluators that are not Gaussian processes, for the comparison of search strategies.

The default strategy uses a Gaussian process, so a benchmark that is itself a Gaussian process may
favor it. All functions have the interface of a user's evaluator, function(spec, budget, seed).

    PYTHONPATH=benchmarks phinas bench strategies --space benchmarks/layerwise.yaml \
        --evaluator landscapes:layerwise --target-network base
    ACCEL_NASBENCH=anb_dataset_jsons.tar.gz PYTHONPATH=benchmarks phinas bench strategies \
        --space accel_nasbench --evaluator landscapes:boosted --target-network base
    PYTHONPATH=benchmarks phinas bench strategies --space proxylessnas \
        --evaluator landscapes:saturating
    PYTHONPATH=benchmarks phinas bench strategies --space benchmarks/bottleneck.yaml \
        --evaluator landscapes:bottleneck

`related` makes landscapes of the same form with other parameters, for searches that learn from
others (`transfer.py`).

The parameters of `layerwise`, `saturating` and `bottleneck` are assumptions, not measurements. They
were written before any strategy ran on them, and have not changed since.
"""

import os
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.nas.evaluators.accel_nasbench_surrogate import (
    benchmark_features,
    benchmark_space,
    read_records,
)
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.search_spaces.encoding import encode
from phinas.space.spec import ArchSpec

ScoreFn = Callable[[ArchSpec], float]

# Parameters of `layerwise`.
_LAYERWISE_SEED = 1989
_MAX_ACCURACY = 0.80  # of an ideal network
_MAX_LOSS = 0.35  # accuracy that a network without layers loses
# Standard deviation of the part that no feature predicts, about that of Accel-NASBench's noise
_RUGGED_STD = 0.003
_WIDTHS = (16, 24, 40, 80, 96, 192)
_KERNELS, _EXPANSIONS = (3, 5, 7), (1, 3, 6)
_NUM_OPERATIONS = len(_KERNELS) * len(_EXPANSIONS)

# Parameters of `saturating`, about those of networks for CIFAR-10
_CEILING = 0.94  # the accuracy that no network exceeds
_SATURATING_LOSS = 0.5  # accuracy below the ceiling of a network without layers
_SATURATION_RATE = 4.0
_CHANCE = 0.1  # accuracy of a network that failed to learn
_FAILURES = 10  # one network of so many fails to learn
_SATURATING_WIDTHS = (16, 24, 40, 80, 96, 192, 320)
_MAX_LAYERS = 4  # of a stage

# Parameters of `bottleneck`
_BOTTLENECK_RANGE = (0.1, 0.8)  # accuracy
_BLOCKS, _ACTIVATIONS = ("mbconv", "fused_mbconv", "bottleneck"), ("relu", "silu")
_BOTTLENECK_WIDTHS = ((16, 24, 32), (40, 48, 64), (72, 96, 120), (120, 160, 200))
_PATTERN_HEIGHTS = (1.0, 0.9, 0.8)  # quality of a stage that equals a pattern


def layerwise(spec: ArchSpec, _budget: int, _seed: int) -> float:
    """Synthetic accuracy of a network of the space benchmarks/layerwise.yaml.

    Smooth part: each layer adds capability to its stage, the n-th one divided by sqrt(n). The loss
    of accuracy of a stage decreases exponentially with its capability. The capability of a kernel
    and an expansion differs from stage to stage. Rugged part: each three consecutive operations
    have a random value, as in the NK landscapes (Kauffman and Weinberger, 1989).
    """
    return _score_layers(spec, _sample_parameters())


_LayerParameters = tuple[FloatArray, FloatArray, FloatArray]


def _score_layers(spec: ArchSpec, parameters: _LayerParameters) -> float:
    operation_values, stage_weights, interaction_values = parameters
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


@lru_cache(maxsize=2)
def _sample_parameters(seed: int = _LAYERWISE_SEED) -> _LayerParameters:
    """The capability of each operation (stages, operations), the weights of the stages, and the
    random values of three consecutive operations (position, operation, operation, operation).
    """
    generator = np.random.default_rng(seed)
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


def saturating(spec: ArchSpec, _budget: int, _seed: int) -> float:
    """Synthetic accuracy of a network of the space proxylessnas.

    Capability is a weighted sum over the stages of the square root of the total strength of their
    layers. The accuracy approaches a ceiling exponentially with it. So most layers can be left out
    at a small loss, as in residual networks (Veit et al., 2016, arXiv:1605.06431). Trainings of a
    tenth of the networks fail, which no feature predicts.
    """
    if zlib.crc32(spec.network_id.encode()) % _FAILURES == 0:
        return _CHANCE
    strengths, stage_weights = _sample_strengths()
    totals = np.zeros(len(_SATURATING_WIDTHS))
    for stage in spec.stages:
        stage_index = _SATURATING_WIDTHS.index(stage.width)
        kernel, expansion = _KERNELS.index(stage.kernel), _EXPANSIONS.index(int(stage.expansion))
        totals[stage_index] += stage.depth * strengths[stage_index, kernel, expansion]
    capability = float(stage_weights @ np.sqrt(totals / _MAX_LAYERS))
    return float(_CEILING - _SATURATING_LOSS * np.exp(-_SATURATION_RATE * capability))


@lru_cache(maxsize=1)
def _sample_strengths() -> tuple[FloatArray, FloatArray]:
    """The strength of each layer (stages, kernels, expansions), about 1 for the largest, and the
    weights of the stages.
    """
    generator = np.random.default_rng(1605)
    size = np.array([[1.0], [1.2], [1.3]]) * np.array([0.4, 1.0, 1.5]) / (1.3 * 1.5)
    strengths = size * generator.lognormal(
        0.0, 0.3, size=(len(_SATURATING_WIDTHS), len(_KERNELS), len(_EXPANSIONS))
    )
    return strengths, generator.dirichlet(np.full(len(_SATURATING_WIDTHS), 4.0))


def bottleneck(spec: ArchSpec, _budget: int, _seed: int) -> float:
    """Synthetic accuracy of a network of the space benchmarks/bottleneck.yaml.

    Each stage has a few patterns: settings of its own and the block of the next stage. Its quality
    decreases exponentially with the weighted number of settings that differ from the most similar
    pattern, as in landscapes of several Gaussian peaks (Gallagher and Yuan, 2006). The stage with
    the lowest quality limits the network (the law of the minimum). So the best value of a setting
    depends on the others, a better stage hardly helps while another one is poor, and the best
    network has a narrow peak.
    """
    settings = _stage_settings(spec)
    patterns, weights = _sample_patterns()
    differences = (patterns != settings[:, None, :]) * weights
    qualities = (np.array(_PATTERN_HEIGHTS) * np.exp(-differences.sum(2))).max(1)
    low, high = _BOTTLENECK_RANGE
    product = np.prod(qualities) ** (1 / (2 * len(qualities)))
    return float(low + (high - low) * np.sqrt(qualities.min()) * product)


def _stage_settings(spec: ArchSpec) -> NDArray[np.int64]:
    """The index of each setting, and of the block of the next stage, (stages, settings + 1). The
    stage after the last one is the first one.
    """
    settings = np.array(
        [
            (
                _BLOCKS.index(stage.block),
                _KERNELS.index(stage.kernel),
                widths.index(stage.width),
                _ACTIVATIONS.index(stage.activation or spec.activation),
            )
            for stage, widths in zip(spec.stages[1:], _BOTTLENECK_WIDTHS, strict=True)
        ]
    )
    return np.column_stack([settings, np.roll(settings[:, 0], -1)])


@lru_cache(maxsize=1)
def _sample_patterns() -> tuple[NDArray[np.int64], FloatArray]:
    """The patterns and the weights of their settings, both (stages, patterns, settings + 1)."""
    generator = np.random.default_rng(2006)
    counts = [len(_BLOCKS), len(_KERNELS), 3, len(_ACTIVATIONS), len(_BLOCKS)]
    shape = (len(_BOTTLENECK_WIDTHS), len(_PATTERN_HEIGHTS), len(counts))
    return generator.integers(0, counts, size=shape), generator.uniform(0.2, 0.6, size=shape)


def related(name: str, seed: int) -> ScoreFn:
    """A landscape with other parameters.

    Args:
        name: "layerwise", or "accel": the smooth part of `layerwise`, for the networks of
            Accel-NASBench. It knows nothing of their accuracies but that larger ones are better.
        seed: The seed of the parameters.
    """
    if name == "layerwise":
        parameters = _sample_parameters(seed)
        return lambda spec: _score_layers(spec, parameters)
    generator = np.random.default_rng(seed)
    size = np.array(
        [[0.5 + 0.1 * kernel + 0.1 * expansion for expansion in (1, 4, 6)] for kernel in (3, 5)]
    )
    num_stages = len(benchmark_space().base.stages)
    values = size * generator.lognormal(0.0, 0.25, size=(num_stages, *size.shape))
    se_gains = generator.lognormal(np.log(0.1), 0.5, size=num_stages)
    stage_weights = generator.dirichlet(np.full(num_stages, 4.0))

    def score(spec: ArchSpec) -> float:
        loss = 0.0
        for index, stage in enumerate(spec.stages):
            layer = values[index, (3, 5).index(stage.kernel), (1, 4, 6).index(int(stage.expansion))]
            layer *= 1 + se_gains[index] * bool(stage.se)
            capability = layer * sum(1 / np.sqrt(number) for number in range(1, stage.depth + 1))
            loss += stage_weights[index] * np.exp(-capability)
        return float(_MAX_ACCURACY - _MAX_LOSS * loss)

    return score


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
