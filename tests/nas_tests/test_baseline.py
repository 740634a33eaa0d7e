"""The selection of a baseline by the mean reward of repeated trainings."""

import math
import random
from contextlib import closing
from dataclasses import replace

import numpy as np
import optuna
import pytest

from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.errors import NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.reward import Reward
from phinas.nas.search import SearchResult
from phinas.nas.selection.baseline import EvaluationContext, select_baseline
from phinas.nas.selection.baseline_record import make_baseline_file
from phinas.nas.selection.finalists import greedy_best_subset, select_finalists
from phinas.nas.selection.reference_network import ReferenceNetwork, resolve_reference
from phinas.nas.trial import Trial
from phinas.reports.sentences.baseline import describe_reference, explain_choice
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml
from phinas.training.timing.latency import LatencyTimer

SPACE = load_space("tiny")
_generator = random.Random(1)
SPECS = sorted(
    (SPACE.decode(SPACE.sample(_generator)) for _ in range(5)),
    key=lambda spec: spec.cost().flops,
)

# The accuracy of each network (or "fail", or "fail sometimes"), and the range of the noise.
MODULE = """
ACCURACIES = {scores!r}
NOISE = {noise!r}

def evaluate(spec, budget, seed):
    accuracy = ACCURACIES[spec.network_id]
    if accuracy == "fail" or accuracy == "fail sometimes" and seed % 2:
        raise RuntimeError("diverged")
    noise = (seed * int(spec.network_id, 16)) % 1009 / 1009 - 0.5
    return (0.5 if accuracy == "fail sometimes" else accuracy) + NOISE * noise
"""


@pytest.fixture
def select(tmp_path, monkeypatch):
    """A function that selects a baseline among finalists with the given scores.

    Their rewards in the search fall from the first to the last. `extra_scores` are (network, score)
    pairs of other networks. `reuse_function` uses the evaluator function of the previous call.
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    module_names = []

    def run_selection(
        scores,
        *,
        noise=0.0,
        seeds=3,
        finalists=4,
        exponent=0.0,
        cost_metric="flops",
        trial_store=None,
        seed=0,
        reference="none",
        extra_scores=(),
        reuse_function=False,
        is_scalable=None,
    ):
        name = (
            module_names[-1] if reuse_function else f"finalists_{tmp_path.name}_{len(module_names)}"
        )
        module_names.append(name)
        table = {
            spec.network_id: score
            for spec, score in [*zip(SPECS, scores, strict=False), *extra_scores]
        }
        (tmp_path / f"{name}.py").write_text(MODULE.format(scores=table, noise=noise))
        trials = [
            Trial(
                number,
                number,
                spec,
                spec.cost(),
                0.9 - number / 100,
                Measurement(0.9 - number / 100),
                1.0,
            )
            for number, spec in enumerate(SPECS[: len(scores)])
        ]
        result = SearchResult(
            trials, Reward("soft", exponent, 400_000.0, cost_metric), space_exhausted=False
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
                context=EvaluationContext(
                    trial_store or TrialStore(optuna.create_study(direction="maximize")),
                    executor,
                    FunctionEvaluator(f"{name}:evaluate", 60.0),
                    LatencyTimer("cpu", 1),
                ),
                on_progress=lambda done, total, text: None,
                is_scalable=is_scalable,
            )
        return baseline, make_baseline_file(baseline, result)

    return run_selection


def explanation(document):
    return " ".join(explain_choice(document))


def test_the_finalist_with_the_best_mean_is_selected_not_the_winner_of_the_search(select):
    baseline, document = select([0.5, 0.6, 0.9, 0.7], noise=0.01)
    assert baseline.trial.spec == SPECS[2]
    assert document.selection.trial == 2
    assert document.network_id == SPECS[2].network_id
    assert (
        "It is significantly better than the other 3 finalists (95%, 3 measurements each)."
        in explanation(document)
    )
    assert [row.tied_with_selected for row in document.selection.finalists] == [
        False,
        False,
        True,
        False,
    ]


def test_a_network_that_cannot_be_scaled_is_passed_over_with_a_remark(select):
    scores = [0.5, 0.6, 0.9, 0.7]
    baseline, document = select(scores, is_scalable=lambda spec: spec != SPECS[2])
    assert baseline.trial.spec == SPECS[3]
    assert document.selection.num_unscalable == 1
    assert explanation(document).endswith(
        "1 measured network was passed over, because the scaling search has no grid of at least "
        "two networks for it."
    )
    assert "passed over" not in explanation(select(scores, is_scalable=lambda spec: True)[1])


def test_where_no_network_can_be_scaled_none_is_passed_over(select):
    baseline, document = select([0.5, 0.6, 0.9, 0.7], is_scalable=lambda spec: False)
    assert baseline.trial.spec == SPECS[2]
    assert document.selection.num_unscalable == 0


def test_finalists_are_compared_by_the_reward_of_the_search(select):
    scores = [0.60, 0.61, 0.62, 0.63, 0.64]  # rising with FLOPs
    assert select(scores, finalists=5)[0].trial.spec == SPECS[4]
    baseline, document = select(scores, finalists=5, exponent=-1.0)
    assert baseline.trial.spec == SPECS[0]
    assert document.selection.finalists[0].reward == pytest.approx(
        0.60 * (SPECS[0].cost().flops / 400_000) ** -1.0
    )


def test_finalists_tied_with_the_selected_one_are_named(select):
    _, document = select([0.800, 0.801, 0.802, 0.5], noise=0.02)
    tied = [row.network_id for row in document.selection.finalists if row.tied_with_selected]
    assert len(tied) == 3
    others = " and ".join(name for name in tied if name != document.network_id)
    assert f"It is tied with 2 of the other 3 finalists ({others})." in explanation(document)


def test_after_one_training_each_no_difference_is_significant(select):
    baseline, document = select([0.1, 0.9, 0.5, 0.5], seeds=1)
    assert baseline.trial.spec == SPECS[1]
    assert document.selection.margin is None
    assert (
        "It is not significantly different from any of the other 3 finalists "
        "(one measurement each)." in explanation(document)
    )


def test_without_noise_the_choice_is_not_called_significant(select):
    assert (
        "It is better than the other finalist; repeated measurements were identical."
        in explanation(select([0.5, 0.9], seeds=2)[1])
    )


def test_a_tie_with_the_only_other_finalist_is_in_the_singular(select):
    assert (
        "It is not significantly different from the other finalist (2 measurements each)."
        in explanation(select([0.5, 0.5], seeds=2)[1])
    )


def test_only_the_best_of_the_search_are_finalists(select):
    _, document = select([0.1, 0.2, 0.9, 0.9, 0.9], finalists=2)
    assert [row.trial for row in document.selection.finalists] == [0, 1]


def test_the_explanation_of_an_only_finalist_says_so(select):
    _, document = select([0.5], finalists=4)
    assert explanation(document).endswith("It was the only finalist.")
    assert document.selection.finalists[0].tied_with_selected


@pytest.mark.parametrize("failing", ["fail", "fail sometimes"])
def test_a_finalist_that_fails_with_any_seed_is_excluded(select, failing):
    baseline, document = select([failing, 0.4, 0.6, 0.5], noise=0.001, seeds=4)
    assert baseline.trial.spec == SPECS[2]
    assert [row.trial for row in document.selection.finalists] == [1, 2, 3]


def test_if_all_other_finalists_fail_the_explanation_says_so(select):
    _, document = select(["fail", 0.4, "fail", "fail"])
    assert explanation(document).endswith("No other finalist could be measured.")


def test_if_all_finalists_fail_there_is_no_baseline(select):
    with pytest.raises(
        NoResultError, match="no finalist could be trained with every seed: RuntimeError: diverged"
    ):
        select(["fail", "fail"])


def test_each_finalist_is_trained_once_with_each_of_the_same_seeds(select):
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    _, document = select([0.5, 0.6, "fail", 0.7], noise=0.01, trial_store=trial_store)
    assert len(trial_store.records()) == 12
    epochs = {
        row.user_attrs["measurement"]["epochs"] for row in trial_store.records() if row.is_complete
    }
    assert epochs == {7}
    seeds = [row.user_attrs["seed"] for row in trial_store.records()]
    assert len(set(seeds)) == 3
    assert all(seeds.count(seed) == 4 for seed in seeds)
    assert [row.trial for row in document.selection.finalists] == [0, 1, 3]


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.6, "fail"], [0.5, 0.5, 0.5, 0.5]])
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_baseline_file_is_read_back_unchanged(select, tmp_path, scores, seeds):
    _, document = select(scores, seeds=seeds)
    document.write(tmp_path / "baseline.yaml")
    assert BaselineFile.read(tmp_path / "baseline.yaml") == document
    assert document.spec.network_id == document.network_id


@pytest.mark.parametrize(
    ("scores", "seeds", "outcome"),
    [
        ([0.5], 2, "only_finalist"),
        ([0.5, "fail"], 2, "others_failed"),
        ([0.5, 0.5], 2, "all_tied"),
        ([0.5, 0.9], 2, "best_without_noise"),
        ([0.5, 0.5, 0.1], 2, "some_tied"),
    ],
)
def test_the_outcome_of_the_comparison_is_recorded(select, scores, seeds, outcome):
    assert select(scores, seeds=seeds)[1].selection.outcome == outcome


def test_the_probability_of_the_choice_is_recorded(select):
    clear_document, uncertain_document = (
        select([0.5, 0.6, 0.9, 0.7], noise=0.01)[1],
        select([0.800, 0.801, 0.802, 0.5], noise=0.02)[1],
    )
    assert clear_document.selection.probability_of_best > 0.99
    assert explanation(clear_document).endswith(
        "The probability that it is the best finalist is over 99%."
    )
    probability = uncertain_document.selection.probability_of_best
    assert 0.25 < probability < 0.9
    assert explanation(uncertain_document).endswith(
        f"The probability that it is the best finalist is {probability:.0%}."
    )


def test_one_training_each_gives_no_probability(select):
    document = select([0.1, 0.9], seeds=1)[1]
    assert document.selection.probability_of_best is None
    assert "probability" not in explanation(document)


@pytest.fixture
def reference_file(tmp_path):
    """A network outside the space: the path of its spec file, and its spec for the images of the
    search.
    """
    reference_spec = replace(SPECS[0], stem_width=24, dropout=0.4)
    (tmp_path / "other.yaml").write_text(
        dump_yaml({"spec": replace(reference_spec, classes=1000, channels=3).to_dict()})
    )
    return str(tmp_path / "other.yaml"), replace(reference_spec, dropout=SPACE.base.dropout)


@pytest.mark.parametrize(
    ("score", "noise", "seeds", "rediscovered", "message"),
    [
        (
            0.3,
            0.01,
            3,
            True,
            "It reaches the reference network other.yaml: measured in the same way, its mean "
            "reward is at least as high",
        ),
        (0.99, 0.01, 3, False, "It does not reach the reference network other.yaml"),
        (0.7, 0.1, 2, None, "It is not significantly different from the reference network"),
        (0.3, 0.0, 1, None, "one measurement each gives no interval"),
        (0.7, 0.0, 2, True, "(difference +0.0000, repeated measurements were identical)"),
    ],
)
def test_a_reference_is_reached_or_not_or_not_significantly_different(
    select, reference_file, score, noise, seeds, rediscovered, message
):
    path, spec = reference_file
    scores = [0.5, 0.6, 0.7, 0.5]
    baseline, document = select(
        scores, noise=noise, seeds=seeds, reference=path, extra_scores=[(spec, score)]
    )
    result = document.selection.reference
    assert result.network_id == spec.network_id
    assert result.rediscovered is rediscovered
    assert message in describe_reference(document.selection)
    assert len(result.scores) == seeds
    assert result.reward_difference == pytest.approx(
        baseline.comparison.means[document.network_id] - result.reward
    )
    assert result.search_score == pytest.approx(score, abs=noise)


def test_a_reference_has_the_recipe_the_seeds_and_the_reward_of_the_finalists(
    select, reference_file
):
    path, spec = reference_file
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    document = select(
        [0.5, 0.6],
        exponent=-1.0,
        reference=path,
        extra_scores=[(spec, 0.8)],
        trial_store=trial_store,
    )[1]
    rows = [row.user_attrs for row in trial_store.records()]
    reference_rows = [row for row in rows if row.get("reference") == "other.yaml"]
    finalist_rows = [row for row in reference_rows if row["measurement"]["epochs"] == 7]
    assert [row["seed"] for row in finalist_rows] == list(
        dict.fromkeys(row["seed"] for row in rows if "trial" in row)
    )
    assert len(reference_rows) == len(finalist_rows) + 1  # one like those of the search
    assert document.selection.reference.reward == pytest.approx(
        0.8 * (spec.cost().flops / 400_000) ** -1.0
    )


def test_a_reference_is_timed_once_where_latency_is_the_cost(select, reference_file):
    path, spec = reference_file
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    options = {
        "reference": path,
        "extra_scores": [(spec, 0.8)],
        "trial_store": trial_store,
        "cost_metric": "latency",
        "exponent": -0.1,
    }
    result = select([0.5, 0.6], **options)[1].selection.reference
    assert result.latency_ms > 0
    assert result.reward == pytest.approx(0.8 * (result.latency_ms / 400_000) ** -0.1)
    assert select([0.5, 0.6], **options, reuse_function=True)[1].selection.reference == result


def test_a_recorded_training_of_the_reference_is_not_run_again(select, reference_file):
    path, spec = reference_file
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    first = select(
        [0.5, 0.6],
        noise=0.01,
        reference=path,
        extra_scores=[(spec, 0.8)],
        trial_store=trial_store,
    )[1]
    count = len(trial_store.records())
    second_document = select(
        [0.5, 0.6],
        noise=0.01,
        reference=path,
        extra_scores=[(spec, 0.8)],
        trial_store=trial_store,
        reuse_function=True,
    )[1]
    assert second_document == first
    assert len(trial_store.records()) == count


def test_a_reference_that_fails_is_excluded_with_the_reason(select, reference_file):
    path, spec = reference_file
    document = select([0.5, 0.6], reference=path, extra_scores=[(spec, "fail")])[1]
    assert document.selection.trial == 1
    assert document.selection.reference is None
    excluded = document.selection.excluded_reference
    assert (excluded.name, excluded.case) == ("other.yaml", "training_failed")
    assert excluded.reason == "RuntimeError: diverged"
    assert describe_reference(document.selection) == (
        "other.yaml was not measured for comparison: RuntimeError: diverged."
    )


def test_a_reference_that_is_a_finalist_is_not_trained_twice(select, tmp_path):
    (tmp_path / "same.yaml").write_text(dump_yaml(SPECS[1].to_dict()))
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    document = select([0.5, 0.6], reference=str(tmp_path / "same.yaml"), trial_store=trial_store)[1]
    assert len(trial_store.records()) == 6
    assert all("trial" in row.user_attrs for row in trial_store.records())
    assert document.selection.reference.is_selected_network
    assert describe_reference(document.selection) == (
        "It is the reference network same.yaml itself."
    )
    assert document.selection.reference.search_reward == 0.89


@pytest.mark.parametrize("reference", ["none", "auto"])
def test_a_user_function_gets_no_published_network_unless_one_is_named(reference):
    section = SearchSection(reference=reference, evaluator="mine:evaluate")
    base = load_space("mnasnet").base
    assert resolve_reference(section, CostConstraint(), base, max_trial_flops=1e9) is None
    named = SearchSection(reference="efficientnet_b0", evaluator="mine:evaluate")
    result = resolve_reference(named, CostConstraint(), base, max_trial_flops=1e9)
    assert result.name == "efficientnet_b0"


def test_the_reference_none_is_neither_measured_nor_excluded(select):
    selection = select([0.5, 0.6])[1].selection
    assert selection.reference is selection.excluded_reference is None


@pytest.mark.parametrize(
    ("base", "cost_constraint", "max_trial_flops", "case"),
    [
        (load_space("mnasnet").base, CostConstraint(), 1e8, None),
        (load_space("mnasnet").base, CostConstraint(), 9e7, "too_large"),
        (load_space("mnasnet").base, CostConstraint(max_flops=3e8), 1e9, "outside_cost_limits"),
        (SPACE.base, CostConstraint(), 1e9, "not_buildable"),
    ],
)
def test_the_auto_reference_is_b0_unless_it_does_not_fit_the_search(
    base, cost_constraint, max_trial_flops, case
):
    result = resolve_reference(
        SearchSection(), cost_constraint, base, max_trial_flops=max_trial_flops
    )
    assert result.name == "efficientnet_b0"
    assert isinstance(result, ReferenceNetwork) == (case is None)
    if case is not None:
        assert result.case == case
    if case in ("too_large", "outside_cost_limits"):
        assert (result.flops, result.resolution) == (base_flops_of_b0(), 224)
    if case == "not_buildable":
        assert result.reason.startswith("its strides reduce the resolution 32 times")


def base_flops_of_b0():
    base = load_space("mnasnet").base
    result = resolve_reference(SearchSection(), CostConstraint(), base, max_trial_flops=1e9)
    return result.spec.cost().flops


def test_a_reference_requested_by_name_may_exceed_the_cost_limits():
    section = SearchSection(reference="efficientnet_b7")
    result = resolve_reference(
        section, CostConstraint(max_flops=1e6), load_space("mnasnet").base, max_trial_flops=1.0
    )
    assert result.spec.resolution == 224


def test_finalists_are_those_whose_best_is_expected_to_be_the_highest():
    first_specialist, generalist, near_duplicate, poor_network = (
        [5.0, 0.0, 0.0],
        [4.0, 4.0, 4.0],
        [3.9, 3.9, 3.9],
        [0.0, 1.0, 0.0],
    )
    specialist = [0.0, 0.0, 4.5]
    samples = np.array([first_specialist, generalist, near_duplicate, poor_network, specialist]).T
    assert greedy_best_subset(samples, 3) == [1, 0, 4]
    assert sorted(greedy_best_subset(samples, 9)) == [0, 1, 2, 3, 4]


def test_finalists_are_selected_by_scores_without_training_noise():
    generator = random.Random(3)
    specs = list(
        {
            (spec := SPACE.decode(SPACE.sample(generator))).network_id: spec for _ in range(80)
        }.values()
    )
    true_scores = {
        spec.network_id: 0.5 + 0.04 * math.log(spec.cost().flops / 1e5) for spec in specs
    }
    noise = np.random.default_rng(0).normal(0, 0.03, len(specs))
    trials = [
        Trial(
            n,
            n,
            spec,
            spec.cost(),
            true_scores[spec.network_id] + float(noise[n]),
            Measurement(true_scores[spec.network_id] + float(noise[n])),
        )
        for n, spec in enumerate(specs)
    ]
    finalists = select_finalists(trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=5, seed=0)
    errors = [
        finalist.expected_score - true_scores[finalist.trial.spec.network_id]
        for finalist in finalists
    ]
    highest_scores = sorted(trials, key=lambda trial: -trial.score)[:5]
    highest_errors = [trial.score - true_scores[trial.spec.network_id] for trial in highest_scores]
    assert np.mean(np.abs(errors)) < np.mean(np.abs(highest_errors))
    second_selection = select_finalists(
        trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=5, seed=0
    )
    assert second_selection == finalists


def test_a_failed_training_is_not_a_finalist_and_does_not_bias_the_others():
    specs = SPECS[:5]
    scores = [0.9, 0.91, 0.05, 0.92, 0.93]
    pairs = enumerate(zip(specs, scores, strict=True))
    trials = [
        Trial(number, number, spec, spec.cost(), value, Measurement(value))
        for number, (spec, value) in pairs
    ]
    result = select_finalists(trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=4, seed=0)
    assert {finalist.trial.number for finalist in result} == {0, 1, 3, 4}
    assert all(finalist.expected_score > 0.85 for finalist in result)


@pytest.mark.parametrize("count", [1, 3])
def test_after_few_trials_the_highest_rewards_are_finalists(count):
    trials = [
        Trial(n, n, spec, spec.cost(), 0.1 * n, Measurement(0.5))
        for n, spec in enumerate(SPECS[:3])
    ]
    result = select_finalists(trials, trials, SPACE, Reward("soft", 0.0, 1.0), count=count, seed=0)
    assert [finalist.trial.number for finalist in result] == [2, 1, 0][:count]
    assert all(finalist.expected_score is None for finalist in result)
