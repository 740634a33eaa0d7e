"""Controls: a member's FLOPs met by other ways to scale, and what is said where they can't be."""

import math
from dataclasses import replace

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.family.phi import scale_to_phi
from phinas.scaling_search.race.user_coefficients import (
    describe_user_coefficients,
    load_user_coefficients,
    read_coefficients,
)
from phinas.scaling_search.validation.controls import (
    SINGLE_DIMENSION,
    find_nearest_phi,
    make_controls,
    read_controls,
)
from phinas.space.cost import network_cost
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml

B0 = preset("efficientnet_b0")
PAPER = Coefficients(1.2, 1.1, 1.15)
FAMILY = make_family(B0, PAPER, [0.5, 1.0, 2.0])


def controls(*names, baseline=B0, trained_members=FAMILY, rounding=PAPER, max_resolution=math.inf):
    return make_controls(
        read_controls(names),
        baseline,
        trained_members,
        rounding=rounding,
        max_resolution=max_resolution,
    )


def blocks(spec):
    return [stage.depth for stage in spec.stages]


def widths(spec):
    return [stage.width for stage in spec.stages]


def write_coefficients(directory, text):
    path = directory / "scaling" / "coefficients.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return directory


@pytest.mark.parametrize("name", SINGLE_DIMENSION)
def test_a_control_of_one_dimension_changes_that_dimension_and_meets_the_largest_members_flops(
    name,
):
    (control,) = controls(name)
    assert control.definition.label == f"{name} alone"
    assert control.family_member is FAMILY[-1]
    assert control.skip_reason == ""
    assert control.cost.flops == pytest.approx(FAMILY[-1].cost.flops, rel=0.03)
    assert control.ratio == pytest.approx(control.cost.flops / network_cost(B0).flops)
    changes = {
        "depth": blocks(control.spec) != blocks(B0),
        "width": widths(control.spec) != widths(B0),
        "resolution": control.spec.resolution != B0.resolution,
    }
    assert [key for key, value in changes.items() if value] == [name]


def test_no_other_phi_comes_nearer():
    for name, coefficients in {
        "depth": Coefficients(2.0, 1.0, 1.0),
        "width": Coefficients(1.0, 2.0, 1.0),
    }.items():
        target = FAMILY[-1].cost.flops
        phi = find_nearest_phi(B0, coefficients, target)
        best_distance = abs(
            math.log(network_cost(scale_to_phi(B0, coefficients, phi)).flops / target)
        )
        others = (
            network_cost(scale_to_phi(B0, coefficients, step / 200)).flops for step in range(800)
        )
        assert best_distance <= min(abs(math.log(flops / target)) for flops in others) + 1e-12, name


def test_a_control_has_the_regularization_of_the_member_it_is_held_against():
    (control,) = controls("width")
    assert control.spec.dropout == FAMILY[-1].spec.dropout != B0.dropout
    assert control.spec.drop_path == FAMILY[-1].spec.drop_path


def test_controls_are_rounded_as_the_family_is():
    rounding = replace(PAPER, divisor=4, rounding="balanced")
    (control,) = controls("paper", rounding=rounding)
    assert (control.definition.coefficients.divisor, control.definition.coefficients.rounding) == (
        4,
        "balanced",
    )
    assert any(width % 8 for width in widths(control.spec))


def test_a_control_that_is_the_member_is_said_to_be():
    (control,) = controls("paper")
    assert control.skip_reason == "is the same network as B3"
    assert control.is_same_network


def test_a_control_that_is_too_large_for_the_images_names_the_option():
    small = replace(B0, resolution=32)
    family = [
        member for member in make_family(small, PAPER, [0.5, 1.0]) if member.spec.resolution <= 37
    ]
    resolution, depth = controls(
        "resolution", "depth", baseline=small, trained_members=family, max_resolution=37
    )
    side = resolution.spec.resolution
    assert (
        resolution.skip_reason
        == f"needs {side} pixels of a side, the images have 37; see data.upsample"
    )
    assert depth.skip_reason == ""


def test_a_control_that_comes_nowhere_near_says_how_near():
    baseline = load_space("tiny").adapt_to(channels=1, classes=10, resolution=20).base
    # a second block is 40% more
    shallow = replace(baseline, stages=(replace(baseline.stages[0], depth=1),))
    family = make_family(shallow, Coefficients(1.0, 1.0, 1.1), [1.0])
    (control,) = controls("depth", baseline=shallow, trained_members=family)
    assert control.skip_reason.startswith("the nearest network has ")
    assert (
        f"B1's {family[1].cost.flops / 1e3:.4g}k flops; over 15% apart nothing is compared"
        in control.skip_reason
    )


def test_below_the_baseline_a_control_shrinks():
    family = make_family(B0, PAPER, [-1.0])
    for control in controls(*SINGLE_DIMENSION, trained_members=family):
        assert control.family_member.name == "b-1"
        assert control.phi < 0
        assert control.cost.flops < network_cost(B0).flops


@pytest.mark.parametrize("trained_members", [[], FAMILY[:1]])
def test_without_a_larger_member_there_is_nothing_to_compare_with(trained_members):
    depth, paper = controls("depth", "paper", trained_members=trained_members)
    for control in (depth, paper):
        assert control.family_member is control.spec is None
        assert control.skip_reason.startswith("no member but B0 is trained")


def test_a_published_network_is_taken_as_it_is_for_the_images_and_held_against_the_nearest_member():
    baseline = replace(B0, channels=1, classes=10)
    family = make_family(baseline, PAPER, [0.5, 1.0, 2.0])
    near_control, far_control, same, timm = controls(
        "efficientnet_b1",
        "mobilenet_v2",
        "efficientnet_b0",
        "timm:efficientnet_b1",
        baseline=baseline,
        trained_members=family,
    )
    assert near_control.definition.label == "efficientnet_b1 as published"
    assert near_control.spec == replace(preset("efficientnet_b1"), channels=1, classes=10)
    assert near_control.family_member.name == "b1"
    assert near_control.phi is near_control.definition.coefficients is None
    assert near_control.skip_reason == timm.skip_reason == ""
    assert far_control.skip_reason.startswith("it has ")
    assert "below B0's" in far_control.skip_reason
    assert same.skip_reason == "is the same network as B0"


def test_a_spec_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(dump_yaml(FAMILY[2].spec.to_dict()))
    (control,) = controls(str(path))
    assert control.definition.label == "mine.yaml as it is"
    assert control.family_member is FAMILY[2]


@pytest.mark.parametrize("name_run_directory", [True, False])
def test_another_runs_coefficients_are_scaled_to_the_same_flops(tmp_path, name_run_directory):
    run = write_coefficients(
        tmp_path / "cats", "alpha: 1.3\nbeta: 1.05\ngamma: 1.1\ndivisor: 4\nrounding: round\n"
    )
    path = run if name_run_directory else RunDir(run).coefficients
    (control,) = controls(str(path))
    assert control.definition.label == "coefficients of cats (1.3, 1.05, 1.1)"
    assert control.definition.coefficients == Coefficients(1.3, 1.05, 1.1)
    assert control.cost.flops == pytest.approx(FAMILY[-1].cost.flops, rel=0.05)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "dept",
            "'dept' is none of depth, width, resolution, paper, a preset, .*; did you mean 'depth'",
        ),
        ("timm:efficientnet_b99", "is no network of timm or torchvision known here"),
        ("nowhere/at/all", "'nowhere/at/all' is none of"),
        ("x" * 5000, "File name too long|is none of"),
    ],
)
def test_a_name_that_means_nothing_is_refused(name, message):
    with pytest.raises(InputError, match=rf"^validation\.controls: .*({message})"):
        read_controls([name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no coefficients.yaml: it holds no keys"),
        ("[1, 2, 3]", "is no coefficients.yaml: it holds no keys"),
        (
            "alpha: 1.2\nbeta: 1.1\n",
            "gamma: missing; write alpha, beta and gamma, or name a run directory",
        ),
        ("alpha: 0.2\nbeta: 1.1\ngamma: 1.1\n", "alpha: 0.2 is not a number of 1 or more"),
        ("alpha: .inf\nbeta: 1.1\ngamma: 1.1\n", "alpha: inf is not a number of 1 or more"),
        ("alpha: yes\nbeta: 1.1\ngamma: 1.1\n", "alpha: .* is not a number of 1 or more"),
        ("alpha: 1\nbeta: 1\ngamma: 1\n", "alpha, beta and gamma are all 1, which scales nothing"),
        (
            "alpha: 1.2\nbeta: 1.1\ngamma: 1.1\ndivisor: 0\n",
            "divisor: 0 is not a whole number of 1 or more",
        ),
        (
            "alpha: 1.2\nbeta: 1.1\ngamma: 1.1\nrounding: up\n",
            "rounding: 'up' is none of ceil, round, balanced",
        ),
        ("alpha: [1.2\n", "coefficients.yaml: line 2"),
    ],
)
def test_a_damaged_file_of_coefficients_is_refused_with_what_is_wrong(tmp_path, text, message):
    run = write_coefficients(tmp_path / "other", text)
    with pytest.raises(InputError, match=rf"^scaling\.coefficients: .*{message}"):
        load_user_coefficients(ScalingSection(coefficients=str(run)))
    with pytest.raises(InputError, match=rf"^validation\.controls: .*{message}"):
        read_controls([str(run)])


def test_a_run_that_has_no_coefficients_yet_is_refused_with_the_verb(tmp_path):
    with pytest.raises(
        InputError,
        match=r"has no scaling/coefficients\.yaml yet; run `phinas scale` on that run first",
    ):
        read_controls([str(tmp_path)])
    with pytest.raises(
        InputError,
        match=r"there is no such run or file; name a run directory or its coefficients\.yaml",
    ):
        read_coefficients(tmp_path / "gone", field="scaling.coefficients")


def test_given_coefficients_are_taken_under_the_runs_own_rounding(tmp_path):
    run = write_coefficients(
        tmp_path / "other", "alpha: 1.3\nbeta: 1.05\ngamma: 1.1\ndivisor: 16\nrounding: round\n"
    )
    section = ScalingSection(coefficients=str(run), divisor=4)
    assert load_user_coefficients(section) == Coefficients(1.3, 1.05, 1.1, divisor=4)
    numbers = ScalingSection(coefficients=[1.2, 1.1, 1.15], rounding="balanced")
    assert load_user_coefficients(numbers) == replace(PAPER, rounding="balanced")


def test_what_a_run_took_stays_when_its_source_changes_or_goes(tmp_path):
    run = write_coefficients(tmp_path / "other", "alpha: 1.3\nbeta: 1.05\ngamma: 1.1\n")
    section = ScalingSection(coefficients=str(run))
    coefficients, record_path = load_user_coefficients(section), tmp_path / "coefficients.yaml"
    record_path.write_text(dump_yaml(describe_user_coefficients(coefficients, section)))
    RunDir(run).coefficients.unlink()
    assert load_user_coefficients(section, record_path=record_path) == coefficients
    with pytest.raises(InputError):
        load_user_coefficients(ScalingSection(coefficients=f"{run}/."), record_path=record_path)


def test_the_file_of_given_coefficients_says_so_and_reads_back():
    section = ScalingSection(coefficients=[1.2, 1.1, 1.15])
    data = describe_user_coefficients(PAPER, section)
    assert data["user_supplied"] is True
    assert data["explanation"] == "given: 1.2, 1.1, 1.15"
    assert data["members"] == []
    assert data["ranges"]["alpha"] == [1.2, 1.2]
    assert data["nominal"] == pytest.approx(1.92, abs=0.01)
