"""The compound coefficients in sentences: for the page and for the terminal."""

import math

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile, RacedMember, RaceRecord
from phinas.reports.controls import PAPER_FACTORS, PAPER_LABEL
from phinas.reports.formatting import (
    DIMENSIONS,
    GREEK_LETTERS,
    format_interval,
    format_points,
    join_names,
)
from phinas.reports.run_data import RunData
from phinas.reports.sentences.rendering import list_sentences, render
from phinas.scaling_search.coefficients import PAPER

_LARGE_PHI = 2  # where a comparison decides more, benchmarks/racing.md
_NO_BREAK_EQUALS = "\u00a0=\u00a0"


def find_closest_to_paper(race: RaceRecord) -> RacedMember | None:
    """The compared network whose intervals are nearest to EfficientNet's alpha, beta and
    gamma, in logarithms.
    """

    def distance(row: RacedMember) -> float:
        return math.hypot(
            *(
                max(0.0, math.log(low / factor), math.log(factor / high))
                for (low, high), factor in zip(
                    row.intervals.values(), (PAPER.alpha, PAPER.beta, PAPER.gamma), strict=True
                )
            )
        )

    return min(
        (row for row in race.members if row.score_gap is not None), key=distance, default=None
    )


def describe_paper_coefficients(run_data: RunData) -> list[str]:
    """The result of the compared network nearest to EfficientNet's coefficients."""
    member = find_closest_to_paper(run_data.race) if run_data.race else None
    if member is None or member.score_gap is None:
        return []
    intervals = ", ".join(
        f"{GREEK_LETTERS[name]} {format_interval(*interval)}"
        for name, interval in member.intervals.items()
    )
    return [
        render(
            "coefficients",
            "closest",
            paper=f"{PAPER_LABEL} {PAPER_FACTORS}",
            intervals=intervals,
            case="winner" if member.winner else "tied" if member.tied else "worse",
            difference=format_points(member.score_gap).removeprefix("+"),
            interval=member.score_gap_interval,
        )
    ]


def describe_coefficients(run_data: RunData) -> list[str]:
    """The conclusions on the coefficients."""
    coefficients = run_data.coefficients
    if coefficients is None:
        return []
    race = coefficients.race
    if race is None:
        values = join_names(
            [
                f"{DIMENSIONS[name]} by {name}{_NO_BREAK_EQUALS}{value:.2f}"
                for name, value in coefficients.factors.items()
            ]
        )
        return [render("coefficients", "user_supplied", values=values)]
    intervals = race.intervals.by_name
    values = join_names(
        [
            f"{DIMENSIONS[name]} by {name}{_NO_BREAK_EQUALS}{value:.2f} "
            f"({intervals[name][0]:.2f} to {intervals[name][1]:.2f})"
            for name, value in coefficients.factors.items()
        ]
    )
    source = run_data.scaling_score_source
    return list_sentences(
        render(
            "coefficients",
            "searched",
            values=values,
            published=PAPER_FACTORS,
            published_fraction=race.published_fraction,
        ),
        _describe_outcome(race),
        _describe_more_trainings(race, run_data),
        render("coefficients", "source_note", source=source) if source else "",
    )


def _describe_outcome(race: RaceRecord) -> str:
    return render(
        "coefficients",
        "outcome",
        case=race.outcome,
        winner=f"grid-{race.winner_number}",
        probability=race.winner.probability_of_best,
        num_members=len(race.members),
        num_tied=race.num_tied,
        num_failed=race.num_tied_failed,
        num_diverged=race.num_diverged,
        chance=race.chance,
        cost=f"{race.target_ratio:.3g}",
        scales_resolution=any(row.intervals["gamma"][0] > 1 for row in race.members),
        noun="trained network" if race.evaluator == "proxy" else "measured network",
    )


def _describe_more_trainings(race: RaceRecord, run_data: RunData) -> str:
    """What as much training again would add; "" if nothing is left to decide."""
    more = race.more_trainings
    if more is None:
        return ""
    seconds = sum(
        record.measurement.train_seconds
        for record in run_data.trial_records["scaling"]
        if record.is_complete
    )
    return render(
        "coefficients",
        "more_trainings",
        num_trainings=more.trainings,
        minutes=seconds / 60,
        num_tied=more.num_tied,
        gain=100 * more.gain,
        max_gain=100 * more.max_gain,
        max_gain_of_grid=None if more.max_gain_of_grid is None else 100 * more.max_gain_of_grid,
        grid_size=race.grid_size,
        can_rise=race.constraint == "measured" and race.grid_phi < _LARGE_PHI,
        large_phi=_LARGE_PHI,
    )


def explain_coefficients(coefficients: CoefficientsFile) -> list[str]:
    """Where the coefficients come from."""
    race = coefficients.race
    if race is None:
        values = ", ".join(f"{value:.4g}" for value in coefficients.factors.values())
        return [
            render("coefficients", "why_user_supplied", values=values, source=coefficients.source)
        ]
    is_nominal = race.constraint == "nominal"
    why = render(
        "coefficients",
        "why",
        num_members=len(race.members),
        published=PAPER_FACTORS,
        published_fraction=race.published_fraction,
        grid_size=race.grid_size,
        constraint=race.constraint,
        target=race.flops_multiple if is_nominal else race.target_ratio,
        tolerance=race.tolerance,
        seeds=race.seeds,
        epochs=race.epochs,
        full_grid_epochs=race.full_grid_epochs,
        raced=race.early_elimination,
    )
    return [why, _describe_outcome(race)]


def describe_coefficient_intervals(run_data: RunData) -> str:
    """The intervals below the headline."""
    race = run_data.race
    if race is None:
        return "user-supplied"
    intervals = ", ".join(
        f"{GREEK_LETTERS[name]}\u00a0{format_interval(*interval)}"
        for name, interval in race.intervals.by_name.items()
    )
    return render("coefficients", "headline", case=race.outcome, intervals=intervals)
