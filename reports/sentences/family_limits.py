"""What limits the members of a family, in sentences: the highest resolution and the growth of the
depth.
"""

from collections.abc import Sequence

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.schema.config import Config
from phinas.reports.formatting import join_names
from phinas.reports.sentences.rendering import list_sentences, render
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.depth_growth import find_depth_jumps

_MIN_RANGE = 3  # members that are named by the first and the last


def describe_family_limits(
    family: Sequence[FamilyMember], record: CoefficientsFile, config: Config
) -> list[str]:
    """Which members have the highest resolution, and whether alpha was lowered.

    Args:
        family: The members by rising phi.
        record: The coefficients of the family.
        config: The configuration of the run.
    """
    return list_sentences(
        _describe_max_resolution(family, record, config), _describe_lower_alpha(record)
    )


def describe_depth_jumps(family: Sequence[FamilyMember], record: CoefficientsFile) -> str:
    """The members that more than double the depth of a stage; "" if there are none."""
    baseline = find_baseline(family)
    if baseline is None:
        return ""
    coefficients = Coefficients.from_file(record)
    jumps = find_depth_jumps(baseline.spec, coefficients, [member.phi for member in family])
    names = [member.name for member in family if member.phi in jumps]
    if not names:
        return ""
    return render(
        "family_limits",
        "depth_jumps",
        names=join_members(names, family),
        count=len(names),
        is_race=record.race is not None,
    )


def find_baseline(family: Sequence[FamilyMember]) -> FamilyMember | None:
    """B0; None if its file was deleted."""
    return next((member for member in family if member.name == "b0"), None)


def join_members(names: Sequence[str], family: Sequence[FamilyMember]) -> str:
    """The members with these names, such as "B4 to B7" or "B1 and B3".

    Args:
        names: Such as "b4", in the order of the family.
        family: All members.
    """
    labels, all_labels = [name.upper() for name in names], [each.name.upper() for each in family]
    start = all_labels.index(labels[0])
    is_range = len(labels) >= _MIN_RANGE and all_labels[start : start + len(labels)] == labels
    return f"{labels[0]} to {labels[-1]}" if is_range else join_names(labels)


def _describe_max_resolution(
    family: Sequence[FamilyMember], record: CoefficientsFile, config: Config
) -> str:
    baseline, coefficients = find_baseline(family), Coefficients.from_file(record)
    if baseline is None:
        return ""
    limited_members = [
        member
        for member in family
        if coefficients.limits_resolution(baseline.spec.resolution, member.phi)
    ]
    if not limited_members:
        return ""
    return render(
        "family_limits",
        "max_resolution",
        names=join_members([member.name for member in limited_members], family),
        count=len(limited_members),
        resolution=limited_members[-1].spec.resolution,
        source=_source_of_maximum(config),
    )


def _source_of_maximum(config: Config) -> str:
    if config.scaling.max_resolution is not None:
        return "option"
    return "upsampling" if config.data is not None and config.data.upsample else "images"


def _describe_lower_alpha(record: CoefficientsFile) -> str:
    if record.before_depth_limit is None:
        return ""
    return render(
        "family_limits",
        "lower_alpha",
        before=record.before_depth_limit,
        after=(record.alpha, record.beta, record.gamma),
    )
