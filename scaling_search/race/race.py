"""A race: its settings, its trainings and its result."""

import math
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from phinas.experiment.artifacts.coefficients_file import MemberStatus


class TrainingRun(NamedTuple):
    """A training of a member.

    Attributes:
        member: Its position in the list.
        seed: The index of the seed.
        epochs: Of the training.
    """

    member: int
    seed: int
    epochs: int


Results = Mapping[TrainingRun, float | None]  # scores; None: failed


@dataclass(frozen=True, slots=True)
class Race:
    """The settings of a race.

    Attributes:
        num_members: At least 2.
        num_seeds: Full trainings of a member at most.
        epochs: Of a full training.
        coordinates: Of each member, (log alpha, log beta, log gamma).
        relative_flops: FLOPs of each member over the target.
        slope: Score per unit of log FLOPs, which is subtracted.
        score_step: By how much one image changes a score; the noise of a training is at least that.
        max_budget_fraction: Maximum fraction of the epochs of the full grid.
        short_fraction: Fraction of the epochs of a training in the first rung.
        early_elimination: If False, all members are trained in full with every seed, and
            max_budget_fraction and short_fraction have no effect.
        continues_trainings: A full training continues the short one with the same seed. If False,
            it starts from the first epoch.
        confidence: Probability that no excluded member is the best, and that of intervals.
    """

    num_members: int
    num_seeds: int
    epochs: int
    coordinates: tuple[tuple[float, ...], ...] | None = None
    relative_flops: tuple[float, ...] | None = None
    slope: float = 0.0
    score_step: float = 0.0
    max_budget_fraction: float = 0.4
    short_fraction: float = 0.2
    early_elimination: bool = True
    continues_trainings: bool = False
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.num_members < 2 or self.num_seeds < 1 or self.epochs < 1:
            raise ValueError(
                "a race needs two members, a seed and an epoch, not "
                f"{self.num_members}, {self.num_seeds} and {self.epochs}"
            )
        for name, values in (
            ("coordinates", self.coordinates),
            ("relative_flops", self.relative_flops),
        ):
            if values is not None and len(values) != self.num_members:
                raise ValueError(f"{name}: has {len(values)} rows for {self.num_members} members")
        if self.early_elimination and self.max_epochs < self.num_members * self.short_epochs:
            raise ValueError(
                f"max_budget_fraction: {self.max_budget_fraction:g} of the full grid is "
                f"{self.max_epochs} epochs, too few for {self.short_epochs} epochs of every "
                "member; raise it"
            )

    @property
    def full_grid_epochs(self) -> int:
        """Epochs of every member with every seed."""
        return self.num_members * self.num_seeds * self.epochs

    @property
    def max_epochs(self) -> int:
        """The budget in epochs."""
        return (
            math.floor(self.max_budget_fraction * self.full_grid_epochs + 1e-9)
            if self.early_elimination
            else self.full_grid_epochs
        )

    @property
    def max_trainings(self) -> int:
        """Short and full trainings, if the whole budget is used."""
        if not self.early_elimination:
            return self.num_members * self.num_seeds
        epochs_left = self.max_epochs - self.num_members * self.short_epochs
        num_continued = 0
        if self.continues_trainings and self.short_epochs < self.epochs:
            remaining_epochs = self.epochs - self.short_epochs
            num_continued = min(self.num_members, epochs_left // remaining_epochs)
            epochs_left -= num_continued * remaining_epochs
        return self.num_members + num_continued + epochs_left // self.epochs

    @property
    def short_epochs(self) -> int:
        """Epochs of a training of the first rung."""
        return (
            max(1, round(self.short_fraction * self.epochs))
            if self.early_elimination
            else self.epochs
        )

    def epochs_to_train(self, run: TrainingRun, trained: Container[TrainingRun]) -> int:
        """Epochs of a training after those of the short one that it continues.

        Args:
            trained: Trainings that have ended.
        """
        short = TrainingRun(run.member, run.seed, self.short_epochs)
        is_continued = self.continues_trainings and run.epochs == self.epochs and short in trained
        return run.epochs - (self.short_epochs if is_continued and short != run else 0)

    def total_epochs(self, runs: Collection[TrainingRun]) -> int:
        """Epochs of trainings, short and failed ones included."""
        return sum(self.epochs_to_train(run, runs) for run in runs)

    def flops_adjustment(self, member: int) -> float:
        """What is subtracted from a member's scores for FLOPs above the target."""
        return (
            0.0
            if self.relative_flops is None
            else self.slope * math.log(self.relative_flops[member])
        )


@dataclass(frozen=True)
class MemberResult:
    """The result of one member.

    Attributes:
        status: winner; tied with it; open (tied, and not trained with every seed); excluded (not
            tied); or failed (a training failed).
        num_trainings: Full trainings with a score that counts.
        num_diverged: Trainings that are left out because they diverged, short and full ones.
        score: Mean of the full trainings; None without any.
        adjusted_score: The same, adjusted for FLOPs.
        score_gap: The posterior mean of the winner minus that of this member; None without any
            training that counts.
        gap_interval: Of score_gap; None without a full training, since the interval of a member
            with a short one only depends on what the model assumes.
        probability_of_best: Probability to be the best member; for one that is clearly worse, to be
            above the winner.
    """

    status: MemberStatus
    num_trainings: int
    num_diverged: int
    score: float | None
    adjusted_score: float | None
    score_gap: float | None
    gap_interval: tuple[float, float] | None
    probability_of_best: float


@dataclass(frozen=True)
class RaceResult:
    """The result of a race. Members are positions.

    Attributes:
        winner: The member with the highest posterior mean of those with two full trainings.
        ties: The winner and all others that may be the best, failed ones too.
        member_results: Of all members.
        runner_up: The other member with a full training that is most likely to be the best.
        margin: The posterior mean of the winner minus that of the runner-up.
        margin_interval: Of margin; None where the runner-up has no full training.
        noise_std: Standard deviation of one training.
        epochs_spent: With short and failed trainings.
        full_grid_epochs: Of every member with every seed.
        excluded_by_rung: The members that each rung excluded.
    """

    winner: int
    ties: tuple[int, ...]
    member_results: tuple[MemberResult, ...]
    runner_up: int
    margin: float
    margin_interval: tuple[float, float] | None
    noise_std: float
    epochs_spent: int
    full_grid_epochs: int
    excluded_by_rung: tuple[tuple[int, ...], ...]
