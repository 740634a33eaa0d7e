"""Runs with user-supplied coefficients: no race, but a family and its controls."""

from contextlib import closing

import pytest

from phinas.api.plan import plan
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.validation_file import ValidationFile
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import config_from_dict
from phinas.experiment.schema.scaling import DEFAULT_PHIS
from phinas.experiment.storage.study_storage import open_storage
from phinas.pipeline import run_stages
from phinas.reports.controls import make_control_label
from phinas.reports.sentences.coefficients import explain_coefficients
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml

STAGES = ("scale", "validate")
COEFFICIENTS = [1.2, 1.1, 1.15]


@pytest.fixture
def make_config(tmp_path):
    """Make the configuration of a small run on digits, with upsampling allowed."""
    baseline = tmp_path / "baseline.yaml"
    baseline.write_text(
        dump_yaml(load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base.to_dict())
    )

    def make(coefficients, controls, **scaling):
        recipe = {"epochs": 1, "batch_size": 50}
        return config_from_dict(
            {
                "run": {"executor": "inline", "threads": 1, "device": "cpu"},
                "data": {
                    "source": "digits",
                    "upsample": True,
                    "max_train_images": 100,
                    "max_validation_images": 50,
                },
                "scaling": {
                    "baseline": str(baseline),
                    "coefficients": coefficients,
                    "phi": [0.5, 1.0],
                    "recipe": recipe,
                    **scaling,
                },
                "validation": {
                    "max_flops_multiple": 3,
                    "seeds": 1,
                    "recipe": recipe,
                    "controls": controls,
                },
            },
            source="test",
        )

    return make


def summarize_trials(directory):
    """The number of scaling trials, and the names of the validation trials."""
    with closing(open_storage(RunDir(directory).study, url=None, new=False)) as storage:
        names = [row.user_attrs["name"] for row in storage.records("validation")]
        return len(storage.records("scaling")), names


def test_user_coefficients_scale_the_family_and_another_run_can_be_a_control_or_the_source(
    make_config, tmp_path
):
    first = tmp_path / "first"
    run_stages(make_config(COEFFICIENTS, ["depth"]), out=first, stages=STAGES, quiet=True)
    record = CoefficientsFile.read(RunDir(first).coefficients)
    assert (record.alpha, record.beta, record.gamma, record.race) == (*COEFFICIENTS, None)
    assert summarize_trials(first) == (0, ["b0", "b1", "b2", "control depth"])
    validation = ValidationFile.read(RunDir(first).validation)
    assert all(row.result is not None for row in (*validation.members, *validation.controls))
    assert len(validation.members) + len(validation.controls) == 4
    assert sorted(path.name for path in RunDir(first).family.glob("*.safetensors")) == [
        f"b{n}.safetensors" for n in range(3)
    ]

    second = tmp_path / "second"
    run_stages(make_config([1.0, 1.0, 1.3], [str(first)]), out=second, stages=STAGES, quiet=True)
    (control,) = ValidationFile.read(RunDir(second).validation).controls
    assert make_control_label(control) == "coefficients of first (1.2, 1.1, 1.15)"
    assert list(control.coefficients.to_dict().values()) == COEFFICIENTS

    third = tmp_path / "third"
    config = make_config(str(first), [], divisor=4)
    run_stages(config, out=third, stages=STAGES, quiet=True)
    record = CoefficientsFile.read(RunDir(third).coefficients)
    assert record.source == str(first)
    assert explain_coefficients(record) == [
        f"The user supplied 1.2, 1.1, 1.15, the coefficients of {first}."
    ]
    assert record.divisor == 4
    RunDir(first).coefficients.unlink()
    before = summarize_trials(third)
    run_stages(config, out=third, stages=STAGES, quiet=True)
    assert CoefficientsFile.read(RunDir(third).coefficients) == record
    assert summarize_trials(third) == before


@pytest.mark.parametrize(
    ("coefficients", "controls", "message"),
    [
        ("nowhere", [], r"^scaling\.coefficients: nowhere: no such run or file"),
        (
            COEFFICIENTS,
            ["nowhere"],
            r"^validation\.controls: 'nowhere' is none of depth, width, resolution, paper",
        ),
    ],
)
def test_missing_source_or_control_is_an_error_before_a_file_is_written(
    make_config, tmp_path, coefficients, controls, message
):
    with pytest.raises(InputError, match=message):
        run_stages(
            make_config(coefficients, controls), out=tmp_path / "run", stages=STAGES, quiet=True
        )
    assert not (tmp_path / "run").exists()


def test_budget_that_user_coefficients_cannot_meet_is_an_error_and_leaves_no_files(
    make_config, tmp_path
):
    with pytest.raises(InputError, match=r"^scaling\.flops: no phi meets"):
        run_stages(
            make_config(COEFFICIENTS, [], phi=DEFAULT_PHIS, flops=[1.0]),
            out=tmp_path / "run",
            stages=STAGES,
            quiet=True,
        )
    assert not (tmp_path / "run").exists()


def test_plan_with_user_coefficients_counts_controls_and_no_race(make_config):
    with_controls = plan(
        config=make_config(COEFFICIENTS, ["depth", "width", "paper"]), stages=STAGES
    )
    assert [(row.stage, row.trainings) for row in with_controls.stages] == [("validation", 5)]
    without = plan(config=make_config(COEFFICIENTS, []), stages=STAGES)
    assert [(row.stage, row.trainings) for row in without.stages] == [("validation", 3)]


def test_plan_of_a_scaling_search_counts_the_paper_control_as_another_network(make_config):
    searched = plan(
        config=make_config(
            None, ["depth", "paper"], max_grid_members=2, tolerance=0.3, rounding="ceil"
        ),
        stages=STAGES,
    )
    assert [row.stage for row in searched.stages] == ["scaling", "validation"]
    # The expected number allows for a member of the grid that the control is equal to.
    assert searched.stages[1].possible[1] == 5
