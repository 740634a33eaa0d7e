"""The choice of a baseline: by mean reward of trainings anew, with the reasons in words."""

import json
import random
from contextlib import closing

import optuna
import pytest

from experiment.config import Recipe, SearchSection
from experiment.errors import NothingFound
from experiment.executors.inline import InlineExecutor
from experiment.measurement import Measurement
from experiment.store import Ledger
from nas.baseline import choose_baseline
from nas.evaluators.function import FunctionEvaluator
from nas.reward import Reward
from nas.search import SearchResult
from nas.trial import Trial
from space.cost import cost
from space.loading import load_space
from space.yaml_text import dump_yaml, parse_yaml

SPACE = load_space("tiny")
_generator = random.Random(1)
SPECS = sorted((SPACE.decode(SPACE.sample(_generator)) for _ in range(5)), key=lambda spec: cost(spec).flops)

# An accuracy (or the word "fail") by network, and how much a seed's luck moves it.
MODULE = """
ACCURACIES = {accuracies!r}
NOISE = {noise!r}

def evaluate(spec, budget, seed):
    accuracy = ACCURACIES[spec.spec_id]
    if accuracy == "fail" or accuracy == "fail sometimes" and seed % 2:
        raise RuntimeError("diverged")
    luck = (seed * int(spec.spec_id, 16)) % 1009 / 1009 - 0.5
    return (0.5 if accuracy == "fail sometimes" else accuracy) + NOISE * luck
"""


@pytest.fixture
def choose(tmp_path, monkeypatch):
    """Chooses among finalists of these accuracies; their search rewards fall from the first to the last."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def carry_out(accuracies, *, noise=0.0, seeds=3, finalists=4, weight=0.0, ledger=None, seed=0):
        name = f"finalists_{tmp_path.name}_{len(made)}"
        made.append(name)
        table = {spec.spec_id: accuracy for spec, accuracy in zip(SPECS, accuracies, strict=False)}
        (tmp_path / f"{name}.py").write_text(MODULE.format(accuracies=table, noise=noise))
        trials = [
            Trial(number, number, spec, cost(spec), 0.9 - number / 100, Measurement(0.9 - number / 100))
            for number, spec in enumerate(SPECS[: len(accuracies)])
        ]
        result = SearchResult(trials, Reward("soft", weight, 400_000.0), exhausted=False)
        section = SearchSection(finalists=finalists, finalist_seeds=seeds, finalist_recipe=Recipe(epochs=7))
        with closing(InlineExecutor(1)) as executor:
            baseline = choose_baseline(
                result,
                section,
                SPACE,
                seed=seed,
                ledger=ledger or Ledger(optuna.create_study(direction="maximize")),
                executor=executor,
                evaluator=FunctionEvaluator(f"{name}:evaluate", 60.0),
                notify=lambda done, total, text: None,
            )
        return baseline, baseline.to_dict(result)

    return carry_out


def test_the_finalist_with_the_best_mean_is_chosen_not_the_winner_of_the_search(choose):
    baseline, facts = choose([0.5, 0.6, 0.9, 0.7], noise=0.01)
    assert baseline.trial.spec == SPECS[2]
    assert facts["trial"] == 2
    assert facts["spec_id"] == SPECS[2].spec_id
    assert "it beats the other 3 finalists beyond the noise of 3 trainings each (95%)" in facts["why"]
    assert [row["tied_with_chosen"] for row in facts["finalists"]] == [False, False, True, False]


def test_flops_count_in_the_choice_as_in_the_search(choose):
    accuracies = [0.60, 0.61, 0.62, 0.63, 0.64]  # rising with FLOPs
    assert choose(accuracies, finalists=5)[0].trial.spec == SPECS[4]
    baseline, facts = choose(accuracies, finalists=5, weight=-1.0)
    assert baseline.trial.spec == SPECS[0]
    assert facts["finalists"][0]["reward"] == pytest.approx(0.60 * (cost(SPECS[0]).flops / 400_000) ** -1.0)


def test_those_that_cannot_be_told_from_the_chosen_are_named(choose):
    _, facts = choose([0.800, 0.801, 0.802, 0.5], noise=0.02)
    tied = [row["spec_id"] for row in facts["finalists"] if row["tied_with_chosen"]]
    assert len(tied) == 3
    others = ", ".join(name for name in tied if name != facts["spec_id"])
    assert f"2 of the other 3 finalists can't be told from it ({others})" in facts["why"]


def test_with_one_training_each_nothing_can_be_told_apart(choose):
    baseline, facts = choose([0.1, 0.9, 0.5, 0.5], seeds=1)
    assert baseline.trial.spec == SPECS[1]
    assert facts["margin"] is None
    assert "none of the other 3 finalists can be told from it with 1 trainings each" in facts["why"]


def test_only_the_best_of_the_search_are_finalists(choose):
    _, facts = choose([0.1, 0.2, 0.9, 0.9, 0.9], finalists=2)
    assert [row["trial"] for row in facts["finalists"]] == [0, 1]


def test_an_only_finalist_is_said_to_be_one(choose):
    _, facts = choose([0.5], finalists=4)
    assert facts["why"].endswith("it was the only finalist")
    assert facts["finalists"][0]["tied_with_chosen"]


@pytest.mark.parametrize("failing", ["fail", "fail sometimes"])
def test_a_finalist_that_fails_with_any_seed_is_left_out(choose, failing):
    baseline, facts = choose([failing, 0.4, 0.6, 0.5], noise=0.001, seeds=4)
    assert baseline.trial.spec == SPECS[2]
    assert [row["trial"] for row in facts["finalists"]] == [1, 2, 3]


def test_where_all_others_fail_the_reason_says_so(choose):
    _, facts = choose(["fail", 0.4, "fail", "fail"])
    assert facts["why"].endswith("no other finalist could be trained")


def test_where_all_fail_nothing_is_found(choose):
    with pytest.raises(NothingFound, match="no finalist could be trained with every seed: RuntimeError: diverged"):
        choose(["fail", "fail"])


def test_what_is_recorded_is_replayed_and_gives_the_same_file(choose):
    ledger = Ledger(optuna.create_study(direction="maximize"))
    _, first = choose([0.5, 0.6, "fail", 0.7], noise=0.01, ledger=ledger)
    count = len(ledger.rows())
    assert count == 12
    recipes = {row.attributes["measurement"]["epochs"] for row in ledger.rows() if row.done}
    assert recipes == {7}
    seeds = [row.attributes["seed"] for row in ledger.rows()]
    assert len(set(seeds)) == 3
    assert all(seeds.count(seed) == 4 for seed in seeds)
    assert first["finalists"]


@pytest.mark.parametrize("accuracies", [[0.5], [0.5, 0.6, "fail"], [0.5, 0.5, 0.5, 0.5]])
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_file_is_strict_json_and_reads_back_equal(choose, accuracies, seeds):
    _, facts = choose(accuracies, seeds=seeds)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert parse_yaml(dump_yaml(facts)) == facts
    assert type(SPECS[0]).from_dict(facts["spec"]).spec_id == facts["spec_id"]
