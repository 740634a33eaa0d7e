"""What the strategies of `phinas bench` are compared with: a target network, and the optimum."""

import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from phinas.experiment.artifacts.bench import BenchRun, OptimumSource
from phinas.experiment.errors import InputError
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.optimum import find_best_reward
from phinas.nas.evaluators import find_evaluator
from phinas.nas.evaluators.accel_nasbench import AccelNasbenchEvaluator
from phinas.nas.evaluators.curves import CurvesEvaluator
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.objective import make_search_reward
from phinas.nas.problem import Problem, make_pool
from phinas.nas.search import make_cost_constraint
from phinas.nas.trial import analytic_cost
from phinas.space.loading import load_spec
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.inactive_choices import InactiveChoices
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec, SpecError

BASE = "base"  # names the base network of the search space
# A run exceeds a stated optimum if it does so by more than the rounding of a printed number.
_ROUNDING = 5e-5


@dataclass(frozen=True, slots=True)
class Target:
    """The network that the strategies should exceed.

    Attributes:
        name: How it is called in the result.
        reward: Its reward without noise.
    """

    name: str
    reward: float


def measure_target(
    name: str | None, space: SearchSpace, section: SearchSection, evaluator: Evaluator
) -> Target | None:
    """Measure the network that strategies should exceed.

    A user's function scores no network that was not asked for. Instead it scores one network of the
    space, so that an error of the function is found before the runs.

    Args:
        name: A preset, a spec file or BASE. None: the base network, or none for a user's function.
        space: The search space.
        section: The configuration of the search.
        evaluator: Scores networks without noise.

    Raises:
        InputError: The evaluator gives no score for it.
    """
    if name is None and evaluator.pool is not None:
        return None
    if name is None and not find_evaluator(section.evaluator).scores_published_networks:
        choices = InactiveChoices(space).canonical_choices(space.sample(random.Random(0)))
        try:
            _score(space.decode(choices), choices, section, evaluator)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"search.evaluator: {section.evaluator} could not score a network of "
                f"{space.name!r}: {error}; correct the function"
            ) from None
        return None
    is_base = name in (None, BASE)
    spec = space.base if is_base else load_spec(str(name), field="target_network")
    description = "the base network of the search space" if is_base else name
    try:
        choices_of_spec = encode(space, spec) if evaluator.uses_choices else None
        score = _score(spec, choices_of_spec, section, evaluator)
    except SpecError as error:
        raise InputError(
            f"target_network: {description} is not in the search space ({error}), and the "
            "evaluator scores choices; name another network"
        ) from None
    except (TypeError, ValueError) as error:
        raise InputError(
            f"target_network: {description} could not be scored: {error}; name another network"
        ) from None
    reward = make_search_reward(section, space)
    cost = analytic_cost(spec, reward.cost_metric)
    return Target(f"the base of {space.name}" if is_base else str(name), reward(score, cost))


def _score(
    spec: ArchSpec, choices: Choices | None, section: SearchSection, evaluator: Evaluator
) -> float:
    """The score of a network. Raises TypeError or ValueError without one."""
    with closing(ProcessExecutor(1)) as executor:  # a user's function may print, or die
        executor.submit(evaluator.make_job(spec, section.recipe, 0, choices=choices))
        result = executor.next_result()
    if result.value is None:
        raise ValueError(result.reason)
    return Measurement.from_dict(result.value).score


def stated_optimum(
    optimum: float | None, section: SearchSection, evaluator: Evaluator
) -> float | None:
    """The highest reward, as the user or the evaluator states it. None if neither does.

    An evaluator states its highest score, which is the highest reward if the reward is the score
    and no cost is limited.
    """
    if optimum is not None:
        return optimum
    is_score = section.reward == "accuracy" and not (section.min_flops or section.max_flops)
    return evaluator.optimum if is_score and isinstance(evaluator, FunctionEvaluator) else None


def find_optimum(
    space: SearchSpace,
    section: SearchSection,
    evaluator: Evaluator,
    runs: Mapping[str, Sequence[BenchRun]],
    *,
    stated: float | None,
) -> tuple[float, OptimumSource]:
    """The best known reward without noise, and where it is from.

    A stated optimum that a run exceeds is not the optimum: then the best of all runs is.
    """
    best_reward = max(
        max(run.true_rewards) for strategy_runs in runs.values() for run in strategy_runs
    )
    if stated is not None:
        exceeds_stated = best_reward > stated + _ROUNDING
        return max(best_reward, stated), "best_run" if exceeds_stated else "stated"
    if not isinstance(evaluator, AccelNasbenchEvaluator | CurvesEvaluator):
        return best_reward, "best_run"
    problem = Problem(
        space,
        make_cost_constraint(section),
        make_search_reward(section, space),
        pool=make_pool(space, evaluator.pool),
    )
    highest_reward = find_best_reward(problem, evaluator.batch_score_fn(space))
    source: OptimumSource = "beam_search" if evaluator.pool is None else "pool"
    return max(best_reward, highest_reward), source
