"""Tests of what a plan reads of the images, and of the settings that it suggests."""

import numpy as np
import pytest
from PIL import Image

from phinas.api.plan import Plan, as_text
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.options.config_building import build_config
from phinas.planning.cost_forecast import CostForecast, expected_work
from phinas.planning.cost_reductions import find_reductions
from phinas.planning.planned_images import PlannedImages, read_planned_images
from phinas.run_context import STAGES
from phinas.terminal.text_table import format_minutes


class KnownSpeed:
    def epoch_seconds(self, network, recipe, *, train_images, val_images):
        assert recipe.epochs >= 1
        return 1e-9 * network.cost().flops * (3 * train_images + val_images)

    def setup_seconds(self, images):
        return 1e-6 * images


IMAGES = PlannedImages(
    train=8000,
    validation=2000,
    test=1000,
    skipped=0,
    classes=["cat", "dog"],
    channels=3,
    image_size=32,
    native_size=32,
)


@pytest.fixture(scope="module")
def forecast():
    return CostForecast(IMAGES, STAGES, times=KnownSpeed(), max_workers=2)


def make_config(**settings):
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    base = {"data.source": "photos", "search.space": "small_images", "search.resolution": 24}
    return build_config(None, (), base | keys, use_quick_config=False)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for index in range(60):
            pixels = generator.integers(0, 256, (40, 52, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "photos"


def test_images_that_take_too_long_to_decode_are_counted_without_pixels(photos):
    section = DataSection(source=str(photos))
    decoded = read_planned_images(section, seed=0, max_size=32)
    outline = read_planned_images(
        DataSection(source=str(photos), resize_mode="squash"), seed=0, max_size=32, max_seconds=-1
    )
    assert (decoded.skipped, outline.skipped) == (0, None)
    for name in ("train", "validation", "test", "channels", "image_size", "native_size"):
        assert getattr(outline, name) == getattr(decoded, name), name
    assert len(outline.classes) == len(decoded.classes) == 2


def test_limits_of_the_images_hold_without_pixels(photos):
    section = DataSection(source=str(photos), max_train_images=20, max_validation_images=6)
    outline = read_planned_images(section, seed=0, max_size=32, max_seconds=-1)
    assert (outline.train, outline.validation, outline.test) == (20, 6, 24)


def test_damaged_labels_are_refused_without_pixels_too(photos):
    section = DataSection(source=str(photos), max_train_images=1)
    with pytest.raises(
        InputError, match=r"data\.max_train_images: 1 is below the number of classes"
    ):
        read_planned_images(section, seed=0, max_size=32, max_seconds=-1)


def test_the_settings_that_save_most_are_computed_for_this_run(forecast):
    config = make_config()
    reductions = find_reductions(config, forecast)
    assert [row.reduced_hours for row in reductions] == sorted(
        row.reduced_hours for row in reductions
    )
    by_key = {row.key: row for row in reductions}
    images = by_key["data.max_train_images"]
    assert (images.value, images.reduced_value) == (8000, 4000)
    fewer = make_config(data__max_train_images=4000)
    assert images.reduced_hours == pytest.approx(forecast.hours(fewer))
    assert str(images).startswith("data.max_train_images 8000 -> 4000: ")


def test_a_setting_that_saves_little_is_not_suggested(forecast):
    config = make_config(search__trials=10_000)
    (first, *others) = find_reductions(config, forecast)
    keys = {first.key, *(row.key for row in others)}
    assert "validation.seeds" not in keys
    assert "search.trials" in keys
    assert all(row.reduced_hours < 0.95 * row.hours for row in (first, *others))


def test_a_reduction_that_the_configuration_forbids_is_not_suggested(forecast):
    config = make_config(search__reward_exponent="auto", search__trials=24, validation__seeds=1)
    assert "search.trials" not in {row.key for row in find_reductions(config, forecast)}


def test_several_workers_share_the_trainings_but_not_the_last_one():
    one, four = (
        CostForecast(IMAGES, STAGES, times=KnownSpeed(), max_workers=workers) for workers in (1, 4)
    )
    config = make_config(search__trials=6)
    search_alone, search_shared = (
        next(row for row in forecast.plan_stages(config) if row.stage == "search")
        for forecast in (one, four)
    )
    assert search_shared.hours == pytest.approx(search_alone.hours * 2 / 6)


def test_the_trainings_of_the_proxy_check_are_counted(forecast):
    config = make_config()
    rows = {row.stage: row for row in forecast.plan_stages(config)}
    assert (rows["proxy check"].trainings, rows["proxy check"].epochs) == (3, 30)
    for settings in ({"search__repeated_networks": 0}, {"search__trials": 7}):
        unchecked = make_config(**settings)
        assert "proxy check" not in {row.stage for row in forecast.plan_stages(unchecked)}
    off = make_config(search__repeated_networks=0)
    assert forecast.hours(config) - forecast.hours(off) == pytest.approx(rows["proxy check"].hours)


def test_the_number_of_trainings_is_a_range_where_the_run_decides_it(forecast):
    # some networks have fewer networks of twice their FLOPs than a race compares
    rows = {row.stage: row for row in forecast.plan_stages(make_config(scaling__grid_phi=1))}
    assert rows["search"].possible is None
    for stage in ("scaling", "validation"):
        fewest, most = rows[stage].possible
        assert fewest <= rows[stage].trainings <= most
    assert rows["scaling"].possible[0] < rows["scaling"].possible[1]


def test_a_plan_shows_one_duration_with_the_start_and_the_report(forecast):
    config = make_config(scaling__grid_phi=1)
    rows = forecast.plan_stages(config)
    result = Plan({}, rows, (), budget="")
    assert result.hours == pytest.approx(forecast.hours(config))
    lines = as_text(result).splitlines()
    (start,) = [line for line in lines if line.startswith("start, report")]
    assert start.endswith(" 30 s")
    (total,) = [line for line in lines if line.startswith("all ")]
    assert total.endswith(format_minutes(60 * forecast.hours(config)))
    scaling = next(row for row in rows if row.stage == "scaling")
    fewest, most = scaling.possible
    (line,) = [line for line in lines if line.startswith("scaling ")]
    assert f" {scaling.trainings} ({fewest} to {most}) " in line


def test_the_work_of_each_displayed_stage_is_known_for_the_remaining_time(forecast):
    config = make_config()
    work = expected_work(config, IMAGES, (8000, 2000), STAGES)
    assert list(work) == ["search", "finalists", "scaling", "validation"]
    planned = {row.stage: row.flops for row in forecast.plan_stages(config)}
    assert work["search"] == planned["search"] + planned["proxy check"]


def test_a_stage_that_would_be_refused_leaves_the_remaining_time_unknown():
    config = make_config(search__resolution=32, scaling__gamma=[1.0, 1.5])
    assert expected_work(config, IMAGES, (8000, 2000), STAGES) == {}
