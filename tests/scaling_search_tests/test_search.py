"""The search for alpha, beta, gamma: with short real trainings, and on a synthetic accuracy model
with a known best network.
"""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.errors import NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.storage.trial_record import ORPHAN_REASON
from phinas.experiment.storage.trial_store import TrialStore
from phinas.reports.sentences.coefficients import explain_coefficients
from phinas.run_summary import RunSummary
from phinas.scaling_search.race.centroid import estimate_coefficients
from phinas.scaling_search.race.scaling_result import make_coefficients_file
from phinas.scaling_search.race.search import search_coefficients
from phinas.scaling_search.race.synthetic_accuracy import SyntheticAccuracyModel
from phinas.scaling_search.race.training_queue import Evaluator
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec

BASELINE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
RECIPE = Recipe(epochs=1, batch_size=50)
SECTION = ScalingSection(
    grid_phi=1.0, tolerance=0.3, max_grid_members=4, seeds=2, recipe=RECIPE, phi=[0.5, 1.0, 4.0]
)


class CountingExecutor(InlineExecutor):
    """Notes the jobs that it runs, and fails those of one network."""

    def __init__(self, *, failing=""):
        super().__init__(1)
        self.jobs = []
        self._failing = failing

    def _network_id(self, job):
        return ArchSpec.from_dict(job.payload["request"]["network"]).network_id

    def submit(self, job):
        self.jobs.append(job)
        if self._failing and self._network_id(job) == self._failing:
            job.payload["request"]["recipe"]["learning_rate"] = 1e30
        super().submit(job)


def new_trial_store():
    return TrialStore(optuna.create_study(direction="maximize"))


def scale(job_factory, *, trial_store=None, executor=None, section=SECTION, can_pause=True):
    with closing(executor or InlineExecutor(1)) as used:
        return search_coefficients(
            BASELINE,
            section,
            seed=5,
            max_resolution=math.inf,
            trial_store=trial_store or new_trial_store(),
            executor=used,
            evaluator=Evaluator(job_factory.make_job, can_pause),
            on_progress=lambda done, total, text: None,
        )


@pytest.fixture(scope="module")
def scaling(job_factory):
    trial_store, executor = new_trial_store(), CountingExecutor()
    return (
        scale(job_factory, trial_store=trial_store, executor=executor),
        trial_store,
        executor.jobs,
    )


def test_without_early_elimination_every_member_is_trained_with_the_same_seeds(scaling):
    """A training of one epoch has no short training before it."""
    result, trial_store, jobs = scaling
    seeds = {}
    for row in trial_store.records():
        seeds.setdefault(row.user_attrs["network_id"], []).append(row.user_attrs["seed"])
    assert len(jobs) == len(trial_store.records()) == 8
    assert len({tuple(values) for values in seeds.values()}) == 1
    assert all(len(set(values)) == 2 for values in seeds.values())
    assert {member.spec.network_id for member in result.raced_members} == set(seeds)
    assert all(job.payload["on_test_split"] is False for job in jobs)
    assert (
        result.race_result.epochs_spent,
        result.race_result.full_grid_epochs,
        result.short_scores,
    ) == (
        8,
        8,
        {},
    )


def test_the_winner_has_the_highest_expected_score(scaling):
    result, _, _ = scaling
    score_gap = [member_result.score_gap for member_result in result.race_result.member_results]
    assert min(score_gap) == score_gap[result.race_result.winner] == 0


def test_the_coefficients_are_those_of_the_probabilities_of_the_race(scaling):
    result, _, _ = scaling
    probabilities = [row.probability_of_best for row in result.race_result.member_results]
    members = [member.to_coefficients(SECTION) for member in result.raced_members]
    assert result.estimate == estimate_coefficients(BASELINE, SECTION, members, probabilities)
    assert len({round(value, 6) for value in probabilities}) > 1
    other = estimate_coefficients(BASELINE, SECTION, members, probabilities[::-1])
    assert other.coefficients != result.coefficients


def test_the_file_has_the_winner_its_probability_and_the_intervals(scaling):
    result, _, _ = scaling
    race = make_coefficients_file(result, SECTION).race
    assert race.members[race.winner_number - 1].network_id == result.winner.spec.network_id
    assert sum(row.probability_of_best for row in race.members) == pytest.approx(1)
    assert race.published_fraction == 0.5
    assert tuple(race.intervals.by_name.values()) == result.estimate.intervals
    for name, (low, high) in race.intervals.by_name.items():
        assert low <= getattr(result.coefficients, name) <= high


def test_the_file_of_coefficients_reads_back_equal(scaling, tmp_path):
    result, _, _ = scaling
    record = make_coefficients_file(result, SECTION)
    record.write(tmp_path / "coefficients.yaml")
    assert CoefficientsFile.read(tmp_path / "coefficients.yaml") == record
    assert sum(row.winner for row in record.race.members) == 1
    assert sum(row.tied for row in record.race.members) == len(result.ties)
    assert record.race.num_tied == len(result.ties) - 1
    assert record.race.grid_size == len(result.grid)
    assert record.race.metric == "accuracy"


def test_the_effect_of_flops_is_subtracted_and_both_scores_are_recorded(scaling):
    result, _, _ = scaling
    rows = make_coefficients_file(result, SECTION).race.members
    mean = math.exp(sum(math.log(row.flops) for row in rows) / len(rows))
    assert result.race.slope > 0
    for row in rows:
        adjustment = result.race.slope * math.log(row.flops / mean)
        assert row.adjusted_score == pytest.approx(row.score - adjustment)
    assert len({row.flops for row in rows}) > 1


def test_networks_that_are_no_better_than_guessing_are_named(job_factory):
    recipe = RECIPE.model_copy(update={"learning_rate": 1e-12})
    untrained = SECTION.model_copy(update={"recipe": recipe, "max_grid_members": 2, "seeds": 1})
    result = scale(job_factory, section=untrained)
    assert max(map(max, result.scores.values())) < 0.16
    record = make_coefficients_file(result, untrained)
    assert record.race.chance == 0.1
    guessing = "No network is significantly better than guessing (10%)"
    assert guessing in " ".join(explain_coefficients(record))
    assert "At these FLOPs use grid-" not in " ".join(explain_coefficients(record))
    learned = make_coefficients_file(replace(result, chance=None), untrained)
    assert guessing not in " ".join(explain_coefficients(learned))
    assert "At these FLOPs use grid-" in " ".join(explain_coefficients(learned))
    for file, has_warning in ((record, True), (learned, False)):
        summary = RunSummary(Path(), None, None, file, None).as_text()
        assert ("no network is significantly better than guessing (10%)" in summary) == has_warning


def test_networks_without_a_number_of_images_are_not_compared_with_guessing():
    assert race()[0].chance is None


def test_the_explanation_has_the_number_of_networks_and_the_ties(scaling):
    result, _, _ = scaling
    record = make_coefficients_file(result, SECTION)
    explanation = " ".join(explain_coefficients(record))
    assert explanation.startswith(
        "They are the mean of 4 networks, weighted by the probability of being the best, with 50% "
        "of the published 1.2, 1.1, 1.15. The networks were selected from a grid of "
        f"{len(result.grid)} networks with 2 times the baseline's FLOPs (within 30.0%). Each "
        "was evaluated with 2 seeds, the same for all networks."
    )
    ties = len(result.ties)
    assert record.race.outcome == {1: "best", 4: "all_tied"}.get(ties, "some_tied")
    assert ("better than all others (95%)" in explanation) == (ties == 1)
    assert ("may be as good or better" in explanation) == (1 < ties < 4)
    assert ("Any of the 4 trained networks" in explanation) == (ties == 4)


def test_recorded_trainings_are_replayed_and_nothing_is_trained(scaling, job_factory):
    result, trial_store, _ = scaling
    executor = CountingExecutor()
    assert scale(job_factory, trial_store=trial_store, executor=executor) == result
    assert executor.jobs == []


def test_the_search_does_not_read_the_test_split(scaling, sealed):
    result, _, _ = scaling
    with pytest.raises(ValueError, match=r"magic|pickled"):
        sealed.data.test_arrays()
    assert scale(sealed) == result


def test_a_failed_member_does_not_win_and_may_be_the_best(scaling, job_factory, tmp_path):
    result, _, _ = scaling
    failing = result.raced_members[1].spec.network_id
    trial_store = new_trial_store()
    without = scale(
        job_factory, trial_store=trial_store, executor=CountingExecutor(failing=failing)
    )
    assert [
        member_result.status == "failed" for member_result in without.race_result.member_results
    ] == [
        False,
        True,
        False,
        False,
    ]
    assert without.scores == result.scores | {failing: []}
    assert failing in {member.spec.network_id for member in without.ties}
    assert failing != without.winner.spec.network_id
    reasons = [row.user_attrs["reason"] for row in trial_store.records() if not row.is_complete]
    assert len(reasons) == 2
    assert all(
        reason.startswith("the loss was nan in epoch 1 of 1; lower the learning rate")
        for reason in reasons
    )
    path = tmp_path / "coefficients.yaml"
    make_coefficients_file(without, SECTION).write(path)
    record = CoefficientsFile.read(path)
    assert [row.status for row in record.race.members].count("failed") == 1
    assert record.race.num_tied_failed == 1
    assert "1 of these is only included because a training of it failed" in " ".join(
        explain_coefficients(record)
    )


def test_a_search_with_fewer_than_two_trained_members_has_no_result(job_factory):
    section = SECTION.model_copy(
        update={
            "recipe": Recipe(epochs=1, batch_size=50, learning_rate=1e30),
            "max_grid_members": 2,
        }
    )
    with pytest.raises(
        NoResultError, match="only 0 networks of the grid could be trained: the loss was"
    ):
        scale(job_factory, section=section)


B0 = preset("efficientnet_b0")
STEEP = SyntheticAccuracyModel(complementarity=7.0, power=0.7)  # compound wins by two points


class StoppingExecutor(InlineExecutor):
    """Dies, as a killed driver would, after so many results."""

    def __init__(self, after):
        super().__init__(1)
        self._left = after

    def next_result(self):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return super().next_result()


def race(*, trial_store=None, executor=None, model=STEEP, **settings):
    section = ScalingSection(
        **{
            "grid_phi": 1.0,
            "grid_step": 0.025,
            "rounding": "round",
            "recipe": Recipe(epochs=10),
            **settings,
        }
    )
    with closing(executor or InlineExecutor(1)) as used:
        result = search_coefficients(
            B0,
            section,
            seed=5,
            max_resolution=math.inf,
            trial_store=trial_store or new_trial_store(),
            executor=used,
            evaluator=Evaluator(
                lambda spec, recipe, seed, stop_epoch=None: model.make_job(
                    spec, B0.canonicalize(), recipe.epochs, seed
                ),
                can_pause=False,
            ),
            on_progress=lambda done, total, text: None,
        )
    return result, section


@pytest.mark.parametrize("max_budget_fraction", [0.3, 0.4, 0.6])
def test_a_race_stays_within_its_budget_and_has_the_best_among_its_ties(max_budget_fraction):
    result, section = race(max_budget_fraction=max_budget_fraction)
    assert result.race.early_elimination
    assert (
        0.2
        < result.race_result.epochs_spent / result.race_result.full_grid_epochs
        <= max_budget_fraction
    )
    specs = [member.spec for member in result.raced_members]
    assert STEEP.best_index(specs, B0.canonicalize(), 10) in result.race_result.ties
    assert 1 <= len(result.ties) < len(result.raced_members)
    assert (
        f"reduced the {result.race_result.full_grid_epochs:,} epochs of the full grid to "
        f"{result.race_result.epochs_spent:,}."
        in explain_coefficients(make_coefficients_file(result, section))[0]
    )


def test_every_member_of_a_race_has_a_short_training_and_few_have_every_seed():
    result, section = race()
    assert set(result.short_scores) == {member.spec.network_id for member in result.raced_members}
    trainings = sorted(len(values) for values in result.scores.values())
    assert trainings[0] < section.seeds
    rows = make_coefficients_file(result, section).race.members
    assert all(len(row.scores) == section.seeds for row in rows if row.status == "tied")
    assert all(len(row.scores) < section.seeds for row in rows if row.status == "open")
    for row in rows:
        assert (row.score_gap_interval is not None) == bool(row.scores)
    excluded = [row.score_gap_interval for row in rows if row.status == "excluded" and row.scores]
    assert excluded
    assert all(low + high > 0 for low, high in excluded)


def test_a_race_that_is_killed_anywhere_resumes_with_the_same_result():
    full_result, _ = race()
    trainings = len(full_result.short_scores) + sum(map(len, full_result.scores.values()))
    for after in range(1, trainings, 5):
        trial_store = new_trial_store()
        with pytest.raises(KeyboardInterrupt):
            race(trial_store=trial_store, executor=StoppingExecutor(after))
        complete_keys = {row.user_attrs["key"] for row in trial_store.records() if row.is_complete}
        executor = CountingExecutor()
        assert race(trial_store=trial_store, executor=executor)[0] == full_result
        assert len(executor.jobs) == trainings - len(complete_keys)
        assert {
            row.user_attrs["reason"] for row in trial_store.records() if not row.is_complete
        } <= {ORPHAN_REASON}


def test_with_the_full_budget_no_member_is_eliminated_early():
    result, section = race(max_budget_fraction=1.0, max_grid_members=6)
    assert not result.race.early_elimination
    assert {len(values) for values in result.scores.values()} == {section.seeds}


def test_members_are_compared_at_grid_phi_and_coefficients_are_for_phi_one():
    result, section = race(grid_phi=2.0, tolerance=0.05)
    assert all(member.ratio == pytest.approx(4, rel=0.05) for member in result.raced_members)
    assert result.coefficients.nominal == pytest.approx(2, rel=0.35)  # at phi 2: about 4
    assert result.estimate.published_fraction == 0.25
    assert make_coefficients_file(result, section).race.grid_phi == 2


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_other_strategies_select_members_of_the_grid_and_the_same_ones_when_resumed(strategy):
    trial_store = new_trial_store()
    result, _ = race(strategy=strategy, max_grid_members=8, trial_store=trial_store)
    assert len(result.raced_members) == 8 < len(result.grid)
    assert {m.spec for m in result.raced_members} <= {m.spec for m in result.grid}
    executor = CountingExecutor()
    assert (
        race(strategy=strategy, max_grid_members=8, trial_store=trial_store, executor=executor)[0]
        == result
    )
    assert executor.jobs == []


def test_tpe_selects_members_where_short_trainings_were_good():
    """Compared with random selection, over several synthetic models: its members are better."""
    differences = []
    for model_seed in range(6):
        model = SyntheticAccuracyModel(complementarity=7.0, power=0.7, model_seed=model_seed)
        members = {
            name: race(strategy=name, max_grid_members=10, model=model)[0].raced_members
            for name in ("random", "tpe")
        }
        truth = {
            name: sum(
                model.expected_accuracy(member.spec, B0.canonicalize(), 10) for member in members
            )
            / len(members)
            for name, members in members.items()
        }
        differences.append(truth["tpe"] - truth["random"])
    assert sum(differences) / len(differences) > 0.001


def test_the_explanation_has_the_number_of_diverged_trainings(scaling):
    result, _, _ = scaling
    record = make_coefficients_file(result, SECTION)
    assert "diverged" not in " ".join(explain_coefficients(record))
    first, *others = record.race.members
    members = (first.model_copy(update={"num_diverged": 2}), *others)
    race_record = record.race.model_copy(update={"members": members})
    explanation = " ".join(explain_coefficients(record.model_copy(update={"race": race_record})))
    assert explanation.endswith("2 trainings diverged and are not counted.")
