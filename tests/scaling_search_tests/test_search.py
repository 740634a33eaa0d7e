"""The search for alpha, beta, gamma: with real trainings, small and short, and on a stated law,
where the best is known.
"""

import json
import math
from contextlib import closing

import optuna
import pytest

from phinas.experiment.errors import NothingFound
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.trial_store import ORPHAN, Ledger
from phinas.scaling_search.race.search import search_coefficients
from phinas.scaling_search.race.synthetic_accuracy import Law
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml, parse_yaml

BASELINE = load_space("tiny").fitted(channels=1, classes=10, resolution=8).base
RECIPE = Recipe(epochs=1, batch=50)
SECTION = ScalingSection(tolerance=0.3, members=4, seeds=2, recipe=RECIPE, phi=[0.5, 1.0, 4.0])


class Counting(InlineExecutor):
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


def new_ledger():
    return Ledger(optuna.create_study(direction="maximize"))


def scale(trainer, *, ledger=None, executor=None, section=SECTION):
    with closing(executor or InlineExecutor(1)) as used:
        return search_coefficients(
            BASELINE,
            section,
            seed=5,
            largest_side=math.inf,
            ledger=ledger or new_ledger(),
            executor=used,
            make_job=trainer.job,
            notify=lambda done, total, text: None,
        )


@pytest.fixture(scope="module")
def found(trainer):
    ledger, executor = new_ledger(), Counting()
    return scale(trainer, ledger=ledger, executor=executor), ledger, executor.jobs


def test_where_nothing_can_be_saved_every_member_is_trained_with_the_same_seeds(found):
    """A training of one epoch has no shorter one to begin with."""
    result, ledger, jobs = found
    seeds = {}
    for row in ledger.rows():
        seeds.setdefault(row.attributes["spec_id"], []).append(row.attributes["seed"])
    assert len(jobs) == len(ledger.rows()) == 8
    assert len({tuple(values) for values in seeds.values()}) == 1
    assert all(len(set(values)) == 2 for values in seeds.values())
    assert {member.spec.spec_id for member in result.raced} == set(seeds)
    assert all(job.payload["final"] is False for job in jobs)
    assert (result.verdict.spent, result.verdict.full_grid, result.brief) == (8, 8, {})


def test_the_coefficients_mean_the_winner_and_nobody_is_expected_to_beat_it(found):
    result, _, _ = found
    assert result.coefficients.apply(BASELINE, 1.0) == result.winner.spec
    behind = [standing.behind for standing in result.verdict.standings]
    assert min(behind) == behind[result.verdict.winner] == 0


def test_the_ranges_are_those_of_the_networks_that_cannot_be_told_apart(found):
    result, _, _ = found
    for name, (low, high) in result.ranges().items():
        assert low <= getattr(result.coefficients, name) <= high
        assert low == min(getattr(member, name)[0] for member in result.ties)
        assert high == max(getattr(member, name)[1] for member in result.ties)


def test_the_file_of_coefficients_is_strict_json_and_reads_back_equal(found):
    result, _, _ = found
    facts = result.to_dict(SECTION)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert parse_yaml(dump_yaml(facts)) == facts
    assert sum(row["winner"] for row in facts["members"]) == 1
    assert sum(row["tied"] for row in facts["members"]) == len(result.ties)
    assert facts["grid_size"] == len(result.grid)


def test_what_more_flops_buy_is_taken_off_and_both_figures_are_kept(found):
    result, _, _ = found
    rows = result.to_dict(SECTION)["members"]
    mean = math.exp(sum(math.log(row["flops"]) for row in rows) / len(rows))
    assert result.race.slope > 0
    for row in rows:
        taken = result.race.slope * math.log(row["flops"] / mean)
        assert row["corrected"] == pytest.approx(row["accuracy"] - taken)
    assert len({row["flops"] for row in rows}) > 1


def test_the_reason_says_how_many_were_compared_and_how_sure_it_is(found):
    result, _, _ = found
    why = result.explain(SECTION)
    assert why.startswith("the best of 4 networks (the grid has ")
    assert "within 30.0% of 2 times" in why
    assert "2 paired seeds each" in why
    ties = len(result.ties)
    assert ("it beats the other 3" in why) == (ties == 1)
    assert (f"{ties - 1} of the other 3 can't be told from it" in why) == (1 < ties < 4)
    assert ("; the other 3 can't be told from it" in why) == (ties == 4)


def test_what_is_recorded_is_replayed_and_nothing_is_trained(found, trainer):
    result, ledger, _ = found
    executor = Counting()
    assert scale(trainer, ledger=ledger, executor=executor) == result
    assert executor.jobs == []


def test_the_search_does_not_read_the_test_split(found, sealed):
    result, _, _ = found
    with pytest.raises(ValueError, match=r"magic|pickled"):
        sealed.data.test_arrays()
    assert scale(sealed) == result


def test_a_member_that_fails_is_left_out_of_the_comparison_and_said_to_have_failed(found, trainer):
    result, _, _ = found
    failing = result.raced[1].spec.spec_id
    ledger = new_ledger()
    without = scale(trainer, ledger=ledger, executor=Counting(failing=failing))
    assert [standing.status == "failed" for standing in without.verdict.standings] == [
        False,
        True,
        False,
        False,
    ]
    assert without.accuracies == result.accuracies | {failing: []}
    assert failing not in {member.spec.spec_id for member in without.ties}
    reasons = [row.attributes["reason"] for row in ledger.rows() if not row.done]
    assert len(reasons) == 2
    assert all(
        reason.startswith("the loss was nan in epoch 1 of 1; lower the learning rate")
        for reason in reasons
    )
    facts = without.to_dict(SECTION)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_where_fewer_than_two_can_be_trained_nothing_is_found(trainer):
    section = SECTION.model_copy(
        update={"recipe": Recipe(epochs=1, batch=50, learning_rate=1e30), "members": 2}
    )
    with pytest.raises(
        NothingFound, match="only 0 networks of the grid could be trained: the loss was"
    ):
        scale(trainer, section=section)


B0 = preset("efficientnet_b0")
STEEP = Law(balance=7.0, power=0.7)  # compound wins by two points


class Stopping(InlineExecutor):
    """Dies, as a killed driver would, after so many results."""

    def __init__(self, after):
        super().__init__(1)
        self._left = after

    def next_result(self):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return super().next_result()


def race(*, ledger=None, executor=None, law=STEEP, **settings):
    section = ScalingSection(
        **{"step": 0.025, "rounding": "round", "recipe": Recipe(epochs=10), **settings}
    )
    with closing(executor or InlineExecutor(1)) as used:
        result = search_coefficients(
            B0,
            section,
            seed=5,
            largest_side=math.inf,
            ledger=ledger or new_ledger(),
            executor=used,
            make_job=lambda spec, recipe, seed: law.job(spec, B0.simplified(), recipe.epochs, seed),
            notify=lambda done, total, text: None,
        )
    return result, section


@pytest.mark.parametrize("share", [0.3, 0.4, 0.6])
def test_a_race_spends_its_share_at_most_and_keeps_the_best(share):
    result, section = race(share=share)
    assert result.race.drop
    assert 0.2 < result.verdict.spent / result.verdict.full_grid <= share
    specs = [member.spec for member in result.raced]
    assert STEEP.best(specs, B0.simplified(), 10) in result.verdict.ties
    assert 1 <= len(result.ties) < len(result.raced)
    assert (
        f"in {result.verdict.spent} of the full grid's {result.verdict.full_grid} epochs"
        in result.explain(section)
    )


def test_every_member_of_a_race_is_trained_briefly_and_few_with_every_seed():
    result, section = race()
    assert set(result.brief) == {member.spec.spec_id for member in result.raced}
    trainings = sorted(len(values) for values in result.accuracies.values())
    assert trainings[0] < section.seeds
    rows = result.to_dict(section)["members"]
    assert all(len(row["accuracies"]) == section.seeds for row in rows if row["status"] == "tied")
    assert all(len(row["accuracies"]) < section.seeds for row in rows if row["status"] == "open")
    assert all(row["behind_interval"][0] > 0 for row in rows if row["status"] == "excluded")


def test_a_race_that_is_killed_anywhere_ends_as_if_it_had_not_been():
    whole, _ = race()
    trainings = len(whole.brief) + sum(map(len, whole.accuracies.values()))
    for after in range(1, trainings, 5):
        ledger = new_ledger()
        with pytest.raises(KeyboardInterrupt):
            race(ledger=ledger, executor=Stopping(after))
        known = {row.attributes["key"] for row in ledger.rows() if row.done}
        executor = Counting()
        assert race(ledger=ledger, executor=executor)[0] == whole
        assert len(executor.jobs) == trainings - len(known)
        assert {row.attributes["reason"] for row in ledger.rows() if not row.done} <= {ORPHAN}


def test_where_all_members_are_to_be_trained_nothing_is_dropped():
    result, section = race(share=1.0, members=6)
    assert not result.race.drop
    assert {len(values) for values in result.accuracies.values()} == {section.seeds}


def test_members_are_compared_at_the_phi_that_is_asked_for_and_told_at_phi_one():
    result, section = race(compare_at=2.0, tolerance=0.05)
    assert all(member.ratio == pytest.approx(4, rel=0.05) for member in result.raced)
    found = result.coefficients
    assert found.apply(B0, 2.0) == result.winner.spec
    assert found.nominal == pytest.approx(2, rel=0.35)  # rounding; at phi 2 it would be about 4
    assert result.to_dict(section)["compared_at_phi"] == 2


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_other_strategies_choose_among_the_same_members_and_a_resume_chooses_them_again(strategy):
    ledger = new_ledger()
    result, _ = race(strategy=strategy, members=8, ledger=ledger)
    assert len(result.raced) == 8 < len(result.grid)
    assert {m.spec for m in result.raced} <= {m.spec for m in result.grid}
    executor = Counting()
    assert race(strategy=strategy, members=8, ledger=ledger, executor=executor)[0] == result
    assert executor.jobs == []


def test_tpe_looks_where_brief_trainings_were_good():
    """Against drawing at random, over several laws' luck: the members that it chooses are better in
    truth.
    """
    gains = []
    for world in range(6):
        law = Law(balance=7.0, power=0.7, world=world)
        chosen = {
            name: race(strategy=name, members=10, law=law)[0].raced for name in ("random", "tpe")
        }
        truth = {
            name: sum(law.expected(member.spec, B0.simplified(), 10) for member in members)
            / len(members)
            for name, members in chosen.items()
        }
        gains.append(truth["tpe"] - truth["random"])
    assert sum(gains) / len(gains) > 0.001
