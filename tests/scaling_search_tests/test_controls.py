"""Controls: other ways to scale to a member's FLOPs, and why a control is skipped."""

import math
from dataclasses import replace

import pytest

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.family.phi import scale_to_phi
from phinas.scaling_search.race.user_coefficients import (
    load_user_coefficients,
    make_user_coefficients_file,
    read_coefficients,
)
from phinas.scaling_search.validation.controls import (
    SINGLE_DIMENSION,
    find_nearest_phi,
    make_controls,
    read_controls,
)
from phinas.scaling_search.validation.skip_reason import describe_skip
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
    assert control.definition.kind == name
    assert control.family_member is FAMILY[-1]
    assert control.skip is None
    assert control.cost.flops == pytest.approx(FAMILY[-1].flops, rel=0.03)
    assert control.ratio == pytest.approx(control.cost.flops / B0.cost().flops)
    changes = {
        "depth": blocks(control.spec) != blocks(B0),
        "width": widths(control.spec) != widths(B0),
        "resolution": control.spec.resolution != B0.resolution,
    }
    assert [key for key, value in changes.items() if value] == [name]


def test_no_other_phi_is_nearer():
    for name, coefficients in {
        "depth": Coefficients(2.0, 1.0, 1.0),
        "width": Coefficients(1.0, 2.0, 1.0),
    }.items():
        target = FAMILY[-1].flops
        phi = find_nearest_phi(B0, coefficients, target)
        best_distance = abs(math.log(scale_to_phi(B0, coefficients, phi).cost().flops / target))
        others = (scale_to_phi(B0, coefficients, step / 200).cost().flops for step in range(800))
        assert best_distance <= min(abs(math.log(flops / target)) for flops in others) + 1e-12, name


def test_a_control_has_the_regularization_of_the_member_it_is_compared_with():
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


def test_a_control_that_is_its_member_is_skipped():
    (control,) = controls("paper")
    assert describe_skip(control.skip) == "it is the same network as B3"
    assert control.is_same_network


def test_a_control_that_is_too_large_for_the_images_names_the_option():
    small = replace(B0, resolution=32)
    family = [
        member for member in make_family(small, PAPER, [0.5, 1.0]) if member.spec.resolution <= 37
    ]
    resolution, depth = controls(
        "resolution", "depth", baseline=small, trained_members=family, max_resolution=37
    )
    assert resolution.skip.case == "image_size"
    assert describe_skip(resolution.skip) == (
        f"it needs images of {resolution.spec.resolution} px and they are stored at 37 px; set "
        "data.image_size to store them larger in a new run, or data.upsample: true to enlarge them"
    )
    assert depth.skip is None


def test_controls_of_several_dimensions_have_the_highest_resolution_of_the_family():
    small, limited = replace(B0, resolution=32), replace(PAPER, max_resolution=37)
    family = make_family(small, limited, [2.0, 3.0])
    resolution, paper = controls(
        "resolution",
        "paper",
        baseline=small,
        trained_members=family,
        rounding=replace(limited, alpha=1.0),
        max_resolution=37,
    )
    assert resolution.skip.case == "image_size"
    assert paper.is_same_network
    assert paper.spec.resolution == 37


def test_a_control_far_from_its_members_flops_is_skipped_with_both_flops():
    baseline = load_space("tiny").adapt_to(channels=1, classes=10, resolution=20).base
    # a second block is 40% more
    shallow = replace(baseline, stages=(replace(baseline.stages[0], depth=1),))
    family = make_family(shallow, Coefficients(1.0, 1.0, 1.1), [1.0])
    (control,) = controls("depth", baseline=shallow, trained_members=family)
    assert control.skip.case == "flops_gap"
    assert describe_skip(control.skip) == (
        f"its {control.cost.flops / 1e3:.4g}k flops differ by more than 15% from the "
        f"{family[1].flops / 1e3:.4g}k flops of B1"
    )


def test_below_the_baseline_a_control_shrinks():
    family = make_family(B0, PAPER, [-1.0])
    for control in controls(*SINGLE_DIMENSION, trained_members=family):
        assert control.family_member.name == "b-1"
        assert control.phi < 0
        assert control.cost.flops < B0.cost().flops


@pytest.mark.parametrize("trained_members", [[], FAMILY[:1]])
def test_without_a_larger_member_there_is_nothing_to_compare_with(trained_members):
    depth, paper = controls("depth", "paper", trained_members=trained_members)
    for control in (depth, paper):
        assert control.family_member is control.spec is None
        assert control.skip.case == "no_scaled_member"


def test_a_published_network_is_not_scaled_and_compared_with_the_nearest_member():
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
    assert (near_control.definition.kind, near_control.definition.source) == (
        "published",
        "efficientnet_b1",
    )
    assert near_control.spec == replace(preset("efficientnet_b1"), channels=1, classes=10)
    assert near_control.family_member.name == "b1"
    assert near_control.phi is near_control.definition.coefficients is None
    assert near_control.skip is timm.skip is None
    assert (far_control.skip.case, far_control.skip.member) == ("flops_gap", "b0")
    assert far_control.skip.flops_ratio < 0.85
    assert same.is_same_network


def test_a_network_of_a_spec_file_is_not_scaled(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(dump_yaml(FAMILY[2].spec.to_dict()))
    (control,) = controls(str(path))
    assert (control.definition.kind, control.definition.source) == ("spec_file", "mine.yaml")
    assert control.family_member is FAMILY[2]


@pytest.mark.parametrize("name_run_directory", [True, False])
def test_another_runs_coefficients_are_scaled_to_the_same_flops(tmp_path, name_run_directory):
    run = write_coefficients(
        tmp_path / "cats", "alpha: 1.3\nbeta: 1.05\ngamma: 1.1\ndivisor: 4\nrounding: round\n"
    )
    path = run if name_run_directory else RunDir(run).coefficients
    (control,) = controls(str(path))
    assert (control.definition.kind, control.definition.source) == ("coefficients", "cats")
    assert control.definition.coefficients == Coefficients(1.3, 1.05, 1.1)
    assert control.cost.flops == pytest.approx(FAMILY[-1].flops, rel=0.05)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "dept",
            "'dept' is none of depth, width, resolution, paper, a preset, .*; did you mean 'depth'",
        ),
        ("timm:efficientnet_b99", "is not a known network of timm or torchvision"),
        ("nowhere/at/all", "'nowhere/at/all' is none of"),
        ("x" * 5000, "File name too long|is none of"),
    ],
)
def test_an_unknown_name_of_a_control_is_refused(name, message):
    with pytest.raises(InputError, match=rf"^validation\.controls: .*({message})"):
        read_controls([name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a mapping of keys; write alpha, beta and gamma"),
        ("[1, 2, 3]", "is not a mapping of keys"),
        (
            "alpha: 1.2\nbeta: 1.1\n",
            "gamma: is missing; write alpha, beta and gamma, or name a run directory",
        ),
        ("alpha: 0.2\nbeta: 1.1\ngamma: 1.1\n", "alpha: 0.2 is less than 1"),
        ("alpha: .inf\nbeta: 1.1\ngamma: 1.1\n", "alpha: inf is not a finite number"),
        ("alpha: yes\nbeta: 1.1\ngamma: 1.1\n", "alpha: .* is not a number"),
        ("alpha: 1\nbeta: 1\ngamma: 1\n", "alpha, beta and gamma are all 1, which scales nothing"),
        (
            "alpha: 1.2\nbeta: 1.1\ngamma: 1.1\ndivisor: 0\n",
            "divisor: 0 is less than 1",
        ),
        (
            "alpha: 1.2\nbeta: 1.1\ngamma: 1.1\nrounding: up\n",
            "rounding: 'up' is not one of 'ceil', 'round' or 'balanced'",
        ),
        ("alpha: [1.2\n", "coefficients.yaml: line 2"),
    ],
)
def test_a_damaged_file_of_coefficients_is_refused_with_the_reason(tmp_path, text, message):
    run = write_coefficients(tmp_path / "other", text)
    with pytest.raises(InputError, match=rf"^scaling\.coefficients: .*{message}"):
        load_user_coefficients(ScalingSection(coefficients=str(run)))
    with pytest.raises(InputError, match=rf"^validation\.controls: .*{message}"):
        read_controls([str(run)])


def test_a_run_without_coefficients_is_refused_with_the_command_that_finds_them(tmp_path):
    with pytest.raises(
        InputError,
        match=r"has no scaling/coefficients\.yaml yet; run `phinas scale` on that run first",
    ):
        read_controls([str(tmp_path)])
    with pytest.raises(
        InputError,
        match=r"no such run or file; name a run directory or its coefficients\.yaml",
    ):
        read_coefficients(tmp_path / "gone", field="scaling.coefficients")


def test_user_coefficients_have_the_rounding_of_their_file_unless_the_option_is_set(tmp_path):
    run = write_coefficients(
        tmp_path / "other", "alpha: 1.3\nbeta: 1.05\ngamma: 1.1\ndivisor: 16\nrounding: round\n"
    )
    section = ScalingSection(coefficients=str(run), divisor=4)
    loaded = load_user_coefficients(section)
    assert loaded == Coefficients(1.3, 1.05, 1.1, divisor=4, rounding="round")
    section = ScalingSection(coefficients=str(run), rounding="balanced")
    assert load_user_coefficients(section).rounding == "balanced"
    numbers = ScalingSection(coefficients=[1.2, 1.1, 1.15], rounding="balanced")
    assert load_user_coefficients(numbers) == replace(PAPER, rounding="balanced")


def test_coefficients_of_another_run_come_without_its_highest_resolution(tmp_path):
    section = ScalingSection(coefficients=[1.2, 1.1, 1.15])
    limited = replace(PAPER, max_resolution=96)
    path = tmp_path / "coefficients.yaml"
    make_user_coefficients_file(limited, section).write(path)
    assert read_coefficients(path, field="scaling") == limited
    assert load_user_coefficients(ScalingSection(coefficients=str(path))) == PAPER


def test_a_run_keeps_its_coefficients_when_their_source_is_removed(tmp_path):
    run = write_coefficients(tmp_path / "other", "alpha: 1.3\nbeta: 1.05\ngamma: 1.1\n")
    section = ScalingSection(coefficients=str(run))
    coefficients, record_path = load_user_coefficients(section), tmp_path / "coefficients.yaml"
    make_user_coefficients_file(coefficients, section).write(record_path)
    RunDir(run).coefficients.unlink()
    assert load_user_coefficients(section, record_path=record_path) == coefficients
    with pytest.raises(InputError):
        load_user_coefficients(ScalingSection(coefficients=f"{run}/."), record_path=record_path)


def test_the_file_of_user_coefficients_names_their_source_and_reads_back(tmp_path):
    section = ScalingSection(coefficients=[1.2, 1.1, 1.15])
    record = make_user_coefficients_file(PAPER, section)
    assert record.race is None
    assert record.source == "1.2, 1.1, 1.15"
    assert record.nominal == pytest.approx(1.92, abs=0.01)
    path = tmp_path / "coefficients.yaml"
    record.write(path)
    assert CoefficientsFile.read(path) == record
    assert read_coefficients(path, field="scaling.coefficients") == PAPER


def test_a_coefficients_file_of_a_newer_phinas_is_refused(tmp_path):
    path = tmp_path / "coefficients.yaml"
    make_user_coefficients_file(PAPER, ScalingSection(coefficients=[1.2, 1.1, 1.15])).write(path)
    path.write_text(path.read_text().replace("version: 1", "version: 2"))
    with pytest.raises(InputError, match="format version 2 is newer than this phinas reads"):
        read_coefficients(path, field="scaling.coefficients")
