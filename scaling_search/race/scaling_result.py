"""The result of the scaling search, and what `scaling/coefficients.yaml` holds of it."""

import math
from dataclasses import dataclass

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.artifacts.coefficients_file import (
    CoefficientIntervals,
    CoefficientsFile,
    MoreTrainings,
    RacedMember,
    RaceOutcome,
    RaceRecord,
)
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.race.centroid import CoefficientEstimate
from phinas.scaling_search.race.race import Race, RaceResult
from phinas.scaling_search.race.value_of_more import ValueOfMore


@dataclass(frozen=True)
class ScalingResult:
    """The result of the scaling search.

    Attributes:
        estimate: The coefficients that follow from the race.
        grid: All members.
        raced_members: Those that were trained.
        scores: Of the full trainings of each raced member (by network_id), by seed.
        short_scores: The same for the short training, if any; of two the better one.
        race: On positions in raced_members.
        race_result: On positions in raced_members.
        metric: The name of the score.
        chance: The score of guessing, if that of the winner is not significantly higher.
        value_of_more: What as many epochs again would add; None: not computed, or nothing.
    """

    estimate: CoefficientEstimate
    grid: list[GridMember]
    raced_members: list[GridMember]
    scores: dict[str, list[float]]
    short_scores: dict[str, float]
    race: Race
    race_result: RaceResult
    metric: str = "accuracy"
    chance: float | None = None
    value_of_more: ValueOfMore | None = None

    @property
    def coefficients(self) -> Coefficients:
        return self.estimate.coefficients

    @property
    def winner(self) -> GridMember:
        """The network to use at the FLOPs of the raced members."""
        return self.raced_members[self.race_result.winner]

    @property
    def ties(self) -> list[GridMember]:
        """The winner and all others that may be the best, failed ones too."""
        return [self.raced_members[position] for position in self.race_result.ties]

    @property
    def outcome(self) -> RaceOutcome:
        """How the winner compares with the other raced members."""
        num_ties = len(self.race_result.ties)
        if num_ties == 1:
            return "best"
        return "all_tied" if num_ties == len(self.raced_members) else "some_tied"


def make_coefficients_file(result: ScalingResult, section: ScalingSection) -> CoefficientsFile:
    """What `scaling/coefficients.yaml` holds of a race."""
    estimate, race, race_result = result.estimate, result.race, result.race_result
    coefficients = estimate.coefficients
    alpha, beta, gamma = estimate.intervals
    is_nominal = section.constraint == "nominal"
    return CoefficientsFile(
        alpha=coefficients.alpha,
        beta=coefficients.beta,
        gamma=coefficients.gamma,
        divisor=coefficients.divisor,
        rounding=coefficients.rounding,
        source=None,
        race=RaceRecord(
            metric=result.metric,
            outcome=result.outcome,
            intervals=CoefficientIntervals(alpha=alpha, beta=beta, gamma=gamma),
            published_fraction=estimate.published_fraction,
            flops_multiple=section.flops_multiple,
            grid_phi=section.compared_phi,
            constraint=section.constraint,
            tolerance=section.nominal_tolerance if is_nominal else section.max_deviation,
            evaluator=section.evaluator,
            grid_size=len(result.grid),
            seeds=race.num_seeds,
            early_elimination=race.early_elimination,
            noise_std=race_result.noise_std,
            chance=result.chance,
            slope=race.slope,
            margin=race_result.margin,
            margin_interval=_finite_or_none(race_result.margin_interval),
            epochs=race_result.epochs_spent,
            full_grid_epochs=race_result.full_grid_epochs,
            more_trainings=_make_more_trainings_record(result.value_of_more),
            members=tuple(
                _make_member_record(result, position)
                for position in range(len(result.raced_members))
            ),
        ),
    )


def _make_member_record(result: ScalingResult, position: int) -> RacedMember:
    member, member_result = (
        result.raced_members[position],
        result.race_result.member_results[position],
    )
    network_id = member.spec.network_id
    return RacedMember(
        **dict(member.to_record()),
        scores=tuple(result.scores[network_id]),
        short_run_score=result.short_scores.get(network_id),
        num_diverged=member_result.num_diverged,
        score=member_result.score,
        adjusted_score=member_result.adjusted_score,
        score_gap=member_result.score_gap,
        score_gap_interval=_finite_or_none(member_result.gap_interval),
        status=member_result.status,
        tied=position in result.race_result.ties,
        winner=position == result.race_result.winner,
        probability_of_best=result.estimate.probabilities[position],
    )


def _make_more_trainings_record(value: ValueOfMore | None) -> MoreTrainings | None:
    if value is None:
        return None
    return MoreTrainings(
        trainings=value.num_trainings,
        num_tied=value.ties - 1,
        gain=value.gain,
        max_gain=value.max_gain,
        max_gain_of_grid=value.max_gain_of_grid,
    )


def _finite_or_none(interval: Interval | None) -> Interval | None:
    return interval if interval is not None and math.isfinite(interval[0]) else None
