"""The choice of a baseline: by mean reward of trainings anew, with the reasons in words."""

import json
import math
import random
from contextlib import closing
from dataclasses import replace

import numpy as np
import optuna
import pytest

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.reward import Reward
from phinas.nas.search import SearchResult
from phinas.nas.selection.baseline import select_baseline
from phinas.nas.selection.finalists import greedy_best_subset, select_finalists
from phinas.nas.selection.reference_network import resolve_reference
from phinas.nas.trial import Trial
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml, parse_yaml
from phinas.training.timing.latency import LatencyTimer

SPACE = load_space("tiny")
_generator = random.Random(1)
SPECS = sorted(
    (SPACE.decode(SPACE.sample(_generator)) for _ in range(5)),
    key=lambda spec: network_cost(spec).flops,
)

# An accuracy (or the word "fail") by network, and how much a seed's luck moves it.
MODULE = """
ACCURACIES = {accuracies!r}
NOISE = {noise!r}

def evaluate(spec, budget, seed):
    accuracy = ACCURACIES[spec.spec_id]
    if accuracy == "fail" or accuracy == "fail sometimes" and seed % 2:
        raise RuntimeError("diverged")
    noise = (seed * int(spec.spec_id, 16)) % 1009 / 1009 - 0.5
    return (0.5 if accuracy == "fail sometimes" else accuracy) + NOISE * noise
"""


@pytest.fixture
def select(tmp_path, monkeypatch):
    """Chooses among finalists of these accuracies; their search rewards fall from the first to the
    last. extra_accuracies: of other networks; reuse_function: with the function of the last call.
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    module_names = []

    def run_selection(
        accuracies,
        *,
        noise=0.0,
        seeds=3,
        finalists=4,
        exponent=0.0,
        metric="flops",
        trial_store=None,
        seed=0,
        reference="none",
        extra_accuracies=(),
        reuse_function=False,
    ):
        name = (
            module_names[-1] if reuse_function else f"finalists_{tmp_path.name}_{len(module_names)}"
        )
        module_names.append(name)
        table = {
            spec.spec_id: accuracy
            for spec, accuracy in [*zip(SPECS, accuracies, strict=False), *extra_accuracies]
        }
        (tmp_path / f"{name}.py").write_text(MODULE.format(accuracies=table, noise=noise))
        trials = [
            Trial(
                number,
                number,
                spec,
                network_cost(spec),
                0.9 - number / 100,
                Measurement(0.9 - number / 100),
                1.0,
            )
            for number, spec in enumerate(SPECS[: len(accuracies)])
        ]
        result = SearchResult(
            trials, Reward("soft", exponent, 400_000.0, metric), space_exhausted=False
        )
        section = SearchSection(
            finalists=finalists,
            finalist_seeds=seeds,
            finalist_recipe=Recipe(epochs=7),
            reference=reference,
        )
        with closing(InlineExecutor(1)) as executor:
            baseline = select_baseline(
                result,
                section,
                SPACE,
                seed=seed,
                trial_store=trial_store or TrialStore(optuna.create_study(direction="maximize")),
                executor=executor,
                evaluator=FunctionEvaluator(f"{name}:evaluate", 60.0),
                on_progress=lambda done, total, text: None,
                latency_timer=LatencyTimer("cpu", 1),
            )
        return baseline, baseline.to_dict(result)

    return run_selection


def test_the_finalist_with_the_best_mean_is_chosen_not_the_winner_of_the_search(select):
    baseline, document = select([0.5, 0.6, 0.9, 0.7], noise=0.01)
    assert baseline.trial.spec == SPECS[2]
    assert document["trial"] == 2
    assert document["spec_id"] == SPECS[2].spec_id
    assert (
        "it beats the other 3 finalists beyond the noise of 3 measurements each (95%)"
        in document["explanation"]
    )
    assert [row["tied_with_chosen"] for row in document["finalists"]] == [False, False, True, False]


def test_flops_count_in_the_choice_as_in_the_search(select):
    accuracies = [0.60, 0.61, 0.62, 0.63, 0.64]  # rising with FLOPs
    assert select(accuracies, finalists=5)[0].trial.spec == SPECS[4]
    baseline, document = select(accuracies, finalists=5, exponent=-1.0)
    assert baseline.trial.spec == SPECS[0]
    assert document["finalists"][0]["reward"] == pytest.approx(
        0.60 * (network_cost(SPECS[0]).flops / 400_000) ** -1.0
    )


def test_those_that_cannot_be_told_from_the_chosen_are_named(select):
    _, document = select([0.800, 0.801, 0.802, 0.5], noise=0.02)
    tied = [row["spec_id"] for row in document["finalists"] if row["tied_with_chosen"]]
    assert len(tied) == 3
    others = ", ".join(name for name in tied if name != document["spec_id"])
    assert f"2 of the other 3 finalists can't be told from it ({others})" in document["explanation"]


def test_with_one_training_each_nothing_can_be_told_apart(select):
    baseline, document = select([0.1, 0.9, 0.5, 0.5], seeds=1)
    assert baseline.trial.spec == SPECS[1]
    assert document["margin"] is None
    assert (
        "none of the other 3 finalists can be told from it with one measurement each"
        in document["explanation"]
    )


def test_without_noise_the_choice_is_not_said_to_be_beyond_it(select):
    assert (
        "it beats the other finalist in 2 measurements each, which had no noise"
        in select([0.5, 0.9], seeds=2)[1]["explanation"]
    )


def test_one_other_finalist_is_told_as_one(select):
    assert (
        "; the other finalist can't be told from it with 2 measurements each"
        in select([0.5, 0.5], seeds=2)[1]["explanation"]
    )


def test_only_the_best_of_the_search_are_finalists(select):
    _, document = select([0.1, 0.2, 0.9, 0.9, 0.9], finalists=2)
    assert [row["trial"] for row in document["finalists"]] == [0, 1]


def test_an_only_finalist_is_said_to_be_one(select):
    _, document = select([0.5], finalists=4)
    assert document["explanation"].endswith("it was the only finalist")
    assert document["finalists"][0]["tied_with_chosen"]


@pytest.mark.parametrize("failing", ["fail", "fail sometimes"])
def test_a_finalist_that_fails_with_any_seed_is_left_out(select, failing):
    baseline, document = select([failing, 0.4, 0.6, 0.5], noise=0.001, seeds=4)
    assert baseline.trial.spec == SPECS[2]
    assert [row["trial"] for row in document["finalists"]] == [1, 2, 3]


def test_where_all_others_fail_the_reason_says_so(select):
    _, document = select(["fail", 0.4, "fail", "fail"])
    assert document["explanation"].endswith("no other finalist could be measured")


def test_where_all_fail_nothing_is_found(select):
    with pytest.raises(
        NoResultError, match="no finalist could be trained with every seed: RuntimeError: diverged"
    ):
        select(["fail", "fail"])


def test_what_is_recorded_is_replayed_and_gives_the_same_file(select):
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    _, first = select([0.5, 0.6, "fail", 0.7], noise=0.01, trial_store=trial_store)
    count = len(trial_store.records())
    assert count == 12
    recipes = {
        row.user_attrs["measurement"]["epochs"] for row in trial_store.records() if row.is_complete
    }
    assert recipes == {7}
    seeds = [row.user_attrs["seed"] for row in trial_store.records()]
    assert len(set(seeds)) == 3
    assert all(seeds.count(seed) == 4 for seed in seeds)
    assert first["finalists"]


@pytest.mark.parametrize("accuracies", [[0.5], [0.5, 0.6, "fail"], [0.5, 0.5, 0.5, 0.5]])
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_file_is_strict_json_and_reads_back_equal(select, accuracies, seeds):
    _, document = select(accuracies, seeds=seeds)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert parse_yaml(dump_yaml(document)) == document
    assert type(SPECS[0]).from_dict(document["spec"]).spec_id == document["spec_id"]


def test_the_probability_of_the_choice_is_told(select):
    clear_document, doubtful_document = (
        select([0.5, 0.6, 0.9, 0.7], noise=0.01)[1],
        select([0.800, 0.801, 0.802, 0.5], noise=0.02)[1],
    )
    assert clear_document["probability_of_best"] > 0.99
    assert clear_document["explanation"].endswith(
        "it is the best of them with a probability of over 99%"
    )
    assert 0.25 < doubtful_document["probability_of_best"] < 0.9
    assert doubtful_document["explanation"].endswith(
        "it is the best of them with a probability of "
        f"{doubtful_document['probability_of_best']:.0%}"
    )


def test_one_training_each_gives_no_probability(select):
    document = select([0.1, 0.9], seeds=1)[1]
    assert document["probability_of_best"] is None
    assert "probability" not in document["explanation"]


@pytest.fixture
def reference_file(tmp_path):
    """A network that is not of the space, as a spec file: its path, and it as the search would
    train it.
    """
    reference_spec = replace(SPECS[0], stem_width=24, dropout=0.4)
    (tmp_path / "other.yaml").write_text(
        dump_yaml({"spec": replace(reference_spec, classes=1000, channels=3).to_dict()})
    )
    return str(tmp_path / "other.yaml"), replace(reference_spec, dropout=SPACE.base.dropout)


@pytest.mark.parametrize(
    ("accuracy", "noise", "seeds", "rediscovered", "message"),
    [
        (
            0.3,
            0.01,
            3,
            True,
            "it rediscovers other.yaml: measured alike its reward is at least as high",
        ),
        (0.99, 0.01, 3, False, "it does not reach other.yaml: measured alike its reward is lower"),
        (0.7, 0.1, 2, None, "whether it rediscovers other.yaml can't be told"),
        (0.3, 0.0, 1, None, "one measurement each does not say how sure that is"),
        (0.7, 0.0, 2, True, "0.0000 above, with no noise between measurements"),
    ],
)
def test_a_reference_is_reached_or_not_or_it_cannot_be_told(
    select, reference_file, accuracy, noise, seeds, rediscovered, message
):
    path, spec = reference_file
    accuracies = [0.5, 0.6, 0.7, 0.5]
    baseline, document = select(
        accuracies, noise=noise, seeds=seeds, reference=path, extra_accuracies=[(spec, accuracy)]
    )
    found = document["reference"]
    assert found["spec_id"] == spec.spec_id
    assert found["rediscovered"] is rediscovered
    assert message in found["explanation"]
    assert len(found["accuracies"]) == seeds
    assert found["reward_difference"] == pytest.approx(
        baseline.comparison.means[document["spec_id"]] - found["reward"]
    )
    assert found["search_accuracy"] == pytest.approx(accuracy, abs=noise)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_reference_has_the_recipe_the_seeds_and_the_reward_of_the_finalists(
    select, reference_file
):
    path, spec = reference_file
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    document = select(
        [0.5, 0.6],
        exponent=-1.0,
        reference=path,
        extra_accuracies=[(spec, 0.8)],
        trial_store=trial_store,
    )[1]
    rows = [row.user_attrs for row in trial_store.records()]
    reference_rows = [row for row in rows if row.get("reference") == "other.yaml"]
    finalist_rows = [row for row in reference_rows if row["measurement"]["epochs"] == 7]
    assert [row["seed"] for row in finalist_rows] == list(
        dict.fromkeys(row["seed"] for row in rows if "trial" in row)
    )
    assert len(reference_rows) == len(finalist_rows) + 1  # one like those of the search
    assert document["reference"]["reward"] == pytest.approx(
        0.8 * (network_cost(spec).flops / 400_000) ** -1.0
    )


def test_a_reference_is_timed_once_where_latency_is_the_cost(select, reference_file):
    path, spec = reference_file
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    options = {
        "reference": path,
        "extra_accuracies": [(spec, 0.8)],
        "trial_store": trial_store,
        "metric": "latency",
        "exponent": -0.1,
    }
    found = select([0.5, 0.6], **options)[1]["reference"]
    assert found["latency_ms"] > 0
    assert found["reward"] == pytest.approx(0.8 * (found["latency_ms"] / 400_000) ** -0.1)
    assert select([0.5, 0.6], **options, reuse_function=True)[1]["reference"] == found


def test_a_reference_is_replayed_too(select, reference_file):
    path, spec = reference_file
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    first = select(
        [0.5, 0.6],
        noise=0.01,
        reference=path,
        extra_accuracies=[(spec, 0.8)],
        trial_store=trial_store,
    )[1]
    count = len(trial_store.records())
    second_document = select(
        [0.5, 0.6],
        noise=0.01,
        reference=path,
        extra_accuracies=[(spec, 0.8)],
        trial_store=trial_store,
        reuse_function=True,
    )[1]
    assert second_document == first
    assert len(trial_store.records()) == count


def test_a_reference_that_fails_is_left_out_with_the_reason(select, reference_file):
    path, spec = reference_file
    document = select([0.5, 0.6], reference=path, extra_accuracies=[(spec, "fail")])[1]
    assert document["trial"] == 1
    assert document["reference"] == {
        "name": "other.yaml",
        "exclusion_reason": "RuntimeError: diverged",
    }


def test_a_reference_that_is_a_finalist_is_not_trained_twice(select, tmp_path):
    (tmp_path / "same.yaml").write_text(dump_yaml(SPECS[1].to_dict()))
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    document = select([0.5, 0.6], reference=str(tmp_path / "same.yaml"), trial_store=trial_store)[1]
    assert len(trial_store.records()) == 6
    assert all("trial" in row.user_attrs for row in trial_store.records())
    assert document["reference"]["explanation"] == "it rediscovers same.yaml: it is that network"
    assert document["reference"]["search_reward"] == 0.89


def test_without_a_reference_there_is_none(select):
    assert select([0.5, 0.6])[1]["reference"] is None


@pytest.mark.parametrize(
    ("base", "cost_constraint", "max_trial_flops", "message"),
    [
        (load_space("mnasnet").base, CostConstraint(), 1e8, ""),
        (
            load_space("mnasnet").base,
            CostConstraint(),
            9e7,
            "FLOPs at 224 pixels are over 4 times those of the dearest trial",
        ),
        (
            load_space("mnasnet").base,
            CostConstraint(max_flops=3e8),
            1e9,
            "are outside search.min_flops, max_flops",
        ),
        (
            SPACE.base,
            CostConstraint(),
            1e9,
            "it can't be made for the images of this search (resolution: 12 is below",
        ),
    ],
)
def test_b0_is_the_reference_where_it_costs_little_against_the_search(
    base, cost_constraint, max_trial_flops, message
):
    found = resolve_reference(
        SearchSection(), cost_constraint, base, max_trial_flops=max_trial_flops
    )
    assert found.name == "efficientnet_b0"
    assert (found.spec is None) == bool(message)
    assert message in found.exclusion_reason


def test_a_reference_that_was_asked_for_may_cost_anything():
    section = SearchSection(reference="efficientnet_b7")
    found = resolve_reference(
        section, CostConstraint(max_flops=1e6), load_space("mnasnet").base, max_trial_flops=1.0
    )
    assert found.spec.resolution == 224


def test_finalists_are_those_whose_best_is_expected_to_be_the_highest():
    first_specialist, generalist, near_duplicate, poor_network = (
        [5.0, 0.0, 0.0],
        [4.0, 4.0, 4.0],
        [3.9, 3.9, 3.9],
        [0.0, 1.0, 0.0],
    )
    specialist = [0.0, 0.0, 4.5]
    draws = np.array([first_specialist, generalist, near_duplicate, poor_network, specialist]).T
    assert greedy_best_subset(draws, 3) == [1, 0, 4]
    assert sorted(greedy_best_subset(draws, 9)) == [0, 1, 2, 3, 4]


def test_luck_is_taken_out_of_the_accuracies_that_pick_finalists():
    generator = random.Random(3)
    specs = list(
        {(spec := SPACE.decode(SPACE.sample(generator))).spec_id: spec for _ in range(80)}.values()
    )
    true = {spec.spec_id: 0.5 + 0.04 * math.log(network_cost(spec).flops / 1e5) for spec in specs}
    noise = np.random.default_rng(0).normal(0, 0.03, len(specs))
    trials = [
        Trial(
            n,
            n,
            spec,
            network_cost(spec),
            true[spec.spec_id] + float(noise[n]),
            Measurement(true[spec.spec_id] + float(noise[n])),
        )
        for n, spec in enumerate(specs)
    ]
    found = select_finalists(trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=5, seed=0)
    errors = [one.expected_accuracy - true[one.trial.spec.spec_id] for one in found]
    highest_accuracies = sorted(trials, key=lambda trial: -trial.accuracy)[:5]
    highest_errors = [trial.accuracy - true[trial.spec.spec_id] for trial in highest_accuracies]
    assert np.mean(np.abs(errors)) < np.mean(np.abs(highest_errors))
    second_selection = select_finalists(
        trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=5, seed=0
    )
    assert second_selection == found


def test_a_training_that_went_wrong_is_no_finalist_and_misleads_about_none():
    specs = SPECS[:5]
    accuracies = [0.9, 0.91, 0.05, 0.92, 0.93]
    pairs = enumerate(zip(specs, accuracies, strict=True))
    trials = [
        Trial(number, number, spec, network_cost(spec), value, Measurement(value))
        for number, (spec, value) in pairs
    ]
    found = select_finalists(trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=4, seed=0)
    assert {one.trial.number for one in found} == {0, 1, 3, 4}
    assert all(one.expected_accuracy > 0.85 for one in found)


@pytest.mark.parametrize("count", [1, 3])
def test_of_few_trials_the_highest_rewards_are_finalists(count):
    trials = [
        Trial(n, n, spec, network_cost(spec), 0.1 * n, Measurement(0.5))
        for n, spec in enumerate(SPECS[:3])
    ]
    found = select_finalists(trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=count, seed=0)
    assert [one.trial.number for one in found] == [2, 1, 0][:count]
    assert all(one.expected_accuracy is None for one in found)
