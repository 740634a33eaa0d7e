"""Does compound scaling win here? Yes, no, or it can't be told: in one sentence.

It wins where the member is better than depth alone, width alone and resolution alone, each of them,
beyond doubt. It does not where one of these is better beyond doubt. Everything else can't be told,
one that was not trained included. Other controls (the paper's coefficients, another run's) scale
all dimensions too: they say whether a family needs its own, not whether to compound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phinas.scaling_search.validation.control_test import Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A control of the member. words: for people; verdict: of the member, None where there is none;
    why_not: of that.
    """

    name: str
    words: str
    verdict: Verdict | None
    why_not: str = ""


def compound(
    against: str | None, controls: Sequence[Judged], *, single: Sequence[str]
) -> dict[str, Any]:
    """What `scaling/validation.yaml` says under `compound`. against: the member's name; single:
    names of the controls that scale one dimension."""
    if against is None:
        named = [control for control in controls if control.name in single]
        why = (
            named[0].why_not
            if named
            else "nothing was scaled in one dimension alone (validation.controls)"
        )
        return {"against": None, "wins": None, "why": f"not compared: {why}"}
    member = against.upper()
    better = [
        control.words
        for control in controls
        if control.verdict == "worse" and control.name in single
    ]
    if better:
        verb = "is" if len(better) == 1 else "are"
        return {
            "against": against,
            "wins": False,
            "why": f"{_joined(better)} {verb} better than {member} beyond doubt (95%)",
        }
    found = {control.name: control for control in controls}
    beaten = [name for name in single if name in found and found[name].verdict == "better"]
    told = (
        [
            f"{member} is better than {_joined([found[name].words for name in beaten])} beyond "
            "doubt (95%)"
        ]
        if beaten
        else []
    )
    if len(beaten) == len(single):
        return {"against": against, "wins": True, "why": told[0]}
    tied = [found[name].words for name in single if name in found and found[name].verdict == "tied"]
    if tied:
        told.append(
            f"it can't be told from {_joined(tied)}"
            if told
            else f"{member} can't be told from {_joined(tied)}"
        )
    unknown = [found[name] for name in single if name in found and found[name].verdict is None]
    told += [
        f"{control.words}{'' if control.why_not.startswith('is ') else ':'} {control.why_not}"
        for control in unknown
    ]
    missing = [f"{name} alone" for name in single if name not in found]
    if missing:
        told.append(
            f"{_joined(missing)} {'was' if len(missing) == 1 else 'were'} not compared "
            "(validation.controls)"
        )
    return {"against": against, "wins": None, "why": "; ".join(told)}


def _joined(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), words[-1]])
