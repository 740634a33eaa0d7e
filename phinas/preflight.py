"""What can be known to be wrong before anything is trained: from the configuration alone, and once
the images are read.
"""

from collections.abc import Sequence
from pathlib import Path

from phinas.adapt_to_data import fitted_space, given_baseline, space_name
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.scaling_evaluator import require_measurer
from phinas.session import Session, read_goal
from phinas.space.loading import load_spec
from phinas.space.search_spaces.loading import load_space


def check(config: Config, stages: Sequence[str], *, recorded: Path | None = None) -> None:
    """What can be known to be wrong before anything is written. recorded: the coefficients that the
    run has already, if any. Raises InputError or SpecError."""
    from phinas.nas.strategies import require_strategy

    require_strategy(config.search.strategy, pareto=config.search.reward == "pareto")
    if {"scale", "validate"} & set(stages):
        require_measurer(config)
    races = "scale" in stages and config.scaling.coefficients is None
    trains = "validate" in stages or (races and config.scaling.evaluator == "proxy")
    if config.data is None and trains and config.scaling.baseline is not None:
        what = "validation" if "validate" in stages else "scaling"
        raise InputError(
            f"data.source: missing; {what} trains networks: name the images with --data"
        )
    if config.data is None and trains:
        raise InputError(
            "data.source: missing; scaling trains networks: use `phinas search` without images, "
            "and scale what it finds on "
            "yours: phinas scale --baseline RUN/search/baseline.yaml --data IMAGES --out NEW_RUN"
        )
    if config.run.executor == "inline" and config.run.workers not in ("auto", 1):
        raise InputError(
            f"run.workers: {config.run.workers} trainings at a time need run.executor: processes"
        )
    if config.scaling.coefficients is not None and "scale" in stages:
        from phinas.scaling_search.race.user_coefficients import given_coefficients

        given_coefficients(config.scaling, recorded=recorded)
    if "validate" in stages:
        from phinas.scaling_search.validation.controls import read_controls

        read_controls(config.validation.controls)
    if config.scaling.baseline is not None:
        load_spec(config.scaling.baseline)
    elif "search" in stages:
        _check_search(config)


def _check_search(config: Config) -> None:
    from phinas.experiment.seeds import seed_of
    from phinas.nas.cost_constraint import require_reachable
    from phinas.nas.evaluators import OWN_SPACES, make_evaluator
    from phinas.nas.pruning import require_reports
    from phinas.nas.search import gate_of
    from phinas.nas.selection.reference_network import require_reference

    space = load_space(space_name(config.search))
    if config.search.resolution:
        space = space.fitted(
            channels=space.base.channels,
            classes=space.base.classes,
            resolution=config.search.resolution,
        )
    require_reference(config.search.reference)
    kind = config.search.evaluator.partition(":")[0]
    if kind in OWN_SPACES and config.data is not None:
        raise InputError(
            f"search.evaluator: {kind} knows networks for its own images, not for those of "
            "data.source; search without images, "
            "and scale what it finds on yours: phinas scale --baseline RUN/search/baseline.yaml "
            "--data IMAGES --out NEW_RUN"
        )
    if config.search.evaluator != "proxy":
        evaluator = make_evaluator(config.search, None, limit_seconds=0.0)
        evaluator.require_space(space)
        require_reports(config.search.pruner, config.search.evaluator, reports=evaluator.reports)
    elif config.search.noise:
        raise InputError(
            f"search.noise: {config.search.noise:g} is for accuracies that are looked up; "
            "trainings have noise of their own"
        )
    require_reachable(space, gate_of(config.search), seed=seed_of(config.run.seed, "gate"))


def admit(session: Session) -> None:
    """What can be known to be wrong once the images are read, before anything is trained."""
    from phinas.scaling_search.grid.measured_grid import make_grid, require_room
    from phinas.training.engine.device import resolve_device

    resolve_device(session.config.run.device)
    goal, scaling = read_goal(session.run), session.config.scaling
    if scaling.coefficients is not None:
        _admit_given(session)
    elif scaling.baseline is not None:
        make_grid(
            given_baseline(session.config, session.data, session.run),
            scaling,
            largest_side=session.largest_side,
        )
    elif "search" in goal:
        space = fitted_space(session.config, session.data)
        if "scale" in goal:
            require_room(space.base.resolution, scaling, largest_side=session.largest_side)


def _admit_given(session: Session) -> None:
    """With coefficients that are given there is no grid; whether they make the family can be known
    of a given baseline.
    """
    from phinas.family_builder import make_ladder
    from phinas.scaling_search.race.user_coefficients import given_coefficients

    goal, scaling = read_goal(session.run), session.config.scaling
    if scaling.baseline is not None:
        baseline = given_baseline(session.config, session.data, session.run)
        make_ladder(
            baseline, given_coefficients(scaling, recorded=session.run.coefficients), scaling
        )
    elif "search" in goal:
        fitted_space(session.config, session.data)
