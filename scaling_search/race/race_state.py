"""The state of a race after some trainings: the posterior of its members, and the excluded ones.

The posterior is fitted twice. One spread for all members is wrong where some are far below, as at a
resolution that is too low: the others may be nearly equal and are shrunk too little. So members
that are clearly worse (`_CLEAR_ERROR`) are found with all members, and the spread of the others is
estimated without them.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from phinas.experiment.statistics.posterior import Floats, Posterior
from phinas.experiment.statistics.posterior_fit import SeedResults, fit_posterior
from phinas.scaling_search.race.divergence import diverged_runs
from phinas.scaling_search.race.race import Race, Results, TrainingRun

_CLEAR_ERROR = 0.002  # probability that any member outside of the group is above the leader
_LEADER_RUNS = 2  # full trainings; a single one may be favored by noise
_MIN_GROUP = 3  # members with a score; fewer show no spread
# The model is never quite right (benchmarks/racing.md). So under the model, the tie set and the
# intervals are wrong with these fractions of the permitted probability.
_TIE_FACTOR = 0.8
_INTERVAL_FACTOR = 0.6
# The interval of a member with one full training depends more on the model.
_SINGLE_INTERVAL_FACTOR = 0.25


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
        overall: The posterior of the adjusted scores with one spread of all members.
        posteriors: Of each member, the posterior of the adjusted scores in which the spread is that
            of the smallest group with this member.
        leader: The member with the highest posterior mean of those with two full trainings (if
            none has two: of those with the most). A failed member does not lead, nor does one of
            which no full training counts.
        probabilities: Of each member, to be the best; for one that is clearly worse, to be above
            the leader.
        excluded: The members that are not the best, with the confidence of the race. A failed
            member is excluded only if its other trainings show that.
        failed: The members with a failed training.
        diverged: The trainings that are left out.
    """

    overall: Posterior
    posteriors: dict[int, Posterior]
    leader: int
    probabilities: dict[int, float]
    excluded: frozenset[int]
    failed: frozenset[int]
    diverged: frozenset[TrainingRun]

    def score_gap(self, member: int) -> float:
        """The posterior mean of the leader minus that of a member."""
        mean = self.posteriors[member].mean()
        return float(mean[self.leader] - mean[member])

    def gap_interval(
        self, member: int, confidence: float, *, num_trainings: int
    ) -> tuple[float, float]:
        """Of `score_gap`: all that is possible with the spread of all members or with that of the
        group.

        Args:
            num_trainings: Full trainings of the member that count.
        """
        if member == self.leader:
            return 0.0, 0.0
        factor = _INTERVAL_FACTOR if num_trainings > 1 else _SINGLE_INTERVAL_FACTOR
        confidence = 1 - factor * (1 - confidence)
        posteriors = {id(fit): fit for fit in (self.overall, self.posteriors[member])}.values()
        intervals = [fit.difference_interval(self.leader, member, confidence) for fit in posteriors]
        return min(low for low, _ in intervals), max(high for _, high in intervals)

    @cached_property
    def information_about_best(self) -> dict[int, float]:
        """Of each member, how much another full training tells about which one is the best; 0 for
        those that are clearly worse.
        """
        posterior = self.posteriors[self.leader]
        group = [member for member, fit in self.posteriors.items() if fit is posterior]
        information = zip(group, posterior.information_about_best(group).tolist(), strict=True)
        return dict.fromkeys(self.posteriors, 0.0) | dict(information)

    @classmethod
    def of(cls, race: Race, finished: Results) -> "RaceState":
        members = range(race.num_members)
        failed, diverged = failed_members(finished), diverged_runs(race, finished)
        adjusted = _adjusted_scores(race, finished, diverged)
        coordinates = None if race.coordinates is None else np.array(race.coordinates)
        candidates = _leader_candidates(race, finished, adjusted)
        group = list(members)
        overall: Posterior | None = None
        posteriors: dict[int, Posterior] = {}
        while True:
            posterior = _fit(race, adjusted, coordinates=coordinates, group=group)
            overall = overall or posterior
            posteriors |= dict.fromkeys(group, posterior)
            means = posterior.mean()
            leader = max(candidates, key=lambda member: float(means[member]))
            probabilities = _probabilities_above(posteriors, leader)
            clearly_worse = _excluded(probabilities, {leader}, _CLEAR_ERROR)
            smaller = [member for member in group if member not in clearly_worse]
            num_measured = len({run.member for run in adjusted} & set(smaller))
            if num_measured < _MIN_GROUP or len(smaller) == len(group):
                break
            group = smaller
        # those that are clearly worse are not in the last group
        probabilities |= zip(group, posterior.probability_of_best(group).tolist(), strict=True)
        unknown = {member for member in failed if not any(run.member == member for run in adjusted)}
        return cls(
            overall,
            posteriors,
            leader,
            probabilities,
            _excluded(probabilities, {leader, *unknown}, _TIE_FACTOR * (1 - race.confidence)),
            frozenset(failed),
            diverged,
        )


def posterior_with_others(race: Race, finished: Results, other_coordinates: Floats) -> Posterior:
    """The posterior of the members, with one spread, and after them of networks that have not been
    trained.

    Args:
        other_coordinates: Of these networks, as those of the race.
    """
    coordinates = np.concatenate([np.array(race.coordinates), other_coordinates])
    adjusted = _adjusted_scores(race, finished, diverged_runs(race, finished))
    return _fit(race, adjusted, coordinates=coordinates)


def _adjusted_scores(
    race: Race, finished: Results, diverged: Collection[TrainingRun]
) -> dict[TrainingRun, float]:
    """The scores that count, adjusted for FLOPs."""
    return {
        run: value - race.flops_adjustment(run.member)
        for run, value in finished.items()
        if value is not None and run not in diverged
    }


def _fit(
    race: Race,
    adjusted: Mapping[TrainingRun, float],
    *,
    coordinates: Floats | None,
    group: Sequence[int] | None = None,
) -> Posterior:
    """The posterior after these trainings.

    Args:
        coordinates: Of the members, and of any networks without a training after them.
        group: See `fit_posterior`.
    """
    num_networks = race.num_members if coordinates is None else len(coordinates)
    seed_results, short_seed = [], None
    for seed in range(race.num_seeds):
        rows = [
            member
            for member in range(race.num_members)
            if TrainingRun(member, seed, race.epochs) in adjusted
        ]
        values = tuple(adjusted[TrainingRun(member, seed, race.epochs)] for member in rows)
        if rows:
            short_seed = 0 if seed == 0 else short_seed
            seed_results.append(SeedResults(tuple(rows), values))
    short_scores = None
    if race.short_epochs < race.epochs:
        short_scores = [
            adjusted.get(TrainingRun(network, 0, race.short_epochs))
            for network in range(num_networks)
        ]
    return fit_posterior(
        seed_results,
        num_networks,
        short_scores=short_scores,
        short_seed=short_seed,
        coordinates=coordinates,
        group=group,
        min_noise_std=race.score_step,
    )


def _leader_candidates(
    race: Race, finished: Results, adjusted: Mapping[TrainingRun, float]
) -> list[int]:
    """The members that did not fail and have two full trainings, diverged ones included, of which
    at least one counts. Those with the most if none has two.
    """
    failed = failed_members(finished)
    num_runs = Counter(run.member for run in finished if run.epochs == race.epochs)
    candidates = [member for member in range(race.num_members) if member not in failed]
    counted = {run.member for run in adjusted if run.epochs == race.epochs}
    candidates = [member for member in candidates if member in counted] or candidates
    enough = min(_LEADER_RUNS, max(num_runs[member] for member in candidates))
    return [member for member in candidates if num_runs[member] >= enough]


def _probabilities_above(posteriors: Mapping[int, Posterior], leader: int) -> dict[int, float]:
    """Of each member, to be above the leader."""
    by_posterior: dict[int, Floats] = {}
    for posterior in posteriors.values():
        if id(posterior) not in by_posterior:
            by_posterior[id(posterior)] = posterior.probability_above(leader)
    return {
        member: float(by_posterior[id(posterior)][member])
        for member, posterior in posteriors.items()
    }


def _excluded(
    probabilities: Mapping[int, float], retained: Collection[int], error: float
) -> frozenset[int]:
    """As many of the least likely members as have together at most the probability `error`.

    Those to retain are skipped.
    """
    excluded, total = set(), 0.0
    for member in sorted(probabilities, key=lambda member: probabilities[member]):
        if member in retained:
            continue
        total += probabilities[member]
        if total > error:
            break
        excluded.add(member)
    return frozenset(excluded)


def failed_members(finished: Results) -> set[int]:
    return {run.member for run, score in finished.items() if score is None}
