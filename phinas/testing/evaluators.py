"""The conformance suite of evaluators.

An evaluator describes its work as plain data. A job returns a Measurement that depends on the
network, the recipe and the seed only. Jobs report and pause if and only if the evaluator states it.
"""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from phinas.experiment.executors import Job, Result
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import ReportCallback
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.storage.paused_trainings import PausedTrainings
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.testing.expectations import require

EPOCHS = 4
RECIPE = Recipe(epochs=EPOCHS, batch_size=64)
_SEED = 7


def check_evaluator(evaluator: Evaluator | str, space: SearchSpace | str = "tiny") -> None:
    """Run every check on an evaluator.

    Args:
        evaluator: The evaluator, or the name of a function as "package.module:function".
        space: A search space whose networks it can score, or its name.

    Raises:
        AssertionError: A check fails. The message says what is wrong.
    """
    for check in EVALUATOR_CHECKS.values():
        check(*_resolve(evaluator, space))


def _resolve(evaluator: Evaluator | str, space: SearchSpace | str) -> tuple[Evaluator, SearchSpace]:
    if isinstance(evaluator, str):
        section = SearchSection(evaluator=evaluator)
        evaluator = make_evaluator(section, None, limit_seconds=3600.0)
    return evaluator, load_space(space) if isinstance(space, str) else space


def _networks(evaluator: Evaluator, space: SearchSpace) -> tuple[ArchSpec, ArchSpec]:
    """The base network of the space, and a neighbor of it."""
    evaluator.require_space(space)
    neighbors = map(space.decode, space.neighbors(encode(space, space.base)))
    other = next(spec for spec in neighbors if spec.network_id != space.base.network_id)
    return space.base, other


def _job_maker(evaluator: Evaluator, space: SearchSpace) -> Callable[..., Job]:
    """The function that makes a job from (network, recipe, seed), with the choices of the network
    if the evaluator uses them.
    """

    def make_job(
        network: ArchSpec, recipe: Recipe, seed: int, *, stop_epoch: int | None = None
    ) -> Job:
        choices = encode(space, network) if evaluator.uses_choices else None
        return evaluator.make_job(network, recipe, seed, stop_epoch=stop_epoch, choices=choices)

    return make_job


def _run(job: Job, on_report: ReportCallback | None = None) -> Measurement:
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job, on_report)
        return _read(executor.next_result())


def _read(result: Result) -> Measurement:
    require(result.value is not None, f"the job fails: {result.reason}")
    assert result.value is not None
    return Measurement.from_dict(result.value)


def _run_part(job: Job, states: PausedTrainings) -> Measurement:
    """Run a part of a training from the state that the part before it left."""
    with closing(InlineExecutor(1)) as executor:
        executor.submit(states.prepare(job))
        result = executor.next_result()
    measurement = _read(result)
    if job.stop_epoch is None:
        states.remove(result)
    else:
        states.store(result, study="conformance", priority=measurement.score)
    return measurement


def _check_job(evaluator: Evaluator, space: SearchSpace) -> None:
    network, _ = _networks(evaluator, space)
    make_job = _job_maker(evaluator, space)
    job = make_job(network, RECIPE, _SEED)
    payload = json.loads(json.dumps(job.payload, allow_nan=False))
    require(payload == job.payload, "the payload of the job is not plain JSON data")
    measurement = _run(job)
    require(measurement.split != "test", "the test split was used")
    require(measurement.seed == _SEED, "the measurement does not record the seed")
    epochs = 0 if measurement.split == "table" else EPOCHS
    message = f"the measurement records {measurement.epochs} epochs, not {epochs}"
    require(measurement.epochs == epochs, message)


def _check_key(evaluator: Evaluator, space: SearchSpace) -> None:
    network, other = _networks(evaluator, space)
    make_job = _job_maker(evaluator, space)
    key = make_job(network, RECIPE, _SEED).key
    require(make_job(network, RECIPE, _SEED).key == key, "the key of a job changes")
    longer = RECIPE.model_copy(update={"epochs": EPOCHS + 1})
    changed = [
        make_job(other, RECIPE, _SEED).key,
        make_job(network, longer, _SEED).key,
        make_job(network, RECIPE, _SEED + 1).key,
    ]
    message = "network, recipe and seed do not all change the key of a job"
    require(len({key, *changed}) == 4, message)


def _check_repeatable(evaluator: Evaluator, space: SearchSpace) -> None:
    network, _ = _networks(evaluator, space)
    make_job = _job_maker(evaluator, space)
    scores = {_run(make_job(network, RECIPE, _SEED)).score for _ in range(2)}
    require(len(scores) == 1, "the same job gives two scores")


def _check_reports(evaluator: Evaluator, space: SearchSpace) -> None:
    network, _ = _networks(evaluator, space)
    make_job = _job_maker(evaluator, space)
    reports: list[tuple[int, float]] = []

    def stop_at_once(epoch: int, score: float) -> bool:
        reports.append((epoch, score))
        return False

    measurement = _run(make_job(network, RECIPE, _SEED), stop_at_once)
    if not evaluator.reports_progress:
        require(not reports, "the evaluator reports scores and states that it does not")
        return
    require(len(reports) == 1, f"the job reports {len(reports)} scores after it was stopped")
    epoch, score = reports[0]
    require(measurement.epochs == epoch, "a stopped job does not record the epochs it trained")
    require(measurement.score == score, "a stopped job does not return its last report")


def _check_pausing(evaluator: Evaluator, space: SearchSpace) -> None:
    network, _ = _networks(evaluator, space)
    make_job = _job_maker(evaluator, space)
    if not evaluator.supports_pausing:
        return
    full = _run(make_job(network, RECIPE, _SEED))
    jobs = [
        make_job(network, RECIPE, _SEED, stop_epoch=stop_epoch) for stop_epoch in (1, EPOCHS - 1)
    ]
    require(len({job.key for job in jobs}) == 2, "two stop epochs have the same key")
    with TemporaryDirectory() as folder:
        states = PausedTrainings(Path(folder), max_bytes=1e9)
        for job, stop_epoch in zip(jobs, (1, EPOCHS - 1), strict=True):
            _check_paused(_run_part(job, states), full, stop_epoch)
        resumed = _run_part(make_job(network, RECIPE, _SEED), states)
        require(states.num_bytes == 0, "a training that has ended leaves a state")
    require(resumed.score == full.score, "a resumed training has another score than a full one")
    require(resumed.curve == full.curve, "a resumed training has another curve than a full one")


def _check_paused(paused: Measurement, full: Measurement, stop_epoch: int) -> None:
    message = f"a training paused at epoch {stop_epoch} records {paused.epochs} epochs"
    require(paused.epochs == stop_epoch, message)
    if full.curve:
        message = "the score of a paused training is not that of the full one at this epoch"
        require(paused.score == full.curve[stop_epoch - 1], message)


# By the name of the test without "test_", which says what is true of a conforming evaluator.
EVALUATOR_CHECKS: dict[str, Callable[[Evaluator, SearchSpace], None]] = {
    "a_job_is_plain_data_and_gives_a_measurement": _check_job,
    "network_recipe_and_seed_determine_the_key": _check_key,
    "the_same_job_gives_the_same_score": _check_repeatable,
    "a_job_that_reports_scores_can_be_stopped": _check_reports,
    "a_paused_training_ends_like_a_full_one": _check_pausing,
}


class EvaluatorConformance:
    """Base class of a pytest class that tests one evaluator. It has one test for each check.

    Attributes:
        evaluator: The evaluator, or the name of a function as "package.module:function".
        space: A search space whose networks it can score, or its name.
    """

    evaluator: Evaluator | str
    space: SearchSpace | str = "tiny"


def _make_test(
    check: Callable[[Evaluator, SearchSpace], None],
) -> Callable[[EvaluatorConformance], None]:
    def test(self: EvaluatorConformance) -> None:
        check(*_resolve(self.evaluator, self.space))

    return test


for _name, _check in EVALUATOR_CHECKS.items():
    setattr(EvaluatorConformance, f"test_{_name}", _make_test(_check))
