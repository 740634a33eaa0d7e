"""Which network of the grid is best on this data: they race, trained with the same seeds.

The result is a winner, the networks tied with it, and coefficients for a family: the mean of all
networks, weighted by their probability of being best, and drawn towards the published coefficients
(`phinas.scaling_search.race.centroid`). Their intervals say what the data leave open.
Scores are compared at equal FLOPs: what a few percent more FLOPs are worth is subtracted first, and
both scores are recorded.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import ScalingSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.statistics.posterior import Floats
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.race.candidate_sampling import next_member
from phinas.scaling_search.race.centroid import estimate_coefficients
from phinas.scaling_search.race.flops_adjustment import default_slope
from phinas.scaling_search.race.race import Race, Results, TrainingRun
from phinas.scaling_search.race.racing import evaluate_race, next_runs
from phinas.scaling_search.race.scaling_result import ScalingResult
from phinas.scaling_search.race.synthetic_accuracy import scaling_factors
from phinas.scaling_search.race.training_queue import Evaluator, ProgressCallback, TrainingQueue
from phinas.scaling_search.race.value_of_more import value_of_more_trainings
from phinas.space.network import ScalableNetwork

_MAX_OTHER_MEMBERS = 48  # of which a posterior is computed; it takes a fraction of a second


def search_coefficients(
    baseline: ScalableNetwork,
    section: ScalingSection,
    *,
    seed: int,
    max_resolution: float,
    trial_store: TrialStore,
    executor: Executor,
    evaluator: Evaluator,
    on_progress: ProgressCallback,
) -> ScalingResult:
    """Race the grid's members.

    Args:
        max_resolution: Of networks, in px.
        trial_store: The record; trainings that it holds are not repeated.
        evaluator: What trains the networks.

    Raises:
        InputError: The grid is empty.
        NoResultError: Fewer than two members could be trained.
    """
    grid = make_grid(baseline, section, max_resolution=max_resolution)
    queue = TrainingQueue(
        baseline,
        section,
        seed,
        trial_store,
        executor,
        evaluator.make_job,
        on_progress,
        pauses_trainings=continues_trainings(section, can_pause=evaluator.can_pause),
    )
    queue.num_networks = min(section.max_grid_members, len(grid))
    raced_members = _select_members(grid, baseline, section, seed=seed, queue=queue)
    race = make_race(raced_members, baseline, section, can_pause=evaluator.can_pause)
    queue.expected_runs = race.max_trainings
    results: dict[TrainingRun, float | None] = {}
    while rung := next_runs(race, results):
        results |= queue.run([(raced_members[run.member], run) for run in rung])
        if race.slope == 0 and section.constraint == "measured":
            race = replace(race, slope=default_slope(_mean_score(results)))
        race = replace(race, score_step=queue.score_step)
    queue.close()
    try:
        race_result = evaluate_race(race, results)
    except ValueError:
        count = len({run.member for run, value in results.items() if value is not None})
        raise NoResultError(
            f"only {count} networks of the grid could be trained: {queue.failure_summary}"
        ) from None
    estimate = estimate_coefficients(
        baseline,
        section,
        [member.to_coefficients(section) for member in raced_members],
        [row.probability_of_best for row in race_result.member_results],
    )
    full_scores = {
        member.spec.network_id: _full_scores(results, position, race)
        for position, member in enumerate(raced_members)
    }
    short_results = {run: value for run, value in results.items() if run.epochs < race.epochs}
    short_scores: dict[str, float] = {}
    for run, value in short_results.items():
        network_id = raced_members[run.member].spec.network_id
        if value is not None:
            short_scores[network_id] = max(value, short_scores.get(network_id, value))
    return ScalingResult(
        estimate,
        grid,
        raced_members,
        full_scores,
        short_scores,
        race,
        race_result,
        metric=queue.metric,
        chance=_chance(
            baseline, queue.best_measurement(raced_members[race_result.winner].spec.network_id)
        ),
        value_of_more=value_of_more_trainings(
            race,
            results,
            round(race_result.epochs_spent / race.epochs),
            other_coordinates=_other_coordinates(grid, raced_members, baseline),
        ),
    )


def continues_trainings(section: ScalingSection, *, can_pause: bool) -> bool:
    """Whether full trainings of the race continue short ones. After a few epochs of another recipe
    the accuracy says little, so the short trainings have a schedule of their own then.
    """
    return can_pause and section.recipe.is_anytime


def make_race(
    raced_members: list[GridMember],
    baseline: ScalableNetwork,
    section: ScalingSection,
    *,
    can_pause: bool,
) -> Race:
    """The settings of the race.

    Early elimination is off where `max_budget_fraction` is too small for a short training of
    each member and two full ones.
    """
    coordinates = tuple(map(tuple, _coordinates(raced_members, baseline)))
    mean_flops = math.exp(
        sum(math.log(member.flops) for member in raced_members) / len(raced_members)
    )
    relative_flops = tuple(member.flops / mean_flops for member in raced_members)
    race = Race(
        len(raced_members),
        section.seeds,
        section.recipe.epochs,
        coordinates,
        relative_flops,
        max_budget_fraction=section.max_budget_fraction,
        early_elimination=False,
        continues_trainings=continues_trainings(section, can_pause=can_pause),
    )
    first_rung_epochs = len(raced_members) * max(1, round(race.short_fraction * race.epochs))
    is_affordable = (
        math.floor(section.max_budget_fraction * race.full_grid_epochs)
        >= first_rung_epochs + 2 * race.epochs
    )
    return (
        replace(race, early_elimination=True)
        if section.max_budget_fraction < 1 and is_affordable
        else race
    )


def _select_members(
    grid: list[GridMember],
    baseline: ScalableNetwork,
    section: ScalingSection,
    *,
    seed: int,
    queue: TrainingQueue,
) -> list[GridMember]:
    """The members that race.

    TPE selects them one by one, each from the short trainings so far, which are the first rung of
    the race.
    """
    count = min(section.max_grid_members, len(grid))
    if section.strategy == "grid" or count == len(grid):
        return farthest_point_sample(grid, count)
    coordinates = _coordinates(grid, baseline)
    # how the trainings are run has no effect on their number of epochs
    short_epochs = make_race(grid[:count], baseline, section, can_pause=False).short_epochs
    scores: dict[int, float] = {}
    while len(scores) < count:
        position = next_member(
            section.strategy, coordinates, scores, seed=derive_seed(seed, "members")
        )
        assert position is not None  # the grid has more than `count`
        scores[position] = 0.0
        if section.strategy == "tpe":
            results = queue.run([(grid[position], TrainingRun(position, 0, short_epochs))])
            # a failed training scores 0
            scores[position] = next(iter(results.values())) or 0.0
    return [grid[position] for position in sorted(scores)]


def _coordinates(members: Sequence[GridMember], baseline: ScalableNetwork) -> list[list[float]]:
    """log alpha, log beta and log gamma of each member."""
    base = baseline.canonicalize()
    return [
        [math.log(factor) for factor in scaling_factors(member.spec, base)] for member in members
    ]


def _other_coordinates(
    grid: Sequence[GridMember], raced_members: Sequence[GridMember], baseline: ScalableNetwork
) -> Floats:
    """The coordinates of members that do not race: of all, or of many that represent them."""
    raced_ids = {member.spec.network_id for member in raced_members}
    others = [member for member in grid if member.spec.network_id not in raced_ids]
    others = farthest_point_sample(others, _MAX_OTHER_MEMBERS)
    return np.array(_coordinates(others, baseline)).reshape(-1, 3)


def _chance(baseline: ScalableNetwork, best: Measurement | None) -> float | None:
    """The score of guessing, if that of the best network is not significantly higher."""
    chance = 1 / baseline.classes
    if best is None or best.sampling_error is None or best.interval()[0] > chance:
        return None
    return chance


def _full_scores(results: Results, position: int, race: Race) -> list[float]:
    """Scores of a member's full trainings, by seed."""
    runs = sorted(run for run in results if run.member == position and run.epochs == race.epochs)
    return [value for run in runs if (value := results[run]) is not None]


def _mean_score(results: Results) -> float:
    values = [value for value in results.values() if value is not None]
    return sum(values) / len(values) if values else 0.0
