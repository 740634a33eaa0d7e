"""Controls: what the family is compared with, so that a benefit of compound scaling is measured.

Single-dimension scaling, the coefficients of the paper and those of other runs are scaled to the
FLOPs of the largest trained member: phi is solved on the exact FLOPs of rounded networks, for the
network nearest to the member (in log FLOPs). A control has the dropout and stochastic depth of that
member, so that only the shape differs. Published networks are not scaled; they are compared with
the trained member nearest in FLOPs. Networks more than 15% apart in FLOPs are not compared, since
the difference would be one of size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.artifacts.validation_file import ControlKind, SkipReason
from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.family.budget_ladder import networks_around
from phinas.scaling_search.family.phi import (
    MAX_PHI,
    find_phi_interval,
    max_buildable_phi,
    scale_to_phi,
    shortest_decimal,
)
from phinas.scaling_search.race.user_coefficients import is_coefficients, read_coefficients
from phinas.scaling_search.validation.skip_reason import find_image_size_skip
from phinas.space.cost import Cost
from phinas.space.interchange.library_models import library_name
from phinas.space.loading import load_spec
from phinas.space.network import ScalableNetwork
from phinas.space.presets import PRESETS
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import YamlError, read_yaml

MAX_FLOPS_GAP = 0.15  # relative
# phi 1 doubles the FLOPs nominally, as it does for compound coefficients.
_SINGLE_DIMENSION_COEFFICIENTS = {
    "depth": Coefficients(2.0, 1.0, 1.0),
    "width": Coefficients(1.0, math.sqrt(2), 1.0),
    "resolution": Coefficients(1.0, 1.0, math.sqrt(2)),
}
SINGLE_DIMENSION = tuple(_SINGLE_DIMENSION_COEFFICIENTS)  # names of controls


@dataclass(frozen=True, slots=True)
class ControlDefinition:
    """A control as the configuration names it: coefficients that scale the baseline, or a network
    that is not scaled.

    Attributes:
        name: As in validation.controls.
        kind: What it is.
        source: The name of the run, file or network; empty for other kinds.
    """

    name: str
    kind: ControlKind
    source: str = ""
    coefficients: Coefficients | None = None
    spec: ScalableNetwork | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """The network of a control.

    Attributes:
        definition: As the configuration names it.
        family_member: The member that it is compared with.
        phi: None for a network that is not scaled.
        spec: None without a network.
        cost: None without a network.
        ratio: FLOPs over the baseline's.
        skip: Why it is not trained; None where it is.
    """

    definition: ControlDefinition
    family_member: FamilyMember | None = None
    phi: float | None = None
    spec: ScalableNetwork | None = None
    cost: Cost | None = None
    ratio: float | None = None
    skip: SkipReason | None = None

    @property
    def is_same_network(self) -> bool:
        """Whether it is the member that it would be compared with."""
        return self.skip is not None and self.skip.case == "same_network"


def read_controls(names: Sequence[str]) -> list[ControlDefinition]:
    """The controls that `validation.controls` names.

    Raises:
        InputError: A name is unknown, or a file is damaged.
    """
    return [_read_control(name) for name in names]


def make_controls(
    definitions: Sequence[ControlDefinition],
    baseline: ScalableNetwork,
    trained_members: Sequence[FamilyMember],
    *,
    rounding: Coefficients,
    max_resolution: float,
) -> list[Control]:
    """One control for each definition.

    Args:
        rounding: Its divisor and rounding of depths are used for all controls, its highest
            resolution for those that scale more than one dimension.
        max_resolution: Of networks for these images, in px.
    """
    family_member = max(
        (member for member in trained_members if member.name != "b0"),
        key=lambda member: member.flops,
        default=None,
    )
    controls = []
    for definition in definitions:
        if definition.spec is not None:
            control = _make_unscaled(definition, definition.spec, baseline, trained_members)
        elif family_member is None:
            control = Control(definition, skip=SkipReason(case="no_scaled_member"))
        else:
            control = _make_scaled(definition, baseline, family_member, rounding)
        if control.spec is not None and control.skip is None:
            skip = find_image_size_skip(control.spec, max_resolution=max_resolution)
            control = replace(control, skip=skip)
        controls.append(control)
    return controls


def find_nearest_phi(baseline: ScalableNetwork, coefficients: Coefficients, flops: float) -> float:
    """The phi whose network is nearest to `flops` in log FLOPs; of several the largest, in few
    decimals.
    """
    phi_range = (-MAX_PHI, max_buildable_phi(baseline, coefficients))
    points = networks_around(
        baseline,
        coefficients,
        lambda spec: spec.cost().flops,
        limit=flops,
        phi_range=phi_range,
    )
    _, phi = min((abs(math.log(value / flops)), -phi) for phi, value in points)
    return shortest_decimal(find_phi_interval(baseline, coefficients, -phi))


def _read_control(name: str) -> ControlDefinition:
    if name in _SINGLE_DIMENSION_COEFFICIENTS:
        kind = cast(ControlKind, name)
        return ControlDefinition(name, kind, coefficients=_SINGLE_DIMENSION_COEFFICIENTS[name])
    if name == "paper":
        return ControlDefinition(name, "paper", coefficients=PAPER)
    if name in PRESETS or library_name(name).startswith(("timm:", "torchvision:")):
        return ControlDefinition(name, "published", name, spec=_spec(name))
    path = Path(name).expanduser()
    try:
        if not path.exists():
            raise InputError(_unknown_name_message(name))
        is_spec = path.is_file() and not is_coefficients(read_yaml(path))
    except YamlError as error:
        raise InputError(f"validation.controls: {error}") from None
    except OSError as error:
        raise InputError(
            f"validation.controls: {name}: could not be read ({error.strerror})"
        ) from None
    if is_spec:
        return ControlDefinition(name, "spec_file", path.name, spec=_spec(name))
    coefficients = read_coefficients(path, field="validation.controls")
    return ControlDefinition(name, "coefficients", _run_name(path), coefficients)


def _unknown_name_message(name: str) -> str:
    names = [*SINGLE_DIMENSION, "paper"]
    close_matches = get_close_matches(name, [*names, *PRESETS], n=1)
    hint = f"; did you mean {close_matches[0]!r}?" if close_matches else ""
    return (
        f"validation.controls: {name!r} is none of {', '.join(names)}, a preset, timm:NAME, a spec "
        f"file or a run{hint}"
    )


def _run_name(path: Path) -> str:
    """A run's coefficients go by the name of its directory."""
    path = path.resolve()
    return path.parents[1].name if path.is_file() and path.parent.name == "scaling" else path.name


def _spec(name: str) -> ScalableNetwork:
    try:
        return load_spec(name, field="validation.controls")
    except (SpecError, YamlError) as error:
        raise InputError(str(error)) from None


def _make_scaled(
    definition: ControlDefinition,
    baseline: ScalableNetwork,
    family_member: FamilyMember,
    rounding: Coefficients,
) -> Control:
    assert definition.coefficients is not None
    is_single_dimension = definition.name in _SINGLE_DIMENSION_COEFFICIENTS
    coefficients = replace(
        definition.coefficients,
        divisor=rounding.divisor,
        rounding=rounding.rounding,
        max_resolution=None if is_single_dimension else rounding.max_resolution,
    )
    phi = find_nearest_phi(baseline, coefficients, family_member.flops)
    spec = scale_to_phi(baseline, coefficients, phi)
    if isinstance(spec, ArchSpec) and isinstance(family_member.spec, ArchSpec):
        regularization = family_member.spec.dropout, family_member.spec.drop_path
        spec = replace(spec, dropout=regularization[0], drop_path=regularization[1])
    control_cost = spec.cost()
    ratio = control_cost.flops / baseline.cost().flops
    definition = replace(definition, coefficients=coefficients)
    return _check_comparable(Control(definition, family_member, phi, spec, control_cost, ratio))


def _make_unscaled(
    definition: ControlDefinition,
    spec: ScalableNetwork,
    baseline: ScalableNetwork,
    trained_members: Sequence[FamilyMember],
) -> Control:
    adapted = spec.adapt(channels=baseline.channels, classes=baseline.classes)
    control_cost = adapted.cost()
    ratio = control_cost.flops / baseline.cost().flops

    def flops_gap(member: FamilyMember) -> float:
        return abs(math.log(member.flops / control_cost.flops))

    family_member = min(trained_members, key=flops_gap, default=None)
    if family_member is None:
        return Control(
            definition,
            spec=adapted,
            cost=control_cost,
            ratio=ratio,
            skip=SkipReason(case="no_member"),
        )
    return _check_comparable(Control(definition, family_member, None, adapted, control_cost, ratio))


def _check_comparable(control: Control) -> Control:
    """The control, with the reason why it is not compared with its member, if there is one."""
    assert control.spec is not None
    assert control.cost is not None
    assert control.family_member is not None
    member = control.family_member
    flops_ratio = control.cost.flops / member.flops
    if abs(flops_ratio - 1) > MAX_FLOPS_GAP:
        skip = SkipReason(
            case="flops_gap",
            flops=control.cost.flops,
            flops_ratio=flops_ratio,
            limit=MAX_FLOPS_GAP,
            member=member.name,
            member_flops=member.flops,
        )
        return replace(control, skip=skip)
    if control.spec.network_id == member.spec.network_id:
        return replace(control, skip=SkipReason(case="same_network", member=member.name))
    return control
