"""The validation of a family and its controls, with short real trainings."""

import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import optuna
import pytest

from phinas.experiment.artifacts.validation_file import SkipReason, ValidationFile
from phinas.experiment.errors import NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, ValidationSection
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.validation.controls import (
    Control,
    ControlDefinition,
    make_controls,
    read_controls,
)
from phinas.scaling_search.validation.skip_reason import describe_skip
from phinas.scaling_search.validation.validate import (
    ControlValidation,
    MemberValidation,
    ValidationContext,
    ValidationResult,
    find_skip_reason,
    members_to_train,
    validate_family,
)
from phinas.scaling_search.validation.validation_summary import summarize_validation
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml

BASELINE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
COEFFICIENTS = Coefficients(1.2, 1.1, 1.15)
FAMILY = make_family(BASELINE, COEFFICIENTS, [0.5, 1.0, 4.0])
RECIPE = Recipe(epochs=1, batch_size=50)
SECTION = ValidationSection(max_flops_multiple=3.0, seeds=2, recipe=RECIPE)


class CountingExecutor(InlineExecutor):
    """Records the jobs that it runs, and makes those of one network fail."""

    def __init__(self, *, failing=""):
        super().__init__(1)
        self.jobs = []
        self._failing = failing

    def submit(self, job):
        self.jobs.append(job)
        if ArchSpec.from_dict(job.payload["request"]["network"]).network_id == self._failing:
            job.payload["request"]["recipe"]["learning_rate"] = 1e30
        super().submit(job)


class Killed(Exception):
    pass


class DyingExecutor(CountingExecutor):
    """Raises `Killed` instead of running another job after `after` jobs."""

    def __init__(self, after):
        super().__init__()
        self._after = after

    def submit(self, job):
        if len(self.jobs) == self._after:
            raise Killed
        super().submit(job)


def new_trial_store():
    return TrialStore(optuna.create_study(direction="maximize"))


def controls_of(*names, section=SECTION, max_resolution=math.inf):
    trained = members_to_train(FAMILY, section, max_resolution=max_resolution)
    return make_controls(
        read_controls(names),
        BASELINE,
        trained,
        rounding=COEFFICIENTS,
        max_resolution=max_resolution,
    )


def validate(
    job_factory, weights, *, trial_store=None, executor=None, controls=(), section=SECTION
):
    with closing(executor or InlineExecutor(1)) as used:
        return validate_family(
            FAMILY,
            section,
            seed=5,
            max_resolution=math.inf,
            context=ValidationContext(
                trial_store or new_trial_store(), used, job_factory.make_job, weights
            ),
            on_progress=lambda done, total, text: None,
            controls=controls,
        )


@pytest.fixture(scope="module")
def validated(job_factory, tmp_path_factory):
    """Members and the usual controls, of which `paper` is the same network as B2."""
    weights, trial_store, executor = (
        tmp_path_factory.mktemp("weights"),
        new_trial_store(),
        CountingExecutor(),
    )
    controls = controls_of("depth", "width", "resolution", "paper")
    return (
        validate(
            job_factory, weights, trial_store=trial_store, executor=executor, controls=controls
        ),
        trial_store,
        weights,
        executor.jobs,
    )


def test_affordable_members_are_measured_on_the_test_split(validated, job_factory):
    rows = validated[0].members
    assert [bool(row.measurements) for row in rows] == [True, True, True, False]
    for row in rows[:3]:
        assert [measured.split for measured in row.measurements] == ["test"] * 2
        assert {measured.images for measured in row.measurements} == {job_factory.data.test}
    assert FAMILY[3].ratio > 3


def test_a_member_that_is_too_large_for_the_limit_or_the_images_has_a_skip_reason(validated):
    row = validated[0].members[3]
    assert row.skip.case == "max_flops_multiple"
    assert describe_skip(row.skip) == (
        f"it has {FAMILY[3].ratio:.1f} times B0's FLOPs, more than validation.max_flops_multiple "
        "allows (3)"
    )
    large = find_skip_reason(FAMILY[2], SECTION, max_resolution=8)
    assert (large.case, large.resolution, large.image_size) == (
        "image_size",
        FAMILY[2].spec.resolution,
        8,
    )
    assert find_skip_reason(FAMILY[0], SECTION, max_resolution=8) is None


def test_a_validation_needs_the_test_split(sealed, tmp_path):
    with pytest.raises(NoResultError, match="no member of the family could be trained: ValueError"):
        validate(
            sealed,
            tmp_path,
            section=ValidationSection(max_flops_multiple=1.0, seeds=1, recipe=RECIPE),
        )


def test_controls_are_trained_with_the_seeds_of_members_and_measured_in_the_same_way(validated):
    validation, trial_store, _, jobs = validated
    names = {row.user_attrs["name"] for row in trial_store.records()}
    assert names == {"b0", "b1", "b2", "control depth", "control width", "control resolution"}
    seeds = {
        name: [
            row.user_attrs["seed"]
            for row in trial_store.records()
            if row.user_attrs["name"] == name
        ]
        for name in names
    }
    assert len({tuple(each) for each in seeds.values()}) == 1
    assert len(jobs) == 12
    assert all(job.payload["on_test_split"] for job in jobs)
    trained = [row for row in validation.controls if row.measurements]
    assert [row.control.definition.name for row in trained] == ["depth", "width", "resolution"]


def test_weights_of_members_are_written_and_not_those_of_controls(validated):
    _, _, weights, _ = validated
    assert sorted(path.name for path in weights.iterdir()) == [
        f"b{number}.safetensors" for number in range(3)
    ]


def test_recorded_trainings_are_replayed_and_nothing_is_trained(validated, job_factory, tmp_path):
    validation, trial_store, _, _ = validated
    executor = CountingExecutor()
    controls = controls_of("depth", "width", "resolution", "paper")
    assert (
        validate(
            job_factory, tmp_path, trial_store=trial_store, executor=executor, controls=controls
        )
        == validation
    )
    assert executor.jobs == []


def test_a_killed_validation_resumes_and_trains_nothing_twice(validated, job_factory, tmp_path):
    validation, _, _, jobs = validated
    trial_store, controls = new_trial_store(), controls_of("depth", "width", "resolution", "paper")
    done = []
    for after in (4, 3):  # the first time among the controls of the first seed
        executor = DyingExecutor(after)
        with pytest.raises(Killed):
            validate(
                job_factory, tmp_path, trial_store=trial_store, executor=executor, controls=controls
            )
        done += executor.jobs
    last = CountingExecutor()
    second_validation = validate(
        job_factory, tmp_path, trial_store=trial_store, executor=last, controls=controls
    )
    assert [job.key for job in done + last.jobs] == [job.key for job in jobs]

    def scores(validation):
        return [
            [one.score for one in row.measurements]
            for row in (*validation.members, *validation.controls)
        ]

    assert scores(second_validation) == scores(validation)


def test_the_file_of_a_validation_reads_back_equal(validated, tmp_path):
    record = summarize_validation(validated[0], seed=0)
    record.write(tmp_path / "validation.yaml")
    assert ValidationFile.read(tmp_path / "validation.yaml") == record
    assert record.metric == "accuracy"
    result = record.members[0].result
    low, high = result.interval
    assert low < result.score == np.mean(result.scores) < high


def test_correct_test_images_are_in_the_record_of_trials_and_not_in_the_file(
    validated,
):
    validation, trial_store, _, _ = validated
    trained = [
        one for row in (*validation.members, *validation.controls) for one in row.measurements
    ]
    assert len(trained) == 12
    assert all(one.correct_mask.mean() == pytest.approx(one.score) for one in trained)
    # some have learned so little that they predict a single class
    assert len({one.correct for one in trained}) > 6
    text = dump_yaml(summarize_validation(validation, seed=0).to_file_dict())
    assert not any(one.correct[:40] in text for one in trained)
    assert "correct" not in text
    assert all(row.user_attrs["measurement"]["correct"] for row in trial_store.records())


def test_a_replayed_validation_gives_the_same_bytes(validated, job_factory, tmp_path):
    validation, trial_store, _, _ = validated
    controls = controls_of("depth", "width", "resolution", "paper")
    second_validation = validate(
        job_factory,
        tmp_path,
        trial_store=trial_store,
        executor=CountingExecutor(),
        controls=controls,
    )
    first, second = (
        dump_yaml(summarize_validation(each, seed=0).to_file_dict())
        for each in (validation, second_validation)
    )
    assert first == second


def test_a_record_without_correct_images_gives_wider_intervals(validated, job_factory, tmp_path):
    validation, trial_store, _, _ = validated
    old_store, executor = new_trial_store(), CountingExecutor()
    for row in trial_store.records():
        data = dict(row.user_attrs)
        measured = replace(Measurement.from_dict(data.pop("measurement")), correct="")
        old_store.complete(old_store.begin({}, {}, **data), row.value, measured)
    assert all("correct" not in row.user_attrs["measurement"] for row in old_store.records())
    controls = controls_of("depth", "width", "resolution", "paper")
    second_validation = validate(
        job_factory, tmp_path, trial_store=old_store, executor=executor, controls=controls
    )
    assert executor.jobs == []
    now, then = (summarize_validation(each, seed=0) for each in (validation, second_validation))
    assert now.members == then.members
    assert np.diff(now.gain.interval) < np.diff(then.gain.interval)
    for one, other in zip(now.controls[:3], then.controls[:3], strict=True):
        assert one.comparison.difference == other.comparison.difference
        assert np.diff(one.comparison.interval) < np.diff(other.comparison.interval)


def test_the_gain_is_of_the_largest_trained_member_over_b0(validated):
    data = summarize_validation(validated[0], seed=0)
    b0, _, b2, _ = data.members
    gain = data.gain
    assert (gain.member, gain.baseline) == ("b2", "b0")
    assert gain.difference == pytest.approx(b2.result.score - b0.result.score)
    assert gain.interval[0] < gain.difference < gain.interval[1]


@pytest.mark.parametrize(
    "trained", [[[0.7, 0.71]], [[], [0.7, 0.71]], [[0.7], [0.8]], [[0.7, 0.71], [0.8, 0.81]]]
)
def test_there_is_no_gain_without_b0_another_member_and_two_seeds(trained):
    gain = summarize_scores(trained, {}).gain
    assert (gain is None) == (trained != [[0.7, 0.71], [0.8, 0.81]])


def test_a_control_is_recorded_with_its_difference_and_its_verdict(validated):
    data = summarize_validation(validated[0], seed=0)
    depth, _, _, paper = data.controls
    member, comparison = data.members[2], depth.comparison
    assert (depth.kind, depth.family_member) == ("depth", "b2")
    assert comparison.difference == pytest.approx(
        member.result.score - depth.result.score - comparison.flops_adjustment
    )
    assert comparison.interval[0] < comparison.difference < comparison.interval[1]
    assert comparison.verdict in ("better", "worse", "tied")
    assert depth.network.spec.network_id == depth.network.network_id
    assert abs(depth.network.flops / member.flops - 1) < 0.15
    assert depth.network.ratio == pytest.approx(depth.network.flops / data.members[0].flops)
    assert paper.skip.case == "same_network"
    assert paper.result is paper.comparison is None


def test_the_curve_is_fitted_to_trained_members_and_predicts_the_others(validated):
    data = summarize_validation(validated[0], seed=0)
    assert data.curve.points == data.num_trained_sizes == 3
    flops = [point.flops for point in data.curve.band]
    assert len(flops) == 60
    assert flops[0] == pytest.approx(data.members[0].flops)
    assert flops[-1] == pytest.approx(data.members[3].flops)
    assert np.allclose(np.diff(np.log(flops)), math.log(flops[-1] / flops[0]) / 59)
    prediction = data.members[3].prediction
    assert prediction.extrapolation > 1
    assert prediction.low < prediction.score < prediction.high
    assert all(row.prediction is None for row in data.members[:3])


def test_no_score_is_predicted_far_beyond_the_trained_members(validated):
    *trained, largest = validated[0].members
    far = replace(largest, member=largest.member.model_copy(update={"flops": 10**12}))
    data = summarize_validation(ValidationResult([*trained, largest, far], []), seed=0)
    predicted, unpredicted = data.members[3:]
    assert (predicted.missing_prediction, unpredicted.prediction) == (None, None)
    assert unpredicted.missing_prediction == "extrapolation"
    assert data.curve.band[-1].flops == pytest.approx(predicted.flops)
    assert all(row.missing_prediction is None for row in data.members[:3])


def test_no_score_is_predicted_for_a_resolution_above_the_image_size(validated):
    *trained, largest = validated[0].members
    data = summarize_validation(
        ValidationResult(
            [*trained, replace(largest, skip=SkipReason(case="image_size"))],
            [],
        ),
        seed=0,
    )
    assert data.members[3].prediction is None
    assert data.members[3].missing_prediction == "image_size"
    assert data.curve.band[-1].flops == pytest.approx(data.members[2].flops)


def test_without_controls_only_members_are_trained(validated, job_factory, tmp_path):
    _, trial_store, _, _ = validated
    executor = CountingExecutor()
    validation = validate(
        job_factory, tmp_path, trial_store=trial_store, executor=executor, controls=[]
    )
    assert executor.jobs == []
    data = summarize_validation(validation, seed=0)
    assert data.controls == ()
    assert data.compound.wins is data.compound.family_member is None


def test_a_control_that_fails_does_not_fail_the_validation(job_factory, tmp_path):
    (control,) = controls_of("depth")
    executor = CountingExecutor(failing=control.spec.network_id)
    validation = validate(job_factory, tmp_path, executor=executor, controls=[control])
    data = summarize_validation(validation, seed=0)
    (row,) = data.controls
    assert row.result is None
    assert row.skip.case == "training_failed"
    assert row.skip.reason.startswith("the loss was nan")
    assert data.compound.wins is None
    assert data.members[2].result is not None


def test_one_network_of_two_controls_is_trained_once_and_compared_once(
    validated, job_factory, tmp_path
):
    _, trial_store, _, _ = validated
    (depth,) = controls_of("depth")
    duplicate = replace(
        depth,
        definition=replace(
            depth.definition, name="runs/other", kind="coefficients", source="other"
        ),
    )
    executor = CountingExecutor()
    validation = validate(
        job_factory,
        tmp_path,
        trial_store=trial_store,
        executor=executor,
        controls=[depth, duplicate],
    )
    assert executor.jobs == []
    one, other = summarize_validation(validation, seed=0).controls
    assert one.result.scores == other.result.scores
    assert one.comparison.interval == other.comparison.interval
    alone = validate(
        job_factory, tmp_path, trial_store=trial_store, executor=executor, controls=[depth]
    )
    assert summarize_validation(alone, seed=0).controls == (one,)


def measurements_of(scores, *, images=100_000):
    """Measurements on seeds 0, 1, ..."""
    return [Measurement(value, "test", images, seed=seed) for seed, value in enumerate(scores)]


def summarize_scores(members, controls):
    """A validation with these accuracies, by seed; controls: by name."""
    rows = [
        MemberValidation(member, measurements_of(values))
        for member, values in zip(FAMILY, members, strict=False)
    ]
    spec = FAMILY[2].spec
    control_validations = []
    for index, (name, values) in enumerate(controls.items()):
        control_spec = replace(spec, head_width=spec.head_width + 8 * (index + 1))
        control = Control(
            ControlDefinition(name, name),
            FAMILY[2],
            1.0,
            control_spec,
            FAMILY[2].spec.cost(),
            FAMILY[2].ratio,
        )
        control_validations.append(ControlValidation(control, measurements_of(values)))
    return summarize_validation(ValidationResult(rows, control_validations), seed=0)


MEMBERS = [[0.70, 0.71, 0.70], [0.75, 0.76, 0.755], [0.80, 0.81, 0.803]]


@pytest.mark.parametrize(("score", "wins"), [(0.75, True), (0.80, None), (0.85, False)])
def test_compound_scaling_wins_where_it_is_significantly_better_than_each_single_dimension(
    score, wins
):
    controls = {name: [0.75, 0.758, 0.752] for name in ("depth", "width")} | {
        "resolution": [score, score + 0.01, score + 0.004]
    }
    compound = summarize_scores(MEMBERS, controls).compound
    assert (compound.family_member, compound.wins) == ("b2", wins)


def test_a_single_seed_gives_differences_and_no_verdicts():
    controls = {name: [0.75] for name in ("depth", "width", "resolution")}
    data = summarize_scores([[0.7], [0.75], [0.8]], controls)
    comparisons = [row.comparison for row in data.controls]
    assert [comparison.verdict for comparison in comparisons] == [None] * 3
    assert all(
        comparison.difference > 0 and comparison.interval is None for comparison in comparisons
    )
    assert data.compound.wins is None
    assert data.curve is not None


def test_another_metric_is_named_in_the_file_and_has_its_own_interval():
    measurements = [
        Measurement(0.8, "test", 100, metric="macro_f1", standard_error=0.05, seed=seed)
        for seed in range(2)
    ]
    data = summarize_validation(
        ValidationResult([MemberValidation(FAMILY[0], measurements)], []), seed=0
    )
    assert data.metric == "macro_f1"
    assert data.members[0].result.interval == pytest.approx((0.8 - 0.098, 0.8 + 0.098), abs=1e-3)


def test_where_fewer_than_three_members_were_trained_there_is_no_curve_and_no_prediction():
    rows = [
        MemberValidation(FAMILY[0], measurements_of([0.7, 0.71])),
        MemberValidation(FAMILY[1], measurements_of([0.7, 0.72])),
        MemberValidation(FAMILY[2], [], SkipReason(case="training_failed", reason="why")),
    ]
    data = summarize_validation(ValidationResult(rows, []), seed=0)
    assert data.curve is None
    assert data.num_trained_sizes == 2
    assert data.members[2].prediction is None
