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

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, failure_reasons, run_jobs
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.trial_store import TrialStore
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import GridMember, Interval, describe_constraint
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.race.candidate_sampling import next_member
from phinas.scaling_search.race.flops_adjustment import default_slope
from phinas.scaling_search.race.racing import (
    Race,
    RaceResult,
    Results,
    TrainingRun,
    evaluate_race,
    next_runs,
)
from phinas.scaling_search.race.synthetic_accuracy import scaling_factors
from phinas.space.spec import ArchSpec

MakeJob = Callable[[ArchSpec, Recipe, int], Job]
ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ScalingResult:
    """The result of the scaling search.

    Args:
        coefficients: of the winner.
        grid: all members.
        raced_members: those that were trained.
        accuracies: of each raced member (by spec_id) the full trainings, by seed.
        short_accuracies: the same for the one short training, if any.
        race, race_result: on positions in raced_members.
    """

    coefficients: Coefficients
    grid: list[GridMember]
    raced_members: list[GridMember]
    accuracies: dict[str, list[float]]
    short_accuracies: dict[str, float]
    race: Race
    race_result: RaceResult

    @property
    def winner(self) -> GridMember:
        return self.raced_members[self.race_result.winner]

    @property
    def ties(self) -> list[GridMember]:
        """The winner and all that are not significantly different from it."""
        return [self.raced_members[position] for position in self.race_result.ties]

    def ranges(self) -> dict[str, Interval]:
        """From the least to the greatest alpha, beta, gamma of any network in the tie set."""
        return {
            name: (
                min(getattr(member, name)[0] for member in self.ties),
                max(getattr(member, name)[1] for member in self.ties),
            )
            for name in ("alpha", "beta", "gamma")
        }

    def to_dict(self, section: ScalingSection) -> dict[str, Any]:
        """What `scaling/coefficients.yaml` holds. slope: accuracy per unit of log FLOPs, which is
        subtracted; margin: of the winner over the runner-up, and its interval; noise_std: of one
        training; epochs of the race and of the full grid.
        """
        coefficients, race_result = self.coefficients, self.race_result
        low, high = race_result.margin_interval
        return {
            "alpha": coefficients.alpha,
            "beta": coefficients.beta,
            "gamma": coefficients.gamma,
            "nominal": coefficients.nominal,
            "divisor": coefficients.divisor,
            "rounding": coefficients.rounding,
            "ranges": {name: list(interval) for name, interval in self.ranges().items()},
            "explanation": self.describe(section),
            "flops_multiple": section.flops_multiple,
            "grid_phi": section.grid_phi,
            "constraint": describe_constraint(section),
            "evaluator": section.evaluator,
            "grid_size": len(self.grid),
            "seeds": self.race.num_seeds,
            "noise_std": race_result.noise_std,
            "slope": self.race.slope,
            "margin": race_result.margin,
            "margin_interval": [low, high] if math.isfinite(low) else None,
            "epochs": race_result.epochs_spent,
            "full_grid_epochs": race_result.full_grid_epochs,
            "members": [self._row(position) for position in range(len(self.raced_members))],
        }

    def _row(self, position: int) -> dict[str, Any]:
        """accuracy_gap: the expected accuracy of the winner less that of this member, and its 95%
        interval.
        """
        member, member_result = (
            self.raced_members[position],
            self.race_result.member_results[position],
        )
        name = member.spec.spec_id
        low, high = member_result.gap_interval or (-math.inf, math.inf)
        return member.to_dict() | {
            "accuracies": self.accuracies[name],
            "short_run_accuracy": self.short_accuracies.get(name),
            "accuracy": member_result.accuracy,
            "adjusted_accuracy": member_result.adjusted_accuracy,
            "accuracy_gap": member_result.accuracy_gap,
            "accuracy_gap_interval": [low, high] if math.isfinite(low) else None,
            "status": member_result.status,
            "tied": position in self.race_result.ties,
            "winner": position == self.race_result.winner,
        }

    def describe(self, section: ScalingSection) -> str:
        num_ties, num_raced = len(self.ties), len(self.raced_members)
        others_text = f"the other {num_raced - 1}" if num_raced > 2 else "the other"
        if num_ties == 1:
            significance = f"it beats {others_text} beyond the noise (95%)"
        elif num_ties == num_raced:
            significance = (
                f"{others_text} can't be told from it, so the ranges count, not the point"
            )
        else:
            significance = (
                f"{num_ties - 1} of {others_text} can't be told from it, so the "
                "ranges count, not the point"
            )
        epochs_text = (
            f"{self.race_result.epochs_spent} of the full grid's "
            f"{self.race_result.full_grid_epochs} epochs"
        )
        race_text = (
            f"raced with {section.seeds} paired seeds in {epochs_text}"
            if self.race.early_elimination
            else f"{section.seeds} paired seeds each"
        )
        return (
            f"the best of {num_raced} networks (the grid has {len(self.grid)}) "
            f"{describe_constraint(section)}, {race_text}; {significance}"
        )


def search_coefficients(
    baseline: ArchSpec,
    section: ScalingSection,
    *,
    seed: int,
    max_resolution: float,
    trial_store: TrialStore,
    executor: Executor,
    make_job: MakeJob,
    on_progress: ProgressCallback,
) -> ScalingResult:
    """Race the grid's members (what `trial_store` has is replayed).

    Raises InputError for a grid that is empty, NoResultError where fewer than two members can be
    trained.
    """
    grid = make_grid(baseline, section, max_resolution=max_resolution)
    queue = _TrainingQueue(baseline, section, seed, trial_store, executor, make_job, on_progress)
    raced_members = _select_members(grid, baseline, section, seed=seed, queue=queue)
    race = make_race(raced_members, baseline, section)
    queue.expected_runs = race.max_trainings
    results: dict[TrainingRun, float | None] = {}
    while rung := next_runs(race, results):
        results |= queue.run([(raced_members[run.member], run) for run in rung])
        if race.slope == 0 and section.constraint == "measured":
            race = replace(race, slope=default_slope(_mean_accuracy(results)))
    queue.close()
    try:
        race_result = evaluate_race(race, results)
    except ValueError:
        count = len({run.member for run, value in results.items() if value is not None})
        raise NoResultError(
            f"only {count} networks of the grid could be trained: {queue.failure_summary}"
        ) from None
    winner = raced_members[race_result.winner]
    full_accuracies = {
        member.spec.spec_id: _full_accuracies(results, position, race)
        for position, member in enumerate(raced_members)
    }
    short_results = {run: value for run, value in results.items() if run.epochs < race.epochs}
    short_accuracies = {
        raced_members[run.member].spec.spec_id: value
        for run, value in short_results.items()
        if value is not None
    }
    return ScalingResult(
        winner.to_coefficients(section),
        grid,
        raced_members,
        full_accuracies,
        short_accuracies,
        race,
        race_result,
    )


def make_race(raced_members: list[GridMember], baseline: ArchSpec, section: ScalingSection) -> Race:
    """Without early elimination where `max_budget_fraction` is too small for a short training of
    each member and two full ones.
    """
    base = baseline.canonicalize()
    coordinates = tuple(
        tuple(math.log(factor) for factor in scaling_factors(member.spec, base))
        for member in raced_members
    )
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
    baseline: ArchSpec,
    section: ScalingSection,
    *,
    seed: int,
    queue: "_TrainingQueue",
) -> list[GridMember]:
    """The members that race. tpe selects them one by one, each given the short trainings so far,
    which are the race's first rung.
    """
    count = min(section.max_grid_members, len(grid))
    if section.strategy == "grid" or count == len(grid):
        return farthest_point_sample(grid, count)
    base = baseline.canonicalize()
    coordinates = [
        [math.log(factor) for factor in scaling_factors(member.spec, base)] for member in grid
    ]
    short_epochs = make_race(grid[:count], baseline, section).short_epochs
    accuracies: dict[int, float] = {}
    while len(accuracies) < count:
        position = next_member(
            section.strategy, coordinates, accuracies, seed=derive_seed(seed, "members")
        )
        assert position is not None  # the grid has more than `count`
        accuracies[position] = 0.0
        if section.strategy == "tpe":
            results = queue.run([(grid[position], TrainingRun(position, 0, short_epochs))])
            # one that fails is worth nothing
            accuracies[position] = next(iter(results.values())) or 0.0
    return [grid[position] for position in sorted(accuracies)]


class _TrainingQueue:
    """All trainings requested so far, as one list of jobs."""

    def __init__(
        self,
        baseline: ArchSpec,
        section: ScalingSection,
        seed: int,
        trial_store: TrialStore,
        executor: Executor,
        make_job: MakeJob,
        on_progress: ProgressCallback,
    ) -> None:
        self._baseline, self._section = baseline, section
        self._seeds = [derive_seed(seed, "scaling", index) for index in range(section.seeds)]
        self._trial_store, self._executor, self._make_job, self._on_progress = (
            trial_store,
            executor,
            make_job,
            on_progress,
        )
        self._tasks: list[Task] = []
        self._outcomes: dict[str, Outcome] = {}
        self.expected_runs = 0  # trainings in all, as far as can be said

    @property
    def failure_summary(self) -> str:
        """Why trainings failed."""
        return failure_reasons(self._outcomes)

    def run(
        self, requested: list[tuple[GridMember, TrainingRun]]
    ) -> dict[TrainingRun, float | None]:
        """Run them (recorded ones are replayed); None for one that failed."""
        tasks = {run: self._task(member, run) for member, run in requested}
        self._tasks += tasks.values()
        self._outcomes = run_jobs(
            self._tasks,
            self._trial_store,
            self._executor,
            on_progress=self._announce,
            list_may_grow=True,
        )
        measurements = {
            run: self._outcomes[task.job.key].measurement for run, task in tasks.items()
        }
        return {
            run: None if measurement is None else measurement.accuracy
            for run, measurement in measurements.items()
        }

    def close(self) -> None:
        """Cancel jobs that wait in the study but belong to no rung: a race with other settings."""
        run_jobs(self._tasks, self._trial_store, self._executor, on_progress=self._announce)

    def _task(self, member: GridMember, run: TrainingRun) -> Task:
        recipe = self._section.recipe.model_copy(update={"epochs": run.epochs})
        seed = self._seeds[run.seed]
        user_attrs = {
            "spec_id": member.spec.spec_id,
            "baseline": self._baseline.spec_id,
            "flops": member.flops,
        }
        return Task(
            self._make_job(member.spec, recipe, seed),
            user_attrs | {"seed": seed, "epochs": run.epochs},
        )

    def _announce(self, done: int, total: int, task: Task, outcome: Outcome) -> None:
        self._on_progress(
            done, max(total, self.expected_runs), f"{task.user_attrs['spec_id']}: {outcome}"
        )


def _full_accuracies(results: Results, position: int, race: Race) -> list[float]:
    """Accuracies of a member's full trainings, by seed."""
    runs = sorted(run for run in results if run.member == position and run.epochs == race.epochs)
    return [value for run in runs if (value := results[run]) is not None]


def _mean_accuracy(results: Results) -> float:
    values = [value for value in results.values() if value is not None]
    return sum(values) / len(values) if values else 0.0
