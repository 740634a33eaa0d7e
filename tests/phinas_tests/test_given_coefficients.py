"""A run whose coefficients are brought, not searched, with controls: nothing is raced, and a plan
says so.
"""

from contextlib import closing

import pytest

from phinas.api.plan import plan
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import config_from_dict
from phinas.experiment.schema.scaling import LADDER
from phinas.experiment.trial_store import open_store
from phinas.pipeline import run
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml, read_yaml

STAGES = ("scale", "validate")
NUMBERS = [1.2, 1.1, 1.15]


@pytest.fixture
def make(tmp_path):
    """`make(coefficients, controls)`: the configuration of a small run on digits, enlarged where
    networks need it.
    """
    baseline = tmp_path / "baseline.yaml"
    baseline.write_text(
        dump_yaml(load_space("tiny").fitted(channels=1, classes=10, resolution=8).base.to_dict())
    )

    def configure(coefficients, controls, **scaling):
        recipe = {"epochs": 1, "batch": 50}
        return config_from_dict(
            {
                "run": {"executor": "inline", "threads": 1, "device": "cpu"},
                "data": {
                    "source": "digits",
                    "upsample": True,
                    "train_limit": 100,
                    "validation_limit": 50,
                },
                "scaling": {
                    "baseline": str(baseline),
                    "coefficients": coefficients,
                    "phi": [0.5, 1.0],
                    "recipe": recipe,
                    **scaling,
                },
                "validation": {
                    "largest_multiple": 3,
                    "seeds": 1,
                    "recipe": recipe,
                    "controls": controls,
                },
            },
            where="test",
        )

    return configure


def studies(directory):
    """How many trials each study has, and the names of those of the validation."""
    with closing(open_store(RunDir(directory).study, url=None, new=False)) as store:
        names = [row.attributes["name"] for row in store.rows("validation")]
        return len(store.rows("scaling")), names


def test_given_coefficients_make_the_family_and_another_run_may_be_a_control_or_the_source(
    make, tmp_path
):
    first = tmp_path / "first"
    run(make(NUMBERS, ["depth"]), out=first, stages=STAGES, quiet=True)
    facts = read_yaml(RunDir(first).coefficients)
    assert (facts["alpha"], facts["beta"], facts["gamma"], facts["given"]) == (*NUMBERS, True)
    assert studies(first) == (0, ["b0", "b1", "b2", "control depth"])
    found = read_yaml(RunDir(first).validation)
    assert [row["validated"] for row in found["members"] + found["controls"]] == [True] * 4
    assert sorted(path.name for path in RunDir(first).family.glob("*.safetensors")) == [
        f"b{n}.safetensors" for n in range(3)
    ]

    second = tmp_path / "second"
    run(make([1.0, 1.0, 1.3], [str(first)]), out=second, stages=STAGES, quiet=True)
    (control,) = read_yaml(RunDir(second).validation)["controls"]
    assert control["rule"] == "coefficients of first (1.2, 1.1, 1.15)"
    assert (control["alpha"], control["beta"], control["gamma"]) == tuple(NUMBERS)

    third = tmp_path / "third"
    config = make(str(first), [], divisor=4)
    run(config, out=third, stages=STAGES, quiet=True)
    facts = read_yaml(RunDir(third).coefficients)
    assert facts["source"] == str(first)
    assert facts["why"] == f"given: 1.2, 1.1, 1.15, the coefficients of {first}"
    assert facts["divisor"] == 4
    RunDir(first).coefficients.unlink()
    before = studies(third)
    run(config, out=third, stages=STAGES, quiet=True)
    assert read_yaml(RunDir(third).coefficients) == facts
    assert studies(third) == before


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
    make, tmp_path, coefficients, controls, message
):
    with pytest.raises(InputError, match=message):
        run(make(coefficients, controls), out=tmp_path / "run", stages=STAGES, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_budget_that_given_coefficients_cannot_meet_is_refused_and_leaves_nothing(make, tmp_path):
    with pytest.raises(InputError, match=r"^scaling\.flops: no phi meets"):
        run(
            make(NUMBERS, [], phi=LADDER, flops=[1.0]),
            out=tmp_path / "run",
            stages=STAGES,
            quiet=True,
        )
    assert not (tmp_path / "run").exists()


def test_a_plan_counts_controls_and_no_race_where_coefficients_are_given(make):
    with_controls = plan(make(NUMBERS, ["depth", "width", "paper"]), stages=STAGES)
    assert [(row["stage"], row["trainings"]) for row in with_controls["stages"]] == [
        ("validation", 5)
    ]
    without = plan(make(NUMBERS, []), stages=STAGES)
    assert [(row["stage"], row["trainings"]) for row in without["stages"]] == [("validation", 3)]


def test_a_plan_of_a_search_counts_the_paper_as_another_network(make):
    searched = plan(make(None, ["depth", "paper"], members=2, tolerance=0.3), stages=STAGES)
    assert [row["stage"] for row in searched["stages"]] == ["scaling", "validation"]
    assert searched["stages"][1]["trainings"] == 5
