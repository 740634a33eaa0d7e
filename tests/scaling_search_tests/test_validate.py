"""The validation of a family and its controls, with real trainings, small and short."""

import json
import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import optuna
import pytest

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, ValidationSection
from phinas.experiment.trial_store import TrialStore
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.validation.controls import (
    Control,
    ControlDefinition,
    make_controls,
    read_controls,
)
from phinas.scaling_search.validation.validate import (
    ControlValidation,
    MemberValidation,
    ValidationResult,
    find_skip_reason,
    members_to_train,
    validate_family,
)
from phinas.scaling_search.validation.validation_summary import summarize_validation
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml, parse_yaml

BASELINE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
FOUND = Coefficients(1.2, 1.1, 1.15)
FAMILY = make_family(BASELINE, FOUND, [0.5, 1.0, 4.0])
RECIPE = Recipe(epochs=1, batch_size=50)
SECTION = ValidationSection(max_flops_multiple=3.0, seeds=2, recipe=RECIPE)


class CountingExecutor(InlineExecutor):
    """Notes the jobs that it runs, and fails those of one network."""

    def __init__(self, *, failing=""):
        super().__init__(1)
        self.jobs = []
        self._failing = failing

    def submit(self, job):
        self.jobs.append(job)
        if ArchSpec.from_dict(job.payload["spec"]).spec_id == self._failing:
            job.payload["recipe"]["learning_rate"] = 1e30
        super().submit(job)


class Killed(Exception):
    pass


class DyingExecutor(CountingExecutor):
    """Dies when so many jobs have been given to it."""

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
        read_controls(names), BASELINE, trained, rounding=FOUND, max_resolution=max_resolution
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
            trial_store=trial_store or new_trial_store(),
            executor=used,
            make_job=job_factory.make_job,
            weights=weights,
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


def test_a_member_beyond_the_budget_or_the_images_says_why_it_was_not_trained(validated):
    row = validated[0].members[3]
    assert (
        row.skip_reason == f"{FAMILY[3].ratio:.1f} times B0's FLOPs; "
        "validation.max_flops_multiple is 3"
    )
    assert row.to_dict()["validated"] is False
    large = find_skip_reason(FAMILY[2], SECTION, max_resolution=8)
    assert (
        large == f"needs {FAMILY[2].spec.resolution} pixels of a side, the images have 8; see "
        "data.upsample"
    )
    assert find_skip_reason(FAMILY[0], SECTION, max_resolution=8) == ""


def test_a_validation_needs_the_test_split(sealed, tmp_path):
    with pytest.raises(NoResultError, match="no member of the family could be trained: ValueError"):
        validate(
            sealed,
            tmp_path,
            section=ValidationSection(max_flops_multiple=1.0, seeds=1, recipe=RECIPE),
        )


def test_controls_are_trained_on_the_same_seeds_as_members_and_measured_alike(validated):
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


def test_weights_are_written_of_members_and_not_of_controls(validated):
    _, _, weights, _ = validated
    assert sorted(path.name for path in weights.iterdir()) == [
        f"b{number}.safetensors" for number in range(3)
    ]


def test_what_is_recorded_is_replayed_and_nothing_is_trained(validated, job_factory, tmp_path):
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


def test_a_validation_that_was_killed_goes_on_and_trains_nothing_twice(
    validated, job_factory, tmp_path
):
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

    def accuracies(validation):
        return [
            [one.accuracy for one in row.measurements]
            for row in (*validation.members, *validation.controls)
        ]

    assert accuracies(second_validation) == accuracies(validation)


def test_the_file_of_a_validation_is_strict_and_reads_back_equal(validated):
    data = summarize_validation(validated[0], seed=0)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert parse_yaml(dump_yaml(data)) == data
    assert list(data) == [
        "members",
        "gain",
        "controls",
        "curve",
        "missing_curve_reason",
        "compound",
    ]
    low, high = data["members"][0]["interval"]
    assert low < data["members"][0]["accuracy"] == np.mean(data["members"][0]["accuracies"]) < high


def test_it_is_recorded_which_test_images_each_training_gets_right_and_the_file_does_not_hold_that(
    validated,
):
    validation, trial_store, _, _ = validated
    trained = [
        one for row in (*validation.members, *validation.controls) for one in row.measurements
    ]
    assert len(trained) == 12
    assert all(one.correct_mask.mean() == pytest.approx(one.accuracy) for one in trained)
    # some have learned so little that they say one class
    assert len({one.correct for one in trained}) > 6
    sentence = dump_yaml(summarize_validation(validation, seed=0))
    assert not any(one.correct[:40] in sentence for one in trained)
    assert "correct" not in sentence.replace("flops_adjustment", "")
    assert all(row.user_attrs["measurement"]["correct"] for row in trial_store.records())


def test_a_replayed_validation_is_written_the_same_to_the_byte(validated, job_factory, tmp_path):
    validation, trial_store, _, _ = validated
    controls = controls_of("depth", "width", "resolution", "paper")
    second_validation = validate(
        job_factory,
        tmp_path,
        trial_store=trial_store,
        executor=CountingExecutor(),
        controls=controls,
    )
    assert dump_yaml(summarize_validation(second_validation, seed=0)) == dump_yaml(
        summarize_validation(validation, seed=0)
    )


def test_a_record_from_before_that_is_replayed_with_wider_intervals(
    validated, job_factory, tmp_path
):
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
    assert now["members"] == then["members"]
    assert np.diff(now["gain"]["interval"]) < np.diff(then["gain"]["interval"])
    for one, other in zip(now["controls"][:3], then["controls"][:3], strict=True):
        assert one["accuracy_gap"] == other["accuracy_gap"]
        assert np.diff(one["accuracy_gap_interval"]) < np.diff(other["accuracy_gap_interval"])


def test_the_gain_is_of_the_largest_trained_member_over_b0(validated):
    data = summarize_validation(validated[0], seed=0)
    b0, _, b2, _ = data["members"]
    gain = data["gain"]
    assert (gain["member"], gain["baseline"]) == ("b2", "b0")
    assert gain["gain"] == pytest.approx(b2["accuracy"] - b0["accuracy"])
    assert gain["interval"][0] < gain["gain"] < gain["interval"][1]


@pytest.mark.parametrize(
    "trained", [[[0.7, 0.71]], [[], [0.7, 0.71]], [[0.7], [0.8]], [[0.7, 0.71], [0.8, 0.81]]]
)
def test_there_is_no_gain_without_b0_another_member_and_two_seeds(trained):
    gain = summarize_accuracies(trained, {})["gain"]
    assert (gain is None) == (trained != [[0.7, 0.71], [0.8, 0.81]])


def test_a_control_is_told_with_its_difference_and_its_verdict(validated):
    data = summarize_validation(validated[0], seed=0)
    depth, _, _, paper = data["controls"]
    member = data["members"][2]
    assert depth["family_member"] == "b2"
    assert depth["accuracy_gap"] == pytest.approx(
        member["accuracy"] - depth["accuracy"] - depth["flops_adjustment"]
    )
    assert (
        depth["accuracy_gap_interval"][0]
        < depth["accuracy_gap"]
        < depth["accuracy_gap_interval"][1]
    )
    assert depth["verdict"] in ("better", "worse", "tied")
    assert ArchSpec.from_dict(depth["spec"]).spec_id == depth["spec_id"]
    assert abs(depth["flops"] / member["flops"] - 1) < 0.15
    assert depth["ratio"] == pytest.approx(depth["flops"] / data["members"][0]["flops"])
    assert paper["skip_reason"] == "is the same network as B2"
    assert not paper["validated"]
    assert paper["accuracy_gap"] is paper["verdict"] is paper["accuracy_gap_interval"] is None


def test_the_curve_is_of_trained_members_and_foretells_the_others(validated):
    data = summarize_validation(validated[0], seed=0)
    assert data["curve"]["points"] == 3
    assert data["missing_curve_reason"] == ""
    flops = [row["flops"] for row in data["curve"]["band"]]
    assert len(flops) == 60
    assert flops[0] == pytest.approx(data["members"][0]["flops"])
    assert flops[-1] == pytest.approx(data["members"][3]["flops"])
    assert np.allclose(np.diff(np.log(flops)), math.log(flops[-1] / flops[0]) / 59)
    prediction = data["members"][3]["prediction"]
    assert prediction["predicted"] is True
    assert prediction["extrapolation"] > 1
    assert prediction["interval"][0] < prediction["accuracy"] < prediction["interval"][1]
    assert all("prediction" not in row for row in data["members"][:3])


def test_what_enlarging_the_images_would_give_is_not_foretold(validated):
    *trained, largest = validated[0].members
    data = summarize_validation(
        ValidationResult([*trained, replace(largest, fits_images=False)], []), seed=0
    )
    assert data["members"][3]["prediction"] is None
    assert data["curve"]["band"][-1]["flops"] == pytest.approx(data["members"][2]["flops"])


def test_without_controls_only_members_are_trained(validated, job_factory, tmp_path):
    _, trial_store, _, _ = validated
    executor = CountingExecutor()
    validation = validate(
        job_factory, tmp_path, trial_store=trial_store, executor=executor, controls=[]
    )
    assert executor.jobs == []
    data = summarize_validation(validation, seed=0)
    assert data["controls"] == []
    assert data["compound"]["wins"] is None
    assert "validation.controls" in data["compound"]["explanation"]


def test_a_control_that_fails_does_not_fail_the_validation(job_factory, tmp_path):
    (control,) = controls_of("depth")
    executor = CountingExecutor(failing=control.spec.spec_id)
    validation = validate(job_factory, tmp_path, executor=executor, controls=[control])
    data = summarize_validation(validation, seed=0)
    (row,) = data["controls"]
    assert not row["validated"]
    assert row["skip_reason"].startswith("the loss was nan")
    assert data["compound"]["wins"] is None
    assert "depth alone: the loss was nan" in data["compound"]["explanation"]
    assert data["members"][2]["validated"]


def test_one_network_that_two_controls_mean_is_trained_once_and_compared_once(
    validated, job_factory, tmp_path
):
    _, trial_store, _, _ = validated
    (depth,) = controls_of("depth")
    duplicate = replace(
        depth,
        definition=replace(depth.definition, name="runs/other", label="coefficients of other"),
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
    one, other = summarize_validation(validation, seed=0)["controls"]
    assert one["accuracies"] == other["accuracies"]
    assert one["accuracy_gap_interval"] == other["accuracy_gap_interval"]
    alone = validate(
        job_factory, tmp_path, trial_store=trial_store, executor=executor, controls=[depth]
    )
    assert summarize_validation(alone, seed=0)["controls"] == [one]


def measurements_of(accuracies, *, images=100_000):
    """Measurements on seeds 0, 1, ..."""
    return [Measurement(value, "test", images, seed=seed) for seed, value in enumerate(accuracies)]


def summarize_accuracies(members, controls):
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
            ControlDefinition(name, f"{name} alone"),
            FAMILY[2],
            1.0,
            control_spec,
            FAMILY[2].cost,
            FAMILY[2].ratio,
        )
        control_validations.append(ControlValidation(control, measurements_of(values)))
    return summarize_validation(ValidationResult(rows, control_validations), seed=0)


MEMBERS = [[0.70, 0.71, 0.70], [0.75, 0.76, 0.755], [0.80, 0.81, 0.803]]


@pytest.mark.parametrize(
    ("accuracy", "wins", "explanation"),
    [
        (
            0.75,
            True,
            "B2 is better than depth alone, width alone and resolution alone beyond doubt (95%)",
        ),
        (
            0.80,
            None,
            "B2 is better than depth alone and width alone beyond doubt (95%); it can't be told "
            "from resolution alone",
        ),
        (0.85, False, "resolution alone is better than B2 beyond doubt (95%)"),
    ],
)
def test_compound_scaling_wins_where_it_beats_each_single_dimension_beyond_doubt(
    accuracy, wins, explanation
):
    controls = {name: [0.75, 0.758, 0.752] for name in ("depth", "width")} | {
        "resolution": [accuracy, accuracy + 0.01, accuracy + 0.004]
    }
    assert summarize_accuracies(MEMBERS, controls)["compound"] == {
        "family_member": "b2",
        "wins": wins,
        "explanation": explanation,
    }


def test_a_single_seed_gives_differences_and_no_verdicts():
    controls = {name: [0.75] for name in ("depth", "width", "resolution")}
    data = summarize_accuracies([[0.7], [0.75], [0.8]], controls)
    assert [row["verdict"] for row in data["controls"]] == [None] * 3
    assert all(
        row["accuracy_gap"] > 0 and row["accuracy_gap_interval"] is None for row in data["controls"]
    )
    assert data["compound"]["wins"] is None
    assert (
        "depth alone: too few trainings tell nothing about luck; raise validation.seeds"
        in data["compound"]["explanation"]
    )
    assert data["curve"] is not None


def test_where_fewer_than_three_members_were_trained_there_is_no_curve_and_no_prediction():
    rows = [
        MemberValidation(FAMILY[0], measurements_of([0.7, 0.71])),
        MemberValidation(FAMILY[1], measurements_of([0.7, 0.72])),
        MemberValidation(FAMILY[2], [], "why"),
    ]
    data = summarize_validation(ValidationResult(rows, []), seed=0)
    assert data["curve"] is None
    assert data["missing_curve_reason"].startswith(
        "a curve with a floor has three unknowns, and networks of 2 different FLOPs"
    )
    assert data["members"][2]["prediction"] is None
