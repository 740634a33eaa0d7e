"""Whether compound scaling is better than scaling one dimension.

It is where the member of the family is significantly better than depth-only, width-only and
resolution-only scaling, each of them. It is not where one of these is significantly better. In all
other cases it is undecided, also where one of the three was not trained. Other controls (the
paper's coefficients, another run's) scale all dimensions too, so they have no say.
"""

from collections.abc import Mapping, Sequence

from phinas.experiment.artifacts.validation_file import CompoundVerdict, ControlVerdict


def judge_compound_scaling(
    family_member: str | None,
    verdicts: Mapping[str, ControlVerdict | None],
    *,
    single_dimension: Sequence[str],
) -> CompoundVerdict:
    """The verdict on a member of the family.

    Args:
        family_member: Its name; None: no member was compared.
        verdicts: On the member, by the name of the control; None: undecided.
        single_dimension: Names of the controls that scale one dimension.
    """
    single_verdicts = [verdicts.get(name) for name in single_dimension]
    wins: bool | None = None
    if family_member is not None and "worse" in single_verdicts:
        wins = False
    elif family_member is not None and all(verdict == "better" for verdict in single_verdicts):
        wins = True
    return CompoundVerdict(family_member=family_member, wins=wins)
