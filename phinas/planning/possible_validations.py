"""The networks that the validation may train, before the coefficients are known."""

from collections.abc import Sequence
from dataclasses import replace

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.family_builder import build_family
from phinas.family_feasibility import FamilyFeasibility
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.validation.controls import Control, make_controls, read_controls
from phinas.scaling_search.validation.validate import members_to_train
from phinas.space.spec import ArchSpec, SpecError


def possible_validations(
    config: Config,
    family: FamilyFeasibility,
    *,
    grids: Sequence[tuple[ArchSpec, Sequence[GridMember]]],
    max_resolution: float,
) -> list[list[ArchSpec]]:
    """The networks of the validation for several coefficients, the fewest first.

    Rounding makes some members equal, and some controls. So the number depends on the coefficients
    that are found, for which those of the networks of the grids stand.

    Args:
        config: The configuration.
        family: The family, with coefficients that are known or stand for those to be found.
        grids: The network that the scaling search scales with its grid. If a search precedes it,
            then those with the smallest and the largest grid. Empty where no grid is trained.
        max_resolution: The highest resolution of networks in px.
    """
    examples: list[tuple[ArchSpec, GridMember]] = []
    if len(grids) == 1:
        (scaled, grid) = grids[0]
        examples = [(scaled, member) for member in farthest_point_sample(list(grid), 3)]
    elif grids:
        (scaled, grid), *others = grids
        examples = [(scaled, farthest_point_sample(list(grid), 3)[0])]
        examples += [(network, members[len(members) // 2]) for network, members in others]
    families = [
        replace(family, baseline=network, coefficients=member.to_coefficients(config.scaling))
        for network, member in examples
    ]
    possible = []
    for example in families or [family]:
        try:
            possible.append(_validation_networks(config, example, max_resolution))
        except (InputError, SpecError):
            continue  # such a run stops after the scaling search, of which the notes warn
    return sorted(possible, key=len) or [_validation_networks(config, family, max_resolution)]


def _validation_networks(
    config: Config, family: FamilyFeasibility, max_resolution: float
) -> list[ArchSpec]:
    """The members and controls that are trained.

    Where the coefficients are still to be found, examples stand for them.
    """
    searches_coefficients = config.scaling.coefficients is None
    base, coefficients = family.baseline, family.coefficients
    members = members_to_train(
        build_family(base, coefficients, config.scaling),
        config.validation,
        max_resolution=max_resolution,
    )
    controls = make_controls(
        read_controls(config.validation.controls),
        base,
        members,
        rounding=coefficients,
        max_resolution=max_resolution,
    )

    def is_trained(control: Control) -> bool:
        # the control `paper` will be another network than the members made of its coefficients
        stands_for_itself = control.is_same_network and control.definition.name == "paper"
        return control.skip is None or (stands_for_itself and searches_coefficients)

    trained = [control.spec for control in controls if control.spec and is_trained(control)]
    return [*(member.spec for member in members), *trained]
