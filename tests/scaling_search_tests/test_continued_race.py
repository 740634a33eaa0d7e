"""Full trainings of a race that continue the short ones."""

import math
from contextlib import closing
from dataclasses import replace

import optuna
import pytest

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.paused_state import PAUSED_STATE
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.storage.paused_trainings import PausedTrainings
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.race.race import Race, TrainingRun
from phinas.scaling_search.race.racing import evaluate_race, next_runs
from phinas.scaling_search.race.search import search_coefficients
from phinas.scaling_search.race.training_queue import Evaluator
from phinas.space.search_spaces.loading import load_space

BASELINE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
RECIPE = Recipe(epochs=5, batch_size=50)
SECTION = ScalingSection(
    grid_phi=1.0, tolerance=0.3, max_grid_members=3, seeds=3, recipe=RECIPE, max_budget_fraction=0.7
)
TRUTH = [0.70, 0.72, 0.74, 0.76, 0.80, 0.75, 0.73, 0.71]


class NotingExecutor(InlineExecutor):
    """Notes the jobs that it runs, and is interrupted after some results."""

    def __init__(self, *, num_results=math.inf):
        super().__init__(1)
        self.jobs = []
        self._left = num_results

    def submit(self, job):
        self.jobs.append(job)
        super().submit(job)

    def next_result(self):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return super().next_result()


def new_trial_store(folder, *, max_bytes=1e9):
    study = optuna.create_study(direction="maximize", study_name="scaling")
    return TrialStore(study, PausedTrainings(folder / "paused", max_bytes=max_bytes))


def scale(job_factory, trial_store, executor, *, section=SECTION):
    with closing(executor):
        return search_coefficients(
            BASELINE,
            section,
            seed=5,
            max_resolution=math.inf,
            trial_store=trial_store,
            executor=executor,
            evaluator=Evaluator(job_factory.make_job, can_pause=True),
            on_progress=lambda done, total, text: None,
        )


@pytest.fixture(scope="module")
def uninterrupted(job_factory, tmp_path_factory):
    trial_store = new_trial_store(tmp_path_factory.mktemp("uninterrupted"))
    executor = NotingExecutor()
    return scale(job_factory, trial_store, executor), executor.jobs, trial_store


def test_the_first_full_training_of_a_network_continues_its_short_one(uninterrupted):
    result, jobs, trial_store = uninterrupted
    assert result.race.continues_trainings
    short = [job for job in jobs if job.stop_epoch is not None]
    assert [job.stop_epoch for job in short] == [1, 1, 1]
    full = [job for job in jobs if job.stop_epoch is None]
    continued = [job for job in full if job.payload.get(PAUSED_STATE)]
    assert {job.payload[PAUSED_STATE]["epoch"] for job in continued} == {1}
    short_keys = {job.training_key for job in short}
    assert {job.training_key for job in continued} == short_keys & {
        job.training_key for job in full
    }
    assert 2 <= len(continued) < len(full)
    trained_epochs = 3 * 1 + 4 * len(continued) + 5 * (len(full) - len(continued))
    assert result.race_result.epochs_spent == trained_epochs
    assert trial_store.paused_trainings.num_bytes == 0


@pytest.mark.slow
def test_states_do_not_change_the_scores(uninterrupted, job_factory, tmp_path):
    executor = NotingExecutor()
    result = scale(job_factory, new_trial_store(tmp_path, max_bytes=0), executor)
    assert not any(job.payload.get(PAUSED_STATE) for job in executor.jobs)
    assert (result.scores, result.race_result) == (
        uninterrupted[0].scores,
        uninterrupted[0].race_result,
    )


@pytest.mark.parametrize(
    "num_results",
    [1, pytest.param(3, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)],
)
def test_an_interrupted_race_has_the_result_of_an_uninterrupted_one(
    uninterrupted, job_factory, tmp_path, num_results
):
    trial_store = new_trial_store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        scale(job_factory, trial_store, NotingExecutor(num_results=num_results))
    trial_store.paused_trainings = PausedTrainings(tmp_path / "paused", max_bytes=1e9)
    executor = NotingExecutor()
    result = scale(job_factory, trial_store, executor)
    assert len(executor.jobs) == len(uninterrupted[1]) - num_results
    assert (result.scores, result.race_result) == (
        uninterrupted[0].scores,
        uninterrupted[0].race_result,
    )
    continued = sum(bool(job.payload.get(PAUSED_STATE)) for job in executor.jobs)
    assert continued == sum(
        bool(job.payload.get(PAUSED_STATE)) for job in uninterrupted[1][num_results:]
    )


@pytest.mark.parametrize(
    "changes", [{"schedule": "cosine"}, {"ema_fraction": 0.0}, {"initial_resolution_fraction": 0.5}]
)
def test_a_short_training_has_a_schedule_of_its_own_if_early_accuracies_say_little(
    job_factory, tmp_path, changes
):
    section = SECTION.model_copy(update={"recipe": RECIPE.model_copy(update=changes)})
    executor = NotingExecutor(num_results=1)
    with pytest.raises(KeyboardInterrupt):
        scale(job_factory, new_trial_store(tmp_path), executor, section=section)
    [first, _] = executor.jobs
    assert first.stop_epoch is None
    assert first.payload["request"]["recipe"]["epochs"] == 1


def score(run, *, diverged=()):
    if run in diverged:
        return 0.1
    return TRUTH[run.member] - (0.1 if run.epochs < 10 else 0.0) + 0.001 * run.seed


def run_race(race, **options):
    results, rungs = {}, []
    while rung := next_runs(race, results):
        rungs.append(rung)
        results |= {run: score(run, **options) for run in rung}
    return results, rungs


def test_a_continued_training_costs_the_remaining_epochs():
    restarting = Race(num_members=8, num_seeds=3, epochs=10)
    race = replace(restarting, continues_trainings=True)
    short, full, later = TrainingRun(0, 0, 2), TrainingRun(0, 0, 10), TrainingRun(0, 1, 10)
    assert race.total_epochs([short]) == 2
    assert race.total_epochs([short, full, later]) == 20
    assert restarting.total_epochs([short, full, later]) == 22
    results, rungs = run_race(race)
    assert len(rungs[0]) == 8
    assert evaluate_race(race, results).epochs_spent == race.total_epochs(results) <= 96
    assert race.max_trainings == 8 + 8 + 1  # 16 + 8 * 8 + 10 epochs of 96
    assert restarting.max_trainings == 8 + 8
    one_epoch = replace(race, epochs=1)
    assert one_epoch.max_trainings == 8 + 1  # nothing remains to be continued


def test_a_diverged_short_training_is_not_continued():
    diverged = TrainingRun(4, 0, 2)
    race = Race(
        num_members=8, num_seeds=3, epochs=10, max_budget_fraction=0.6, continues_trainings=True
    )
    results, _ = run_race(race, diverged=[diverged])
    assert TrainingRun(4, 1, 2) in results
    assert TrainingRun(4, 0, 10) not in results
    assert TrainingRun(4, 1, 10) in results
    result = evaluate_race(race, results)
    assert (result.winner, result.member_results[4].num_diverged) == (4, 1)
    # without continuation the seed is used
    restarted, _ = run_race(replace(race, continues_trainings=False), diverged=[diverged])
    assert TrainingRun(4, 0, 10) in restarted
