"""`phinas scale DIRECTORY --time-budget`: choose the epochs of the scaling search of a run.

The search of the run has ended, and its images are fixed. So only the epochs of the networks of the
grid are reduced. The run keeps the budget that it was started with, and records the epochs.
"""

from phinas.experiment.manifest import read_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, merge_config
from phinas.experiment.schema.user_keys import mark_user_keys, user_keys
from phinas.planning.cost_forecast import make_forecast
from phinas.planning.time_budget import BUDGET_KEYS, fit_time_budget
from phinas.run_context import read_config
from phinas.terminal.progress import Display
from phinas.terminal.text_table import format_minutes

_BUDGET, _EPOCHS = "run.time_budget", "scaling.recipe.epochs"


def apply_scaling_budget(config: Config, run: RunDir, display: Display) -> Config:
    """The configuration of a run that has a baseline, with the time budget of its scaling applied.

    Args:
        config: The configuration. Without a budget of the user it is returned as it is.
        run: The run directory.
        display: Shows the progress and what the budget has changed.

    Raises:
        InputError: The shortest scaling search is expected to take longer, or it trains nothing.
    """
    if _BUDGET not in user_keys(config) or config.run.time_budget is None:
        return config
    recorded = read_config(run)
    if _has_scaling_trainings(run, recorded):
        epochs = recorded.scaling.recipe.epochs
        display.print(
            f"note: run.time_budget: {format_minutes(config.run.time_budget)} changes nothing, "
            f"because networks of the grid are trained already, with {epochs} epochs each"
        )
    else:
        planned = plannable_config(config, run)
        reduced, sentence = fit_time_budget(
            planned, make_forecast(planned, ("scale",), display), reducible="scaling."
        )
        epochs = reduced.scaling.recipe.epochs
        display.print(sentence)
    changes = {_BUDGET: recorded.run.time_budget}
    if _EPOCHS not in user_keys(config):
        changes[_EPOCHS] = epochs
    changed = merge_config(config.model_dump(), changes, source=_BUDGET)
    return mark_user_keys(changed, user_keys(config) - {_BUDGET} | {_EPOCHS})


def plannable_config(config: Config, run: RunDir) -> Config:
    """The configuration by which the scaling search of a run can be planned.

    It names the baseline that the run has found. What the run has decided counts as set by the
    user, so that a time budget does not change it.
    """
    changes = {"scaling.baseline": str(run.baseline)}
    planned = merge_config(config.model_dump(), changes, source=str(run.path))
    decided = {key for key in BUDGET_KEYS if key != _EPOCHS}
    return mark_user_keys(planned, user_keys(config) | decided)


def _has_scaling_trainings(run: RunDir, config: Config) -> bool:
    from phinas.experiment.storage.study_storage import open_storage

    storage = open_storage(
        run.study, url=config.run.storage, run_id=read_manifest(run).id, new=False
    )
    try:
        return bool(storage.records("scaling"))
    finally:
        storage.close()
