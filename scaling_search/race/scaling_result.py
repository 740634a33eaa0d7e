"""The result of the scaling search, and what `scaling/coefficients.yaml` holds of it."""

import math
from dataclasses import dataclass

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.artifacts.coefficients_file import (
    CoefficientRanges,
    CoefficientsFile,
    RacedMember,
    RaceOutcome,
    RaceRecord,
)
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.race.race import Race, RaceResult


@dataclass(frozen=True)
class ScalingResult:
    """The result of the scaling search.

    Attributes:
        coefficients: Of the winner.
        grid: All members.
        raced_members: Those that were trained.
        scores: Of the full trainings of each raced member (by network_id), by seed.
        short_scores: The same for the short training, if any; of two the better one.
        race: On positions in raced_members.
        race_result: On positions in raced_members.
        metric: The name of the score.
    """

    coefficients: Coefficients
    grid: list[GridMember]
    raced_members: list[GridMember]
    scores: dict[str, list[float]]
    short_scores: dict[str, float]
    race: Race
    race_result: RaceResult
    metric: str = "accuracy"

    @property
    def winner(self) -> GridMember:
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

    def ranges(self) -> CoefficientRanges:
        """From the least to the greatest alpha, beta, gamma of any member tied with the winner."""

        def span(intervals: list[Interval]) -> Interval:
            return min(low for low, _ in intervals), max(high for _, high in intervals)

        return CoefficientRanges(
            alpha=span([member.alpha for member in self.ties]),
            beta=span([member.beta for member in self.ties]),
            gamma=span([member.gamma for member in self.ties]),
        )


def make_coefficients_file(result: ScalingResult, section: ScalingSection) -> CoefficientsFile:
    """What `scaling/coefficients.yaml` holds of a race."""
    coefficients, race, race_result = result.coefficients, result.race, result.race_result
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
            ranges=result.ranges(),
            flops_multiple=section.flops_multiple,
            grid_phi=section.grid_phi,
            constraint=section.constraint,
            tolerance=section.nominal_tolerance if is_nominal else section.max_deviation,
            evaluator=section.evaluator,
            grid_size=len(result.grid),
            seeds=race.num_seeds,
            early_elimination=race.early_elimination,
            noise_std=race_result.noise_std,
            slope=race.slope,
            margin=race_result.margin,
            margin_interval=_finite_or_none(race_result.margin_interval),
            epochs=race_result.epochs_spent,
            full_grid_epochs=race_result.full_grid_epochs,
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
    )


def _finite_or_none(interval: Interval | None) -> Interval | None:
    return interval if interval is not None and math.isfinite(interval[0]) else None
