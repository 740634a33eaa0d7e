"""The family compared with its controls, in sentences."""

from collections.abc import Mapping, Sequence

from phinas.experiment.artifacts.validation_file import (
    ControlKind,
    ControlRecord,
    ControlVerdict,
)
from phinas.reports.controls import (
    SINGLE_DIMENSIONS,
    make_control_label,
    make_control_phrase,
)
from phinas.reports.family_rows import TestedControl
from phinas.reports.formatting import join_names
from phinas.reports.run_data import RunData
from phinas.reports.sentences.rendering import render
from phinas.scaling_search.validation.skip_reason import describe_skip

_MAX_NAMED_TIES = 2  # controls that are named where they are tied


def describe_compound_verdict(run_data: RunData) -> list[str]:
    """Whether compound scaling is better than single-dimension scaling on these data."""
    validation = run_data.validation
    if validation is None or not validation.controls:
        return []
    controls = {row.kind: row for row in validation.controls if row.kind in SINGLE_DIMENSIONS}
    compound = validation.compound
    if compound.family_member is None:
        return [render("controls", "not_compared", reason=_missing_comparison_reason(controls))]
    member = compound.family_member.upper()
    if compound.wins:
        return [render("controls", "wins", member=member)]
    if compound.wins is False:
        better = _with_verdict(controls, "worse")
        return [
            render(
                "controls",
                "loses",
                member=member,
                better=_join_single(better),
                is_single=len(better) == 1,
            )
        ]
    return _describe_undecided(member, controls)


def _missing_comparison_reason(controls: Mapping[ControlKind, ControlRecord]) -> str:
    skip = next((row.skip for row in controls.values() if row.skip is not None), None)
    return describe_skip(skip) if skip else "validation.controls has no single dimension"


def _with_verdict(
    controls: Mapping[ControlKind, ControlRecord], verdict: ControlVerdict
) -> list[ControlKind]:
    return [
        kind
        for kind, row in controls.items()
        if row.comparison is not None and row.comparison.verdict == verdict
    ]


def _join_single(kinds: Sequence[ControlKind]) -> str:
    """As in "depth-only and width-only scaling"."""
    return f"{join_names([f'{kind}-only' for kind in kinds])} scaling"


def _describe_undecided(member: str, controls: Mapping[ControlKind, ControlRecord]) -> list[str]:
    beaten, tied = _with_verdict(controls, "better"), _with_verdict(controls, "tied")
    if len(tied) == len(SINGLE_DIMENSIONS):
        return [render("controls", "no_difference", member=member)]
    sentences = [render("controls", "undecided")]
    if beaten:
        sentences.append(render("controls", "beaten", member=member, names=_join_single(beaten)))
    if tied:
        sentences.append(render("controls", "tied", member=member, names=_join_single(tied)))
    unknown = [
        kind
        for kind, row in controls.items()
        if row.result is not None and (row.comparison is None or row.comparison.verdict is None)
    ]
    missing = [kind for kind in SINGLE_DIMENSIONS if kind not in controls]
    for macro, kinds in (("unknown_noise", unknown), ("not_configured", missing)):
        if kinds:
            names = _join_single(kinds)
            sentences.append(render("controls", macro, names=names, is_single=len(kinds) == 1))
    return sentences + [
        render("controls", "skipped", name=make_control_label(row), reason=describe_skip(row.skip))
        for row in controls.values()
        if row.skip is not None
    ]


def describe_domain_coefficients(run_data: RunData) -> list[str]:
    """Whether the family's coefficients are better than those of the paper and of other runs."""
    compared = [
        control
        for control in run_data.tested_controls
        if control.record.kind in ("paper", "coefficients") and control.comparison.verdict
    ]
    tied = [control for control in compared if control.comparison.verdict == "tied"]
    sentences = [
        _describe_significant_control(control, run_data)
        for control in compared
        if control.comparison.verdict != "tied"
    ]
    if not tied:
        return sentences
    tied.sort(key=lambda control: control.record.kind != "paper")
    names = [
        f"{make_control_phrase(control.record)} ({_describe_difference(control)})"
        for control in tied[:_MAX_NAMED_TIES]
    ]
    if len(tied) > _MAX_NAMED_TIES:
        names.append(f"{len(tied) - _MAX_NAMED_TIES} more")
    subject, controls = _describe_source(run_data), join_names(names, "or")
    return [*sentences, render("controls", "ties", subject=subject, controls=controls)]


def _describe_source(run_data: RunData) -> str:
    return "the coefficients found here" if run_data.race else "the user-supplied coefficients"


def _describe_difference(control: TestedControl) -> str:
    return render(
        "controls",
        "difference",
        gap=control.comparison.difference,
        interval=control.comparison.interval,
        member=control.member_label,
    )


def _describe_significant_control(control: TestedControl, run_data: RunData) -> str:
    is_better = control.comparison.verdict == "better"
    implication = ("needed" if is_better else "not_needed") if run_data.race else ""
    return render(
        "controls",
        "significant",
        subject=_describe_source(run_data),
        is_better=is_better,
        control=make_control_phrase(control.record),
        difference=_describe_difference(control),
        implication=implication,
    )


def describe_identical_controls(run_data: RunData) -> list[str]:
    """Controls that rounding made one network: their numbers are one measurement."""
    groups: dict[str, list[str]] = {}
    for control in run_data.tested_controls:
        names = groups.setdefault(control.network.network_id, [])
        names.append(make_control_phrase(control.record))
    return [
        render("controls", "identical", names=names) for names in groups.values() if len(names) > 1
    ]


def describe_missing_verdict(control: ControlRecord) -> str:
    """Why a control has no verdict."""
    if control.skip is not None:
        return describe_skip(control.skip)
    case = "no_common_seed" if control.comparison is None else "unknown_noise"
    return render("controls", "undecided_reason", case=case)
