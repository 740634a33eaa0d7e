"""The highest resolution of a family: its default, the option, and what a run records and says."""

from dataclasses import replace

import pytest

from phinas.adapt_to_data import describe_resolution, family_max_resolution
from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.scaling import ScalingSection
from phinas.options.config_building import build_config
from phinas.planning.expected_trainings import find_typical_networks
from phinas.planning.planned_images import PlannedImages
from phinas.scaling_search.family.family import read_family
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.nominal import nominal_grid
from phinas.space.search_spaces.loading import load_space

SMALL = load_space("small_images").base
IMAGES = PlannedImages(
    train=400,
    validation=100,
    test=100,
    skipped=0,
    classes=["cat", "dog", "cow"],
    channels=3,
    image_size=64,
    native_size=64,
)


def make_config(**keys):
    keys = {key.replace("__", "."): value for key, value in keys.items()}
    return build_config(None, (), {"data.source": "photos"} | keys, use_quick_config=False)


@pytest.mark.parametrize(
    ("keys", "native_size", "expected"),
    [
        ({}, 64, 64),
        ({}, 500, 500),  # stored smaller
        ({"data__upsample": True}, 64, 72),  # 1.5^2 times the baseline's, as in the grid
        ({"data__upsample": True, "scaling__gamma": [1.0, 2.0]}, 64, 128),
        ({"data__upsample": True, "scaling__grid_phi": 1.0}, 64, 64),  # above the 48 px of the grid
        ({"scaling__max_resolution": 40}, 64, 40),
        ({"scaling__max_resolution": 640}, 64, 640),
    ],
)
def test_the_default_is_the_size_of_the_images(keys, native_size, expected):
    images = replace(IMAGES, native_size=native_size)
    assert family_max_resolution(make_config(**keys), images, 32) == expected


def test_without_images_only_the_option_limits_the_resolution():
    assert family_max_resolution(make_config(), None, 32) is None
    assert family_max_resolution(make_config(scaling__max_resolution=50), None, 32) == 50


def test_a_limit_below_the_baseline_is_refused():
    config = make_config(scaling__max_resolution=24)
    with pytest.raises(InputError, match=r"^scaling\.max_resolution: 24 px is below .* 32 px; "):
        family_max_resolution(config, IMAGES, 32)


def test_the_grid_has_no_higher_resolution_than_the_option():
    limit = ScalingSection(max_resolution=36)
    assert max(member.spec.resolution for member in make_grid(SMALL, limit)) <= 36
    assert max(member.spec.resolution for member in make_grid(SMALL, ScalingSection())) > 36
    without_room = make_grid(SMALL, ScalingSection(max_resolution=32), max_resolution=64)
    assert {member.spec.resolution for member in without_room} == {32}
    nominal = ScalingSection(max_resolution=36, constraint="nominal")
    assert max(member.spec.resolution for member in nominal_grid(SMALL, nominal).members) <= 36


def test_errors_of_the_grid_name_the_option():
    section = ScalingSection(gamma=[1.0, 1.5], max_resolution=32)
    with pytest.raises(InputError, match=r"not below scaling\.max_resolution \(32 px\); .*raise"):
        make_grid(SMALL, section, max_resolution=64)
    section = ScalingSection(
        alpha=[1.0, 1.1], beta=[1.0, 1.05], flops_multiple=2.6, tolerance=0.1, max_resolution=36
    )
    with pytest.raises(InputError, match=r"scaling\.max_resolution 36 px limits gamma: raise it"):
        make_grid(SMALL, section, max_resolution=64)


def test_a_resolution_that_the_option_limits_has_no_note_on_the_images():
    config = make_config(scaling__max_resolution=32)
    assert describe_resolution(config, IMAGES, 32, ("search", "scale")) == ""


def test_a_plan_counts_the_members_of_the_limited_family():
    stages = ("search", "scale", "validate")
    keys = {"scaling__coefficients": [1.0, 1.1, 1.31], "scaling__baseline": "efficientnet_b0"}
    images = replace(IMAGES, image_size=32, native_size=32)
    networks = find_typical_networks(make_config(**keys), images, stages)
    members = [spec for spec in networks.validation if len(spec.stages) == 7]
    assert max(spec.resolution for spec in members) == 32
    assert len({spec.stages for spec in members}) > 2


@pytest.fixture
def scale(capsys, tmp_path):
    """Scale EfficientNet-B0 without images; returns the run directory and what it printed."""

    def run(*options):
        out = tmp_path / "run"
        command = ("scale", "--baseline", "efficientnet_b0", *options, "--out", str(out))
        assert run_command(cli, list(command)) == 0
        output = capsys.readouterr()
        return RunDir(out), " ".join((output.out + output.err).split())

    return run


def test_a_run_records_the_limit_and_names_the_members(scale):
    run, text = scale("--coefficients", "1.2,1.1,1.15", "--family-max-resolution", "300")
    record = CoefficientsFile.read(run.coefficients)
    assert record.max_resolution == 300
    family = {member.name: member for member in read_family(run.family)}
    assert [family[name].spec.resolution for name in ("b3", "b4", "b7")] == [296, 300, 300]
    sentence = (
        "B4 to B7 have 300 px, the highest resolution that scaling.max_resolution allows; the "
        "FLOPs that a higher resolution would add come from depth and width."
    )
    assert f"note: {sentence}" in text
    page = " ".join(run.report_page.read_text().split())
    assert sentence in page


def test_coefficients_of_the_user_are_kept_with_a_warning_that_names_the_members(scale):
    run, text = scale("--coefficients", "1.9,1.0,1.0", "--phi", "1,2.5,3")
    record = CoefficientsFile.read(run.coefficients)
    assert (record.alpha, record.before_depth_limit) == (1.9, None)
    assert text.count("warning: B2 has more than twice the blocks of the member before") == 1
    assert "lower alpha (scaling.coefficients), or add members in between" in text


def test_alpha_of_a_race_is_lowered_for_the_whole_family(scale):
    options = ("--evaluator", "synthetic", "--max-grid-members", "2", "--phi", "1,3")
    fixed = "scaling.alpha=[1.6, 2.0]", "scaling.beta=[1.0, 1.05]", "scaling.gamma=[1.0, 1.1]"
    settings = [word for value in fixed for word in ("--set", value)]
    run, text = scale(*options, "--tolerance", "0.1", *settings)
    record = CoefficientsFile.read(run.coefficients)
    assert record.alpha < record.before_depth_limit[0]
    first, last = read_family(run.family)[-2:]
    for small, large in zip(first.spec.stages, last.spec.stages, strict=True):
        assert large.depth <= 2 * small.depth
    assert "would more than double the blocks of a stage from one member to the next" in text
    assert "warning: B2" not in text
