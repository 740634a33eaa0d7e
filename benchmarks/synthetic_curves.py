r"""Learning curves for the networks of Accel-NASBench, which has final accuracies only.

    python benchmarks/synthetic_curves.py
    ACCEL_NASBENCH=anb_dataset_jsons.tar.gz PYTHONPATH=benchmarks phinas bench strategies \
        --space accel_nasbench --evaluator synthetic_curves:accel --set search.recipe.epochs=16 \
        --set search.pruner=median

The first command fits the model to benchmarks/data/learning_curve_trainings.jsonl and writes it to
benchmarks/data/curve_model.json. The second one compares strategies on it, so that pruners and
strategies that pause trainings can be compared on a space with ImageNet accuracies. The model is
committed before a strategy runs on it.

The score s is -log(1 - accuracy). Standardized over networks, the scores after epochs e < f have
the correlation (e / f)^decay, and the score after epoch e has the correlation
flops_correlation * log(e) / log(epochs) with the logarithm of the FLOPs: large networks learn
later. The curve of a network of Accel-NASBench is a sample from this normal distribution, given its
final score and its FLOPs, with random numbers that depend on the network only. Mean and standard
deviation grow over the epochs as they do in the trainings, in proportion to those of the final
scores of random networks of Accel-NASBench.
"""

import json
import math
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from phinas.nas.evaluators.accel_nasbench_surrogate import benchmark_space, load_surrogate
from phinas.space.search_spaces.cost_tables import CostTables
from phinas.space.search_spaces.encoding import encode
from phinas.space.spec import ArchSpec

FloatArray = NDArray[np.float64]

DATA = Path(__file__).with_name("data")
TRAININGS, MODEL = DATA / "learning_curve_trainings.jsonl", DATA / "curve_model.json"
_NUM_RANDOM_NETWORKS = 4096
_START = (0.4, 0.3)  # decay and correlation with the FLOPs, for the optimizer


@dataclass(frozen=True)
class CurveModel:
    """The distribution of learning curves.

    Attributes:
        trainings: Number of curves that it is fitted to.
        decay: Exponent of the correlation between epochs.
        flops_correlation: Correlation of the final score with the logarithm of the FLOPs.
        means: Mean score after each epoch, over that of the final score, (epochs,).
        stds: Standard deviation of the score after each epoch, over that of the final score.
    """

    trainings: int
    decay: float
    flops_correlation: float
    means: tuple[float, ...]
    stds: tuple[float, ...]

    @property
    def correlation(self) -> FloatArray:
        """The correlation of the scores and of the logarithm of the FLOPs, which comes last."""
        return _make_correlation(len(self.means), self.decay, self.flops_correlation)

    @cached_property
    def _conditional(self) -> tuple[FloatArray, FloatArray]:
        """Slopes of the earlier scores on the final one and the FLOPs, (epochs - 1, 2), and the
        Cholesky factor of the remaining covariance.
        """
        correlation, early = self.correlation, len(self.means) - 1
        conditions = correlation[early:, early:]
        slopes = np.linalg.solve(conditions, correlation[early:, :early]).T
        rest = correlation[:early, :early] - slopes @ correlation[early:, :early]
        return slopes, np.linalg.cholesky(rest + 1e-9 * np.eye(early))

    def sample(self, final: float, log_flops: float, generator: np.random.Generator) -> FloatArray:
        """The standardized scores of one network, (epochs,).

        Args:
            final: Its standardized final score.
            log_flops: Its standardized logarithm of the FLOPs.
            generator: The random numbers of the network.
        """
        slopes, factor = self._conditional
        early = slopes @ np.array([final, log_flops])
        return np.append(early + factor @ generator.standard_normal(len(early)), final)


def _make_correlation(num_epochs: int, decay: float, flops_correlation: float) -> FloatArray:
    epochs = np.arange(1, num_epochs + 1)
    correlation = np.eye(num_epochs + 1)
    ratios = np.minimum.outer(epochs, epochs) / np.maximum.outer(epochs, epochs)
    correlation[:-1, :-1] = ratios**decay
    correlation[-1, :-1] = correlation[:-1, -1] = (
        flops_correlation * np.log(epochs) / math.log(num_epochs)
    )
    return correlation


def to_score(accuracies: FloatArray) -> FloatArray:
    return -np.log1p(-accuracies)


def fit_curve_model(curves: FloatArray, flops: FloatArray) -> CurveModel:
    """Fit the model by maximum likelihood.

    Args:
        curves: Accuracy of each network after each epoch, (networks, epochs).
        flops: (networks,).
    """
    scores = to_score(curves)
    means, stds = scores.mean(0), scores.std(0)
    log_flops = np.log(flops)
    rows = np.column_stack(
        [(scores - means) / stds, (log_flops - log_flops.mean()) / log_flops.std()]
    )
    sample = rows.T @ rows / len(rows)

    def negative_log_likelihood(parameters: FloatArray) -> float:
        correlation = _make_correlation(curves.shape[1], math.exp(parameters[0]), parameters[1])
        sign, log_determinant = np.linalg.slogdet(correlation)
        if sign <= 0:
            return math.inf
        return float(log_determinant + np.trace(np.linalg.solve(correlation, sample)))

    result = minimize(
        negative_log_likelihood, [math.log(_START[0]), _START[1]], method="Nelder-Mead"
    )
    return CurveModel(
        len(curves),
        round(math.exp(result.x[0]), 3),
        round(float(result.x[1]), 3),
        tuple((means / means[-1]).round(3).tolist()),
        tuple((stds / stds[-1]).round(3).tolist()),
    )


def read_curves(path: Path = TRAININGS) -> tuple[FloatArray, FloatArray]:
    """The curves of the trainings with a constant learning rate and the first seed.

    Returns:
        Accuracies, (networks, epochs), and FLOPs, (networks,).
    """
    records = [json.loads(line) for line in path.read_text().splitlines()]
    selected = [
        record
        for record in records
        if (record["job"]["data"], record["job"]["schedule"], record["job"]["seed"])
        == ("cifar10", "constant", 0)
    ]
    return (
        np.array([record["curve"] for record in selected]),
        np.array([record["flops"] for record in selected], dtype=np.float64),
    )


def read_model(path: Path = MODEL) -> CurveModel:
    values = json.loads(path.read_text())
    return CurveModel(**values | {name: tuple(values[name]) for name in ("means", "stds")})


@dataclass(frozen=True)
class _Accuracies:
    """Accel-NASBench: the final accuracies, and their distribution over random networks."""

    archive: Path
    model: CurveModel

    @cached_property
    def _moments(self) -> tuple[float, float, float, float]:
        """Mean and standard deviation of the score, and of the logarithm of the FLOPs."""
        tables = CostTables(benchmark_space())
        rows = np.random.default_rng(0).integers(
            0, tables.value_counts, size=(_NUM_RANDOM_NETWORKS, len(tables.value_counts))
        )
        scores = to_score(load_surrogate(self.archive).accuracies(rows))
        log_flops = np.log(tables.batch_costs(rows)[:, 0].astype(np.float64))
        return (
            float(scores.mean()),
            float(scores.std()),
            float(log_flops.mean()),
            float(log_flops.std()),
        )

    def curve(self, spec: ArchSpec) -> list[float]:
        """Accuracy after each epoch."""
        space = benchmark_space()
        row = np.array([space.to_indices(encode(space, spec))])
        final = float(to_score(load_surrogate(self.archive).accuracies(row))[0])
        mean, std, flops_mean, flops_std = self._moments
        standardized = self.model.sample(
            (final - mean) / std,
            (math.log(spec.cost().flops) - flops_mean) / flops_std,
            np.random.default_rng(zlib.crc32(spec.network_id.encode())),
        )
        scores = mean * np.array(self.model.means) + std * np.array(self.model.stds) * standardized
        curve = np.clip(-np.expm1(-scores), 0.0, 1.0)
        curve[-1] = -math.expm1(-final)
        return [float(accuracy) for accuracy in curve]


@lru_cache(maxsize=1)
def _accuracies(archive: str) -> _Accuracies:
    return _Accuracies(Path(archive), read_model())


def accel(
    spec: ArchSpec,
    budget: int,
    seed: int,
    report: Callable[[int, float], bool],
    stop_epoch: int | None = None,
) -> float:
    """An evaluator with the final accuracies of Accel-NASBench."""
    del seed  # the accuracies are without noise
    curve = _accuracies(os.environ["ACCEL_NASBENCH"]).curve(spec)
    if budget != len(curve):
        raise ValueError(f"budget: {budget} is not {len(curve)}; set search.recipe.epochs")
    score = curve[0]
    for epoch, score in enumerate(curve[:stop_epoch], start=1):
        if not report(epoch, score):
            break
    return score


def main() -> None:
    model = fit_curve_model(*read_curves())
    MODEL.write_text(json.dumps(asdict(model), indent=1) + "\n")
    sys.stdout.write(f"{model}\n")


if __name__ == "__main__":
    main()
