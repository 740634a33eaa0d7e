"""The networks that the validation may train, before the coefficients are known."""

from collections.abc import Sequence
from dataclasses import replace

from phinas.adapt_to_data import ImageProperties, family_max_resolution, max_resolution
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config, ScalingSection
from phinas.family_builder import build_family, limit_family_depth
from phinas.family_feasibility import FamilyFeasibility
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.race.centroid import estimate_coefficients
from phinas.scaling_search.validation.controls import Control, make_controls, read_controls
from phinas.scaling_search.validation.validate import members_to_train
from phinas.space.network import ScalableNetwork
from phinas.space.spec import SpecError


def possible_validations(
    config: Config,
    family: FamilyFeasibility,
    *,
    grids: Sequence[tuple[ScalableNetwork, Sequence[GridMember]]],
    data: ImageProperties | None,
) -> list[list[ScalableNetwork]]:
    """The networks of the validation for several coefficients, the fewest first.

    Rounding makes some members equal, and some controls. So the number depends on the coefficients
    that are found, for which those of races stand that different networks of the grids win.

    Args:
        config: The configuration.
        family: The family, with coefficients that are known or stand for those to be found.
        grids: The network that the scaling search scales with its grid. If a search precedes it,
            then those with the smallest and the largest grid. Empty where no grid is trained.
        data: The images, or None.
    """
    limit = max_resolution(config, data)
    examples: list[tuple[ScalableNetwork, Sequence[GridMember], GridMember]] = []
    if len(grids) == 1:
        (scaled, grid) = grids[0]
        examples = [(scaled, grid, member) for member in farthest_point_sample(list(grid), 3)]
    elif grids:
        (scaled, grid), *others = grids
        examples = [(scaled, grid, farthest_point_sample(list(grid), 3)[0])]
        examples += [(network, members, members[len(members) // 2]) for network, members in others]
    families = [
        replace(
            family,
            baseline=network,
            coefficients=replace(
                _coefficients_of_winner(network, config.scaling, members, winner),
                max_resolution=family_max_resolution(config, data, network.resolution),
            ),
        )
        for network, members, winner in examples
    ]
    possible = []
    for example in families or [family]:
        try:
            possible.append(_validation_networks(config, example, limit))
        except (InputError, SpecError):
            continue  # such a run stops after the scaling search, of which the notes warn
    return sorted(possible, key=len) or [_validation_networks(config, family, limit)]


def _coefficients_of_winner(
    baseline: ScalableNetwork,
    section: ScalingSection,
    members: Sequence[GridMember],
    winner: GridMember,
) -> Coefficients:
    """The coefficients that follow if a network is certainly the best of a grid."""
    return estimate_coefficients(
        baseline,
        section,
        [member.to_coefficients(section) for member in members],
        [float(member is winner) for member in members],
    ).coefficients


def _validation_networks(
    config: Config, family: FamilyFeasibility, limit: float
) -> list[ScalableNetwork]:
    """The members and controls that are trained.

    Where the coefficients are still to be found, examples stand for them.

    Args:
        config: The configuration.
        family: The baseline and its coefficients.
        limit: The highest resolution of networks for the images in px.
    """
    searches_coefficients = config.scaling.coefficients is None
    base, coefficients = family.baseline, family.coefficients
    if searches_coefficients:
        coefficients = limit_family_depth(base, coefficients, config.scaling)
    members = members_to_train(
        build_family(base, coefficients, config.scaling),
        config.validation,
        max_resolution=limit,
    )
    controls = make_controls(
        read_controls(config.validation.controls),
        base,
        members,
        rounding=coefficients,
        max_resolution=limit,
    )

    def is_trained(control: Control) -> bool:
        # the control `paper` will be another network than the members made of its coefficients
        stands_for_itself = control.is_same_network and control.definition.name == "paper"
        return control.skip is None or (stands_for_itself and searches_coefficients)

    trained = [control.spec for control in controls if control.spec and is_trained(control)]
    return [*(member.spec for member in members), *trained]
