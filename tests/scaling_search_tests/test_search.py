"""The search for alpha, beta, gamma: with real trainings, small and short, and on a stated law,
where the best is known.
"""

import json
import math
from contextlib import closing

import optuna
import pytest

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.trial_store import ORPHAN_REASON, TrialStore
from phinas.scaling_search.race.search import search_coefficients
from phinas.scaling_search.race.synthetic_accuracy import SyntheticAccuracyModel
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml, parse_yaml

BASELINE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
RECIPE = Recipe(epochs=1, batch_size=50)
SECTION = ScalingSection(
    tolerance=0.3, max_grid_members=4, seeds=2, recipe=RECIPE, phi=[0.5, 1.0, 4.0]
)


class CountingExecutor(InlineExecutor):
    """Notes the jobs that it runs, and fails those of one network."""

    def __init__(self, *, failing=""):
        super().__init__(1)
        self.jobs = []
        self._failing = failing

    def submit(self, job):
        self.jobs.append(job)
        if ArchSpec.from_dict(job.payload["spec"]).spec_id == self._failing:
            job.payload["recipe"]["learning_rate"] = 1e30
        super().submit(job)


def new_trial_store():
    return TrialStore(optuna.create_study(direction="maximize"))


def scale(job_factory, *, trial_store=None, executor=None, section=SECTION):
    with closing(executor or InlineExecutor(1)) as used:
        return search_coefficients(
            BASELINE,
            section,
            seed=5,
            max_resolution=math.inf,
            trial_store=trial_store or new_trial_store(),
            executor=used,
            make_job=job_factory.make_job,
            on_progress=lambda done, total, text: None,
        )


@pytest.fixture(scope="module")
def found(job_factory):
    trial_store, executor = new_trial_store(), CountingExecutor()
    return (
        scale(job_factory, trial_store=trial_store, executor=executor),
        trial_store,
        executor.jobs,
    )


def test_where_nothing_can_be_saved_every_member_is_trained_with_the_same_seeds(found):
    """A training of one epoch has no shorter one to begin with."""
    result, trial_store, jobs = found
    seeds = {}
    for row in trial_store.records():
        seeds.setdefault(row.user_attrs["spec_id"], []).append(row.user_attrs["seed"])
    assert len(jobs) == len(trial_store.records()) == 8
    assert len({tuple(values) for values in seeds.values()}) == 1
    assert all(len(set(values)) == 2 for values in seeds.values())
    assert {member.spec.spec_id for member in result.raced_members} == set(seeds)
    assert all(job.payload["on_test_split"] is False for job in jobs)
    assert (
        result.race_result.epochs_spent,
        result.race_result.full_grid_epochs,
        result.short_accuracies,
    ) == (
        8,
        8,
        {},
    )


def test_the_coefficients_mean_the_winner_and_nobody_is_expected_to_beat_it(found):
    result, _, _ = found
    assert result.coefficients.apply(BASELINE, 1.0) == result.winner.spec
    accuracy_gap = [
        member_result.accuracy_gap for member_result in result.race_result.member_results
    ]
    assert min(accuracy_gap) == accuracy_gap[result.race_result.winner] == 0


def test_the_ranges_are_those_of_the_networks_that_cannot_be_told_apart(found):
    result, _, _ = found
    for name, (low, high) in result.ranges().items():
        assert low <= getattr(result.coefficients, name) <= high
        assert low == min(getattr(member, name)[0] for member in result.ties)
        assert high == max(getattr(member, name)[1] for member in result.ties)


def test_the_file_of_coefficients_is_strict_json_and_reads_back_equal(found):
    result, _, _ = found
    data = result.to_dict(SECTION)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert parse_yaml(dump_yaml(data)) == data
    assert sum(row["winner"] for row in data["members"]) == 1
    assert sum(row["tied"] for row in data["members"]) == len(result.ties)
    assert data["grid_size"] == len(result.grid)


def test_what_more_flops_buy_is_taken_off_and_both_figures_are_kept(found):
    result, _, _ = found
    rows = result.to_dict(SECTION)["members"]
    mean = math.exp(sum(math.log(row["flops"]) for row in rows) / len(rows))
    assert result.race.slope > 0
    for row in rows:
        adjustment = result.race.slope * math.log(row["flops"] / mean)
        assert row["adjusted_accuracy"] == pytest.approx(row["accuracy"] - adjustment)
    assert len({row["flops"] for row in rows}) > 1


def test_the_reason_says_how_many_were_compared_and_how_sure_it_is(found):
    result, _, _ = found
    explanation = result.describe(SECTION)
    assert explanation.startswith("the best of 4 networks (the grid has ")
    assert "within 30.0% of 2 times" in explanation
    assert "2 paired seeds each" in explanation
    ties = len(result.ties)
    assert ("it beats the other 3" in explanation) == (ties == 1)
    assert (f"{ties - 1} of the other 3 can't be told from it" in explanation) == (1 < ties < 4)
    assert ("; the other 3 can't be told from it" in explanation) == (ties == 4)


def test_what_is_recorded_is_replayed_and_nothing_is_trained(found, job_factory):
    result, trial_store, _ = found
    executor = CountingExecutor()
    assert scale(job_factory, trial_store=trial_store, executor=executor) == result
    assert executor.jobs == []


def test_the_search_does_not_read_the_test_split(found, sealed):
    result, _, _ = found
    with pytest.raises(ValueError, match=r"magic|pickled"):
        sealed.data.test_arrays()
    assert scale(sealed) == result


def test_a_member_that_fails_is_left_out_of_the_comparison_and_said_to_have_failed(
    found, job_factory
):
    result, _, _ = found
    failing = result.raced_members[1].spec.spec_id
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
    assert without.accuracies == result.accuracies | {failing: []}
    assert failing not in {member.spec.spec_id for member in without.ties}
    reasons = [row.user_attrs["reason"] for row in trial_store.records() if not row.is_complete]
    assert len(reasons) == 2
    assert all(
        reason.startswith("the loss was nan in epoch 1 of 1; lower the learning rate")
        for reason in reasons
    )
    data = without.to_dict(SECTION)
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_where_fewer_than_two_can_be_trained_nothing_is_found(job_factory):
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
        **{"grid_step": 0.025, "rounding": "round", "recipe": Recipe(epochs=10), **settings}
    )
    with closing(executor or InlineExecutor(1)) as used:
        result = search_coefficients(
            B0,
            section,
            seed=5,
            max_resolution=math.inf,
            trial_store=trial_store or new_trial_store(),
            executor=used,
            make_job=lambda spec, recipe, seed: model.make_job(
                spec, B0.canonicalize(), recipe.epochs, seed
            ),
            on_progress=lambda done, total, text: None,
        )
    return result, section


@pytest.mark.parametrize("max_budget_fraction", [0.3, 0.4, 0.6])
def test_a_race_spends_its_share_at_most_and_keeps_the_best(max_budget_fraction):
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
        f"in {result.race_result.epochs_spent} of the full grid's "
        f"{result.race_result.full_grid_epochs} epochs" in result.describe(section)
    )


def test_every_member_of_a_race_is_trained_briefly_and_few_with_every_seed():
    result, section = race()
    assert set(result.short_accuracies) == {member.spec.spec_id for member in result.raced_members}
    trainings = sorted(len(values) for values in result.accuracies.values())
    assert trainings[0] < section.seeds
    rows = result.to_dict(section)["members"]
    assert all(len(row["accuracies"]) == section.seeds for row in rows if row["status"] == "tied")
    assert all(len(row["accuracies"]) < section.seeds for row in rows if row["status"] == "open")
    assert all(row["accuracy_gap_interval"][0] > 0 for row in rows if row["status"] == "excluded")


def test_a_race_that_is_killed_anywhere_ends_as_if_it_had_not_been():
    full_result, _ = race()
    trainings = len(full_result.short_accuracies) + sum(map(len, full_result.accuracies.values()))
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


def test_where_all_members_are_to_be_trained_nothing_is_dropped():
    result, section = race(max_budget_fraction=1.0, max_grid_members=6)
    assert not result.race.early_elimination
    assert {len(values) for values in result.accuracies.values()} == {section.seeds}


def test_members_are_compared_at_the_phi_that_is_asked_for_and_told_at_phi_one():
    result, section = race(grid_phi=2.0, tolerance=0.05)
    assert all(member.ratio == pytest.approx(4, rel=0.05) for member in result.raced_members)
    found = result.coefficients
    assert found.apply(B0, 2.0) == result.winner.spec
    assert found.nominal == pytest.approx(2, rel=0.35)  # rounding; at phi 2 it would be about 4
    assert result.to_dict(section)["grid_phi"] == 2


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_other_strategies_choose_among_the_same_members_and_a_resume_chooses_them_again(strategy):
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


def test_tpe_looks_where_brief_trainings_were_good():
    """Against drawing at random, over several laws' luck: the members that it chooses are better in
    truth.
    """
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
