"""Racing: which members to train next, until one is left or the budget is spent, and what is then
known.

First every member is trained briefly (a fifth of the epochs, with a full schedule of its own, and
all of them paid for). Then rung by rung the likeliest to be the best are trained in full, each with
the next of the seeds that all share. After each rung everything is judged anew from all results
together (phinas.experiment.statistics.posterior): members that are worse than the leader beyond
doubt are excluded and trained no more. They come back should later results raise the doubt again,
so the tie set is always what the results say, never what a rung once decided. Members that the
budget did not reach and that nothing excludes are in it too, marked "open": it is wider than the
full grid's, and that is the price.

All of it is a pure function of the results: the same results in any order give the same next
trainings: a resume is a replay.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from phinas.experiment.statistics.posterior import Posterior, SeedResults, fit_posterior

Status = Literal["winner", "tied", "open", "excluded", "failed"]


class TrainingRun(NamedTuple):
    """member: position in the list; seed: index of it."""

    member: int
    seed: int
    epochs: int


Results = Mapping[TrainingRun, float | None]  # accuracies; None: failed, and its member is out


@dataclass(frozen=True, slots=True)
class Race:
    """The settings of a race.

    Args:
        num_members: at least 2.
        num_seeds: full trainings of a member at most.
        epochs: of a full training.
        coordinates: of each member, (log alpha, log beta, log gamma).
        relative_flops: of each member, over the target.
        slope: accuracy gained per unit of log FLOPs, which is subtracted.
        max_budget_fraction: of the full grid's epochs, the most to spend.
        short_fraction: of the epochs, for the first rung.
        early_elimination: if False, all members are trained in full with every seed, whatever
            max_budget_fraction and short_fraction are.
        confidence: that no excluded member is above the winner (all of them together).
    """

    num_members: int
    num_seeds: int
    epochs: int
    coordinates: tuple[tuple[float, ...], ...] | None = None
    relative_flops: tuple[float, ...] | None = None
    slope: float = 0.0
    max_budget_fraction: float = 0.4
    short_fraction: float = 0.2
    early_elimination: bool = True
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.num_members < 2 or self.num_seeds < 1 or self.epochs < 1:
            raise ValueError(
                f"a race needs two members, a seed and an epoch: {self.num_members}, "
                f"{self.num_seeds}, "
                f"{self.epochs}"
            )
        for name, values in (
            ("coordinates", self.coordinates),
            ("relative_flops", self.relative_flops),
        ):
            if values is not None and len(values) != self.num_members:
                raise ValueError(f"{name}: {len(values)} given for {self.num_members} members")
        if self.early_elimination and self.max_epochs < self.num_members * self.short_epochs:
            raise ValueError(
                f"max_budget_fraction: {self.max_budget_fraction:g} of the full grid is "
                f"{self.max_epochs} epochs, which do not "
                "train every member once for "
                f"{self.short_epochs}; raise it"
            )

    @property
    def full_grid_epochs(self) -> int:
        """Epochs of every member with every seed."""
        return self.num_members * self.num_seeds * self.epochs

    @property
    def max_epochs(self) -> int:
        """Epochs that may be spent."""
        return (
            math.floor(self.max_budget_fraction * self.full_grid_epochs + 1e-9)
            if self.early_elimination
            else self.full_grid_epochs
        )

    @property
    def max_trainings(self) -> int:
        """Short and full ones, if the budget is spent."""
        if not self.early_elimination:
            return self.num_members * self.num_seeds
        return (
            self.num_members
            + (self.max_epochs - self.num_members * self.short_epochs) // self.epochs
        )

    @property
    def short_epochs(self) -> int:
        """Of a training of the first rung."""
        return (
            max(1, round(self.short_fraction * self.epochs))
            if self.early_elimination
            else self.epochs
        )

    def flops_adjustment(self, member: int) -> float:
        """What is taken off a member's accuracies for FLOPs above what all should have."""
        return (
            0.0
            if self.relative_flops is None
            else self.slope * math.log(self.relative_flops[member])
        )


@dataclass(frozen=True)
class MemberResult:
    """The result of one member. From posterior_mean on all are None where it failed.

    Args:
        status: winner; tied with it; open (tied so far, not trained with every seed); excluded;
            failed.
        num_trainings: full ones.
        accuracy: mean of its full trainings (None: there are none).
        adjusted_accuracy: the same, adjusted for FLOPs.
        posterior_mean: of the adjusted accuracy, around the mean of all members.
        accuracy_gap: the posterior mean of the winner less that of this member.
        gap_interval: of accuracy_gap.
        probability_above_winner: 0.5 for the winner itself.
    """

    status: Status
    num_trainings: int
    accuracy: float | None
    adjusted_accuracy: float | None
    posterior_mean: float | None
    accuracy_gap: float | None
    gap_interval: tuple[float, float] | None
    probability_above_winner: float | None


@dataclass(frozen=True)
class RaceResult:
    """The result of a race. Members are positions.

    Args:
        winner: of those with the most full trainings the one with the highest posterior mean.
        ties: the winner and all that are not significantly different from it.
        member_results: of all members.
        runner_up: the other member that is likeliest to be the best.
        margin: the posterior mean of the winner less that of the runner-up.
        margin_interval: of margin.
        noise_std: standard deviation of one training.
        epochs_spent: short and failed trainings included.
        full_grid_epochs: of every member with every seed.
        excluded_by_rung: the members that each rung excluded.
    """

    winner: int
    ties: tuple[int, ...]
    member_results: tuple[MemberResult, ...]
    runner_up: int
    margin: float
    margin_interval: tuple[float, float]
    noise_std: float
    epochs_spent: int
    full_grid_epochs: int
    excluded_by_rung: tuple[tuple[int, ...], ...]


def next_runs(race: Race, results: Results) -> list[TrainingRun]:
    """Trainings of the present rung that have no result yet, in the order to begin them; none: the
    race is over.

    Results that belong to no rung so far change nothing.
    """
    return _replay(race, results)[1]


def evaluate_race(race: Race, results: Results) -> RaceResult:
    """The result after the rungs finished so far. Raises ValueError where fewer than two members
    are left that did not fail.
    """
    rungs, _ = _replay(race, results)
    finished = {run: results[run] for rung in rungs for run in rung}
    failed = _failed(finished)
    if race.num_members - len(failed) < 2 or not rungs:
        raise ValueError(
            f"{race.num_members - len(failed)} members are left of {race.num_members}; two are "
            "needed"
        )
    state = _race_state(race, finished)
    winner = state.leader
    excluded_after: list[set[int]] = []
    for count in range(1, len(rungs) + 1):
        partial_results = {run: results[run] for rung in rungs[:count] for run in rung}
        excluded_after.append(set(_race_state(race, partial_results).excluded))
    newly_excluded = [
        tuple(sorted(after - before))
        for before, after in zip([set[int](), *excluded_after], excluded_after, strict=False)
    ]
    rivals = [member for member in state.active if member != winner]
    runner_up = max(rivals, key=lambda member: state.probabilities[member])
    margin = float(state.posterior_means[winner] - state.posterior_means[runner_up])
    position = {member: index for index, member in enumerate(state.active)}
    margin_interval = state.posterior.difference_interval(
        position[winner], position[runner_up], race.confidence
    )
    rows = tuple(
        _member_result(race, member, finished, state, failed) for member in range(race.num_members)
    )
    return RaceResult(
        winner,
        tuple(member for member in state.active if member not in state.excluded),
        rows,
        runner_up,
        margin,
        margin_interval,
        state.posterior.noise_std,
        total_epochs(finished),
        race.full_grid_epochs,
        tuple(newly_excluded),
    )


def total_epochs(runs: Mapping[TrainingRun, float | None] | Sequence[TrainingRun]) -> int:
    """Epochs, short trainings and failed ones at their full price."""
    return sum(run.epochs for run in runs)


def _replay(race: Race, results: Results) -> tuple[list[list[TrainingRun]], list[TrainingRun]]:
    """The finished rungs, and what is missing of the present one."""
    rungs: list[list[TrainingRun]] = []
    finished: dict[TrainingRun, float | None] = {}
    while rung := _next_rung(race, finished):
        missing = [run for run in rung if run not in results]
        if missing:
            return rungs, missing
        rungs.append(rung)
        finished |= {run: results[run] for run in rung}
    return rungs, []


def _next_rung(race: Race, finished: Results) -> list[TrainingRun]:
    """The next rung after the trainings known, all of which have a result."""
    if not finished and not race.early_elimination:
        return [
            TrainingRun(member, seed, race.epochs)
            for seed in range(race.num_seeds)
            for member in range(race.num_members)
        ]
    if not finished:
        return [TrainingRun(member, 0, race.short_epochs) for member in range(race.num_members)]
    if not race.early_elimination:
        return []
    affordable = (race.max_epochs - total_epochs(finished)) // race.epochs
    failed = _failed(finished)
    if affordable < 1 or race.num_members - len(failed) < 2:
        return []
    state = _race_state(race, finished)
    remaining = [member for member in state.active if member not in state.excluded]
    if len(remaining) < 2:
        return []
    seeds_by_member = _full_run_seeds(race, finished)
    unfinished = [member for member in remaining if len(seeds_by_member[member]) < race.num_seeds]
    unfinished.sort(
        key=lambda member: (member != state.leader, -state.probabilities[member], member)
    )
    count = min(affordable, max(2, math.ceil(affordable / 3)))
    rung = [
        TrainingRun(member, len(seeds_by_member[member]), race.epochs)
        for member in unfinished[:count]
    ]
    seeds = [run.seed for run in rung] + [
        seed for member in state.active for seed in seeds_by_member[member]
    ]
    return [run for run in rung if seeds.count(run.seed) > 1]


def _race_state(race: Race, finished: Results) -> "_RaceState":
    return _cached_race_state(race, frozenset(finished.items()))


@lru_cache(maxsize=64)  # a replay asks for the same rungs again and again
def _cached_race_state(
    race: Race, finished: frozenset[tuple[TrainingRun, float | None]]
) -> "_RaceState":
    return _RaceState.of(race, dict(finished))


@dataclass(frozen=True)
class _RaceState:
    """What the finished trainings say. probabilities: of each active member, to be above the
    leader;
    posterior_means: of each active member."""

    active: list[int]
    posterior: Posterior
    leader: int
    probabilities: dict[int, float]
    posterior_means: dict[int, float]
    excluded: frozenset[int]

    @classmethod
    def of(cls, race: Race, finished: Results) -> "_RaceState":
        failed = _failed(finished)
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
        short_accuracies = None
        if race.short_epochs < race.epochs:
            short_accuracies = [
                adjusted[TrainingRun(member, 0, race.short_epochs)] for member in active
            ]
        coordinates = (
            None
            if race.coordinates is None
            else np.array([race.coordinates[member] for member in active])
        )
        posterior = fit_posterior(
            seed_results, len(active), short_accuracies=short_accuracies, coordinates=coordinates
        )
        posterior_means = dict(zip(active, posterior.mean().tolist(), strict=True))
        seeds_by_member = _full_run_seeds(race, finished)
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
    """The members least likely to be above the leader, as many as have together (Boole) at most the
    probability `error` that any is, and each at most half of that: the interval of an excluded
    member then excludes 0.
    """
    excluded, total = set(), 0.0
    for member in sorted(probabilities, key=lambda member: probabilities[member]):
        total += probabilities[member]
        if total > error or probabilities[member] > error / 2 or member == leader:
            break
        excluded.add(member)
    return frozenset(excluded)


def _full_run_seeds(race: Race, finished: Results) -> list[list[int]]:
    """By member, the seeds that it was trained with in full."""
    return [
        sorted(run.seed for run in finished if run.member == member and run.epochs == race.epochs)
        for member in range(race.num_members)
    ]


def _failed(finished: Results) -> set[int]:
    return {run.member for run, accuracy in finished.items() if accuracy is None}


def _member_result(
    race: Race, member: int, finished: Results, state: _RaceState, failed: set[int]
) -> MemberResult:
    full_accuracies = [
        finished[run]
        for run in sorted(finished)
        if run.member == member and run.epochs == race.epochs
    ]
    accuracies = [accuracy for accuracy in full_accuracies if accuracy is not None]
    accuracy = sum(accuracies) / len(accuracies) if accuracies else None
    adjusted_accuracy = None if accuracy is None else accuracy - race.flops_adjustment(member)
    if member in failed:
        return MemberResult(
            "failed", len(full_accuracies), accuracy, adjusted_accuracy, None, None, None, None
        )
    status: Status = "tied" if len(full_accuracies) == race.num_seeds else "open"
    if member in state.excluded:
        status = "excluded"
    if member == state.leader:
        status = "winner"
    posterior_means, leader = state.posterior_means, state.leader
    position = {active: index for index, active in enumerate(state.active)}
    interval = (
        (0.0, 0.0)
        if member == leader
        else state.posterior.difference_interval(
            position[leader], position[member], race.confidence
        )
    )
    accuracy_gap = posterior_means[leader] - posterior_means[member]
    return MemberResult(
        status,
        len(full_accuracies),
        accuracy,
        adjusted_accuracy,
        posterior_means[member],
        accuracy_gap,
        interval,
        state.probabilities[member],
    )
