"""How searchers are compared: regret of what looks best, evaluations to a level, quartiles over
seeds, peers on equal terms.
"""

import importlib.util
import math

import numpy as np
import pytest

from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.optimum import best_reward
from phinas.nas.benchmark.regret import evaluations_to, quartiles, regrets, summary
from phinas.nas.benchmark.runner import SEARCHERS, run
from phinas.nas.cost_constraint import Gate
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.space.cost import cost
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")
MODULE = """
def evaluate(spec, budget, seed):
    return 0.3 + 0.05 * sum(stage.kernel == 5 for stage in spec.stages) + 0.04 * sum(stage.se > 0 for stage in spec.stages)
"""


@pytest.fixture
def evaluator(tmp_path, monkeypatch):
    name = f"table_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{name}:evaluate"


def contest(evaluator, searcher, **options):
    section = SearchSection(**{"evaluator": evaluator, "trials": 15, "weight": 0.0} | options)
    return run(searcher=searcher, space="tiny", section=section.model_dump(), seed=4)


def test_regret_is_that_of_the_network_which_looks_best_not_of_the_best_there_was():
    seen = {"rewards": [0.5, 0.7, 0.6, 0.9], "true": [0.6, 0.5, 0.8, 0.7]}
    assert regrets(seen, 1.0).tolist() == pytest.approx([0.4, 0.5, 0.5, 0.3])


def test_evaluations_to_a_level_count_from_one_and_never_is_infinite():
    assert evaluations_to({"true": [0.1, 0.4, 0.5]}, 0.4) == 2
    assert evaluations_to({"true": [0.1, 0.4, 0.5]}, 0.6) == math.inf


def test_a_run_that_exhausted_its_space_stays_where_it_ended():
    bands = quartiles([np.array([0.4, 0.2]), np.array([0.4, 0.3, 0.1])])
    assert bands[2].tolist() == pytest.approx([0.125, 0.15, 0.175])


def test_a_summary_tells_medians_and_the_worst_and_says_never_where_some_seed_never_came_there():
    runs = [
        {"rewards": rewards, "true": rewards, "seconds": [0.5] * 30}
        for rewards in ([0.5] * 9 + [0.9] * 21, [0.5] * 30)
    ]
    told = summary(runs, optimum=0.9, reference=0.5)
    assert told["to_beat_reference"]["worst"] is None
    assert told["to_beat_reference"]["lower"] is None  # half of two is not known to be there
    assert told["to_come_near"]["median"] is None
    assert told["regret"]["25"] == pytest.approx([0.1, 0.2, 0.3])
    assert told["milliseconds"]["mean"] == pytest.approx(500)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_every_searcher_measures_what_it_was_allowed_and_the_same_with_the_same_seed(
    evaluator, searcher
):
    if searcher.startswith("syne") and importlib.util.find_spec("syne_tune") is None:
        pytest.skip("syne-tune is not installed (extra: benchmarks)")
    one, again = (contest(evaluator, searcher) for _ in range(2))
    assert one["rewards"] == again["rewards"]
    assert {len(one[name]) for name in ("rewards", "true", "flops", "seconds")} == {15}
    assert one["rewards"] == one["true"]
    assert all(second >= 0 for second in one["seconds"])


def test_noise_is_seen_by_the_searcher_and_not_in_the_truth(evaluator):
    noisy = contest(evaluator, "random", noise=0.01)
    luck = np.array(noisy["rewards"]) - np.array(noisy["true"])
    assert 0.004 < luck.std() < 0.02
    assert noisy["true"] == contest(evaluator, "random")["true"]  # random looks at no reward


@pytest.mark.parametrize("searcher", ["random", "optuna-random"])
def test_rewards_weigh_the_cost_that_was_asked_for(evaluator, searcher):
    """Without noise a searcher sees the truth, whatever the reward weighs."""
    options = {"cost": "params", "weight": -0.2}
    found = contest(evaluator, searcher, **options)
    assert found["rewards"] == pytest.approx(found["true"])
    assert found["rewards"] != pytest.approx(contest(evaluator, searcher, weight=-0.2)["rewards"])


def test_the_best_reward_of_a_space_is_found_without_going_through_it():
    space = load_space("accel_nasbench")
    problem = Problem(
        space, Gate(most=3e8), make_reward("soft", weight=-0.07, target=cost(space.base).flops)
    )

    def accuracies(indices):
        return 0.5 + indices.sum(1) / 1000

    found = best_reward(problem, accuracies)
    assert found == best_reward(problem, accuracies, seed=1)
    drawn = problem.draw(20_000, np.random.default_rng(5))
    slope, _ = problem.reward.line(problem.costs(drawn)[:, 0])
    assert found > (slope * accuracies(drawn)).max()
