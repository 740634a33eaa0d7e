"""Preflight checks, before anything is trained: of the configuration alone, and with the data."""

from collections.abc import Sequence
from pathlib import Path

from phinas.adapt_to_data import run_baseline, search_space_name, space_for_data
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.scaling_evaluator import require_evaluator
from phinas.session import Session, read_goal
from phinas.space.loading import load_spec
from phinas.space.search_spaces.loading import load_space


def check_config(config: Config, stages: Sequence[str], *, recorded: Path | None = None) -> None:
    """Check a configuration before anything is written.

    Args:
        recorded: The coefficients file of the run, which may exist already.

    Raises:
        InputError: The configuration is wrong.
        SpecError: Its baseline is wrong.
    """
    from phinas.nas.strategies import require_strategy

    require_strategy(config.search.strategy, pareto=config.search.reward == "pareto")
    if {"scale", "validate"} & set(stages):
        require_evaluator(config)
    searches_coefficients = "scale" in stages and config.scaling.coefficients is None
    trains_networks = "validate" in stages or (
        searches_coefficients and config.scaling.evaluator == "proxy"
    )
    if config.data is None and trains_networks and config.scaling.baseline is not None:
        stage = "validation" if "validate" in stages else "scaling"
        raise InputError(
            f"data.source: missing; {stage} trains networks: name the images with --data"
        )
    if config.data is None and trains_networks:
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
        from phinas.scaling_search.race.user_coefficients import load_user_coefficients

        load_user_coefficients(config.scaling, record_path=recorded)
    if "validate" in stages:
        from phinas.scaling_search.validation.controls import read_controls

        read_controls(config.validation.controls)
    if config.scaling.baseline is not None:
        load_spec(config.scaling.baseline)
    elif "search" in stages:
        _check_search(config)


def _check_search(config: Config) -> None:
    from phinas.experiment.seeds import derive_seed
    from phinas.nas.cost_constraint import require_feasible
    from phinas.nas.evaluators import EVALUATOR_SPACES, make_evaluator
    from phinas.nas.pruning import require_reports
    from phinas.nas.search import make_cost_constraint
    from phinas.nas.selection.reference_network import require_reference

    space = load_space(search_space_name(config.search))
    if config.search.resolution:
        space = space.adapt_to(
            channels=space.base.channels,
            classes=space.base.classes,
            resolution=config.search.resolution,
        )
    require_reference(config.search.reference)
    kind = config.search.evaluator.partition(":")[0]
    if kind in EVALUATOR_SPACES and config.data is not None:
        raise InputError(
            f"search.evaluator: {kind} knows networks for its own images, not for those of "
            "data.source; search without images, "
            "and scale what it finds on yours: phinas scale --baseline RUN/search/baseline.yaml "
            "--data IMAGES --out NEW_RUN"
        )
    if config.search.evaluator != "proxy":
        evaluator = make_evaluator(config.search, None, limit_seconds=0.0)
        evaluator.require_space(space)
        require_reports(
            config.search.pruner,
            config.search.evaluator,
            reports_progress=evaluator.reports_progress,
        )
    elif config.search.noise_std:
        raise InputError(
            f"search.noise_std: {config.search.noise_std:g} is for accuracies that are looked up; "
            "trainings have noise of their own"
        )
    require_feasible(
        space, make_cost_constraint(config.search), seed=derive_seed(config.run.seed, "gate")
    )


def check_with_data(session: Session) -> None:
    """Check the configuration of an open run with its images, before anything is trained."""
    from phinas.scaling_search.grid.measured_grid import make_grid
    from phinas.scaling_search.grid.resolutions import check_resolution_range
    from phinas.training.engine.device import resolve_device

    resolve_device(session.config.run.device)
    goal, scaling = read_goal(session.run), session.config.scaling
    if scaling.coefficients is not None:
        _check_user_coefficients(session)
    elif scaling.baseline is not None:
        make_grid(
            run_baseline(session.config, session.data, session.run),
            scaling,
            max_resolution=session.max_resolution,
        )
    elif "search" in goal:
        space = space_for_data(session.config, session.data)
        if "scale" in goal:
            check_resolution_range(
                space.base.resolution, scaling, max_resolution=session.max_resolution
            )


def _check_user_coefficients(session: Session) -> None:
    """Check that the user's coefficients make a family of the user's baseline; there is no grid."""
    from phinas.family_builder import build_family
    from phinas.scaling_search.race.user_coefficients import load_user_coefficients

    goal, scaling = read_goal(session.run), session.config.scaling
    if scaling.baseline is not None:
        baseline = run_baseline(session.config, session.data, session.run)
        build_family(
            baseline, load_user_coefficients(scaling, record_path=session.run.coefficients), scaling
        )
    elif "search" in goal:
        space_for_data(session.config, session.data)
