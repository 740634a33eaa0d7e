"""The validation of a family and its controls, with real trainings, small and short."""

import json
import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import optuna
import pytest

from phinas.experiment.errors import NothingFound
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, ValidationSection
from phinas.experiment.trial_store import Ledger
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.validation.controls import Control, Rule, make_controls, read_controls
from phinas.scaling_search.validation.validate import (
    Validated,
    ValidatedControl,
    Validation,
    members_to_train,
    reason_to_skip,
    validate_family,
)
from phinas.scaling_search.validation.validation_summary import describe_validation
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml, parse_yaml

BASELINE = load_space("tiny").fitted(channels=1, classes=10, resolution=8).base
FOUND = Coefficients(1.2, 1.1, 1.15)
FAMILY = make_family(BASELINE, FOUND, [0.5, 1.0, 4.0])
RECIPE = Recipe(epochs=1, batch=50)
SECTION = ValidationSection(largest_multiple=3.0, seeds=2, recipe=RECIPE)


class Counting(InlineExecutor):
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


class Dying(Counting):
    """Dies when so many jobs have been given to it."""

    def __init__(self, after):
        super().__init__()
        self._after = after

    def submit(self, job):
        if len(self.jobs) == self._after:
            raise Killed
        super().submit(job)


def new_ledger():
    return Ledger(optuna.create_study(direction="maximize"))


def controls_of(*names, section=SECTION, largest_side=math.inf):
    trained = members_to_train(FAMILY, section, largest_side=largest_side)
    return make_controls(
        read_controls(names), BASELINE, trained, rounding=FOUND, largest_side=largest_side
    )


def validate(trainer, weights, *, ledger=None, executor=None, controls=(), section=SECTION):
    with closing(executor or InlineExecutor(1)) as used:
        return validate_family(
            FAMILY,
            section,
            seed=5,
            largest_side=math.inf,
            ledger=ledger or new_ledger(),
            executor=used,
            make_job=trainer.job,
            weights=weights,
            notify=lambda done, total, text: None,
            controls=controls,
        )


@pytest.fixture(scope="module")
def validated(trainer, tmp_path_factory):
    """Members and the usual controls, of which `paper` is the same network as B2."""
    weights, ledger, executor = tmp_path_factory.mktemp("weights"), new_ledger(), Counting()
    controls = controls_of("depth", "width", "resolution", "paper")
    return (
        validate(trainer, weights, ledger=ledger, executor=executor, controls=controls),
        ledger,
        weights,
        executor.jobs,
    )


def test_affordable_members_are_measured_on_the_test_split(validated, trainer):
    rows = validated[0].members
    assert [bool(row.measurements) for row in rows] == [True, True, True, False]
    for row in rows[:3]:
        assert [measured.split for measured in row.measurements] == ["test"] * 2
        assert {measured.images for measured in row.measurements} == {trainer.data.test}
    assert FAMILY[3].ratio > 3


def test_a_member_beyond_the_budget_or_the_images_says_why_it_was_not_trained(validated):
    row = validated[0].members[3]
    assert (
        row.why_not == f"{FAMILY[3].ratio:.1f} times B0's FLOPs; validation.largest_multiple is 3"
    )
    assert row.to_dict()["validated"] is False
    large = reason_to_skip(FAMILY[2], SECTION, largest_side=8)
    assert (
        large == f"needs {FAMILY[2].spec.resolution} pixels of a side, the images have 8; see "
        "data.upsample"
    )
    assert reason_to_skip(FAMILY[0], SECTION, largest_side=8) == ""


def test_a_validation_needs_the_test_split(sealed, tmp_path):
    with pytest.raises(NothingFound, match="no member of the family could be trained: ValueError"):
        validate(
            sealed,
            tmp_path,
            section=ValidationSection(largest_multiple=1.0, seeds=1, recipe=RECIPE),
        )


def test_controls_are_trained_on_the_same_seeds_as_members_and_measured_alike(validated):
    found, ledger, _, jobs = validated
    names = {row.attributes["name"] for row in ledger.rows()}
    assert names == {"b0", "b1", "b2", "control depth", "control width", "control resolution"}
    seeds = {
        name: [row.attributes["seed"] for row in ledger.rows() if row.attributes["name"] == name]
        for name in names
    }
    assert len({tuple(each) for each in seeds.values()}) == 1
    assert len(jobs) == 12
    assert all(job.payload["final"] for job in jobs)
    trained = [row for row in found.controls if row.measurements]
    assert [row.control.rule.name for row in trained] == ["depth", "width", "resolution"]


def test_weights_are_written_of_members_and_not_of_controls(validated):
    _, _, weights, _ = validated
    assert sorted(path.name for path in weights.iterdir()) == [
        f"b{number}.safetensors" for number in range(3)
    ]


def test_what_is_recorded_is_replayed_and_nothing_is_trained(validated, trainer, tmp_path):
    found, ledger, _, _ = validated
    executor = Counting()
    controls = controls_of("depth", "width", "resolution", "paper")
    assert validate(trainer, tmp_path, ledger=ledger, executor=executor, controls=controls) == found
    assert executor.jobs == []


def test_a_validation_that_was_killed_goes_on_and_trains_nothing_twice(
    validated, trainer, tmp_path
):
    found, _, _, jobs = validated
    ledger, controls = new_ledger(), controls_of("depth", "width", "resolution", "paper")
    done = []
    for after in (4, 3):  # the first time among the controls of the first seed
        dying = Dying(after)
        with pytest.raises(Killed):
            validate(trainer, tmp_path, ledger=ledger, executor=dying, controls=controls)
        done += dying.jobs
    last = Counting()
    again = validate(trainer, tmp_path, ledger=ledger, executor=last, controls=controls)
    assert [job.key for job in done + last.jobs] == [job.key for job in jobs]

    def accuracies(validation):
        return [
            [one.accuracy for one in row.measurements]
            for row in (*validation.members, *validation.controls)
        ]

    assert accuracies(again) == accuracies(found)


def test_the_file_of_a_validation_is_strict_and_reads_back_equal(validated):
    facts = describe_validation(validated[0], seed=0)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert parse_yaml(dump_yaml(facts)) == facts
    assert list(facts) == ["members", "gain", "controls", "curve", "why_no_curve", "compound"]
    low, high = facts["members"][0]["interval"]
    assert (
        low < facts["members"][0]["accuracy"] == np.mean(facts["members"][0]["accuracies"]) < high
    )


def test_it_is_recorded_which_test_images_each_training_gets_right_and_the_file_does_not_hold_that(
    validated,
):
    found, ledger, _, _ = validated
    trained = [one for row in (*found.members, *found.controls) for one in row.measurements]
    assert len(trained) == 12
    assert all(one.right.mean() == pytest.approx(one.accuracy) for one in trained)
    assert (
        len({one.correct for one in trained}) > 6
    )  # some have learned so little that they say one class
    told = dump_yaml(describe_validation(found, seed=0))
    assert not any(one.correct[:40] in told for one in trained)
    assert "correct" not in told.replace("correction", "")
    assert all(row.attributes["measurement"]["correct"] for row in ledger.rows())


def test_a_replayed_validation_is_written_the_same_to_the_byte(validated, trainer, tmp_path):
    found, ledger, _, _ = validated
    controls = controls_of("depth", "width", "resolution", "paper")
    again = validate(trainer, tmp_path, ledger=ledger, executor=Counting(), controls=controls)
    assert dump_yaml(describe_validation(again, seed=0)) == dump_yaml(
        describe_validation(found, seed=0)
    )


def test_a_record_from_before_that_is_replayed_with_wider_intervals(validated, trainer, tmp_path):
    found, ledger, _, _ = validated
    older, executor = new_ledger(), Counting()
    for row in ledger.rows():
        facts = dict(row.attributes)
        measured = replace(Measurement.from_dict(facts.pop("measurement")), correct="")
        older.complete(older.begin({}, {}, **facts), row.value, measured)
    assert all("correct" not in row.attributes["measurement"] for row in older.rows())
    controls = controls_of("depth", "width", "resolution", "paper")
    again = validate(trainer, tmp_path, ledger=older, executor=executor, controls=controls)
    assert executor.jobs == []
    now, then = (describe_validation(each, seed=0) for each in (found, again))
    assert now["members"] == then["members"]
    assert np.diff(now["gain"]["interval"]) < np.diff(then["gain"]["interval"])
    for one, other in zip(now["controls"][:3], then["controls"][:3], strict=True):
        assert one["behind"] == other["behind"]
        assert np.diff(one["behind_interval"]) < np.diff(other["behind_interval"])


def test_the_gain_is_of_the_largest_trained_member_over_b0(validated):
    facts = describe_validation(validated[0], seed=0)
    b0, _, b2, _ = facts["members"]
    gain = facts["gain"]
    assert (gain["member"], gain["over"]) == ("b2", "b0")
    assert gain["gain"] == pytest.approx(b2["accuracy"] - b0["accuracy"])
    assert gain["interval"][0] < gain["gain"] < gain["interval"][1]


@pytest.mark.parametrize(
    "trained", [[[0.7, 0.71]], [[], [0.7, 0.71]], [[0.7], [0.8]], [[0.7, 0.71], [0.8, 0.81]]]
)
def test_there_is_no_gain_without_b0_another_member_and_two_seeds(trained):
    gain = found_as(trained, {})["gain"]
    assert (gain is None) == (trained != [[0.7, 0.71], [0.8, 0.81]])


def test_a_control_is_told_with_its_difference_and_its_verdict(validated):
    facts = describe_validation(validated[0], seed=0)
    depth, _, _, paper = facts["controls"]
    member = facts["members"][2]
    assert depth["against"] == "b2"
    assert depth["behind"] == pytest.approx(
        member["accuracy"] - depth["accuracy"] - depth["correction"]
    )
    assert depth["behind_interval"][0] < depth["behind"] < depth["behind_interval"][1]
    assert depth["verdict"] in ("better", "worse", "tied")
    assert ArchSpec.from_dict(depth["spec"]).spec_id == depth["spec_id"]
    assert abs(depth["flops"] / member["flops"] - 1) < 0.15
    assert depth["ratio"] == pytest.approx(depth["flops"] / facts["members"][0]["flops"])
    assert paper["why_not"] == "is the same network as B2"
    assert not paper["validated"]
    assert paper["behind"] is paper["verdict"] is paper["behind_interval"] is None


def test_the_curve_is_of_trained_members_and_foretells_the_others(validated):
    facts = describe_validation(validated[0], seed=0)
    assert facts["curve"]["points"] == 3
    assert facts["why_no_curve"] == ""
    flops = [row["flops"] for row in facts["curve"]["band"]]
    assert len(flops) == 60
    assert flops[0] == pytest.approx(facts["members"][0]["flops"])
    assert flops[-1] == pytest.approx(facts["members"][3]["flops"])
    assert np.allclose(np.diff(np.log(flops)), math.log(flops[-1] / flops[0]) / 59)
    foretold = facts["members"][3]["prediction"]
    assert foretold["predicted"] is True
    assert foretold["beyond"] > 1
    assert foretold["interval"][0] < foretold["accuracy"] < foretold["interval"][1]
    assert all("prediction" not in row for row in facts["members"][:3])


def test_what_enlarging_the_images_would_give_is_not_foretold(validated):
    *trained, largest = validated[0].members
    facts = describe_validation(Validation([*trained, replace(largest, shown=False)], []), seed=0)
    assert facts["members"][3]["prediction"] is None
    assert facts["curve"]["band"][-1]["flops"] == pytest.approx(facts["members"][2]["flops"])


def test_without_controls_only_members_are_trained(validated, trainer, tmp_path):
    _, ledger, _, _ = validated
    executor = Counting()
    found = validate(trainer, tmp_path, ledger=ledger, executor=executor, controls=[])
    assert executor.jobs == []
    facts = describe_validation(found, seed=0)
    assert facts["controls"] == []
    assert facts["compound"]["wins"] is None
    assert "validation.controls" in facts["compound"]["why"]


def test_a_control_that_fails_does_not_fail_the_validation(trainer, tmp_path):
    (control,) = controls_of("depth")
    executor = Counting(failing=control.spec.spec_id)
    found = validate(trainer, tmp_path, executor=executor, controls=[control])
    facts = describe_validation(found, seed=0)
    (row,) = facts["controls"]
    assert not row["validated"]
    assert row["why_not"].startswith("the loss was nan")
    assert facts["compound"]["wins"] is None
    assert "depth alone: the loss was nan" in facts["compound"]["why"]
    assert facts["members"][2]["validated"]


def test_one_network_that_two_controls_mean_is_trained_once_and_compared_once(
    validated, trainer, tmp_path
):
    _, ledger, _, _ = validated
    (depth,) = controls_of("depth")
    twin = replace(
        depth, rule=replace(depth.rule, name="runs/other", words="coefficients of other")
    )
    executor = Counting()
    found = validate(trainer, tmp_path, ledger=ledger, executor=executor, controls=[depth, twin])
    assert executor.jobs == []
    one, other = describe_validation(found, seed=0)["controls"]
    assert one["accuracies"] == other["accuracies"]
    assert one["behind_interval"] == other["behind_interval"]
    alone = validate(trainer, tmp_path, ledger=ledger, executor=executor, controls=[depth])
    assert describe_validation(alone, seed=0)["controls"] == [one]


def told(accuracies, *, images=100_000):
    """Measurements on seeds 0, 1, ..."""
    return [Measurement(value, "test", images, seed=seed) for seed, value in enumerate(accuracies)]


def found_as(members, controls):
    """A validation with these accuracies, by seed; controls: by name."""
    rows = [
        Validated(member, told(values)) for member, values in zip(FAMILY, members, strict=False)
    ]
    spec = FAMILY[2].spec
    made = []
    for place, (name, values) in enumerate(controls.items()):
        own = replace(spec, head_width=spec.head_width + 8 * (place + 1))
        control = Control(
            Rule(name, f"{name} alone"), FAMILY[2], 1.0, own, FAMILY[2].cost, FAMILY[2].ratio
        )
        made.append(ValidatedControl(control, told(values)))
    return describe_validation(Validation(rows, made), seed=0)


MEMBERS = [[0.70, 0.71, 0.70], [0.75, 0.76, 0.755], [0.80, 0.81, 0.803]]


@pytest.mark.parametrize(
    ("accuracy", "wins", "why"),
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
    accuracy, wins, why
):
    controls = {name: [0.75, 0.758, 0.752] for name in ("depth", "width")} | {
        "resolution": [accuracy, accuracy + 0.01, accuracy + 0.004]
    }
    assert found_as(MEMBERS, controls)["compound"] == {"against": "b2", "wins": wins, "why": why}


def test_a_single_seed_gives_differences_and_no_verdicts():
    controls = {name: [0.75] for name in ("depth", "width", "resolution")}
    facts = found_as([[0.7], [0.75], [0.8]], controls)
    assert [row["verdict"] for row in facts["controls"]] == [None] * 3
    assert all(row["behind"] > 0 and row["behind_interval"] is None for row in facts["controls"])
    assert facts["compound"]["wins"] is None
    assert (
        "depth alone: too few trainings tell nothing about luck; raise validation.seeds"
        in facts["compound"]["why"]
    )
    assert facts["curve"] is not None


def test_where_fewer_than_three_members_were_trained_there_is_no_curve_and_no_prediction():
    rows = [
        Validated(FAMILY[0], told([0.7, 0.71])),
        Validated(FAMILY[1], told([0.7, 0.72])),
        Validated(FAMILY[2], [], "why"),
    ]
    facts = describe_validation(Validation(rows, []), seed=0)
    assert facts["curve"] is None
    assert facts["why_no_curve"].startswith(
        "a curve with a floor has three unknowns, and networks of 2 different FLOPs"
    )
    assert facts["members"][2]["prediction"] is None
