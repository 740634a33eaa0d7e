"""The surrogate of Accel-NASBench (2024): a Gaussian process fitted to the records of its authors.

The authors trained 5,138 networks, one seed each, under one short schedule. The Gaussian process is
fitted to the 5,125 distinct networks (a network that was trained twice counts with its mean), and
predicts the accuracy of the other 1e11 networks of the space. It is first fitted without a tenth of
the networks, and the quality on this tenth is reported (the surrogate of the authors: R2 0.983,
Kendall tau 0.917). Then it is fitted to all networks. The fit takes a minute and is stored in the
user's cache under the hash of the records.
"""

import hashlib
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import write_atomic
from phinas.nas.surrogate.features import FeatureEncoder
from phinas.nas.surrogate.gaussian_process import (
    FloatArray,
    GaussianProcess,
    Hyperparameters,
    mean_and_scale,
)
from phinas.nas.surrogate.hyperparameter_tuning import tune_hyperparameters
from phinas.space.cache_directory import is_trusted_owner, open_cache_folder
from phinas.space.search_spaces.cost_tables import CostTables
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices, SearchSpace

SPACE_NAME = "accel_nasbench"
# Standard deviation of one network's accuracy over seeds, in the ablation of the authors (117
# networks, 3 seeds).
SEED_NOISE_STD = 0.0031
_INVALID_ARCHIVE = "is not the archive of Accel-NASBench's records"
ADVICE = "give the path of the complete anb_dataset_jsons.tar.gz of Accel-NASBench's authors"
_NUM_VALIDATION_NETWORKS = 512
_NUM_TUNING_NETWORKS = 1000
_FIT_VERSION = 3  # increase it with every change of the features or the fit


@dataclass(frozen=True)
class Surrogate:
    """The fitted process and its quality.

    Attributes:
        theta: Hyperparameters.
        train_features: (networks, features).
        weights: Weight of each train network, (networks,).
        mean: Mean of the accuracies.
        scale: Standard deviation of the accuracies.
        r2: R2 on the held-out networks, of the fit without them.
        tau: Kendall's tau on the same networks.
        noise: Estimated standard deviation of the training noise.
    """

    theta: Hyperparameters
    train_features: FloatArray
    weights: FloatArray
    mean: float
    scale: float
    r2: float
    tau: float
    noise: float

    def accuracies(self, indices: Indices) -> FloatArray:
        """Expected ImageNet top-1 (0 to 1): (networks, decisions) -> (networks,)."""
        covariance = self.theta.covariance(benchmark_features()(indices), self.train_features)
        return np.clip(self.mean + self.scale * (covariance @ self.weights), 0.0, 1.0)


@lru_cache(maxsize=1)
def benchmark_space() -> SearchSpace:
    return load_space(SPACE_NAME)


@lru_cache(maxsize=1)
def benchmark_features() -> FeatureEncoder:
    tables = CostTables(benchmark_space())
    return FeatureEncoder(benchmark_space(), tables.batch_costs, tables.stage_costs)


@lru_cache(maxsize=2)
def read_records(path: Path) -> tuple[Indices, FloatArray]:
    """Read the records of the authors.

    Args:
        path: anb_dataset_jsons.tar.gz, or a folder of its records.

    Returns:
        The distinct networks, (networks, decisions), and their top-1 accuracies (0 to 1), in a
        fixed order.

    Raises:
        InputError: The file is not such an archive, or has too few records.
    """
    accuracies_by_row: dict[tuple[int, ...], list[float]] = {}
    try:
        for text in _read_json_files(path):
            record = json.loads(text)
            row = tuple(benchmark_space().to_indices(record_to_choices(record["architecture"])))
            accuracy = record["metrics"]["val_top1"] / 100
            if not 0 <= accuracy <= 1:
                raise ValueError(f"val_top1: {100 * accuracy:g} is not a percentage")
            accuracies_by_row.setdefault(row, []).append(accuracy)
    except (
        OSError,
        tarfile.TarError,
        EOFError,
        zlib.error,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"search.evaluator: {path}: {_INVALID_ARCHIVE} ({reason}); {ADVICE}"
        ) from None
    if len(accuracies_by_row) <= 2 * _NUM_VALIDATION_NETWORKS:
        raise InputError(
            f"search.evaluator: {path}: has {len(accuracies_by_row):,} records, too few to fit; "
            f"{ADVICE}"
        )
    rows = sorted(accuracies_by_row)
    return np.array(rows), np.array([np.mean(accuracies_by_row[row]) for row in rows])


def _read_json_files(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            yield file.read_bytes()
        return
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".json") else None
            if stream is not None:
                yield stream.read()


def record_to_choices(architecture: Mapping[str, Any]) -> Choices:
    """The choices of the space that give the network of a record."""
    choices: Choices = {}
    for stage in range(len(benchmark_space().base.stages)):
        choices[f"stages.{stage}.expansion"] = architecture[f"block{stage}_e"]
        choices[f"stages.{stage}.kernel"] = architecture[f"block{stage}_k"]
        choices[f"stages.{stage}.depth"] = architecture[f"block{stage}_l"]
        choices[f"stages.{stage}.se"] = 0.25 if architecture[f"block{stage}_se"] else 0
    return choices


def fit_surrogate(train_features: FloatArray, accuracies: FloatArray) -> Surrogate:
    """Fit without a tenth of the networks and evaluate on it, then fit to all networks with the
    same hyperparameters.

    Args:
        train_features: (networks, features).
        accuracies: (networks,).
    """
    from scipy.stats import kendalltau

    order = np.random.default_rng(0).permutation(len(train_features))
    validation_rows, train_rows = order[:_NUM_VALIDATION_NETWORKS], order[_NUM_VALIDATION_NETWORKS:]
    tuning_rows = train_rows[:_NUM_TUNING_NETWORKS]
    mean, scale = mean_and_scale(accuracies[tuning_rows])
    theta = tune_hyperparameters(
        train_features[tuning_rows],
        (accuracies[tuning_rows] - mean) / scale,
        benchmark_features().groups,
        steps=40,
    )
    predictions = GaussianProcess(theta, train_features[train_rows], accuracies[train_rows]).mean(
        train_features[validation_rows]
    )
    mean_squared_error = ((predictions - accuracies[validation_rows]) ** 2).mean()
    process = GaussianProcess(theta, train_features, accuracies)
    mean, scale = mean_and_scale(accuracies)
    return Surrogate(
        theta,
        train_features,
        process.weights,
        mean,
        scale,
        r2=float(1 - mean_squared_error / accuracies[validation_rows].var()),
        tau=float(kendalltau(predictions, accuracies[validation_rows]).statistic),
        noise=process.noise,
    )


@lru_cache(maxsize=2)
def load_surrogate(path: Path) -> Surrogate:
    """The surrogate fitted to these records, from the cache if there is one."""
    indices, accuracies = read_records(path)
    train_features = benchmark_features()(indices)
    # The records, not the features: their last bits differ between processors.
    digest = hashlib.sha256(indices.tobytes() + accuracies.tobytes()).hexdigest()[:16]
    cache_path = _cache_path(f"accel-nasbench-{_FIT_VERSION}-{digest}.npz")
    cached = _read_cached(cache_path, train_features) if cache_path else None
    if cached is not None:
        return cached
    surrogate = fit_surrogate(train_features, accuracies)
    if cache_path is not None:
        _write_cached(cache_path, surrogate)
    return surrogate


def _cache_path(name: str) -> Path | None:
    try:
        return open_cache_folder("surrogates") / name
    except OSError:
        return None  # without a cache the fit takes a minute each time


def _read_cached(path: Path, train_features: np.ndarray) -> Surrogate | None:
    """The surrogate in a file. None if it is missing, damaged or of another user."""
    if not is_trusted_owner(path):
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            scalars = {
                name: float(arrays[name]) for name in ("mean", "scale", "r2", "tau", "noise")
            }
            return Surrogate(
                Hyperparameters(arrays["logs"], arrays["groups"]),
                train_features,
                arrays["weights"],
                **scalars,
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write_cached(path: Path, surrogate: Surrogate) -> None:
    buffer = BytesIO()
    scalars = {name: getattr(surrogate, name) for name in ("mean", "scale", "r2", "tau", "noise")}
    np.savez(
        buffer,
        allow_pickle=False,
        logs=surrogate.theta.logs,
        groups=surrogate.theta.groups,
        weights=surrogate.weights,
        **scalars,
    )
    try:
        write_atomic(path, buffer.getvalue())
    except OSError:
        pass  # the disk is full
