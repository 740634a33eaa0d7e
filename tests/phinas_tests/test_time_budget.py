"""Tests of `run.time_budget`, with a device whose speed is known, and one real run."""

import shutil
import time

import pytest

from phinas.api.keywords import config_from_keywords
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import check_resumable, merge_config
from phinas.experiment.schema.user_keys import user_keys
from phinas.options.config_building import build_config, changed_config
from phinas.pipeline import run_stages
from phinas.planning.cost_forecast import CostForecast
from phinas.planning.planned_images import PlannedImages
from phinas.planning.scaling_budget import apply_scaling_budget, plannable_config
from phinas.planning.time_budget import (
    BUDGET_KEYS,
    TARGET_FRACTION,
    expected_minutes,
    fit_time_budget,
    format_minutes,
    keep_recorded_choices,
)
from phinas.run_context import STAGES, read_config
from phinas.space.yaml_io import dump_yaml
from phinas.terminal.progress import Display

SECONDS_PER_FLOP = 2e-10


class KnownSpeed:
    """Trainings whose time is in proportion to their FLOPs."""

    def epoch_seconds(self, network, recipe, *, train_images, val_images):
        assert recipe.epochs >= 1
        return SECONDS_PER_FLOP * network.cost().flops * (3 * train_images + val_images)

    def setup_seconds(self, images):
        return 0.2 + 1e-5 * images


def make_images(train=40_000):
    return PlannedImages(
        train=train,
        validation=train // 4,
        test=1000,
        skipped=0,
        classes=[str(index) for index in range(10)],
        channels=3,
        image_size=32,
        native_size=32,
    )


def make_config(budget, **settings):
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    base = {"data.source": "photos", "search.space": "small_images", "search.resolution": 24}
    return build_config(None, (), base | {"run.time_budget": budget} | keys, use_quick_config=False)


@pytest.fixture(scope="module")
def forecast():
    return CostForecast(make_images(), STAGES, times=KnownSpeed(), max_workers=2)


def reduced_values(config):
    return (
        config.data.max_train_images,
        config.search.trials,
        config.search.recipe.epochs,
        config.validation.recipe.epochs,
    )


def test_without_a_budget_nothing_changes(forecast):
    config = make_config(None)
    assert fit_time_budget(config, forecast) == (config, "")


def test_a_run_that_fits_keeps_its_configuration(forecast):
    config, sentence = fit_time_budget(make_config("500h"), forecast)
    assert reduced_values(config) == (None, 100, 10, 20)
    assert sentence.startswith("time budget 500 h: nothing had to be reduced; expected duration ")


def test_a_budget_includes_the_proxy_check(forecast):
    without_check = expected_minutes(make_config(None, search__repeated_networks=0), forecast)
    budget = 1.0001 * without_check / TARGET_FRACTION
    unchecked, _ = fit_time_budget(make_config(budget, search__repeated_networks=0), forecast)
    assert unchecked.data.max_train_images is None
    checked, _ = fit_time_budget(make_config(budget), forecast)
    assert checked.data.max_train_images < 40_000
    assert checked.search.repeated_networks == 3


def test_the_compared_phi_is_lowered_between_trials_and_epochs(forecast):
    full = expected_minutes(make_config(None), forecast)
    budgets = [full / divisor for divisor in (2, 3, 4, 4.5, 5, 6)]
    fitted = [fit_time_budget(make_config(budget), forecast)[0] for budget in budgets]
    phis = [config.scaling.compared_phi for config in fitted]
    assert phis == sorted(phis, reverse=True)
    assert (phis[0], phis[-1]) == (2, 1)
    for config, phi in zip(fitted, phis, strict=True):
        assert phi == 2 or config.search.trials == 40
        assert phi == 1 or config.search.recipe.epochs == 10
    fixed, sentence = fit_time_budget(make_config(full / 6, scaling__grid_phi=2), forecast)
    assert fixed.scaling.grid_phi == 2
    assert "grid_phi" not in sentence


def test_the_sentence_says_the_default_of_the_compared_phi(forecast):
    full = expected_minutes(make_config(None), forecast)
    _, sentence = fit_time_budget(make_config(full / 6), forecast)
    assert "scaling.grid_phi 2 -> 1," in sentence


def test_images_are_reduced_first_then_trials_then_epochs(forecast):
    full = expected_minutes(make_config(None), forecast)
    images, trials, epochs, _ = reduced_values(fit_time_budget(make_config(full / 2), forecast)[0])
    assert 10_000 < images < 40_000
    assert (trials, epochs) == (100, 10)
    images, trials, epochs, _ = reduced_values(
        fit_time_budget(make_config(full / 4.5), forecast)[0]
    )
    assert images == 10_000
    assert 40 <= trials < 100
    assert epochs == 10
    images, trials, epochs, validation_epochs = reduced_values(
        fit_time_budget(make_config(full / 9), forecast)[0]
    )
    assert (images, trials) == (10_000, 40)
    assert 5 <= epochs < 10
    assert 10 <= validation_epochs < 20


@pytest.mark.parametrize("fraction", [1.0, 0.6, 0.3, 0.1, 0.05, 0.02])
def test_the_expected_duration_is_within_the_budget_and_uses_most_of_it(forecast, fraction):
    budget = fraction * expected_minutes(make_config(None), forecast)
    config, _ = fit_time_budget(make_config(budget), forecast)
    minutes = expected_minutes(config, forecast)
    assert 0.5 * TARGET_FRACTION * budget < minutes <= TARGET_FRACTION * budget


def test_validation_images_follow_the_training_images(forecast):
    budget = expected_minutes(make_config(None), forecast) / 20
    config, _ = fit_time_budget(make_config(budget), forecast)
    assert config.data.max_validation_images <= max(500, config.data.max_train_images // 4 + 1)


def test_few_images_are_reduced_further_so_that_a_short_run_fits():
    forecast = CostForecast(make_images(400), STAGES, times=KnownSpeed())
    settings = {"search__trials": 100, "search__finalists": 4}
    full = expected_minutes(make_config(None, **settings), forecast)
    config, sentence = fit_time_budget(make_config(full / 8, **settings), forecast)
    assert config.data.max_train_images < 400
    assert expected_minutes(config, forecast) <= TARGET_FRACTION * full / 8
    assert "data.max_train_images all -> " in sentence


def test_repeats_are_reduced_only_after_images_trials_and_epochs():
    forecast = CostForecast(make_images(400), STAGES, times=KnownSpeed())
    full = expected_minutes(make_config(None), forecast)
    config, _ = fit_time_budget(make_config(full / 2), forecast)
    assert (config.search.finalists, config.validation.seeds) == (4, 2)
    with pytest.raises(InputError, match="the shortest run is expected to take"):
        fit_time_budget(make_config(0.6), forecast)


def test_settings_of_the_user_are_never_changed(forecast):
    budget = expected_minutes(make_config(None), forecast) / 10
    settings = {"search__trials": 90, "validation__recipe__epochs": 18}
    config, sentence = fit_time_budget(make_config(budget, **settings), forecast)
    assert config.search.trials == 90
    assert config.validation.recipe.epochs == 18
    assert "search.trials" not in sentence
    assert config.data.max_train_images < 10_000


def test_an_automatic_exponent_keeps_the_trials_that_it_needs(forecast):
    budget = expected_minutes(make_config(None), forecast) / 60
    config, _ = fit_time_budget(make_config(budget, search__reward_exponent="auto"), forecast)
    assert config.search.trials >= 24


def test_only_the_stages_that_run_are_reduced():
    forecast = CostForecast(make_images(), ("search", "report"), times=KnownSpeed())
    budget = expected_minutes(make_config(None), forecast) / 20
    config, _ = fit_time_budget(make_config(budget), forecast)
    assert config.search.recipe.epochs < 10
    assert config.validation.recipe.epochs == 20
    assert config.scaling.recipe.epochs == 10


def test_a_budget_that_is_too_short_names_the_shortest_run_and_what_makes_it_long(forecast):
    with pytest.raises(InputError) as refusal:
        fit_time_budget(make_config("1m", validation__seeds=40), forecast)
    message = str(refusal.value)
    assert message.startswith(
        "run.time_budget: 1 min is too short; the shortest run is expected to"
    )
    assert "of which validation takes" in message
    assert "; set it to " in message
    minutes = int(message.partition("set it to ")[2].partition("m or more")[0])
    config, _ = fit_time_budget(make_config(float(minutes), validation__seeds=40), forecast)
    assert config.validation.seeds == 40
    shortest = message.partition("is expected to take ")[2].partition(",")[0]
    assert (
        "m or more (15% of a budget is kept in reserve), or reduce validation.seeds 40 -> 20: "
        f"{shortest} -> "
    ) in message


def test_a_run_of_unknown_duration_has_no_budget(forecast):
    config = make_config("1h", search__evaluator="package.module:score")
    with pytest.raises(InputError, match=r"^run\.time_budget: 1 h cannot be planned, because the "):
        fit_time_budget(config, forecast)


def test_chosen_values_do_not_count_as_settings_of_the_user(forecast):
    budget = expected_minutes(make_config(None), forecast) / 10
    config, _ = fit_time_budget(make_config(budget), forecast)
    assert not {*BUDGET_KEYS} & user_keys(config)
    assert {"data.source", "search.space", "run.time_budget"} <= user_keys(config)


def test_a_resumed_run_keeps_the_values_that_it_was_started_with(forecast):
    budget = expected_minutes(make_config(None), forecast) / 10
    recorded, _ = fit_time_budget(make_config(budget), forecast)
    again = keep_recorded_choices(make_config(budget), recorded)
    assert again == recorded
    more_trials = keep_recorded_choices(make_config(budget, search__trials=300), recorded)
    assert more_trials.search.trials == 300
    assert more_trials.search.recipe == recorded.search.recipe
    other_budget = keep_recorded_choices(make_config(2 * budget), recorded)
    with pytest.raises(InputError, match=r"^x: run\.time_budget was [\d.]+ and is now [\d.]+\. "):
        check_resumable(recorded, other_budget, source="x")


def test_the_quick_start_may_be_reduced_but_not_what_the_user_adds_to_it():
    config = build_config(
        None, (), {"run.time_budget": "10m", "search.trials": 20}, use_quick_config=True
    )
    assert user_keys(config) == {"run.time_budget", "search.trials"}


def test_a_configuration_from_python_keeps_what_the_user_has_set(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data: {source: digits, upsample: true}\nsearch: {space: tiny, trials: 7}\n")
    config = config_from_keywords(
        "run", file, {"time_budget": "2h"}, {"time_budget": "run.time_budget"}
    )
    again = config_from_keywords("run", config, {}, {})
    expected = {"data.source", "data.upsample", "search.space", "search.trials", "run.time_budget"}
    assert user_keys(config) == user_keys(again) == expected


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0.3, "18 s"), (2.5, "2.5 min"), (59.6, "1 h"), (90, "1 h 30 min"), (120, "2 h")],
)
def test_durations_are_readable(minutes, text):
    assert format_minutes(minutes) == text


@pytest.mark.parametrize("value", ["45s", "soon", "", "h", "1:30"])
def test_text_that_is_no_duration_is_refused_with_examples(value):
    with pytest.raises(InputError, match=r"is not a duration; write minutes or hours, such as 30m"):
        make_config(value)


@pytest.mark.parametrize(
    ("value", "minutes"), [("30m", 30), ("2h", 120), ("1h30m", 90), ("1.5h", 90), (45, 45)]
)
def test_durations_are_minutes_or_hours(value, minutes):
    assert make_config(value).run.time_budget == minutes


@pytest.mark.slow
def test_a_run_that_does_not_fit_leaves_nothing_behind(tmp_path, phinas_in_process):
    result = phinas_in_process(
        "run", "--time-budget", "1m", "--set", "validation.seeds=500", "--out", tmp_path / "run"
    )
    assert result.returncode == 2
    message = result.stderr.splitlines()[-1]
    assert "time-budget: 1 min is too short; the shortest run is expected to take" in message
    assert "of which validation takes" in message
    assert list(tmp_path.iterdir()) == []


def test_a_search_without_images_has_no_budget(tmp_path, phinas_in_process):
    result = phinas_in_process(
        "search", "--evaluator", "math:sin", "--time-budget", "1h", "--out", tmp_path / "run"
    )
    assert result.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_plan_shows_what_a_budget_would_change(phinas_in_process):
    result = phinas_in_process("plan", "--time-budget", "500h", "--set", "search.trials=28")
    assert result.returncode == 0, result.stderr
    assert "time budget 500 h: nothing had to be reduced; expected duration " in result.stdout
    assert "settings that save most, each changed alone:" in result.stdout
    assert "timing: done in" in result.stderr


@pytest.mark.slow
def test_a_real_run_takes_at_most_one_and_a_half_times_its_budget(tmp_path, capsys):
    budget = 2.0
    config = build_config(None, (), {"run.time_budget": f"{budget:g}m"}, use_quick_config=True)
    start = time.monotonic()
    run_stages(config, out=tmp_path / "run")
    assert time.monotonic() - start < 1.5 * 60 * budget
    lines = [line for line in capsys.readouterr().err.splitlines() if "time budget" in line]
    recorded = read_config_of(tmp_path / "run")
    trials = config.search.trials
    change = f"search.trials {trials} -> {recorded.search.trials}"
    assert any(change in line for line in lines) or recorded.search.trials == trials
    start = time.monotonic()
    again = build_config(None, (), {"run.time_budget": f"{budget:g}m"}, use_quick_config=True)
    run_stages(again, out=tmp_path / "run", quiet=True)
    assert read_config_of(tmp_path / "run") == recorded


@pytest.fixture
def run_with_baseline(finished_run, tmp_path):
    """A copy of a finished run, whose budget may be changed."""
    from phinas.experiment.run_dir import RunDir

    return RunDir(shutil.copytree(finished_run, tmp_path / "run"))


def test_a_budget_of_the_scaling_reduces_only_its_epochs(run_with_baseline):
    # Recorded in place of the epochs of the run, because a user's own epochs are never reduced.
    recorded = read_config(run_with_baseline)
    longer = merge_config(recorded.model_dump(), {"scaling.recipe.epochs": 40}, source="test")
    run_with_baseline.config.write_text(dump_yaml(longer.model_dump()))

    def plan_with(minutes):
        config = changed_config(run_with_baseline.path, {"run.time_budget": minutes})
        return plannable_config(config, run_with_baseline)

    forecast = CostForecast(make_images(2_000), ("scale",), times=KnownSpeed())
    full = expected_minutes(plan_with(1000.0), forecast)
    reduced, sentence = fit_time_budget(plan_with(full / 1.5), forecast, reducible="scaling.")
    assert 2 <= reduced.scaling.recipe.epochs < 40
    assert f"scaling.recipe.epochs 40 -> {reduced.scaling.recipe.epochs}; " in sentence
    assert (reduced.data, reduced.search) == (recorded.data, recorded.search)
    with pytest.raises(InputError, match=r"of which scaling takes .*; set it to 1m or more \(15%"):
        fit_time_budget(plan_with(0.1), forecast, reducible="scaling.")


def test_a_budget_changes_nothing_once_the_grid_is_trained(run_with_baseline, capsys):
    recorded = read_config(run_with_baseline)
    config = changed_config(run_with_baseline.path, {"run.time_budget": "5m"})
    assert apply_scaling_budget(config, run_with_baseline, Display()) == recorded
    assert "note: run.time_budget: 5 min changes nothing, because" in capsys.readouterr().err


def test_without_a_new_budget_the_scaling_keeps_its_configuration(run_with_baseline):
    config = changed_config(run_with_baseline.path, {"scaling.seeds": 3})
    assert apply_scaling_budget(config, run_with_baseline, Display(quiet=True)) is config
    assert user_keys(config) == {"scaling.seeds"}


def test_a_budget_of_a_scaling_that_trains_nothing_is_refused(run_with_baseline):
    settings = {"run.time_budget": "5m", "scaling.coefficients": [1.2, 1.1, 1.15]}
    planned = plannable_config(changed_config(run_with_baseline.path, settings), run_with_baseline)
    forecast = CostForecast(make_images(), ("scale",), times=KnownSpeed())
    with pytest.raises(InputError, match=r"because the run trains no networks; leave it out$"):
        fit_time_budget(planned, forecast)


def read_config_of(directory):
    from phinas.experiment.run_dir import RunDir

    return read_config(RunDir(directory))
