"""The results of a validation: members, controls compared with them, the curve, and whether
compound scaling is better.

The curve is fitted to the trained members. Members that were not trained have its prediction where
it says enough about them (`prediction`).
"""

from collections.abc import Sequence

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.artifacts.trained_weights import SavedWeights
from phinas.experiment.artifacts.validation_file import (
    CompoundVerdict,
    ControlComparison,
    ControlNetwork,
    ControlRecord,
    GainRecord,
    MemberRecord,
    ScaleFactors,
    TestResult,
    ValidationFile,
)
from phinas.experiment.measurement import Measurement, combine_seeds
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.experiment.statistics.paired_scores import NetworkScore
from phinas.experiment.statistics.training_noise import NoiseEstimate, estimate_noise
from phinas.scaling_search.validation.compound_verdict import judge_compound_scaling
from phinas.scaling_search.validation.control_test import (
    SlopeEstimate,
    compare_with_control,
    estimate_slope,
    standard_error,
)
from phinas.scaling_search.validation.controls import SINGLE_DIMENSION, Control
from phinas.scaling_search.validation.curve import (
    MIN_POINTS,
    CurvePoint,
    ScoreCurve,
    count_sizes,
    fit_curve,
)
from phinas.scaling_search.validation.prediction import (
    MemberPrediction,
    make_band,
    predict_member,
)
from phinas.scaling_search.validation.validate import (
    ControlValidation,
    MemberValidation,
    ValidationResult,
)


def summarize_validation(validation: ValidationResult, *, seed: int) -> ValidationFile:
    """What `scaling/validation.yaml` holds.

    Args:
        seed: Of the curve's samples.
    """
    networks = _networks(validation)
    noise = estimate_noise([network.score_by_seed for network in networks.values()])
    comparisons = _compare_controls(validation, networks, noise)
    points = _points(validation.members, networks, noise)
    num_sizes = count_sizes(points)
    curve = fit_curve(points, seed=seed) if num_sizes >= MIN_POINTS else None
    members = tuple(_make_member_record(row, curve) for row in validation.members)
    predicted_flops = [row.flops for row in members if row.prediction]
    return ValidationFile(
        metric=next(row.measurements[0].metric for row in validation.members if row.measurements),
        members=members,
        gain=_gain(validation.members, networks, noise),
        controls=tuple(
            _make_control_record(row, comparison)
            for row, comparison in zip(validation.controls, comparisons, strict=True)
        ),
        curve=curve.to_record(make_band(curve, predicted_flops)) if curve else None,
        num_trained_sizes=num_sizes,
        compound=_compound(validation.controls, comparisons),
    )


def _networks(validation: ValidationResult) -> dict[str, NetworkScore]:
    """The trained members and controls, each once, by network_id."""
    scores: dict[str, NetworkScore] = {}
    for row in validation.members:
        if row.measurements:
            scores[row.member.spec.network_id] = combine_seeds(row.member.flops, row.measurements)
    for control_row in validation.controls:
        control = control_row.control
        if control_row.measurements and control.spec and control.cost:
            scores.setdefault(
                control.spec.network_id,
                combine_seeds(control.cost.flops, control_row.measurements),
            )
    return scores


def _compare_controls(
    validation: ValidationResult, networks: dict[str, NetworkScore], noise: NoiseEstimate | None
) -> list[ControlComparison | None]:
    """For each control its comparison; None where it or its member was not trained."""
    pairs = [_compared_pair(row, networks) for row in validation.controls]
    distinct_pairs = sorted({pair for pair in pairs if pair})
    if not distinct_pairs:
        return [None] * len(pairs)
    baseline_id = next(
        (row.member.spec.network_id for row in validation.members if row.member.name == "b0"), ""
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


def _compared_pair(
    row: ControlValidation, networks: dict[str, NetworkScore]
) -> tuple[str, str] | None:
    """The network_id of the member and of its control, where both were trained."""
    spec, family_member = row.control.spec, row.control.family_member
    if spec is None or family_member is None or not row.measurements:
        return None
    is_trained = family_member.network_id in networks
    return (family_member.network_id, spec.network_id) if is_trained else None


def _gain(
    members: Sequence[MemberValidation],
    networks: dict[str, NetworkScore],
    noise: NoiseEstimate | None,
) -> GainRecord | None:
    """The largest trained member compared with B0; None where one of them is missing, or the
    training noise is unknown.
    """
    trained_members = {row.member.name: row.member for row in members if row.measurements}
    largest = max(trained_members.values(), key=lambda member: member.phi, default=None)
    if largest is None or "b0" not in trained_members or largest.name == "b0":
        return None
    pair = (networks[largest.spec.network_id], networks[trained_members["b0"].spec.network_id])
    comparison = compare_with_control(
        *pair, slope=SlopeEstimate(0.0, 0.0, 0.0), noise=noise, comparisons=1
    )
    if comparison is None or comparison.interval is None:
        return None
    return GainRecord(
        member=largest.name,
        baseline="b0",
        difference=comparison.difference,
        interval=comparison.interval,
    )


def _points(
    members: Sequence[MemberValidation],
    networks: dict[str, NetworkScore],
    noise: NoiseEstimate | None,
) -> list[CurvePoint]:
    names = dict.fromkeys(row.member.spec.network_id for row in members if row.measurements)
    trained_networks = [networks[name] for name in names]
    return [
        CurvePoint(network.flops, network.score, standard_error(network, noise))
        for network in trained_networks
    ]


def _make_member_record(row: MemberValidation, curve: ScoreCurve | None) -> MemberRecord:
    member = row.member
    predicted = (
        predict_member(curve, member.flops, fits_images=row.fits_images)
        if curve is not None and not row.measurements
        else MemberPrediction(None, None)
    )
    return MemberRecord(
        name=member.name,
        phi=member.phi,
        network_id=member.network_id,
        flops=member.flops,
        params=member.params,
        ratio=member.ratio,
        result=_make_test_result(row.measurements, row.failure_reason),
        skip=row.skip,
        prediction=predicted.prediction,
        missing_prediction=predicted.missing,
        weights=_find_saved_weights(row),
    )


def _find_saved_weights(row: MemberValidation) -> SavedWeights | None:
    for measurement in row.measurements:
        if measurement.seed == row.weights_seed:
            return SavedWeights(seed=measurement.seed, score=measurement.score)
    return None


def _make_test_result(
    measurements: Sequence[Measurement], failure_reason: str
) -> TestResult | None:
    if not measurements:
        return None
    scores = [measurement.score for measurement in measurements]
    mean = sum(scores) / len(scores)
    return TestResult(
        scores=tuple(scores),
        score=mean,
        interval=_score_interval(mean, measurements),
        images=measurements[0].images,
        train_seconds=sum(measurement.train_seconds for measurement in measurements),
        failure_reason=failure_reason,
    )


def _score_interval(mean: float, measurements: Sequence[Measurement]) -> Interval:
    """The 95% interval of the mean for the number of test images.

    All seeds have the same test images, so the mean is as uncertain as one of its scores.
    """
    if measurements[0].metric == "accuracy":
        return wilson_interval(mean, measurements[0].images)
    lows, highs = zip(*(measurement.interval() for measurement in measurements), strict=True)
    return sum(lows) / len(lows), sum(highs) / len(highs)


def _make_control_record(
    row: ControlValidation, comparison: ControlComparison | None
) -> ControlRecord:
    control, definition = row.control, row.control.definition
    coefficients, family_member = definition.coefficients, control.family_member
    return ControlRecord(
        name=definition.name,
        kind=definition.kind,
        source=definition.source,
        coefficients=ScaleFactors(
            alpha=coefficients.alpha, beta=coefficients.beta, gamma=coefficients.gamma
        )
        if coefficients
        else None,
        phi=control.phi,
        family_member=family_member.name if family_member else None,
        network=_make_control_network(control),
        result=_make_test_result(row.measurements, row.failure_reason),
        skip=row.skip,
        comparison=comparison,
    )


def _make_control_network(control: Control) -> ControlNetwork | None:
    if control.spec is None or control.cost is None or control.ratio is None:
        return None
    return ControlNetwork(
        spec=control.spec,
        network_id=control.spec.network_id,
        flops=control.cost.flops,
        params=control.cost.params,
        ratio=control.ratio,
    )


def _compound(
    controls: Sequence[ControlValidation], comparisons: Sequence[ControlComparison | None]
) -> CompoundVerdict:
    """The verdict on the member that scaled controls are compared with."""
    family_member = next(
        (
            row.control.family_member
            for row in controls
            if row.control.family_member and row.control.phi is not None
        ),
        None,
    )
    verdicts = {
        row.control.definition.name: comparison.verdict if comparison else None
        for row, comparison in zip(controls, comparisons, strict=True)
    }
    return judge_compound_scaling(
        family_member.name if family_member else None, verdicts, single_dimension=SINGLE_DIMENSION
    )
