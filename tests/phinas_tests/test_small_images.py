"""Images that are as small as the networks, or smaller: what is scaled, and which notes say so."""

import pytest

from phinas.adapt_to_data import baseline_for_data, describe_resolution, space_for_data
from phinas.api.audit import fit_space
from phinas.experiment.errors import InputError
from phinas.experiment.schema.scaling import ScalingSection
from phinas.options.config_building import build_config
from phinas.planning.expected_trainings import find_typical_networks
from phinas.planning.planned_images import PlannedImages
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.resolutions import adapt_section
from phinas.space.presets import preset
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import load_space

STAGES = ("search", "scale")


def make_images(size):
    return PlannedImages(
        train=400,
        validation=100,
        test=100,
        skipped=0,
        classes=["cat", "dog", "cow"],
        channels=3,
        image_size=size,
        native_size=size,
    )


def make_config(**settings):
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    return build_config(None, (), {"data.source": "photos"} | keys, use_quick_config=False)


@pytest.mark.parametrize("size", [8, 28, 32])
def test_defaults_work_without_room_for_a_higher_resolution(size):
    networks = find_typical_networks(make_config(), make_images(size), STAGES)
    assert networks.base.resolution == size
    assert len(networks.grid) >= 2
    assert {member.spec.resolution for member in networks.grid} == {size}
    (note, *_) = networks.notes
    assert note.startswith(f"note: the images have {size} px, so ")
    assert "scaling changes depth and width only (gamma is 1)" in note
    assert ("networks have" in note) == (size < 32)
    assert ("--resolution 24 (search.resolution) or --upsample" in note) == (size == 32)


def test_larger_images_scale_the_resolution_without_a_note():
    networks = find_typical_networks(make_config(), make_images(64), STAGES)
    assert networks.base.resolution == 32
    assert max(member.spec.resolution for member in networks.grid) > 32
    assert networks.notes == ()


@pytest.mark.parametrize("settings", [{"search__resolution": 24}, {"data__upsample": True}])
def test_the_options_of_the_note_scale_the_resolution(settings):
    networks = find_typical_networks(make_config(**settings), make_images(32), STAGES)
    assert max(member.spec.resolution for member in networks.grid) > networks.base.resolution


def test_a_range_of_the_user_above_1_is_refused():
    config = make_config(scaling__gamma=[1.0, 1.5])
    with pytest.raises(InputError, match=r"^scaling\.gamma: cannot exceed 1, because the base"):
        find_typical_networks(config, make_images(32), STAGES)


def test_only_defaults_follow_the_images():
    section = ScalingSection()
    fixed = adapt_section(section, 32, max_resolution=32)
    assert (fixed.gamma, fixed.tolerance) == ([1.0, 1.0], 0.1)
    assert adapt_section(section, 24, max_resolution=32) is section
    narrow = adapt_section(ScalingSection(tolerance=0.02), 32, max_resolution=32)
    assert (narrow.gamma, narrow.tolerance) == ([1.0, 1.0], 0.02)
    wide = ScalingSection(gamma=[1.0, 1.5])
    assert adapt_section(wide, 32, max_resolution=32) is wide


def test_depth_and_width_alone_reach_the_flops():
    baseline = preset("efficientnet_b0").adapt(resolution=32)
    members = make_grid(baseline, ScalingSection(), max_resolution=32)
    for member in members:
        assert member.gamma[0] == 1
        assert abs(member.ratio / 4 - 1) <= 0.1


def test_a_resolution_of_the_user_above_the_image_size_is_refused():
    config = make_config(search__resolution=48)
    with pytest.raises(InputError, match=r"^search\.resolution: 48 px exceeds the image size 32"):
        space_for_data(config, make_images(32))


def test_a_space_with_a_decision_on_the_resolution_is_refused_by_its_name(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("base: mobilenet_v2\nglobal: {resolution: [32, 48]}\n")
    config = make_config(search__space=str(path))
    with pytest.raises(InputError, match=r"^search\.space: .*, with up to 48 px exceeds the image"):
        space_for_data(config, make_images(32))


def test_images_smaller_than_the_strides_name_the_option_that_enlarges_them():
    config = make_config(search__space="mnasnet")
    with pytest.raises(InputError, match=r"^search\.space: mnasnet .* set data\.upsample: true"):
        space_for_data(config, make_images(8))
    config = make_config(scaling__baseline="efficientnet_b0")
    with pytest.raises(InputError, match=r"^scaling\.baseline: efficientnet_b0 .*data\.upsample"):
        baseline_for_data(config, make_images(8))


def test_a_search_without_scaling_notes_only_the_resolution():
    note = describe_resolution(make_config(), make_images(28), 28, ("search",))
    assert "networks have 28 px instead of the 32 px of small_images; " in note
    assert "gamma" not in note
    assert describe_resolution(make_config(), make_images(32), 32, ("search",)) == ""


@pytest.mark.parametrize("size", [8, 28, 32, 64])
@pytest.mark.parametrize("name", SPACES)
def test_what_the_audit_says_of_a_space_is_true_for_a_run(name, size):
    fit, images = fit_space(load_space(name), size), make_images(size)
    settings = {"search__space": name}
    if fit.usable:
        space = space_for_data(make_config(**settings), images)
        assert max(space.resolutions) == min(fit.resolution, size)
    else:
        with pytest.raises(InputError, match=r"^search\.space: "):
            space_for_data(make_config(**settings), images)
    enlarged = space_for_data(make_config(**settings, data__upsample=True), images)
    assert max(enlarged.resolutions) == fit.resolution
