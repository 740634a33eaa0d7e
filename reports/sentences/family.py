"""The family on the test split, in sentences.

The gain over B0 is the validation's (`phinas.scaling_search.validation.validation_summary`), with
training noise and test-set sampling error. After one training of each network the noise is unknown;
then two accuracies are compared by the interval of the difference of two proportions (Newcombe,
"Interval estimation for the difference between independent proportions", 1998, method 10). It has
no training noise, and takes the test images of the two as independent. They are the same images, so
it is too wide rather than too narrow.
"""

from dataclasses import dataclass

from phinas.experiment.artifacts.validation_file import TestResult
from phinas.experiment.statistics.intervals import newcombe_interval
from phinas.reports.controls import MARKERS
from phinas.reports.family_rows import TestedMember
from phinas.reports.run_data import RunData
from phinas.reports.sentences.family_limits import (
    describe_depth_jumps,
    describe_family_limits,
    join_members,
)
from phinas.reports.sentences.pretrained import describe_pretrained
from phinas.reports.sentences.rendering import list_sentences, render
from phinas.scaling_search.validation.curve import MIN_POINTS
from phinas.scaling_search.validation.prediction import MAX_EXTRAPOLATION


@dataclass(frozen=True)
class FamilyGain:
    """Two members compared.

    Attributes:
        first: B0, or the smallest trained member.
        last: The largest trained member.
        difference: Score of the last minus that of the first.
        interval: 95%; None: unknown.
        has_noise: The interval has training noise.
    """

    first: TestedMember
    last: TestedMember
    difference: float
    interval: tuple[float, float] | None
    has_noise: bool

    @property
    def case(self) -> str:
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "gain" if low > 0 else "loss" if high < 0 else "none"


def compare_scores(first: TestResult, second: TestResult) -> tuple[float, float]:
    """The 95% interval of the accuracy of `second` minus that of `first`."""
    return newcombe_interval(first.score, first.images, second.score, second.images)


def find_gain(run_data: RunData) -> FamilyGain | None:
    """The largest trained member compared with B0; None where fewer than two were trained."""
    gain = run_data.validation.gain if run_data.validation else None
    if gain is not None:
        first = run_data.find_tested_member(gain.baseline)
        last = run_data.find_tested_member(gain.member)
        if first is not None and last is not None:
            return FamilyGain(first, last, gain.difference, gain.interval, has_noise=True)
    members = run_data.tested_members
    if len(members) < 2:
        return None
    first, last = members[0], members[-1]
    is_accuracy = run_data.validation is not None and run_data.validation.metric == "accuracy"
    return FamilyGain(
        first,
        last,
        last.result.score - first.result.score,
        compare_scores(first.result, last.result) if is_accuracy else None,
        has_noise=False,
    )


def describe_family(run_data: RunData) -> list[str]:
    """The conclusions on the family."""
    reference = run_data.validation.pretrained_reference if run_data.validation else None
    return list_sentences(
        _describe_gain(run_data),
        describe_pretrained(reference) if reference else "",
        _describe_predictions(run_data),
        _describe_missing_predictions(run_data),
        *_describe_limits(run_data),
    )


def _describe_gain(run_data: RunData) -> str:
    members, gain, label = run_data.tested_members, find_gain(run_data), run_data.test_score_label
    if not members:
        return ""
    if gain is None:
        return render(
            "family",
            "only_one",
            name=members[0].label,
            score=members[0].result.score,
            label=label,
        )
    first, last = gain.first, gain.last
    return render(
        "family",
        "gain",
        case=gain.case,
        first=first.label,
        first_score=first.result.score,
        last=last.label,
        last_score=last.result.score,
        label=label,
        cost=last.flops / first.flops,
        difference=gain.difference,
        interval=gain.interval,
        images=last.result.images,
        repeats=len(last.result.scores) if gain.has_noise else 0,
    )


def _describe_predictions(run_data: RunData) -> str:
    members = run_data.predicted_members
    if not members:
        return ""
    farthest = max(members, key=lambda member: member.extrapolation)
    low, high = farthest.interval
    return render(
        "family",
        "predictions",
        names=[member.label for member in members],
        farthest=farthest.label,
        score=farthest.score,
        low=low,
        high=high,
        extrapolation=farthest.extrapolation,
    )


def _describe_missing_predictions(run_data: RunData) -> str:
    """Which members have no predicted score, and why."""
    by_reason: dict[str, list[str]] = {}
    for row in run_data.unpredicted_members:
        if row.record is not None and row.record.missing_prediction is not None:
            by_reason.setdefault(row.record.missing_prediction, []).append(row.member.name)
    family = [row.member for row in run_data.members]
    return render(
        "family",
        "missing_predictions",
        names={reason: join_members(names, family) for reason, names in by_reason.items()},
        max_extrapolation=MAX_EXTRAPOLATION,
    )


def _describe_limits(run_data: RunData) -> list[str]:
    """What limits the members of the family."""
    if run_data.coefficients is None:
        return []
    family = [row.member for row in run_data.members]
    return list_sentences(
        *describe_family_limits(family, run_data.coefficients, run_data.config),
        describe_depth_jumps(family, run_data.coefficients),
    )


def describe_missing_curve(run_data: RunData) -> str:
    """Why no score is predicted; "" where there is a curve, or nothing to predict."""
    validation = run_data.validation
    if (
        validation is None
        or validation.curve is not None
        or not run_data.members_without_score
        or not run_data.tested_members
    ):
        return ""
    return render(
        "family",
        "missing_curve",
        num_sizes=validation.num_trained_sizes,
        min_sizes=MIN_POINTS,
    )


def make_family_caption(run_data: RunData) -> str:
    """The caption of the family's figure."""
    members = run_data.tested_members
    caption = render(
        "family",
        "caption",
        label=run_data.test_score_label,
        images=members[0].result.images,
        epochs=run_data.config.validation.recipe.epochs,
        seeds=max(len(member.result.scores) for member in members),
    )
    has_curve = run_data.validation is not None and run_data.validation.curve is not None
    return " ".join(
        list_sentences(
            caption,
            render("family", "curve_caption") if has_curve else "",
            _make_prediction_caption(run_data),
            _make_control_caption(run_data),
            _make_without_score_caption(run_data),
        )
    )


def _make_prediction_caption(run_data: RunData) -> str:
    members = run_data.predicted_members
    if not members:
        return ""
    return render(
        "family",
        "prediction_caption",
        names=[member.label for member in members],
        extrapolation=max(member.extrapolation for member in members),
    )


def _make_control_caption(run_data: RunData) -> str:
    kinds = {control.record.kind for control in run_data.tested_controls}
    legend = [f"{shape}: {name}" for kind, (_, shape, name) in MARKERS.items() if kind in kinds]
    return render("family", "control_caption", legend=legend) if legend else ""


def _make_without_score_caption(run_data: RunData) -> str:
    members = run_data.members_without_score
    if not members:
        return ""
    if run_data.validation is None or run_data.validation.curve is None:
        return render("family", "without_score_caption", count=len(members))
    family = [row.member for row in run_data.members]
    names = join_members([row.member.name for row in members], family)
    return render("family", "not_drawn_caption", names=names, count=len(members))
