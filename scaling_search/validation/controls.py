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
from phinas.scaling_search.family.budget_ladder import networks_near, shown
from phinas.scaling_search.family.family import FamilyMember
from phinas.scaling_search.family.phi import REACH, interval_of, largest_phi, network_at, readable
from phinas.scaling_search.race.user_coefficients import (
    in_words,
    is_coefficients,
    read_coefficients,
)
from phinas.space.cost import Cost, cost
from phinas.space.loading import load_spec
from phinas.space.presets import PRESETS
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import YamlError, read_yaml

FARTHEST = 0.15  # of the FLOPs
# phi 1 doubles the FLOPs nominally, as it does for compound coefficients.
_ALONE = {
    "depth": Coefficients(2.0, 1.0, 1.0),
    "width": Coefficients(1.0, math.sqrt(2), 1.0),
    "resolution": Coefficients(1.0, 1.0, math.sqrt(2)),
}
SINGLE = tuple(_ALONE)  # the names of the controls that scale one dimension


@dataclass(frozen=True, slots=True)
class Rule:
    """A control as it is named: either coefficients, to be scaled by, or a network as it is. words:
    for people.
    """

    name: str
    words: str
    coefficients: Coefficients | None = None
    spec: ArchSpec | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A rule's network. against: the member it is compared with; phi: None for a network as it is;
    why_not: why it is not trained, "" where it is; same: it is that member; ratio: FLOPs over the
    baseline's. Without a network there is no cost."""

    rule: Rule
    against: FamilyMember | None = None
    phi: float | None = None
    spec: ArchSpec | None = None
    cost: Cost | None = None
    ratio: float | None = None
    why_not: str = ""
    same: bool = False


def read_controls(names: Sequence[str]) -> list[Rule]:
    """What `validation.controls` names. Raises InputError for a name that means nothing and a file
    that can't be read.
    """
    return [_rule(name) for name in names]


def make_controls(
    rules: Sequence[Rule],
    baseline: ArchSpec,
    trained: Sequence[FamilyMember],
    *,
    rounding: Coefficients,
    largest_side: float,
) -> list[Control]:
    """One for each rule. trained: the members that are; rounding: whose divisor and rounding of
    depths hold for all;
    largest_side: the pixels that the images show."""
    against = max(
        (member for member in trained if member.name != "b0"),
        key=lambda member: member.cost.flops,
        default=None,
    )
    controls = []
    for rule in rules:
        if rule.spec is not None:
            control = _as_it_is(rule, rule.spec, baseline, trained)
        elif against is None:
            control = Control(
                rule,
                why_not="no member but B0 is trained; raise validation.largest_multiple or see "
                "data.upsample",
            )
        else:
            control = _scaled(rule, baseline, against, rounding)
        if control.spec is not None and not control.why_not:
            control = replace(
                control, why_not=beyond_images(control.spec, largest_side=largest_side)
            )
        controls.append(control)
    return controls


def nearest_phi(baseline: ArchSpec, coefficients: Coefficients, flops: float) -> float:
    """The phi whose network has the FLOPs nearest to `flops`, in log; of several the largest phi,
    told in few decimals.
    """
    ends = (-REACH, largest_phi(baseline, coefficients))
    visited = networks_near(
        baseline, coefficients, lambda spec: cost(spec).flops, limit=flops, ends=ends
    )
    _, phi = min((abs(math.log(value / flops)), -phi) for phi, value in visited)
    return readable(interval_of(baseline, coefficients, -phi))


def beyond_images(spec: ArchSpec, *, largest_side: float) -> str:
    """Why a network is too large for the images; "" where it is not."""
    if spec.resolution <= largest_side:
        return ""
    return (
        f"needs {spec.resolution} pixels of a side, the images have {largest_side:g}; see "
        "data.upsample"
    )


def _rule(name: str) -> Rule:
    if name in _ALONE:
        return Rule(name, f"{name} alone", _ALONE[name])
    if name == "paper":
        return Rule(name, f"{in_words(PAPER)} of the paper", PAPER)
    if name in PRESETS or name.startswith(("timm:", "torchvision:")):
        return Rule(name, f"{name} as published", spec=_spec(name))
    path = Path(name).expanduser()
    try:
        if not path.exists():
            known = ", ".join((*SINGLE, "paper"))
            near = get_close_matches(name, [*SINGLE, "paper", *PRESETS], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"validation.controls: {name!r} is none of {known}, a preset, timm:NAME, a spec "
                f"file or a run{hint}"
            )
        described = path.is_file() and not is_coefficients(read_yaml(path))
    except YamlError as error:
        raise InputError(f"validation.controls: {error}") from None
    except OSError as error:
        raise InputError(f"validation.controls: {name}: can't be read ({error.strerror})") from None
    if described:
        return Rule(name, f"{path.name} as it is", spec=_spec(name))
    found = read_coefficients(path, field="validation.controls")
    return Rule(name, f"coefficients of {_run_name(path)} ({in_words(found)})", found)


def _run_name(path: Path) -> str:
    """A run's coefficients go by the name of its directory."""
    path = path.resolve()
    return path.parents[1].name if path.is_file() and path.parent.name == "scaling" else path.name


def _spec(name: str) -> ArchSpec:
    try:
        return load_spec(name)
    except (SpecError, YamlError) as error:
        raise InputError(f"validation.controls: {error}") from None


def _scaled(
    rule: Rule, baseline: ArchSpec, against: FamilyMember, rounding: Coefficients
) -> Control:
    assert rule.coefficients is not None
    coefficients = replace(rule.coefficients, divisor=rounding.divisor, rounding=rounding.rounding)
    phi = nearest_phi(baseline, coefficients, against.cost.flops)
    spec = network_at(baseline, coefficients, phi)
    spec = replace(spec, dropout=against.spec.dropout, drop_path=against.spec.drop_path)
    price = cost(spec)
    ratio = price.flops / cost(baseline).flops
    return _compared(
        Control(replace(rule, coefficients=coefficients), against, phi, spec, price, ratio)
    )


def _as_it_is(
    rule: Rule, spec: ArchSpec, baseline: ArchSpec, trained: Sequence[FamilyMember]
) -> Control:
    fitted = replace(spec, channels=baseline.channels, classes=baseline.classes)
    price = cost(fitted)
    ratio = price.flops / cost(baseline).flops
    against = min(
        trained, key=lambda member: abs(math.log(member.cost.flops / price.flops)), default=None
    )
    if against is None:
        return Control(
            rule, spec=fitted, cost=price, ratio=ratio, why_not="no member of the family is trained"
        )
    return _compared(Control(rule, against, None, fitted, price, ratio))


def _compared(control: Control) -> Control:
    """With the reason why it is not compared with its member, if there is one."""
    assert control.spec is not None
    assert control.cost is not None
    assert control.against is not None
    member, apart = control.against, control.cost.flops / control.against.cost.flops
    if abs(apart - 1) > FARTHEST:
        way = (
            f"{apart:,.1f} times"
            if apart > 2
            else f"{apart - 1:.0%} above"
            if apart > 1
            else f"{1 - apart:.0%} below"
        )
        near = "the nearest network has" if control.phi is not None else "it has"
        own, other = shown("flops", control.cost.flops), shown("flops", member.cost.flops)
        why = (
            f"{near} {own}, {way} {member.name.upper()}'s {other}; over {FARTHEST:.0%} "
            "apart nothing is compared"
        )
        return replace(control, why_not=why)
    if control.spec.simplified() == member.spec.simplified():
        return replace(control, same=True, why_not=f"is the same network as {member.name.upper()}")
    return control
