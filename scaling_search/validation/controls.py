"""Controls: what the family is held against, so that "compound scaling helps" is measured and not
assumed.

One dimension alone, the paper's coefficients or another run's are scaled to the FLOPs of one
member, `against`, the largest
that is trained: phi is solved on the exact FLOPs of rounded networks, for the network nearest to it
(in log). A control has that member's dropout and stochastic depth, so only shape differs. Networks
as published are not scaled; they are held against whichever trained member is nearest. Over 15%
away in FLOPs nothing is compared, since the difference would be one of size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.family.budget_ladder import format_budget, networks_around
from phinas.scaling_search.family.family import FamilyMember
from phinas.scaling_search.family.phi import (
    MAX_PHI,
    find_phi_interval,
    max_buildable_phi,
    scale_to_phi,
    shortest_decimal,
)
from phinas.scaling_search.race.user_coefficients import (
    format_coefficients,
    is_coefficients,
    read_coefficients,
)
from phinas.space.cost import Cost, network_cost
from phinas.space.loading import load_spec
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
    """A control as the configuration names it: either coefficients to scale the baseline with, or a
    network that is not scaled. label: for people.
    """

    name: str
    label: str
    coefficients: Coefficients | None = None
    spec: ArchSpec | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """The network of a control.

    Args:
        definition: as the configuration names it.
        family_member: the member it is compared with.
        phi: None for a network that is not scaled.
        spec, cost: None where there is no network.
        ratio: FLOPs over the baseline's.
        skip_reason: why it is not trained, "" where it is.
        is_same_network: it is that member.
    """

    definition: ControlDefinition
    family_member: FamilyMember | None = None
    phi: float | None = None
    spec: ArchSpec | None = None
    cost: Cost | None = None
    ratio: float | None = None
    skip_reason: str = ""
    is_same_network: bool = False


def read_controls(names: Sequence[str]) -> list[ControlDefinition]:
    """What `validation.controls` names. Raises InputError for a name that means nothing and a file
    that can't be read.
    """
    return [_read_control(name) for name in names]


def make_controls(
    definitions: Sequence[ControlDefinition],
    baseline: ArchSpec,
    trained_members: Sequence[FamilyMember],
    *,
    rounding: Coefficients,
    max_resolution: float,
) -> list[Control]:
    """One control for each definition. rounding: its divisor and rounding of depths hold for all;
    max_resolution: of the images.
    """
    family_member = max(
        (member for member in trained_members if member.name != "b0"),
        key=lambda member: member.cost.flops,
        default=None,
    )
    controls = []
    for definition in definitions:
        if definition.spec is not None:
            control = _make_unscaled(definition, definition.spec, baseline, trained_members)
        elif family_member is None:
            control = Control(
                definition,
                skip_reason="no member but B0 is trained; raise validation.max_flops_multiple or "
                "see "
                "data.upsample",
            )
        else:
            control = _make_scaled(definition, baseline, family_member, rounding)
        if control.spec is not None and not control.skip_reason:
            control = replace(
                control,
                skip_reason=image_size_skip_reason(control.spec, max_resolution=max_resolution),
            )
        controls.append(control)
    return controls


def find_nearest_phi(baseline: ArchSpec, coefficients: Coefficients, flops: float) -> float:
    """The phi whose network has the FLOPs nearest to `flops`, in log; of several the largest phi,
    in few decimals.
    """
    phi_range = (-MAX_PHI, max_buildable_phi(baseline, coefficients))
    points = networks_around(
        baseline,
        coefficients,
        lambda spec: network_cost(spec).flops,
        limit=flops,
        phi_range=phi_range,
    )
    _, phi = min((abs(math.log(value / flops)), -phi) for phi, value in points)
    return shortest_decimal(find_phi_interval(baseline, coefficients, -phi))


def image_size_skip_reason(spec: ArchSpec, *, max_resolution: float) -> str:
    """Why a network is too large for the images; "" where it is not."""
    if spec.resolution <= max_resolution:
        return ""
    return (
        f"needs {spec.resolution} pixels of a side, the images have {max_resolution:g}; see "
        "data.upsample"
    )


def _read_control(name: str) -> ControlDefinition:
    if name in _SINGLE_DIMENSION_COEFFICIENTS:
        return ControlDefinition(name, f"{name} alone", _SINGLE_DIMENSION_COEFFICIENTS[name])
    if name == "paper":
        return ControlDefinition(name, f"{format_coefficients(PAPER)} of the paper", PAPER)
    if name in PRESETS or name.startswith(("timm:", "torchvision:")):
        return ControlDefinition(name, f"{name} as published", spec=_spec(name))
    path = Path(name).expanduser()
    try:
        if not path.exists():
            names = ", ".join((*SINGLE_DIMENSION, "paper"))
            close_matches = get_close_matches(name, [*SINGLE_DIMENSION, "paper", *PRESETS], n=1)
            hint = f"; did you mean {close_matches[0]!r}?" if close_matches else ""
            raise InputError(
                f"validation.controls: {name!r} is none of {names}, a preset, timm:NAME, a spec "
                f"file or a run{hint}"
            )
        is_spec = path.is_file() and not is_coefficients(read_yaml(path))
    except YamlError as error:
        raise InputError(f"validation.controls: {error}") from None
    except OSError as error:
        raise InputError(f"validation.controls: {name}: can't be read ({error.strerror})") from None
    if is_spec:
        return ControlDefinition(name, f"{path.name} as it is", spec=_spec(name))
    coefficients = read_coefficients(path, field="validation.controls")
    label = f"coefficients of {_run_name(path)} ({format_coefficients(coefficients)})"
    return ControlDefinition(name, label, coefficients)


def _run_name(path: Path) -> str:
    """A run's coefficients go by the name of its directory."""
    path = path.resolve()
    return path.parents[1].name if path.is_file() and path.parent.name == "scaling" else path.name


def _spec(name: str) -> ArchSpec:
    try:
        return load_spec(name)
    except (SpecError, YamlError) as error:
        raise InputError(f"validation.controls: {error}") from None


def _make_scaled(
    definition: ControlDefinition,
    baseline: ArchSpec,
    family_member: FamilyMember,
    rounding: Coefficients,
) -> Control:
    assert definition.coefficients is not None
    coefficients = replace(
        definition.coefficients, divisor=rounding.divisor, rounding=rounding.rounding
    )
    phi = find_nearest_phi(baseline, coefficients, family_member.cost.flops)
    spec = scale_to_phi(baseline, coefficients, phi)
    spec = replace(spec, dropout=family_member.spec.dropout, drop_path=family_member.spec.drop_path)
    control_cost = network_cost(spec)
    ratio = control_cost.flops / network_cost(baseline).flops
    definition = replace(definition, coefficients=coefficients)
    return _check_comparable(Control(definition, family_member, phi, spec, control_cost, ratio))


def _make_unscaled(
    definition: ControlDefinition,
    spec: ArchSpec,
    baseline: ArchSpec,
    trained_members: Sequence[FamilyMember],
) -> Control:
    adapted = replace(spec, channels=baseline.channels, classes=baseline.classes)
    control_cost = network_cost(adapted)
    ratio = control_cost.flops / network_cost(baseline).flops

    def flops_gap(member: FamilyMember) -> float:
        return abs(math.log(member.cost.flops / control_cost.flops))

    family_member = min(trained_members, key=flops_gap, default=None)
    if family_member is None:
        return Control(
            definition,
            spec=adapted,
            cost=control_cost,
            ratio=ratio,
            skip_reason="no member of the family is trained",
        )
    return _check_comparable(Control(definition, family_member, None, adapted, control_cost, ratio))


def _check_comparable(control: Control) -> Control:
    """With the reason why it is not compared with its member, if there is one."""
    assert control.spec is not None
    assert control.cost is not None
    assert control.family_member is not None
    member = control.family_member
    flops_ratio = control.cost.flops / member.cost.flops
    if abs(flops_ratio - 1) > MAX_FLOPS_GAP:
        distance_text = (
            f"{flops_ratio:,.1f} times"
            if flops_ratio > 2
            else f"{flops_ratio - 1:.0%} above"
            if flops_ratio > 1
            else f"{1 - flops_ratio:.0%} below"
        )
        subject = "the nearest network has" if control.phi is not None else "it has"
        control_flops = format_budget("flops", control.cost.flops)
        member_flops = format_budget("flops", member.cost.flops)
        skip_reason = (
            f"{subject} {control_flops}, {distance_text} {member.name.upper()}'s {member_flops}; "
            f"over {MAX_FLOPS_GAP:.0%} apart nothing is compared"
        )
        return replace(control, skip_reason=skip_reason)
    if control.spec.canonicalize() == member.spec.canonicalize():
        skip_reason = f"is the same network as {member.name.upper()}"
        return replace(control, is_same_network=True, skip_reason=skip_reason)
    return control
