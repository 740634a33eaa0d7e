"""A run whose coefficients are brought, not searched, with controls: nothing is raced, and a plan
says so.
"""

from contextlib import closing

import pytest

from phinas.api.plan import plan
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import config_from_dict
from phinas.experiment.schema.scaling import DEFAULT_PHIS
from phinas.experiment.trial_store import open_storage
from phinas.pipeline import run
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml, read_yaml

STAGES = ("scale", "validate")
NUMBERS = [1.2, 1.1, 1.15]


@pytest.fixture
def make_config(tmp_path):
    """`make(coefficients, controls)`: the configuration of a small run on digits, enlarged where
    networks need it.
    """
    baseline = tmp_path / "baseline.yaml"
    baseline.write_text(
        dump_yaml(load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base.to_dict())
    )

    def configure(coefficients, controls, **scaling):
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

    return configure


def count_trials(directory):
    """How many trials each study has, and the names of those of the validation."""
    with closing(open_storage(RunDir(directory).study, url=None, new=False)) as storage:
        names = [row.user_attrs["name"] for row in storage.records("validation")]
        return len(storage.records("scaling")), names


def test_given_coefficients_make_the_family_and_another_run_may_be_a_control_or_the_source(
    make_config, tmp_path
):
    first = tmp_path / "first"
    run(make_config(NUMBERS, ["depth"]), out=first, stages=STAGES, quiet=True)
    record = read_yaml(RunDir(first).coefficients)
    assert (record["alpha"], record["beta"], record["gamma"], record["user_supplied"]) == (
        *NUMBERS,
        True,
    )
    assert count_trials(first) == (0, ["b0", "b1", "b2", "control depth"])
    found = read_yaml(RunDir(first).validation)
    assert [row["validated"] for row in found["members"] + found["controls"]] == [True] * 4
    assert sorted(path.name for path in RunDir(first).family.glob("*.safetensors")) == [
        f"b{n}.safetensors" for n in range(3)
    ]

    second = tmp_path / "second"
    run(make_config([1.0, 1.0, 1.3], [str(first)]), out=second, stages=STAGES, quiet=True)
    (control,) = read_yaml(RunDir(second).validation)["controls"]
    assert control["label"] == "coefficients of first (1.2, 1.1, 1.15)"
    assert (control["alpha"], control["beta"], control["gamma"]) == tuple(NUMBERS)

    third = tmp_path / "third"
    config = make_config(str(first), [], divisor=4)
    run(config, out=third, stages=STAGES, quiet=True)
    record = read_yaml(RunDir(third).coefficients)
    assert record["source"] == str(first)
    assert record["explanation"] == f"given: 1.2, 1.1, 1.15, the coefficients of {first}"
    assert record["divisor"] == 4
    RunDir(first).coefficients.unlink()
    before = count_trials(third)
    run(config, out=third, stages=STAGES, quiet=True)
    assert read_yaml(RunDir(third).coefficients) == record
    assert count_trials(third) == before


@pytest.mark.parametrize(
    ("coefficients", "controls", "message"),
    [
        ("nowhere", [], r"^scaling\.coefficients: nowhere: there is no such run or file"),
        (
            NUMBERS,
            ["nowhere"],
            r"^validation\.controls: 'nowhere' is none of depth, width, resolution, paper",
        ),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_written(
    make_config, tmp_path, coefficients, controls, message
):
    with pytest.raises(InputError, match=message):
        run(make_config(coefficients, controls), out=tmp_path / "run", stages=STAGES, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_budget_that_given_coefficients_cannot_meet_is_refused_and_leaves_nothing(
    make_config, tmp_path
):
    with pytest.raises(InputError, match=r"^scaling\.flops: no phi meets"):
        run(
            make_config(NUMBERS, [], phi=DEFAULT_PHIS, flops=[1.0]),
            out=tmp_path / "run",
            stages=STAGES,
            quiet=True,
        )
    assert not (tmp_path / "run").exists()


def test_a_plan_counts_controls_and_no_race_where_coefficients_are_given(make_config):
    with_controls = plan(make_config(NUMBERS, ["depth", "width", "paper"]), stages=STAGES)
    assert [(row["stage"], row["trainings"]) for row in with_controls["stages"]] == [
        ("validation", 5)
    ]
    without = plan(make_config(NUMBERS, []), stages=STAGES)
    assert [(row["stage"], row["trainings"]) for row in without["stages"]] == [("validation", 3)]


def test_a_plan_of_a_search_counts_the_paper_as_another_network(make_config):
    searched = plan(
        make_config(None, ["depth", "paper"], max_grid_members=2, tolerance=0.3), stages=STAGES
    )
    assert [row["stage"] for row in searched["stages"]] == ["scaling", "validation"]
    assert searched["stages"][1]["trainings"] == 5
