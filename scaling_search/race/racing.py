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

from phinas.experiment.statistics.posterior import Belief, Column, believe

Status = Literal["winner", "tied", "open", "excluded", "failed"]


class Training(NamedTuple):
    """member: position in the list; seed: index of it."""

    member: int
    seed: int
    epochs: int


Results = Mapping[Training, float | None]  # accuracies; None: failed, and its member is out


@dataclass(frozen=True, slots=True)
class Race:
    """members: how many; coordinates: of each, (log alpha, log beta, log gamma); flops: of each
    over what all should have;
    slope: accuracy gained per unit of log FLOPs, taken off; share: of the full grid's epochs, the
    most to spend; short: of the epochs, for the first rung; drop: whether any is left out (if not,
    all are trained in full with every seed, whatever share and short); confidence: that no excluded
    member is above the winner (all of them together)."""

    members: int
    seeds: int
    epochs: int
    coordinates: tuple[tuple[float, ...], ...] | None = None
    flops: tuple[float, ...] | None = None
    slope: float = 0.0
    share: float = 0.4
    short: float = 0.2
    drop: bool = True
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.members < 2 or self.seeds < 1 or self.epochs < 1:
            raise ValueError(
                f"a race needs two members, a seed and an epoch: {self.members}, {self.seeds}, "
                f"{self.epochs}"
            )
        for name, given in (("coordinates", self.coordinates), ("flops", self.flops)):
            if given is not None and len(given) != self.members:
                raise ValueError(f"{name}: {len(given)} given for {self.members} members")
        if self.drop and self.budget < self.members * self.short_epochs:
            raise ValueError(
                f"share: {self.share:g} of the full grid is {self.budget} epochs, which do not "
                "train every member once for "
                f"{self.short_epochs}; raise it"
            )

    @property
    def full_grid(self) -> int:
        """Epochs of every member with every seed."""
        return self.members * self.seeds * self.epochs

    @property
    def budget(self) -> int:
        """Epochs that may be spent."""
        return math.floor(self.share * self.full_grid + 1e-9) if self.drop else self.full_grid

    @property
    def most_trainings(self) -> int:
        """Short and full ones, if the budget is spent."""
        if not self.drop:
            return self.members * self.seeds
        return self.members + (self.budget - self.members * self.short_epochs) // self.epochs

    @property
    def short_epochs(self) -> int:
        """Of a training of the first rung."""
        return max(1, round(self.short * self.epochs)) if self.drop else self.epochs

    def correction(self, member: int) -> float:
        """What is taken off a member's accuracies for FLOPs above what all should have."""
        return 0.0 if self.flops is None else self.slope * math.log(self.flops[member])


@dataclass(frozen=True)
class Standing:
    """What is known of a member. raw, corrected: mean accuracy of its full trainings (None: there
    are none); estimate: of the corrected accuracy, from everything, around the mean of all members;
    behind: by how much the winner is expected to be above
    it, interval: of that; chance: that it is above the winner, 0.5 for itself (all None where it
    failed)."""

    status: Status
    trainings: int
    raw: float | None
    corrected: float | None
    estimate: float | None
    behind: float | None
    interval: tuple[float, float] | None
    chance: float | None


@dataclass(frozen=True)
class Verdict:
    """ties: the winner and all that can't be told from it; lead: over the likeliest other, with its
    interval (-inf, inf where nothing can be said); excluded_after: by rung, the members that were
    excluded then; deviation: of one training."""

    winner: int
    ties: tuple[int, ...]
    standings: tuple[Standing, ...]
    runner_up: int
    lead: float
    interval: tuple[float, float]
    deviation: float
    spent: int
    full_grid: int
    excluded_after: tuple[tuple[int, ...], ...]


def next_trainings(race: Race, results: Results) -> list[Training]:
    """Trainings of the present rung that have no result yet, in the order to begin them; none: the
    race is over.

    Results that belong to no rung so far change nothing.
    """
    return _replay(race, results)[1]


def judge(race: Race, results: Results) -> Verdict:
    """What the rungs finished so far say. Raises ValueError where fewer than two members are left
    that did not fail.
    """
    rungs, _ = _replay(race, results)
    known = {training: results[training] for rung in rungs for training in rung}
    failed = _failed(known)
    if race.members - len(failed) < 2 or not rungs:
        raise ValueError(
            f"{race.members - len(failed)} members are left of {race.members}; two are needed"
        )
    standing = _stand(race, known)
    winner = standing.leader
    seen: list[set[int]] = []
    for count in range(1, len(rungs) + 1):
        so_far = {training: results[training] for rung in rungs[:count] for training in rung}
        seen.append(set(_stand(race, so_far).excluded))
    fresh = [
        tuple(sorted(after - before))
        for before, after in zip([set[int](), *seen], seen, strict=False)
    ]
    others = [member for member in standing.alive if member != winner]
    runner_up = max(others, key=lambda member: standing.chances[member])
    lead = float(standing.expected[winner] - standing.expected[runner_up])
    at = {member: place for place, member in enumerate(standing.alive)}
    interval = standing.belief.lead(at[winner], at[runner_up], race.confidence)
    rows = tuple(_row(race, member, known, standing, failed) for member in range(race.members))
    return Verdict(
        winner,
        tuple(member for member in standing.alive if member not in standing.excluded),
        rows,
        runner_up,
        lead,
        interval,
        standing.belief.deviation,
        spent_by(known),
        race.full_grid,
        tuple(fresh),
    )


def spent_by(trainings: Mapping[Training, float | None] | Sequence[Training]) -> int:
    """Epochs, short trainings and failed ones at their full price."""
    return sum(training.epochs for training in trainings)


def _replay(race: Race, results: Results) -> tuple[list[list[Training]], list[Training]]:
    """The finished rungs, and what is missing of the present one."""
    rungs: list[list[Training]] = []
    known: dict[Training, float | None] = {}
    while rung := _plan(race, known):
        missing = [training for training in rung if training not in results]
        if missing:
            return rungs, missing
        rungs.append(rung)
        known |= {training: results[training] for training in rung}
    return rungs, []


def _plan(race: Race, known: Results) -> list[Training]:
    """The next rung after the trainings known, all of which have a result."""
    if not known and not race.drop:
        return [
            Training(member, seed, race.epochs)
            for seed in range(race.seeds)
            for member in range(race.members)
        ]
    if not known:
        return [Training(member, 0, race.short_epochs) for member in range(race.members)]
    if not race.drop:
        return []
    affordable = (race.budget - spent_by(known)) // race.epochs
    failed = _failed(known)
    if affordable < 1 or race.members - len(failed) < 2:
        return []
    standing = _stand(race, known)
    left = [member for member in standing.alive if member not in standing.excluded]
    if len(left) < 2:
        return []
    done = _full_trainings(race, known)
    waiting = [member for member in left if len(done[member]) < race.seeds]
    waiting.sort(key=lambda member: (member != standing.leader, -standing.chances[member], member))
    count = min(affordable, max(2, math.ceil(affordable / 3)))
    rung = [Training(member, len(done[member]), race.epochs) for member in waiting[:count]]
    columns = [training.seed for training in rung] + [
        seed for member in standing.alive for seed in done[member]
    ]
    return [training for training in rung if columns.count(training.seed) > 1]


def _stand(race: Race, known: Results) -> "_Standings":
    return _stand_once(race, frozenset(known.items()))


@lru_cache(maxsize=64)  # a replay asks for the same rungs again and again
def _stand_once(race: Race, known: frozenset[tuple[Training, float | None]]) -> "_Standings":
    return _Standings.of(race, dict(known))


@dataclass(frozen=True)
class _Standings:
    """chances, expected: by member of `alive`."""

    alive: list[int]
    belief: Belief
    leader: int
    chances: dict[int, float]
    expected: dict[int, float]
    excluded: frozenset[int]

    @classmethod
    def of(cls, race: Race, known: Results) -> "_Standings":
        failed = _failed(known)
        alive = [member for member in range(race.members) if member not in failed]
        place = {member: index for index, member in enumerate(alive)}
        corrected = {
            t: value - race.correction(t.member) for t, value in known.items() if value is not None
        }
        columns = []
        for seed in range(race.seeds):
            rows = [member for member in alive if Training(member, seed, race.epochs) in known]
            if rows:
                values = tuple(corrected[Training(member, seed, race.epochs)] for member in rows)
                columns.append(Column(tuple(place[member] for member in rows), values))
        brief = None
        if race.short_epochs < race.epochs:
            brief = [corrected[Training(member, 0, race.short_epochs)] for member in alive]
        coordinates = (
            None
            if race.coordinates is None
            else np.array([race.coordinates[member] for member in alive])
        )
        belief = believe(columns, len(alive), brief=brief, coordinates=coordinates)
        expected = dict(zip(alive, belief.expected().tolist(), strict=True))
        done = _full_trainings(race, known)
        most = max(len(done[member]) for member in alive)
        leader = max(
            (m for m in alive if len(done[m]) == most), key=lambda member: expected[member]
        )
        chances = dict(zip(alive, belief.chance_above(place[leader]).tolist(), strict=True))
        return cls(
            alive,
            belief,
            leader,
            chances,
            expected,
            _excluded(chances, leader, 1 - race.confidence),
        )


def _excluded(chances: Mapping[int, float], leader: int, error: float) -> frozenset[int]:
    """The least likely to be above the leader, as many as have together (Boole) at most the chance
    `error` that any is, and
    each at most half of that: what is said to be worse has an interval that says so."""
    out, total = set(), 0.0
    for member in sorted(chances, key=lambda member: chances[member]):
        total += chances[member]
        if total > error or chances[member] > error / 2 or member == leader:
            break
        out.add(member)
    return frozenset(out)


def _full_trainings(race: Race, known: Results) -> list[list[int]]:
    """By member, the seeds that it was trained with in full."""
    return [
        sorted(t.seed for t in known if t.member == member and t.epochs == race.epochs)
        for member in range(race.members)
    ]


def _failed(known: Results) -> set[int]:
    return {training.member for training, accuracy in known.items() if accuracy is None}


def _row(
    race: Race, member: int, known: Results, standing: _Standings, failed: set[int]
) -> Standing:
    full = [known[t] for t in sorted(known) if t.member == member and t.epochs == race.epochs]
    measured = [accuracy for accuracy in full if accuracy is not None]
    raw = sum(measured) / len(measured) if measured else None
    corrected = None if raw is None else raw - race.correction(member)
    if member in failed:
        return Standing("failed", len(full), raw, corrected, None, None, None, None)
    status: Status = "tied" if len(full) == race.seeds else "open"
    if member in standing.excluded:
        status = "excluded"
    if member == standing.leader:
        status = "winner"
    expected, leader = standing.expected, standing.leader
    at = {each: place for place, each in enumerate(standing.alive)}
    interval = (
        (0.0, 0.0)
        if member == leader
        else standing.belief.lead(at[leader], at[member], race.confidence)
    )
    behind = expected[leader] - expected[member]
    return Standing(
        status,
        len(full),
        raw,
        corrected,
        expected[member],
        behind,
        interval,
        standing.chances[member],
    )
