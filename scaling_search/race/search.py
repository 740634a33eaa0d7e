"""Which of the grid's networks is best on this data: they race, trained with the same seeds, and
are compared as a table.

The answer is a winner, the *tie set* that can't be told from it, and for alpha, beta and gamma the
range over that set: when the range is wide, the data do not say, and the file says so. Members of a
few percent more FLOPs than others have what these buy taken off before they are compared; both
figures are kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from phinas.experiment.errors import NothingFound
from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, reasons_of, run_batch
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.seeds import seed_of
from phinas.experiment.trial_store import Ledger
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.grid.measured_grid import (
    Interval,
    Member,
    constraint_in_words,
    make_grid,
    spread,
)
from phinas.scaling_search.race.candidate_sampling import next_member
from phinas.scaling_search.race.flops_adjustment import default_slope
from phinas.scaling_search.race.racing import (
    Race,
    Results,
    Training,
    Verdict,
    judge,
    next_trainings,
)
from phinas.scaling_search.race.synthetic_accuracy import factors
from phinas.space.spec import ArchSpec

MakeJob = Callable[[ArchSpec, Recipe, int], Job]
Notify = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ScalingResult:
    """grid: all members; raced: those that were trained; accuracies: of each (by spec_id) the full
    trainings, by seed; brief: the one short training, if any; race and verdict: on positions in
    `raced`."""

    coefficients: Coefficients
    grid: list[Member]
    raced: list[Member]
    accuracies: dict[str, list[float]]
    brief: dict[str, float]
    race: Race
    verdict: Verdict

    @property
    def winner(self) -> Member:
        return self.raced[self.verdict.winner]

    @property
    def ties(self) -> list[Member]:
        """The winner and all that can't be told from it."""
        return [self.raced[place] for place in self.verdict.ties]

    def ranges(self) -> dict[str, Interval]:
        """From the least to the greatest alpha, beta, gamma of any network in the tie set."""
        return {
            name: (
                min(getattr(m, name)[0] for m in self.ties),
                max(getattr(m, name)[1] for m in self.ties),
            )
            for name in ("alpha", "beta", "gamma")
        }

    def to_dict(self, section: ScalingSection) -> dict[str, Any]:
        """What `scaling/coefficients.yaml` holds. slope: accuracy per unit of log FLOPs, taken off;
        lead: of the winner over the likeliest other, and its interval; deviation: of one training;
        epochs of the race and of the full grid."""
        chosen, found = self.coefficients, self.verdict
        low, high = found.interval
        return {
            "alpha": chosen.alpha,
            "beta": chosen.beta,
            "gamma": chosen.gamma,
            "nominal": chosen.nominal,
            "divisor": chosen.divisor,
            "rounding": chosen.rounding,
            "ranges": {name: list(interval) for name, interval in self.ranges().items()},
            "why": self.explain(section),
            "multiple": section.multiple,
            "compared_at_phi": section.compare_at,
            "constraint": constraint_in_words(section),
            "evaluator": section.evaluator,
            "grid_size": len(self.grid),
            "seeds": self.race.seeds,
            "deviation": found.deviation,
            "slope": self.race.slope,
            "lead": found.lead,
            "lead_interval": [low, high] if math.isfinite(low) else None,
            "epochs": found.spent,
            "full_grid_epochs": found.full_grid,
            "members": [self._row(place) for place in range(len(self.raced))],
        }

    def _row(self, place: int) -> dict[str, Any]:
        """behind: by how much the member is expected to be behind the winner, and the 95% interval
        of that.
        """
        member, standing = self.raced[place], self.verdict.standings[place]
        name = member.spec.spec_id
        low, high = standing.interval or (-math.inf, math.inf)
        return member.to_dict() | {
            "accuracies": self.accuracies[name],
            "brief_accuracy": self.brief.get(name),
            "accuracy": standing.raw,
            "corrected": standing.corrected,
            "behind": standing.behind,
            "behind_interval": [low, high] if math.isfinite(low) else None,
            "status": standing.status,
            "tied": place in self.verdict.ties,
            "winner": place == self.verdict.winner,
        }

    def explain(self, section: ScalingSection) -> str:
        ties, raced = len(self.ties), len(self.raced)
        others = f"the other {raced - 1}" if raced > 2 else "the other"
        if ties == 1:
            told = f"it beats {others} beyond the noise (95%)"
        elif ties == raced:
            told = f"{others} can't be told from it, so the ranges count, not the point"
        else:
            told = (
                f"{ties - 1} of {others} can't be told from it, so the ranges count, not the point"
            )
        spent = f"{self.verdict.spent} of the full grid's {self.verdict.full_grid} epochs"
        how = (
            f"raced with {section.seeds} paired seeds in {spent}"
            if self.race.drop
            else f"{section.seeds} paired seeds each"
        )
        return (
            f"the best of {raced} networks (the grid has {len(self.grid)}) "
            f"{constraint_in_words(section)}, {how}; {told}"
        )


def search_coefficients(
    baseline: ArchSpec,
    section: ScalingSection,
    *,
    seed: int,
    largest_side: float,
    ledger: Ledger,
    executor: Executor,
    make_job: MakeJob,
    notify: Notify,
) -> ScalingResult:
    """Race the grid's members (what `ledger` has is replayed).

    Raises InputError for a grid that is empty, NothingFound where fewer than two members can be
    trained.
    """
    grid = make_grid(baseline, section, largest_side=largest_side)
    trainings = _Trainings(baseline, section, seed, ledger, executor, make_job, notify)
    raced = _chosen(grid, baseline, section, seed=seed, trainings=trainings)
    race = make_race(raced, baseline, section)
    trainings.expected = race.most_trainings
    results: dict[Training, float | None] = {}
    while rung := next_trainings(race, results):
        results |= trainings.run([(raced[training.member], training) for training in rung])
        if race.slope == 0 and section.constraint == "measured":
            race = replace(race, slope=default_slope(_mean_of(results)))
    trainings.close()
    try:
        verdict = judge(race, results)
    except ValueError:
        count = len({training.member for training, value in results.items() if value is not None})
        raise NothingFound(
            f"only {count} networks of the grid could be trained: {trainings.reasons}"
        ) from None
    winner = raced[verdict.winner]
    full = {member.spec.spec_id: _full(results, place, race) for place, member in enumerate(raced)}
    short = {
        training: value for training, value in results.items() if training.epochs < race.epochs
    }
    brief = {
        raced[training.member].spec.spec_id: value
        for training, value in short.items()
        if value is not None
    }
    return ScalingResult(winner.point(section), grid, raced, full, brief, race, verdict)


def make_race(raced: list[Member], baseline: ArchSpec, section: ScalingSection) -> Race:
    """Nothing is dropped where `share` pays for no more than a brief training of each and a full
    one of one.
    """
    base = baseline.simplified()
    coordinates = tuple(
        tuple(math.log(factor) for factor in factors(member.spec, base)) for member in raced
    )
    mean = math.exp(sum(math.log(member.flops) for member in raced) / len(raced))
    flops = tuple(member.flops / mean for member in raced)
    race = Race(
        len(raced),
        section.seeds,
        section.recipe.epochs,
        coordinates,
        flops,
        share=section.share,
        drop=False,
    )
    brief = len(raced) * max(1, round(race.short * race.epochs))
    pays = math.floor(section.share * race.full_grid) >= brief + 2 * race.epochs
    return replace(race, drop=True) if section.share < 1 and pays else race


def _chosen(
    grid: list[Member],
    baseline: ArchSpec,
    section: ScalingSection,
    *,
    seed: int,
    trainings: "_Trainings",
) -> list[Member]:
    """Which members race. tpe asks for one after another, each known by its brief training, the
    race's first.
    """
    count = min(section.members, len(grid))
    if section.strategy == "grid" or count == len(grid):
        return spread(grid, count)
    base = baseline.simplified()
    coordinates = [[math.log(factor) for factor in factors(member.spec, base)] for member in grid]
    brief = make_race(grid[:count], baseline, section).short_epochs
    known: dict[int, float] = {}
    while len(known) < count:
        place = next_member(section.strategy, coordinates, known, seed=seed_of(seed, "members"))
        assert place is not None  # there are more than are asked for
        known[place] = 0.0
        if section.strategy == "tpe":
            found = trainings.run([(grid[place], Training(place, 0, brief))])
            known[place] = next(iter(found.values())) or 0.0  # one that fails is worth nothing
    return [grid[place] for place in sorted(known)]


class _Trainings:
    """What has been asked for so far, as one list of jobs."""

    def __init__(
        self,
        baseline: ArchSpec,
        section: ScalingSection,
        seed: int,
        ledger: Ledger,
        executor: Executor,
        make_job: MakeJob,
        notify: Notify,
    ) -> None:
        self._baseline, self._section = baseline, section
        self._seeds = [seed_of(seed, "scaling", index) for index in range(section.seeds)]
        self._ledger, self._executor, self._make_job, self._notify = (
            ledger,
            executor,
            make_job,
            notify,
        )
        self._tasks: list[Task] = []
        self._outcomes: dict[str, Outcome] = {}
        self.expected = 0  # trainings in all, as far as can be said

    @property
    def reasons(self) -> str:
        """Why trainings failed."""
        return reasons_of(self._outcomes)

    def run(self, wanted: list[tuple[Member, Training]]) -> dict[Training, float | None]:
        """Carry them out (what the ledger has is replayed); None for one that failed."""
        tasks = {training: self._task(member, training) for member, training in wanted}
        self._tasks += tasks.values()
        self._outcomes = run_batch(
            self._tasks, self._ledger, self._executor, notify=self._announce, growing=True
        )
        found = {
            training: self._outcomes[task.job.key].measurement for training, task in tasks.items()
        }
        return {
            training: None if measured is None else measured.accuracy
            for training, measured in found.items()
        }

    def close(self) -> None:
        """Give up what the ledger has waiting and no rung asked for: of a race with other
        settings.
        """
        run_batch(self._tasks, self._ledger, self._executor, notify=self._announce)

    def _task(self, member: Member, training: Training) -> Task:
        recipe = self._section.recipe.model_copy(update={"epochs": training.epochs})
        seed = self._seeds[training.seed]
        facts = {
            "spec_id": member.spec.spec_id,
            "baseline": self._baseline.spec_id,
            "flops": member.flops,
        }
        return Task(
            self._make_job(member.spec, recipe, seed),
            facts | {"seed": seed, "epochs": training.epochs},
        )

    def _announce(self, done: int, total: int, task: Task, outcome: Outcome) -> None:
        self._notify(done, max(total, self.expected), f"{task.attributes['spec_id']}: {outcome}")


def _full(results: Results, place: int, race: Race) -> list[float]:
    """Accuracies of a member's full trainings, by seed."""
    own = sorted(
        training
        for training in results
        if training.member == place and training.epochs == race.epochs
    )
    return [value for training in own if (value := results[training]) is not None]


def _mean_of(results: Results) -> float:
    values = [value for value in results.values() if value is not None]
    return sum(values) / len(values) if values else 0.0
