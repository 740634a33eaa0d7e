"""`run.time_budget`: choose training images, trials and epochs so that a run is expected to fit.

The rule: the steps of `_STEPS` are taken one after another, each as far as is needed and no further
than its floor. What the user has set is never changed, and nothing is raised. So a run that fits
anyway keeps its configuration. The chosen values are written to the run like any others, so a
resumed run and the report do not depend on the timing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import (
    EXPONENT_ESTIMATION_TRIALS,
    Config,
    flatten_section,
    merge_config,
)
from phinas.experiment.schema.user_keys import mark_user_keys, user_keys
from phinas.planning.cost_forecast import CostForecast, make_forecast
from phinas.planning.cost_reductions import find_reductions
from phinas.run_context import read_config
from phinas.terminal.progress import Display
from phinas.terminal.text_table import format_minutes

# Of the budget, that the forecast may fill. The rest is for its error.
TARGET_FRACTION = 0.85
_LEVELS = 24  # of a step; a finer one would be below the error of the forecast
_MIN_EPOCHS = 2
_MIN_VALIDATION_IMAGES = 500

# The keys that a budget may change, by the stage of a plan that they belong to.
_EPOCH_KEYS = {
    "search": "search.recipe.epochs",
    "finalists": "search.finalist_recipe.epochs",
    "scaling": "scaling.recipe.epochs",
    "validation": "validation.recipe.epochs",
}
_TRIALS, _IMAGES = "search.trials", "data.max_train_images"
_PHI, _PHI_STEP = "scaling.grid_phi", 0.5
_VALIDATION_IMAGES = "data.max_validation_images"
# The smallest numbers of networks and seeds.
_MIN_REPEATS = {
    "search.finalists": 2,
    "search.finalist_seeds": 1,
    "scaling.max_grid_members": 4,
    "scaling.seeds": 2,
    "validation.seeds": 1,
}
BUDGET_KEYS = (_IMAGES, _VALIDATION_IMAGES, _TRIALS, _PHI, *_EPOCH_KEYS.values(), *_MIN_REPEATS)


@dataclass(frozen=True)
class _Step:
    """One step of the rule.

    Attributes:
        kind: "images", "trials", "phi" (of the compared networks of the grid), "epochs" or
            "repeats" (finalists, networks of the grid, seeds).
        floor: The smallest number of images or trials, phi, or fraction of the epochs.
        per_class: The smallest number of training images of each class, for images.
    """

    kind: str
    floor: float
    per_class: int = 0


# docs/how_to/time_budget.md describes the same steps.
_STEPS = (
    _Step("images", 10_000, per_class=200),
    _Step("trials", 40),
    _Step("phi", 1.0),
    _Step("epochs", 0.5),
    _Step("images", 2_000, per_class=50),
    _Step("trials", 16),
    _Step("epochs", 0.2),
    _Step("images", 500, per_class=20),
    # What follows is for small sets of images and short budgets: few scores, but a run.
    _Step("images", 200, per_class=20),
    _Step("repeats", 0),
    _Step("trials", 8),
    _Step("epochs", 0),
    _Step("images", 50, per_class=8),
)


def apply_time_budget(
    config: Config, run: RunDir, stages: Sequence[str], display: Display
) -> Config:
    """The configuration of a run with its time budget applied.

    A new run gets numbers that fit. An existing one keeps those that it was started with.

    Args:
        config: The configuration.
        run: The run directory.
        stages: The stages of the run.
        display: Shows the progress and what the budget has changed.

    Raises:
        InputError: The shortest run is expected to take longer, or the run has no images.
    """
    if config.run.time_budget is None:
        return config
    if run.exists:
        return keep_recorded_choices(config, read_config(run))
    if config.data is None:
        raise _unplannable(config, "the run has no images")
    config, sentence = fit_time_budget(config, make_forecast(config, stages, display))
    display.print(sentence)
    return config


def fit_time_budget(
    config: Config, forecast: CostForecast, *, reducible: str = ""
) -> tuple[Config, str]:
    """Reduce training images, trials and epochs until a run is expected to fit its time budget.

    Args:
        config: The configuration. `phinas.experiment.schema.user_keys` says what the user has set.
        forecast: Forecasts the duration of the stages.
        reducible: The beginning of the keys that an error may suggest to reduce.

    Returns:
        The configuration to run, and a sentence about it. Without a budget, the same one and "".

    Raises:
        InputError: The shortest run is expected to take longer.
    """
    budget = config.run.time_budget
    if budget is None:
        return config, ""
    _require_known_times(config, forecast)
    reduced = config
    for step in _STEPS:
        if expected_minutes(reduced, forecast) <= TARGET_FRACTION * budget:
            break
        reduced = _take_step(step, reduced, forecast, TARGET_FRACTION * budget)
    minutes = expected_minutes(reduced, forecast)
    if minutes > TARGET_FRACTION * budget:
        raise InputError(_describe_shortfall(reduced, forecast, minutes, reducible))
    return reduced, _describe_budget(config, reduced, minutes)


def expected_minutes(config: Config, forecast: CostForecast) -> float:
    """The expected duration of a run in minutes, with what is not training."""
    return 60 * forecast.hours(config)


def keep_recorded_choices(config: Config, recorded: Config) -> Config:
    """The configuration of a run that is resumed, with the values that its budget had chosen.

    With another budget the values stay too, and `check_resumable` refuses the budget.

    Args:
        config: The configuration that was requested again.
        recorded: That of the run.
    """
    if config.run.time_budget is None:
        return config
    values, is_set = flatten_section(recorded), user_keys(config)
    changes = {key: values[key] for key in BUDGET_KEYS if key not in is_set and key in values}
    return _change(config, changes)


def _require_known_times(config: Config, forecast: CostForecast) -> None:
    """Raises InputError where a stage takes a time that no training says."""
    section, reason = config.search, ""
    searches = "search" in forecast.stages and config.scaling.baseline is None
    if searches and section.evaluator != "proxy":
        reason = f"the time that search.evaluator: {section.evaluator} takes is not known"
    elif not forecast.expected_trainings(config):
        reason = "the run trains no networks"
    if reason:
        raise _unplannable(config, reason)


def _unplannable(config: Config, reason: str) -> InputError:
    trials = "" if config.scaling.baseline else ", and set search.trials"
    return InputError(
        f"run.time_budget: {format_minutes(config.run.time_budget or 0)} cannot be planned, "
        f"because {reason}; leave it out{trials}"
    )


def _take_step(step: _Step, config: Config, forecast: CostForecast, minutes: float) -> Config:
    """The configuration with this step taken as far as is needed, or else to its floor."""
    change = {
        "images": _limit_images,
        "trials": _limit_trials,
        "phi": _limit_phi,
        "epochs": _limit_epochs,
        "repeats": _limit_repeats,
    }[step.kind]
    low, high = 0, _LEVELS  # the step is needed, so level 0 is too long
    while high - low > 1:
        middle = (low + high) // 2
        changed = change(config, forecast, step, middle / _LEVELS)
        if expected_minutes(changed, forecast) <= minutes:
            high = middle
        else:
            low = middle
    return change(config, forecast, step, high / _LEVELS)


def _limit_images(config: Config, forecast: CostForecast, step: _Step, level: float) -> Config:
    """Fewer training images, and as many validation images as a quarter of them."""
    is_set = user_keys(config)
    train, validation = forecast.count_images(config)
    floor = max(int(step.floor), step.per_class * len(forecast.images.classes))
    changes = {}
    if _IMAGES not in is_set and floor < train:
        changes[_IMAGES] = train = _interpolate(train, floor, level)
    limit = max(min(_MIN_VALIDATION_IMAGES, floor), floor // 4, train // 4)
    if _VALIDATION_IMAGES not in is_set and limit < validation:
        changes[_VALIDATION_IMAGES] = limit
    return _change(config, changes)


def _limit_trials(config: Config, forecast: CostForecast, step: _Step, level: float) -> Config:
    searches = any(row.stage == "search" for row in forecast.expected_trainings(config))
    floor = int(step.floor)
    if config.search.reward_exponent == "auto":
        floor = max(floor, EXPONENT_ESTIMATION_TRIALS)
    trials = config.search.trials
    if not searches or _TRIALS in user_keys(config) or floor >= trials:
        return config
    return _change(config, {_TRIALS: _interpolate(trials, floor, level)})


def _limit_phi(config: Config, forecast: CostForecast, step: _Step, level: float) -> Config:
    """A smaller phi of the compared networks of the grid, in steps of 0.5."""
    phi = config.scaling.compared_phi
    scales = any(row.stage == "scaling" for row in forecast.expected_trainings(config))
    if not scales or _PHI in user_keys(config) or phi <= step.floor:
        return config
    exact = phi - level * (phi - step.floor)
    return _change(config, {_PHI: max(step.floor, _PHI_STEP * math.floor(exact / _PHI_STEP))})


def _limit_epochs(config: Config, forecast: CostForecast, step: _Step, level: float) -> Config:
    """Fewer epochs of all stages, by the same factor."""
    is_set, values = user_keys(config), flatten_section(config)
    changes = {}
    for row in forecast.expected_trainings(config):
        key = _EPOCH_KEYS.get(row.stage)
        if key is None or key in is_set:
            continue
        floor = max(_MIN_EPOCHS, math.ceil(step.floor * values[key]))
        if floor < values[key]:
            changes[key] = _interpolate(values[key], floor, level)
    return _change(config, changes)


def _limit_repeats(config: Config, forecast: CostForecast, step: _Step, level: float) -> Config:
    """Fewer finalists, networks of the grid and seeds."""
    is_set, values = user_keys(config), flatten_section(config)
    stages = {row.stage for row in forecast.expected_trainings(config)}
    used = {"search": "finalists", "scaling": "scaling", "validation": "validation"}
    changes = {
        key: _interpolate(values[key], max(floor, int(step.floor)), level)
        for key, floor in _MIN_REPEATS.items()
        if key not in is_set and floor < values[key] and used[key.partition(".")[0]] in stages
    }
    return _change(config, changes)


def _interpolate(value: int, floor: int, level: float) -> int:
    """From `value` at level 0 to `floor` at level 1, evenly on a logarithmic scale."""
    return max(floor, round(value * (floor / value) ** level))


def _change(config: Config, changes: Mapping[str, float]) -> Config:
    """The configuration with some keys changed, which do not count as set by the user."""
    if not changes:
        return config
    changed = merge_config(config.model_dump(), changes, source="run.time_budget")
    return mark_user_keys(changed, user_keys(config))


def _describe_shortfall(
    config: Config, forecast: CostForecast, minutes: float, reducible: str
) -> str:
    """The message for a budget that is too short: how long the shortest run takes, and why."""
    needed = math.ceil(minutes / TARGET_FRACTION)
    rows = forecast.plan_stages(config)
    longest = max(rows, key=lambda row: row.hours)
    reductions = [row for row in find_reductions(config, forecast) if row.key.startswith(reducible)]
    reserve = f"{1 - TARGET_FRACTION:.0%} of a budget is kept in reserve"
    remedy = f"set it to {needed}m or more ({reserve})"
    if reductions:
        remedy += f", or reduce {reductions[0]}"
    work = f"{longest.trainings} trainings, {longest.epochs} epochs"
    return (
        f"run.time_budget: {format_minutes(config.run.time_budget or 0)} is too short; the "
        f"shortest run is expected to take {format_minutes(minutes)}, of which {longest.stage} "
        f"takes {format_minutes(60 * longest.hours)} ({work}); {remedy}"
    )


def _describe_budget(config: Config, reduced: Config, minutes: float) -> str:
    """One line about what a budget has changed."""
    changes = ", ".join(_list_changes(config, reduced)) or "nothing had to be reduced"
    return (
        f"time budget {format_minutes(config.run.time_budget or 0)}: {changes}; expected duration "
        f"{format_minutes(minutes)}"
    )


def _list_changes(config: Config, reduced: Config) -> Iterator[str]:
    before, after = flatten_section(config), flatten_section(reduced)
    for key in BUDGET_KEYS:
        if before.get(key) != after.get(key):
            # Images without a limit are all images. phi without a value has a default.
            default = f"{config.scaling.compared_phi:g}" if key == _PHI else "all"
            old = default if before.get(key) is None else before[key]
            new = f"{after[key]:g}" if key == _PHI else after[key]
            yield f"{key} {old} -> {new}"
