"""Does compound scaling win here? Yes, no, or it can't be told: in one sentence.

It wins where the member is better than depth alone, width alone and resolution alone, each of them,
beyond doubt. It does not where one of these is better beyond doubt. Everything else can't be told,
one that was not trained included. Other controls (the paper's coefficients, another run's) scale
all dimensions too: they say whether a family needs its own, not whether to compound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phinas.scaling_search.validation.control_test import ControlVerdict


@dataclass(frozen=True, slots=True)
class ControlOutcome:
    """The result of a control.

    Args:
        name: as in `validation.controls`.
        label: for people.
        verdict: on the family member (None: there is none).
        skip_reason: why there is none.
    """

    name: str
    label: str
    verdict: ControlVerdict | None
    skip_reason: str = ""


def judge_compound_scaling(
    family_member: str | None,
    controls: Sequence[ControlOutcome],
    *,
    single_dimension: Sequence[str],
) -> dict[str, Any]:
    """What `scaling/validation.yaml` says under `compound`. family_member: its name;
    single_dimension: names of the controls that scale one dimension."""
    if family_member is None:
        candidates = [control for control in controls if control.name in single_dimension]
        explanation = (
            candidates[0].skip_reason
            if candidates
            else "nothing was scaled in one dimension alone (validation.controls)"
        )
        return {"family_member": None, "wins": None, "explanation": f"not compared: {explanation}"}
    member = family_member.upper()
    better_controls = [
        control.label
        for control in controls
        if control.verdict == "worse" and control.name in single_dimension
    ]
    if better_controls:
        verb = "is" if len(better_controls) == 1 else "are"
        return {
            "family_member": family_member,
            "wins": False,
            "explanation": f"{_join(better_controls)} {verb} better than {member} beyond doubt "
            "(95%)",
        }
    by_name = {control.name: control for control in controls}
    compared = [by_name[name] for name in single_dimension if name in by_name]
    beaten_labels = [control.label for control in compared if control.verdict == "better"]
    clauses = (
        [f"{member} is better than {_join(beaten_labels)} beyond doubt (95%)"]
        if beaten_labels
        else []
    )
    if len(beaten_labels) == len(single_dimension):
        return {"family_member": family_member, "wins": True, "explanation": clauses[0]}
    tied_labels = [control.label for control in compared if control.verdict == "tied"]
    if tied_labels:
        clauses.append(
            f"it can't be told from {_join(tied_labels)}"
            if clauses
            else f"{member} can't be told from {_join(tied_labels)}"
        )
    undecided = [control for control in compared if control.verdict is None]
    clauses += [
        f"{control.label}{'' if control.skip_reason.startswith('is ') else ':'} "
        f"{control.skip_reason}"
        for control in undecided
    ]
    missing_labels = [f"{name} alone" for name in single_dimension if name not in by_name]
    if missing_labels:
        clauses.append(
            f"{_join(missing_labels)} {'was' if len(missing_labels) == 1 else 'were'} not compared "
            "(validation.controls)"
        )
    return {"family_member": family_member, "wins": None, "explanation": "; ".join(clauses)}


def _join(labels: Sequence[str]) -> str:
    return " and ".join([*([", ".join(labels[:-1])] if len(labels) > 1 else []), labels[-1]])
