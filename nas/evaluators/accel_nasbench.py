"""Accel-NASBench (2024) as an evaluator: ImageNet accuracy of any network of its space in a
millisecond, without a GPU.

Its authors trained 5,138 networks, one seed each, under one short schedule. Here a Gaussian process
is fitted to them (5,125 different networks; those trained twice count with their mean), so that the
other 1e11 have an accuracy too. A tenth is held out first, and what the process says of it is
reported (the authors' own surrogate: R2 0.983, Kendall tau 0.917); then it is fitted to all. The
fit takes a minute and is kept in the user's cache, named by the hash of the records.
"""

import hashlib
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import write_atomic
from phinas.experiment.schema.config import Recipe
from phinas.nas.surrogate.features import FeatureEncoder
from phinas.nas.surrogate.gaussian_process import (
    FloatArray,
    GaussianProcess,
    Hyperparameters,
    mean_and_scale,
    tune_hyperparameters,
)
from phinas.space.search_spaces.cost_tables import CostTables
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec, SpecError

SPACE_NAME = "accel_nasbench"
# standard deviation over seeds of one network's accuracy, in the authors' ablation (117 networks, 3
# seeds)
SEED_NOISE_STD = 0.0031
_INVALID_ARCHIVE = "is not the archive of Accel-NASBench's records"
_ADVICE = "name the whole of the authors' anb_dataset_jsons.tar.gz"
_NUM_VALIDATION_NETWORKS = 512
_NUM_TUNING_NETWORKS = 1000
_FIT_VERSION = 3  # raise it with every change of the features or of the fit


@dataclass(frozen=True)
class Surrogate:
    """The fitted process: mean of features `train_features` (networks, features) under `theta`, and
    how well it does.

    r2, tau: on networks held out, of a fit without them. noise: of one training, as the fit
    estimates it (a fraction).
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
        """Expected ImageNet top-1 as fractions: (networks, decisions) of the space ->
        (networks,).
        """
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
    """The different networks of the authors' archive (anb_dataset_jsons.tar.gz, or a folder of its
    records) and their top-1 as fractions, in a fixed order. Raises InputError where it is none."""
    accuracies_by_row: dict[tuple[int, ...], list[float]] = {}
    try:
        for text in _read_json_files(path):
            record = json.loads(text)
            row = tuple(benchmark_space().to_indices(record_to_choices(record["architecture"])))
            accuracy = record["metrics"]["val_top1"] / 100
            if not 0 <= accuracy <= 1:
                raise ValueError(f"val_top1: {100 * accuracy:g} is no percentage")
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
            f"search.evaluator: {path}: {_INVALID_ARCHIVE} ({reason}); {_ADVICE}"
        ) from None
    if len(accuracies_by_row) <= 2 * _NUM_VALIDATION_NETWORKS:
        raise InputError(
            f"search.evaluator: {path}: has {len(accuracies_by_row):,} records, too few to fit; "
            f"{_ADVICE}"
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
    """A record's network as choices of the space."""
    choices: Choices = {}
    for stage in range(len(benchmark_space().base.stages)):
        choices[f"stages.{stage}.expansion"] = architecture[f"block{stage}_e"]
        choices[f"stages.{stage}.kernel"] = architecture[f"block{stage}_k"]
        choices[f"stages.{stage}.depth"] = architecture[f"block{stage}_l"]
        choices[f"stages.{stage}.se"] = 0.25 if architecture[f"block{stage}_se"] else 0
    return choices


def fit_surrogate(train_features: FloatArray, accuracies: FloatArray) -> Surrogate:
    """Hold a tenth out, fit and score; then fit to all with the same hyperparameters: (networks,
    features), (networks,).
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
    """The fit to these records, from the cache where it has been made before."""
    indices, accuracies = read_records(path)
    train_features = benchmark_features()(indices)
    # The records, not the features: their last bits differ between processors.
    digest = hashlib.sha256(indices.tobytes() + accuracies.tobytes()).hexdigest()[:16]
    cache_path = _cache_directory() / f"accel-nasbench-{_FIT_VERSION}-{digest}.npz"
    try:
        with cache_path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
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
        pass  # not there, or torn: made anew
    surrogate = fit_surrogate(train_features, accuracies)
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
        write_atomic(cache_path, buffer.getvalue())
    except OSError:
        pass  # a cache that can't be written costs a minute, nothing else
    return surrogate


def _cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phinas"


class AccelNasbenchEvaluator:
    """path: the authors' archive."""

    runs_inline = True
    reports_progress = False

    def __init__(self, path: str, *, limit_seconds: float) -> None:
        self._path = Path(path).expanduser().absolute()
        if not self._path.exists():
            raise InputError(f"search.evaluator: {path!r} does not exist; {_ADVICE}")
        # a second, and what is wrong with it is told before anything is written
        read_records(self._path)
        self._limit_seconds = limit_seconds

    def metadata(self) -> dict[str, Any]:
        """What a reader of its results must know."""
        surrogate = load_surrogate(self._path)
        scores = f"held-out R2 {surrogate.r2:.3f}, Kendall tau {surrogate.tau:.3f}"
        return {
            "accuracies": f"Gaussian process fitted to {len(surrogate.train_features):,} networks "
            "of "
            f"Accel-NASBench ({scores})",
            "held_out_r2": surrogate.r2,
            "held_out_kendall_tau": surrogate.tau,
        }

    def require_space(self, search_space: SearchSpace) -> None:
        """Raises InputError where networks of that space have no accuracy here."""
        first_choices = {decision.name: decision.values[0] for decision in search_space.decisions}
        for name, value in (
            (decision.name, value)
            for decision in search_space.decisions
            for value in decision.values
        ):
            try:
                encode(benchmark_space(), search_space.decode(first_choices | {name: value}))
            except SpecError as error:
                raise InputError(
                    f"search.space: {search_space.name!r} holds networks that are not of space "
                    f"{SPACE_NAME!r} ({error}), "
                    f"and accel-nasbench knows no others; use --space {SPACE_NAME} at its own "
                    "resolution"
                ) from None

    def batch_accuracy_fn(self, search_space: SearchSpace) -> Callable[[Indices], FloatArray]:
        """Accuracies of whole batches of that space's choices."""
        surrogate = load_surrogate(self._path)
        if search_space == benchmark_space():
            return surrogate.accuracies

        def accuracies(indices: Indices) -> FloatArray:
            specs = [
                search_space.decode(search_space.from_indices(row)) for row in indices.tolist()
            ]
            return surrogate.accuracies(
                np.array(
                    [
                        benchmark_space().to_indices(encode(benchmark_space(), spec))
                        for spec in specs
                    ]
                )
            )

        return accuracies

    def make_job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        payload = {"path": str(self._path), "spec": spec.to_dict(), "seed": seed}
        function = "phinas.nas.evaluators.accel_nasbench:look_up_accuracy"
        key = job_key(function, payload | {"path": "", "recipe": recipe.model_dump()})
        return Job(key, function, payload, self._limit_seconds)


def look_up_accuracy(*, path: str, spec: dict[str, Any], seed: int) -> dict[str, Any]:
    """The job: look one network up."""
    indices = np.array(
        [benchmark_space().to_indices(encode(benchmark_space(), ArchSpec.from_dict(spec)))]
    )
    accuracy = float(load_surrogate(Path(path)).accuracies(indices)[0])
    return Measurement(accuracy=accuracy, split="table", seed=seed).to_dict()
