"""Checks of the configuration before a run trains networks.

`check_config` needs the configuration only. `check_with_data` needs the images too.
"""

from collections.abc import Sequence
from dataclasses import replace

from phinas.adapt_to_data import (
    describe_resolution,
    family_max_resolution,
    read_baseline,
    run_baseline,
    search_space_name,
    space_for_data,
)
from phinas.builder_checks import check_builder, check_builder_sources, record_builder_sources
from phinas.experiment.errors import InputError
from phinas.experiment.executors.inline import require_single_worker
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.network_source import load_baseline, names_builder
from phinas.run_context import RunContext, read_goal
from phinas.scaling_evaluator import require_evaluator
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace

_SCALE_ON_IMAGES = (
    "use `phinas search` without images, then scale its baseline on your images: phinas scale "
    "--baseline RUN/search/baseline.yaml --data IMAGES --out NEW_RUN"
)


def check_config(config: Config, stages: Sequence[str], *, run: RunDir | None = None) -> None:
    """Check a configuration before a file is written.

    Args:
        config: The configuration.
        stages: The stages that will run.
        run: The run directory, which may not exist yet. What it has recorded of the files and runs
            that the configuration names is read instead of these. None: there is none.

    Raises:
        InputError: The configuration is wrong.
        SpecError: The baseline is not a valid network.
    """
    from phinas.nas.pruning import require_pruner
    from phinas.nas.strategies.loading import require_strategy

    _require_device(config.run.device)
    _require_latency_runtime(config)
    require_strategy(config.search.strategy, pareto=config.search.reward == "pareto")
    require_pruner(config.search.pruner)
    if {"scale", "validate"} & set(stages):
        require_evaluator(config)
    _require_images(config, stages)
    if config.run.executor == "inline" and config.run.workers != "auto":
        require_single_worker(config.run.workers)
    if config.scaling.coefficients is not None and "scale" in stages:
        from phinas.scaling_search.race.user_coefficients import load_user_coefficients

        load_user_coefficients(config.scaling, record_path=run.coefficients if run else None)
    if "validate" in stages:
        from phinas.scaling_search.validation.controls import read_controls

        read_controls(config.validation.controls)
        _check_pretrained_reference(config)
    if config.scaling.baseline is not None:
        network = load_baseline(config.scaling.baseline, field="scaling.baseline")
        if isinstance(network, BuiltNetwork):
            check_builder(network, config)
            if run is not None and run.exists:
                check_builder_sources(network, run)
    elif "search" in stages:
        _check_search(config, run)


def _check_pretrained_reference(config: Config) -> None:
    if config.validation.pretrained_reference is not None:
        from phinas.pretrained_validation import require_reference

        require_reference(config)


def _require_device(name: str) -> None:
    """Check that the machine has the device, where one is named. That imports torch."""
    if name in ("auto", "cpu"):
        return
    from phinas.training.engine.device import resolve_device

    resolve_device(name)


def _require_latency_runtime(config: Config) -> None:
    """Check that latencies can be measured in the runtime, unless it is torch."""
    if config.run.latency_runtime == "torch":
        return
    from phinas.training.timing.runtimes import require_runtime

    require_runtime(
        config.run.latency_runtime,
        config.run.device,
        option="run.latency_runtime",
        device_option="run.device",
    )


def _require_images(config: Config, stages: Sequence[str]) -> None:
    """Check that there are images if a stage after the search trains networks."""
    searches_coefficients = "scale" in stages and config.scaling.coefficients is None
    trains_grid = searches_coefficients and config.scaling.evaluator == "proxy"
    if config.data is not None or not ("validate" in stages or trains_grid):
        return
    stage = "validation" if "validate" in stages else "scaling"
    if config.scaling.baseline is not None:
        raise InputError(
            f"data.source: is missing, but {stage} trains networks; name the images with --data"
        )
    raise InputError(f"data.source: is missing, but {stage} trains networks; {_SCALE_ON_IMAGES}")


def _check_search(config: Config, run: RunDir | None) -> None:
    from phinas.earlier_searches import read_earlier_searches
    from phinas.nas.selection.reference_network import require_reference

    section = config.search
    space = load_space(search_space_name(section), field="search.space")
    if section.resolution:
        space = space.adapt_to(
            channels=space.base.channels, classes=space.base.classes, resolution=section.resolution
        )
    require_reference(section.reference)
    _check_evaluator(config, space)
    if run is None or not run.earlier_searches.exists():
        read_earlier_searches(section, space)
    # Without a resolution of the user, that of the networks depends on the images.
    if config.data is None or section.resolution:
        _require_feasible(config, space)


def _require_feasible(config: Config, space: SearchSpace) -> None:
    """Raises InputError where no network of the space is within the cost limits."""
    from phinas.experiment.seeds import derive_seed
    from phinas.nas.cost_constraint import require_feasible
    from phinas.nas.search import make_cost_constraint

    constraint = make_cost_constraint(config.search)
    require_feasible(space, constraint, seed=derive_seed(config.run.seed, "gate"))


def _check_evaluator(config: Config, space: SearchSpace) -> None:
    """Check that the evaluator can score the networks of the search space."""
    from phinas.nas.evaluators import default_space, make_evaluator
    from phinas.nas.pruning import require_reports
    from phinas.nas.strategies.loading import load_strategy, resolve_pausing

    section, supports_pausing = config.search, True
    if default_space(section.evaluator) and config.data is not None:
        kind = section.evaluator.partition(":")[0]
        raise InputError(
            f"search.evaluator: {kind} has scores for its own images only, and data.source names "
            f"others; {_SCALE_ON_IMAGES}"
        )
    if section.evaluator != "proxy":
        evaluator = make_evaluator(section, None, limit_seconds=0.0)
        evaluator.require_space(space)
        require_reports(
            section.pruner, section.evaluator, reports_progress=evaluator.reports_progress
        )
        supports_pausing = evaluator.supports_pausing
    elif section.noise_std:
        raise InputError(
            f"search.noise_std: {section.noise_std:g} adds noise to scores that are looked up; "
            "search.evaluator: proxy trains networks; leave it out, or name another evaluator"
        )
    resolve_pausing(load_strategy(section.strategy), section, supports_pausing=supports_pausing)


def check_with_data(context: RunContext) -> None:
    """Check the configuration of an open run with its images.

    Raises:
        InputError: The configuration does not fit the images.
        SpecError: The baseline cannot be built for the images.
    """
    from phinas.grid_feasibility import check_grid_feasibility
    from phinas.scaling_search.grid.measured_grid import make_grid

    goal, scaling = read_goal(context.run), context.config.scaling
    if scaling.baseline is not None and names_builder(scaling.baseline):
        record_builder_sources(scaling.baseline, context.run)
    if scaling.coefficients is not None:
        _check_user_coefficients(context)
    elif scaling.baseline is not None:
        baseline = run_baseline(context.config, context.data, context.run)
        _print_resolution(context, baseline.resolution)
        make_grid(baseline, scaling, max_resolution=context.max_resolution)
    elif "search" in goal:
        space = space_for_data(context.config, context.data)
        _print_resolution(context, space.base.resolution)
        _require_feasible(context.config, space)
        if "scale" in goal and not context.run.baseline.exists():
            feasibility = check_grid_feasibility(
                space, context.config, max_resolution=context.max_resolution
            )
            if feasibility.note:
                context.display.print(feasibility.note)
    if "scale" in goal and not context.run.coefficients.exists():
        _check_family(context)


def _print_resolution(context: RunContext, resolution: int) -> None:
    """Say what small images change, while that can still be changed."""
    if context.data is None or context.run.coefficients.exists():
        return
    goal = read_goal(context.run)
    if note := describe_resolution(context.config, context.data, resolution, goal):
        context.display.print(note)


def _check_family(context: RunContext) -> None:
    """Check that the family can be built, as far as that is known before the search."""
    from phinas.family_feasibility import check_family_feasibility, possible_baselines

    config, run = context.config, context.run
    networks = (
        [read_baseline(run)] if run.baseline.exists() else possible_baselines(config, context.data)
    )
    feasibility = check_family_feasibility(networks, config, context.data)
    for note in feasibility.notes:
        context.display.print(note)


def _check_user_coefficients(context: RunContext) -> None:
    """Check that the user's coefficients scale the baseline to a family. No grid is needed."""
    from phinas.family_builder import build_family
    from phinas.scaling_search.race.user_coefficients import load_user_coefficients

    goal, scaling = read_goal(context.run), context.config.scaling
    if scaling.baseline is not None:
        baseline = run_baseline(context.config, context.data, context.run)
        coefficients = replace(
            load_user_coefficients(scaling, record_path=context.run.coefficients),
            max_resolution=family_max_resolution(context.config, context.data, baseline.resolution),
        )
        build_family(baseline, coefficients, scaling)
    elif "search" in goal:
        space_for_data(context.config, context.data)
