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
from phinas.nas.surrogate.features import Features
from phinas.nas.surrogate.gaussian_process import (
    Floats,
    GaussianProcess,
    Hyperparameters,
    standard,
    tune,
)
from phinas.space.search_spaces.cost_tables import CostTables
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec, SpecError

SPACE = "accel_nasbench"
# standard deviation over seeds of one network's accuracy, in the authors' ablation (117 networks, 3
# seeds)
NOISE = 0.0031
_NO_RECORDS = "is not the archive of Accel-NASBench's records"
_REMEDY = "name the whole of the authors' anb_dataset_jsons.tar.gz"
_HELD_OUT = 512
_TUNED_ON = 1000
_FIT = 2  # another number where the same records come to another fit


@dataclass(frozen=True)
class Surrogate:
    """The fitted process: mean of features `known` (networks, features) under `theta`, and how well
    it does.

    r2, tau: on networks held out, of a fit without them. noise: of one training, as the fit
    estimates it (a fraction).
    """

    theta: Hyperparameters
    known: Floats
    weights: Floats
    mean: float
    scale: float
    r2: float
    tau: float
    noise: float

    def accuracies(self, indices: Indices) -> Floats:
        """Expected ImageNet top-1 as fractions: (networks, decisions) of the space ->
        (networks,).
        """
        covariance = self.theta.covariance(features()(indices), self.known)
        return np.clip(self.mean + self.scale * (covariance @ self.weights), 0.0, 1.0)


@lru_cache(maxsize=1)
def space() -> SearchSpace:
    return load_space(SPACE)


@lru_cache(maxsize=1)
def features() -> Features:
    tables = CostTables(space())
    return Features(space(), tables.batch, tables.by_stage)


@lru_cache(maxsize=2)
def read_records(path: Path) -> tuple[Indices, Floats]:
    """The different networks of the authors' archive (anb_dataset_jsons.tar.gz, or a folder of its
    records) and their top-1 as fractions, in a fixed order. Raises InputError where it is none."""
    measured: dict[tuple[int, ...], list[float]] = {}
    try:
        for text in _texts(path):
            record = json.loads(text)
            row = tuple(space().indices(choices_of(record["architecture"])))
            accuracy = record["metrics"]["val_top1"] / 100
            if not 0 <= accuracy <= 1:
                raise ValueError(f"val_top1: {100 * accuracy:g} is no percentage")
            measured.setdefault(row, []).append(accuracy)
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
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"search.evaluator: {path}: {_NO_RECORDS} ({why}); {_REMEDY}") from None
    if len(measured) <= 2 * _HELD_OUT:
        raise InputError(
            f"search.evaluator: {path}: has {len(measured):,} records, too few to fit; {_REMEDY}"
        )
    rows = sorted(measured)
    return np.array(rows), np.array([np.mean(measured[row]) for row in rows])


def _texts(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            yield file.read_bytes()
        return
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".json") else None
            if stream is not None:
                yield stream.read()


def choices_of(architecture: Mapping[str, Any]) -> Choices:
    """A record's network as choices of the space."""
    choices: Choices = {}
    for stage in range(len(space().base.stages)):
        choices[f"stages.{stage}.expansion"] = architecture[f"block{stage}_e"]
        choices[f"stages.{stage}.kernel"] = architecture[f"block{stage}_k"]
        choices[f"stages.{stage}.depth"] = architecture[f"block{stage}_l"]
        choices[f"stages.{stage}.se"] = 0.25 if architecture[f"block{stage}_se"] else 0
    return choices


def fit(known: Floats, accuracies: Floats) -> Surrogate:
    """Hold a tenth out, fit and score; then fit to all with the same hyperparameters: (networks,
    features), (networks,).
    """
    from scipy.stats import kendalltau

    order = np.random.default_rng(0).permutation(len(known))
    held, rest = order[:_HELD_OUT], order[_HELD_OUT:]
    some = rest[:_TUNED_ON]
    mean, scale = standard(accuracies[some])
    theta = tune(known[some], (accuracies[some] - mean) / scale, features().groups, steps=40)
    told = GaussianProcess(theta, known[rest], accuracies[rest]).mean(known[held])
    missed = ((told - accuracies[held]) ** 2).mean()
    process = GaussianProcess(theta, known, accuracies)
    mean, scale = standard(accuracies)
    return Surrogate(
        theta,
        known,
        process.weights,
        mean,
        scale,
        r2=float(1 - missed / accuracies[held].var()),
        tau=float(kendalltau(told, accuracies[held]).statistic),
        noise=process.noise,
    )


@lru_cache(maxsize=2)
def surrogate(path: Path) -> Surrogate:
    """The fit to these records, from the cache where it has been made before."""
    indices, accuracies = read_records(path)
    known = features()(indices)  # of its name too: other features need another fit
    digest = hashlib.sha256(known.tobytes() + accuracies.tobytes()).hexdigest()[:16]
    kept = _cache() / f"accel-nasbench-{_FIT}-{digest}.npz"
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as facts:
            scalars = {name: float(facts[name]) for name in ("mean", "scale", "r2", "tau", "noise")}
            return Surrogate(
                Hyperparameters(facts["logs"], facts["groups"]), known, facts["weights"], **scalars
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or torn: made anew
    made = fit(known, accuracies)
    held = BytesIO()
    scalars = {name: getattr(made, name) for name in ("mean", "scale", "r2", "tau", "noise")}
    np.savez(
        held,
        allow_pickle=False,
        logs=made.theta.logs,
        groups=made.theta.groups,
        weights=made.weights,
        **scalars,
    )
    try:
        write_atomic(kept, held.getvalue())
    except OSError:
        pass  # a cache that can't be written costs a minute, nothing else
    return made


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phinas"


class AccelNasbenchEvaluator:
    """path: the authors' archive."""

    instant = True
    reports = False

    def __init__(self, path: str, *, limit_seconds: float) -> None:
        self._path = Path(path).expanduser().absolute()
        if not self._path.exists():
            raise InputError(f"search.evaluator: {path!r} does not exist; {_REMEDY}")
        read_records(
            self._path
        )  # a second, and what is wrong with it is told before anything is written
        self._limit_seconds = limit_seconds

    def facts(self) -> dict[str, Any]:
        """What a reader of its results must know."""
        fitted = surrogate(self._path)
        scores = f"held-out R2 {fitted.r2:.3f}, Kendall tau {fitted.tau:.3f}"
        return {
            "accuracies": f"Gaussian process fitted to {len(fitted.known):,} networks of "
            f"Accel-NASBench ({scores})",
            "held_out_r2": fitted.r2,
            "held_out_kendall_tau": fitted.tau,
        }

    def require_space(self, searched: SearchSpace) -> None:
        """Raises InputError where networks of that space have no accuracy here."""
        first = {decision.name: decision.values[0] for decision in searched.decisions}
        for name, value in (
            (decision.name, value) for decision in searched.decisions for value in decision.values
        ):
            try:
                encode(space(), searched.decode(first | {name: value}))
            except SpecError as error:
                raise InputError(
                    f"search.space: {searched.name!r} holds networks that are not of space "
                    f"{SPACE!r} ({error}), "
                    f"and accel-nasbench knows no others; use --space {SPACE} at its own resolution"
                ) from None

    def accuracies_in(self, searched: SearchSpace) -> Callable[[Indices], Floats]:
        """Accuracies of whole batches of that space's choices."""
        fitted = surrogate(self._path)
        if searched == space():
            return fitted.accuracies

        def accuracies(indices: Indices) -> Floats:
            specs = [searched.decode(searched.choices(row)) for row in indices.tolist()]
            return fitted.accuracies(
                np.array([space().indices(encode(space(), spec)) for spec in specs])
            )

        return accuracies

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        payload = {"path": str(self._path), "spec": spec.to_dict(), "seed": seed}
        function = "phinas.nas.evaluators.accel_nasbench:measure"
        key = job_key(function, payload | {"path": "", "recipe": recipe.model_dump()})
        return Job(key, function, payload, self._limit_seconds)


def measure(*, path: str, spec: dict[str, Any], seed: int) -> dict[str, Any]:
    """The job: look one network up."""
    indices = np.array([space().indices(encode(space(), ArchSpec.from_dict(spec)))])
    accuracy = float(surrogate(Path(path)).accuracies(indices)[0])
    return Measurement(accuracy=accuracy, split="table", seed=seed).to_dict()
