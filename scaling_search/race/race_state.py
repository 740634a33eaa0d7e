"""The state of a race after some trainings: the posterior of its members, and the excluded ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from phinas.experiment.statistics.posterior import Posterior, SeedResults, fit_posterior
from phinas.scaling_search.race.race import Race, Results, TrainingRun


def race_state(race: Race, finished: Results) -> "RaceState":
    return _cached_race_state(race, frozenset(finished.items()))


@lru_cache(maxsize=64)  # a replay needs the same rungs repeatedly
def _cached_race_state(
    race: Race, finished: frozenset[tuple[TrainingRun, float | None]]
) -> "RaceState":
    return RaceState.of(race, dict(finished))


@dataclass(frozen=True)
class RaceState:
    """The state of a race after some trainings.

    Attributes:
        active: The members without a failed training.
        posterior: Of their adjusted scores.
        leader: Of the members with the most full trainings the one with the highest posterior mean.
        probabilities: Of each active member, to be above the leader.
        posterior_means: Of each active member.
        excluded: The members that are significantly worse than the leader.
    """

    active: list[int]
    posterior: Posterior
    leader: int
    probabilities: dict[int, float]
    posterior_means: dict[int, float]
    excluded: frozenset[int]

    @classmethod
    def of(cls, race: Race, finished: Results) -> "RaceState":
        failed = failed_members(finished)
        active = [member for member in range(race.num_members) if member not in failed]
        position = {member: index for index, member in enumerate(active)}
        adjusted = {
            run: value - race.flops_adjustment(run.member)
            for run, value in finished.items()
            if value is not None
        }
        seed_results = []
        for seed in range(race.num_seeds):
            rows = [
                member for member in active if TrainingRun(member, seed, race.epochs) in finished
            ]
            if rows:
                values = tuple(adjusted[TrainingRun(member, seed, race.epochs)] for member in rows)
                seed_results.append(SeedResults(tuple(position[member] for member in rows), values))
        short_scores = None
        if race.short_epochs < race.epochs:
            short_scores = [
                adjusted[TrainingRun(member, 0, race.short_epochs)] for member in active
            ]
        coordinates = (
            None
            if race.coordinates is None
            else np.array([race.coordinates[member] for member in active])
        )
        posterior = fit_posterior(
            seed_results, len(active), short_scores=short_scores, coordinates=coordinates
        )
        posterior_means = dict(zip(active, posterior.mean().tolist(), strict=True))
        seeds_by_member = full_run_seeds(race, finished)
        max_runs = max(len(seeds_by_member[member]) for member in active)
        leader = max(
            (member for member in active if len(seeds_by_member[member]) == max_runs),
            key=lambda member: posterior_means[member],
        )
        probabilities = dict(
            zip(active, posterior.probability_above(position[leader]).tolist(), strict=True)
        )
        return cls(
            active,
            posterior,
            leader,
            probabilities,
            posterior_means,
            _excluded(probabilities, leader, 1 - race.confidence),
        )


def _excluded(probabilities: Mapping[int, float], leader: int, error: float) -> frozenset[int]:
    """The members that are significantly worse than the leader.

    They are as many of the least likely ones as have together (Boole's inequality) at most the
    probability `error` to be above the leader, each at most half of it, so that the interval of an
    excluded member does not contain 0.
    """
    excluded, total = set(), 0.0
    for member in sorted(probabilities, key=lambda member: probabilities[member]):
        total += probabilities[member]
        if total > error or probabilities[member] > error / 2 or member == leader:
            break
        excluded.add(member)
    return frozenset(excluded)


def full_run_seeds(race: Race, finished: Results) -> list[list[int]]:
    """By member, the seeds of its full trainings."""
    return [
        sorted(run.seed for run in finished if run.member == member and run.epochs == race.epochs)
        for member in range(race.num_members)
    ]


def failed_members(finished: Results) -> set[int]:
    return {run.member for run, score in finished.items() if score is None}
