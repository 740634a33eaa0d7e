"""What a validation found, as plain data: members, controls held against them, the curve, and
whether compound scaling wins.

The curve is of the family's trained members and no others; members that were not trained get what
it predicts, marked as such,
but for those that see more pixels than the images have: what enlarging would give is not on the
curve.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from phinas.experiment.statistics.paired_accuracy import Trained
from phinas.scaling_search.validation.compound_verdict import Judged, compound
from phinas.scaling_search.validation.control_test import (
    Contrast,
    Luck,
    Slope,
    contrast,
    pooled_luck,
    slope_of,
    standard_error,
)
from phinas.scaling_search.validation.controls import SINGLE
from phinas.scaling_search.validation.curve import AccuracyCurve, Point, fit_curve, why_no_curve
from phinas.scaling_search.validation.validate import Validated, ValidatedControl, Validation

_BAND = 60


def describe_validation(validation: Validation, *, seed: int) -> dict[str, Any]:
    """The whole of `scaling/validation.yaml`. seed: of the curve's draws."""
    networks = _networks(validation)
    luck = pooled_luck(list(networks.values()))
    contrasts = _contrasts(validation, networks, luck)
    points = _points(validation.members, networks, luck)
    reason = why_no_curve(points)
    curve = None if reason else fit_curve(points, seed=seed)
    return {
        "members": [_member(row, curve) for row in validation.members],
        "gain": _gain(validation.members, networks, luck),
        "controls": [
            row.to_dict() | _told(found)
            for row, found in zip(validation.controls, contrasts, strict=True)
        ],
        "curve": None
        if curve is None
        else curve.to_dict() | {"band": _band(curve, validation.members)},
        "why_no_curve": reason,
        "compound": _compound(validation.controls, contrasts),
    }


def _networks(validation: Validation) -> dict[str, Trained]:
    """All that were trained, members and controls, each once, by spec_id."""
    found: dict[str, Trained] = {}
    for row in validation.members:
        if row.measurements:
            found[row.member.spec.spec_id] = Trained.of(row.member.cost.flops, row.measurements)
    for tried in validation.controls:
        if tried.measurements and tried.control.spec and tried.control.cost:
            found.setdefault(
                tried.control.spec.spec_id, Trained.of(tried.control.cost.flops, tried.measurements)
            )
    return found


def _contrasts(
    validation: Validation, networks: dict[str, Trained], luck: Luck | None
) -> list[Contrast | None]:
    """Of each control, None where it or its member was not trained."""
    pairs: list[tuple[str, str] | None] = []
    for row in validation.controls:
        spec, against = row.control.spec, row.control.against
        trained = spec and against and row.measurements and against.spec.spec_id in networks
        pairs.append((against.spec.spec_id, spec.spec_id) if trained and against and spec else None)
    different = sorted({pair for pair in pairs if pair})
    if not different:
        return [None] * len(pairs)
    b0 = next(
        (row.member.spec.spec_id for row in validation.members if row.member.name == "b0"), ""
    )
    compared = [
        networks[name] for name in dict.fromkeys(name for pair in different for name in pair)
    ]
    slope = slope_of(networks.get(b0), compared)

    def found(pair: tuple[str, str]) -> Contrast | None:
        member, control = networks[pair[0]], networks[pair[1]]
        return contrast(member, control, slope=slope, luck=luck, comparisons=len(different))

    return [found(pair) if pair else None for pair in pairs]


def _told(found: Contrast | None) -> dict[str, Any]:
    return (
        found.to_dict()
        if found
        else {"behind": None, "correction": None, "behind_interval": None, "verdict": None}
    )


def _gain(
    members: Sequence[Validated], networks: dict[str, Trained], luck: Luck | None
) -> dict[str, Any] | None:
    """By how much the largest trained member is more accurate than B0, nothing taken off for FLOPs;
    interval: 95%, by itself. None where one of them is missing, and where the luck of training is
    not known."""
    trained = {row.member.name: row.member for row in members if row.measurements}
    largest = max(trained.values(), key=lambda member: member.phi, default=None)
    if largest is None or "b0" not in trained or largest.name == "b0":
        return None
    pair = (networks[largest.spec.spec_id], networks[trained["b0"].spec.spec_id])
    found = contrast(*pair, slope=Slope(0.0, 0.0, 0.0), luck=luck, comparisons=1)
    if found is None or found.interval is None:
        return None
    return {
        "member": largest.name,
        "over": "b0",
        "gain": found.behind,
        "interval": list(found.interval),
    }


def _points(
    members: Sequence[Validated], networks: dict[str, Trained], luck: Luck | None
) -> list[Point]:
    names = dict.fromkeys(row.member.spec.spec_id for row in members if row.measurements)
    trained = [networks[name] for name in names]
    return [Point(one.flops, one.accuracy, standard_error(one, luck)) for one in trained]


def _member(row: Validated, curve: AccuracyCurve | None) -> dict[str, Any]:
    if row.measurements:
        return row.to_dict()
    told = curve.predict(row.member.cost.flops).to_dict() if curve and row.shown else None
    return row.to_dict() | {"prediction": told}


def _band(curve: AccuracyCurve, members: Sequence[Validated]) -> list[dict[str, Any]]:
    """The curve itself from the smallest trained to the largest member on it, evenly in log
    FLOPs.
    """
    least = min(point.flops for point in curve.points)
    most = max(row.member.cost.flops for row in members if row.shown)
    told = [curve.band(float(flops)) for flops in np.geomspace(least, most, _BAND)]
    return [
        {"flops": one.flops, "accuracy": one.accuracy, "interval": [one.low, one.high]}
        for one in told
    ]


def _compound(
    controls: Sequence[ValidatedControl], contrasts: Sequence[Contrast | None]
) -> dict[str, Any]:
    """Of the member that scaled controls are held against; networks as published may be held
    against others.
    """
    against = next(
        (
            row.control.against
            for row in controls
            if row.control.against and row.control.phi is not None
        ),
        None,
    )
    judged = []
    for row, found in zip(controls, contrasts, strict=True):
        if against is None or row.control.against is against:
            verdict = found.verdict if found else None
            judged.append(
                Judged(
                    row.control.rule.name,
                    row.control.rule.words,
                    verdict,
                    _why_undecided(row, found),
                )
            )
    return compound(against.name if against else None, judged, single=SINGLE)


def _why_undecided(row: ValidatedControl, found: Contrast | None) -> str:
    """Why there is no verdict on a control; "" where there is one."""
    if not row.measurements:
        return row.why_not
    if found is None:
        return "no training of the member to hold it against"
    return (
        "" if found.verdict else "too few trainings tell nothing about luck; raise validation.seeds"
    )
