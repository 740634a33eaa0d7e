"""Tests of the check of learning rates: its trainings, its record and what it selects."""

import importlib
from dataclasses import replace

import optuna
import pytest

from phinas.experiment.artifacts.learning_rates import LearningRatesFile
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.job_list import job_key
from phinas.experiment.schema.recipe import CHECKED_RATE_FACTORS, RATE_CHECK_SEEDS, Recipe
from phinas.experiment.storage.trial_store import TrialStore
from phinas.space.search_spaces.loading import load_space
from phinas.training.learning_rate_check import (
    check_learning_rates,
    check_recipe,
    count_check_trainings,
    select_networks,
)

BASE = load_space("tiny").base


def with_stages(spec, *, depth=0, width=0, **changes):
    stages = tuple(
        replace(stage, depth=stage.depth + depth, width=stage.width + width)
        for stage in spec.stages
    )
    return replace(spec, stages=stages, **changes)


DEEP, WIDE = with_stages(BASE, depth=2), with_stages(BASE, width=16)
DEEP_AND_WIDER = with_stages(BASE, depth=2, width=8)
NETWORKS = {"B2": BASE, "the control depth": DEEP, "the control width": WIDE}
RECIPE = Recipe(epochs=9, check_rates=True)

# A score of 0.5, minus the distance of the learning rate to the best one of the network.
MODULE = """
BEST = {best!r}
CALLS = []

def score(network_id, learning_rate, epochs, seed):
    CALLS.append((network_id, learning_rate, epochs, seed))
    if learning_rate > BEST.get("diverges", 99):
        raise RuntimeError("diverged")
    distance = abs(learning_rate - BEST.get(network_id, BEST["others"]))
    noise = (seed * int(network_id, 16) + round(1000 * learning_rate)) % 101 / 101 - 0.5
    return {{"score": 0.5 - distance + 0.002 * noise, "epochs": epochs}}
"""


class InterruptedExecutor(InlineExecutor):
    """Raises KeyboardInterrupt instead of running another job after `num_jobs`."""

    def __init__(self, num_jobs):
        super().__init__(1)
        self._num_jobs = num_jobs

    def submit(self, job, on_report=None):
        if self._num_jobs == 0:
            raise KeyboardInterrupt
        self._num_jobs -= 1
        super().submit(job, on_report)


def new_trial_store():
    return TrialStore(optuna.create_study(direction="maximize"))


@pytest.fixture
def check(tmp_path, monkeypatch):
    """A function that checks networks whose best learning rates are known; the module of their
    scores is its attribute `module`.
    """
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*, recipe=RECIPE, trial_store=None, executor=None, seed=0, **best):
        name = f"rates_{tmp_path.name}_{len(list(tmp_path.glob('*.py')))}"
        by_id = {
            NETWORKS[key].network_id if key in NETWORKS else key: value
            for key, value in best.items()
        }
        (tmp_path / f"{name}.py").write_text(MODULE.format(best={"others": 0.2} | by_id))
        run.module = importlib.import_module(name)

        def make_job(network, short_recipe, training_seed):
            payload = {
                "network_id": network.network_id,
                "learning_rate": short_recipe.learning_rate,
                "epochs": short_recipe.epochs,
                "seed": training_seed,
            }
            return Job(job_key("score", payload), f"{name}:score", payload)

        return check_learning_rates(
            NETWORKS,
            recipe,
            stage="validation",
            seed=seed,
            make_job=make_job,
            trial_store=trial_store or new_trial_store(),
            executor=executor or InlineExecutor(1),
            on_progress=lambda _done, _total, _text: None,
        )

    return run


def test_a_typical_network_the_deepest_and_the_widest_are_checked():
    others = [BASE, DEEP_AND_WIDER, WIDE, DEEP]
    assert select_networks(BASE, others) == [BASE, DEEP, WIDE]
    # a network is selected once, so the second in depth follows where the deepest is the center
    assert select_networks(DEEP, others) == [DEEP, DEEP_AND_WIDER, WIDE]
    assert select_networks(BASE, [BASE, WIDE]) == [BASE, WIDE]
    assert select_networks(BASE, []) == [BASE]


def test_trainings_are_complete_ones_of_a_third_of_the_epochs():
    short = check_recipe(RECIPE, 2.0)
    assert short == Recipe(epochs=3, learning_rate=0.4)
    epochs = {epochs: Recipe(epochs=epochs).rate_check_epochs for epochs in (1, 2, 4, 20, 150)}
    assert epochs == {1: 1, 2: 2, 4: 2, 20: 7, 150: 50}


def test_each_network_is_trained_with_each_rate_and_seed(check):
    file = check()
    assert len(check.module.CALLS) == len(set(check.module.CALLS)) == count_check_trainings(3) == 18
    assert {call[2] for call in check.module.CALLS} == {3}
    assert len({call[3] for call in check.module.CALLS}) == RATE_CHECK_SEEDS
    assert file.rates == [factor * 0.2 for factor in CHECKED_RATE_FACTORS]
    assert [row.name for row in file.networks] == list(NETWORKS)
    assert (file.epochs, file.recipe_epochs, file.num_seeds) == (3, 9, 2)
    assert (file.learning_rate, file.disagreeing) == (0.2, [])


def test_a_rate_that_is_better_for_all_is_used_for_all(check):
    file = check(others=0.4)
    assert (file.recipe_rate, file.learning_rate) == (0.2, 0.4)
    assert file.over_recipe.is_significant
    assert file.disagreeing == []


def test_a_network_that_another_rate_suits_is_recorded_and_the_rate_stays(check):
    file = check(**{"the control depth": 0.1})
    assert file.learning_rate == 0.2
    ((network, gain),) = file.disagreeing
    assert (network.name, gain.learning_rate) == ("the control depth", 0.1)
    assert gain.gain == pytest.approx(0.1, abs=0.01)


def test_an_interrupted_check_continues_with_equal_results(check):
    complete = check(others=0.4)
    trial_store = new_trial_store()
    with pytest.raises(KeyboardInterrupt):
        check(others=0.4, trial_store=trial_store, executor=InterruptedExecutor(7))
    assert check(others=0.4, trial_store=trial_store) == complete
    assert len(check.module.CALLS) == 18 - 7
    assert check(others=0.4, trial_store=trial_store) == complete
    assert check.module.CALLS == []


def test_another_seed_of_the_run_trains_with_other_seeds(check):
    check()
    first = {call[3] for call in check.module.CALLS}
    check(seed=1)
    assert not first & {call[3] for call in check.module.CALLS}


def test_a_rate_with_failed_trainings_is_not_used(check):
    file = check(others=0.4, diverges=0.3)
    assert file.learning_rate == 0.2
    assert file.networks[0].rates[-1].scores == (None, None)
    failed = check(others=0.4, diverges=0.15)
    assert (failed.learning_rate, failed.over_recipe) == (0.1, None)
    all_failed = check(diverges=0.01)
    assert (all_failed.learning_rate, all_failed.metric, all_failed.noise_std) == (0.2, "", None)


def test_a_check_is_the_same_after_it_was_written_and_read(check, tmp_path):
    file, path = check(**{"the control depth": 0.1}), tmp_path / "validation.yaml"
    file.write(path)
    assert LearningRatesFile.read(path) == file
    path.write_text(path.read_text().replace("recipe_rate: 0.2", "recipe_rate: fast"))
    with pytest.raises(InputError, match="recipe_rate"):
        LearningRatesFile.read(path)
