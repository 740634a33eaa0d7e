"""The search for alpha, beta, gamma and the validation of a family, with real trainings, small and short."""

import json
import math
from contextlib import closing

import optuna
import pytest
import torch

from experiment.config import DataSection, Recipe, ScalingSection
from experiment.errors import NothingFound
from experiment.executors.inline import InlineExecutor
from experiment.store import Ledger
from scaling_search.search import search_coefficients
from space.loading import load_space
from space.spec import ArchSpec
from space.yaml_text import dump_yaml, parse_yaml
from training.job import Trainer
from training.prepared import prepare

BASELINE = load_space("tiny").fitted(channels=1, classes=10, resolution=8).base
RECIPE = Recipe(epochs=1, batch=50)
SECTION = ScalingSection(tolerance=0.3, members=4, seeds=2, recipe=RECIPE, phi=[0.5, 1.0, 4.0])
DATA = DataSection(source="digits", train_limit=200, validation_limit=100)


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


def spoil_test_split(directory):
    """Bytes that are not even arrays, as many as there were."""
    for name in ("images.npy", "labels.npy"):
        path = directory / "test" / name
        path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Digits whose test split can't be read."""
    data = prepare(DATA, seed=0, directory=tmp_path_factory.mktemp("sealed"))
    spoil_test_split(data.directory)
    return Trainer.of(data, DATA, device="cpu", threads=1, limit_seconds=60.0)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    data = prepare(DATA, seed=0, directory=tmp_path_factory.mktemp("whole"))
    return Trainer.of(data, DATA, device="cpu", threads=1, limit_seconds=60.0)


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


def test_every_member_is_trained_with_the_same_seeds(found):
    result, ledger, jobs = found
    seeds = {}
    for row in ledger.rows():
        seeds.setdefault(row.attributes["spec_id"], []).append(row.attributes["seed"])
    assert len(jobs) == len(ledger.rows()) == 8
    assert len({tuple(values) for values in seeds.values()}) == 1
    assert all(len(set(values)) == 2 for values in seeds.values())
    assert {member.spec.spec_id for member in result.trained} == set(seeds)
    assert all(job.payload["final"] is False for job in jobs)


def test_the_winner_has_the_best_mean_and_its_coefficients_mean_it(found):
    result, _, _ = found
    means = {name: sum(values) / len(values) for name, values in result.accuracies.items()}
    assert means[result.winner.spec.spec_id] == max(means.values())
    assert result.coefficients.apply(BASELINE, 1.0) == result.winner.spec


def test_the_ranges_are_those_of_the_networks_that_cannot_be_told_apart(found):
    result, _, _ = found
    tied = [member for member in result.trained if member.spec.spec_id in result.comparison.ties]
    for name, (low, high) in result.ranges().items():
        assert low <= getattr(result.coefficients, name) <= high
        assert low == min(getattr(member, name)[0] for member in tied)
        assert high == max(getattr(member, name)[1] for member in tied)


def test_the_file_of_coefficients_is_strict_json_and_reads_back_equal(found):
    result, _, _ = found
    facts = result.to_dict(SECTION)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert parse_yaml(dump_yaml(facts)) == facts
    assert sum(row["winner"] for row in facts["members"]) == 1
    assert facts["grid_size"] == len(result.grid)


def test_the_reason_says_how_many_were_compared_and_how_sure_it_is(found):
    result, _, _ = found
    why = result.explain(SECTION)
    assert why.startswith("highest mean accuracy over 2 paired seeds of 4 networks (the grid has")
    assert "within 30.0% of 2 times" in why
    ties = len(result.comparison.ties)
    assert ("it beats all others" in why) == (ties == 1)
    assert (f"{ties - 1} of the other 3 can't be told from it" in why) == (ties > 1)


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


def test_a_member_that_fails_is_left_out(found, trainer):
    result, _, _ = found
    failing = result.trained[1].spec.spec_id
    ledger = new_ledger()
    without = scale(trainer, ledger=ledger, executor=Counting(failing=failing))
    assert [member.spec for member in without.trained] == [m.spec for m in result.trained if m.spec.spec_id != failing]
    assert without.accuracies == {name: values for name, values in result.accuracies.items() if name != failing}
    reasons = [row.attributes["reason"] for row in ledger.rows() if not row.done]
    assert len(reasons) == 2
    assert all(reason.startswith("the loss was nan in epoch 1 of 1; lower the learning rate") for reason in reasons)


def test_where_fewer_than_two_can_be_trained_nothing_is_found(trainer):
    section = SECTION.model_copy(update={"recipe": Recipe(epochs=1, batch=50, learning_rate=1e30), "members": 2})
    with pytest.raises(NothingFound, match="only 0 networks of the grid could be trained with every seed: the loss was"):
        scale(trainer, section=section)
