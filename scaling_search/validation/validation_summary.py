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

from phinas.experiment.measurement import Measurement
from phinas.experiment.statistics.paired_accuracy import NetworkAccuracy
from phinas.experiment.statistics.training_noise import NoiseEstimate, estimate_noise
from phinas.scaling_search.validation.compound_verdict import ControlOutcome, judge_compound_scaling
from phinas.scaling_search.validation.control_test import (
    ControlComparison,
    SlopeEstimate,
    compare_with_control,
    estimate_slope,
    standard_error,
)
from phinas.scaling_search.validation.controls import SINGLE_DIMENSION
from phinas.scaling_search.validation.curve import (
    AccuracyCurve,
    CurvePoint,
    fit_curve,
    missing_curve_reason,
)
from phinas.scaling_search.validation.validate import (
    ControlValidation,
    MemberValidation,
    ValidationResult,
)

_NUM_BAND_POINTS = 60


def summarize_validation(validation: ValidationResult, *, seed: int) -> dict[str, Any]:
    """The whole of `scaling/validation.yaml`. seed: of the curve's samples."""
    networks = _networks(validation)
    noise = estimate_noise([network.accuracy_by_seed for network in networks.values()])
    comparisons = _compare_controls(validation, networks, noise)
    points = _points(validation.members, networks, noise)
    reason = missing_curve_reason(points)
    curve = None if reason else fit_curve(points, seed=seed)
    return {
        "members": [_member(row, curve) for row in validation.members],
        "gain": _gain(validation.members, networks, noise),
        "controls": [
            row.to_dict() | _comparison_data(comparison)
            for row, comparison in zip(validation.controls, comparisons, strict=True)
        ],
        "curve": None
        if curve is None
        else curve.to_dict() | {"band": _band(curve, validation.members)},
        "missing_curve_reason": reason,
        "compound": _compound(validation.controls, comparisons),
    }


def _networks(validation: ValidationResult) -> dict[str, NetworkAccuracy]:
    """All that were trained, members and controls, each once, by spec_id."""
    accuracies: dict[str, NetworkAccuracy] = {}
    for row in validation.members:
        if row.measurements:
            accuracies[row.member.spec.spec_id] = _network_accuracy(
                row.member.cost.flops, row.measurements
            )
    for control_row in validation.controls:
        control = control_row.control
        if control_row.measurements and control.spec and control.cost:
            accuracies.setdefault(
                control.spec.spec_id,
                _network_accuracy(control.cost.flops, control_row.measurements),
            )
    return accuracies


def _network_accuracy(flops: int, measurements: Sequence[Measurement]) -> NetworkAccuracy:
    correct = {measurement.seed: measurement.correct_mask for measurement in measurements}
    return NetworkAccuracy(
        flops,
        {measurement.seed: measurement.accuracy for measurement in measurements},
        measurements[0].images,
        {seed: images for seed, images in correct.items() if images is not None},
    )


def _compare_controls(
    validation: ValidationResult, networks: dict[str, NetworkAccuracy], noise: NoiseEstimate | None
) -> list[ControlComparison | None]:
    """Of each control, None where it or its member was not trained."""
    pairs: list[tuple[str, str] | None] = []
    for row in validation.controls:
        spec, family_member = row.control.spec, row.control.family_member
        pair = None
        if spec and family_member and row.measurements and family_member.spec.spec_id in networks:
            pair = family_member.spec.spec_id, spec.spec_id
        pairs.append(pair)
    distinct_pairs = sorted({pair for pair in pairs if pair})
    if not distinct_pairs:
        return [None] * len(pairs)
    baseline_id = next(
        (row.member.spec.spec_id for row in validation.members if row.member.name == "b0"), ""
    )
    compared_networks = [
        networks[name] for name in dict.fromkeys(name for pair in distinct_pairs for name in pair)
    ]
    slope = estimate_slope(networks.get(baseline_id), compared_networks)

    def compare(pair: tuple[str, str]) -> ControlComparison | None:
        member, control = networks[pair[0]], networks[pair[1]]
        return compare_with_control(
            member, control, slope=slope, noise=noise, comparisons=len(distinct_pairs)
        )

    return [compare(pair) if pair else None for pair in pairs]


def _comparison_data(comparison: ControlComparison | None) -> dict[str, Any]:
    return (
        comparison.to_dict()
        if comparison
        else {
            "accuracy_gap": None,
            "flops_adjustment": None,
            "accuracy_gap_interval": None,
            "verdict": None,
        }
    )


def _gain(
    members: Sequence[MemberValidation],
    networks: dict[str, NetworkAccuracy],
    noise: NoiseEstimate | None,
) -> dict[str, Any] | None:
    """By how much the largest trained member is more accurate than B0, not adjusted for FLOPs;
    interval: 95%, by itself. None where one of them is missing, and where the training noise is
    unknown."""
    trained_members = {row.member.name: row.member for row in members if row.measurements}
    largest = max(trained_members.values(), key=lambda member: member.phi, default=None)
    if largest is None or "b0" not in trained_members or largest.name == "b0":
        return None
    pair = (networks[largest.spec.spec_id], networks[trained_members["b0"].spec.spec_id])
    comparison = compare_with_control(
        *pair, slope=SlopeEstimate(0.0, 0.0, 0.0), noise=noise, comparisons=1
    )
    if comparison is None or comparison.interval is None:
        return None
    return {
        "member": largest.name,
        "baseline": "b0",
        "gain": comparison.difference,
        "interval": list(comparison.interval),
    }


def _points(
    members: Sequence[MemberValidation],
    networks: dict[str, NetworkAccuracy],
    noise: NoiseEstimate | None,
) -> list[CurvePoint]:
    names = dict.fromkeys(row.member.spec.spec_id for row in members if row.measurements)
    trained_networks = [networks[name] for name in names]
    return [
        CurvePoint(network.flops, network.accuracy, standard_error(network, noise))
        for network in trained_networks
    ]


def _member(row: MemberValidation, curve: AccuracyCurve | None) -> dict[str, Any]:
    if row.measurements:
        return row.to_dict()
    prediction = (
        curve.predict(row.member.cost.flops).to_dict() if curve and row.fits_images else None
    )
    return row.to_dict() | {"prediction": prediction}


def _band(curve: AccuracyCurve, members: Sequence[MemberValidation]) -> list[dict[str, Any]]:
    """The curve itself from the smallest trained to the largest member on it, evenly in log
    FLOPs.
    """
    min_flops = min(point.flops for point in curve.points)
    max_flops = max(row.member.cost.flops for row in members if row.fits_images)
    points = [
        curve.band(float(flops)) for flops in np.geomspace(min_flops, max_flops, _NUM_BAND_POINTS)
    ]
    return [
        {"flops": point.flops, "accuracy": point.accuracy, "interval": [point.low, point.high]}
        for point in points
    ]


def _compound(
    controls: Sequence[ControlValidation], comparisons: Sequence[ControlComparison | None]
) -> dict[str, Any]:
    """Of the member that scaled controls are compared with; networks as published may be
    compared with others.
    """
    family_member = next(
        (
            row.control.family_member
            for row in controls
            if row.control.family_member and row.control.phi is not None
        ),
        None,
    )
    outcomes = []
    for row, comparison in zip(controls, comparisons, strict=True):
        if family_member is None or row.control.family_member is family_member:
            verdict = comparison.verdict if comparison else None
            outcomes.append(
                ControlOutcome(
                    row.control.definition.name,
                    row.control.definition.label,
                    verdict,
                    _undecided_reason(row, comparison),
                )
            )
    return judge_compound_scaling(
        family_member.name if family_member else None, outcomes, single_dimension=SINGLE_DIMENSION
    )


def _undecided_reason(row: ControlValidation, comparison: ControlComparison | None) -> str:
    """Why there is no verdict on a control; "" where there is one."""
    if not row.measurements:
        return row.skip_reason
    if comparison is None:
        return "no training of the member to hold it against"
    return (
        ""
        if comparison.verdict
        else "too few trainings tell nothing about luck; raise validation.seeds"
    )
