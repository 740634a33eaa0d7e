"""The stages of a run.

Each reads what the one before wrote, repeats nothing that is recorded, and writes its files again.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from phinas.adapt_to_data import (
    family_max_resolution,
    read_baseline,
    run_baseline,
    space_for_data,
)
from phinas.experiment.manifest import record_artifacts, record_family, update_manifest
from phinas.run_context import RunContext, read_goal
from phinas.scaling_evaluator import make_evaluator
from phinas.space.network import ScalableNetwork

if TYPE_CHECKING:
    from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
    from phinas.nas.evaluators.interface import Evaluator


def _search(context: RunContext) -> None:
    config = context.config
    if config.scaling.baseline is not None:
        _write_user_baseline(context)
        return
    from phinas.earlier_searches import load_earlier_searches
    from phinas.experiment.executors.inline import InlineExecutor
    from phinas.experiment.executors.shared import SharedExecutor
    from phinas.nas.evaluators import make_evaluator
    from phinas.nas.search import search as search_space
    from phinas.nas.selection.baseline import EvaluationContext, select_baseline
    from phinas.nas.selection.baseline_record import make_baseline_file
    from phinas.reports.sentences.baseline import (
        describe_exponent,
        describe_passed_over,
        describe_reference,
    )
    from phinas.run_learning_rates import check_finalists
    from phinas.run_proxy_check import make_proxy_check

    space = space_for_data(context.config, context.data)
    job_factory = context.job_factory if config.search.evaluator == "proxy" else None
    evaluator = make_evaluator(
        config.search, job_factory, limit_seconds=60 * config.run.trial_timeout_minutes
    )
    _report_evaluator(evaluator, context)
    executor = context.executor
    if evaluator.runs_inline:
        executor = context.check_files_with(InlineExecutor(1))
        update_manifest(context.run, workers=1, executor="inline")
    executor = SharedExecutor(executor)
    trial_store = context.storage.open_study(
        "search", directions=config.search.directions, paused_trainings=context.paused_trainings
    )
    earlier_searches = load_earlier_searches(config.search, space, context.run)
    check = make_proxy_check(context, space, evaluator, executor, trial_store)
    with context.display.stage("search", unit="trials") as on_progress:
        result = search_space(
            space,
            config.search,
            seed=config.run.seed,
            trial_store=trial_store,
            executor=executor,
            evaluator=evaluator,
            on_progress=check.after(on_progress) if check else on_progress,
            earlier_searches=earlier_searches,
            latency_timer=context.latency_timer,
        )
    if result.exponent_estimate is not None:
        context.display.print(describe_exponent(result.exponent_estimate))
    if result.space_exhausted:
        count = len(result.trials)
        networks = "one network" if count == 1 else f"{count} networks"
        context.display.print(
            f"search space exhausted after {networks}: no other is within the cost limits"
        )
    is_scalable = _scalability_check(context)
    section = check_finalists(context, result, space, is_scalable=is_scalable)
    with context.display.stage("finalists", unit="trainings", text_is_result=False) as on_progress:
        selected = select_baseline(
            result,
            section,
            space,
            seed=config.run.seed,
            context=EvaluationContext(
                context.storage.open_study("finalists"),
                executor,
                evaluator,
                context.latency_timer,
            ),
            on_progress=on_progress,
            is_scalable=is_scalable,
        )
    baseline = make_baseline_file(selected, result)
    if sentence := describe_passed_over(baseline):
        context.display.print(f"note: {sentence}")
    if baseline.selection is not None and (sentence := describe_reference(baseline.selection)):
        context.display.print(sentence)
    baseline.write(context.run.baseline)


def _scalability_check(context: RunContext) -> Callable[[ScalableNetwork], bool] | None:
    """Says whether a network can be scaled; None where the run does not search coefficients."""
    from phinas.grid_feasibility import is_scalable

    section = context.config.scaling
    if "scale" not in read_goal(context.run) or section.coefficients is not None:
        return None
    return partial(is_scalable, section=section, max_resolution=context.max_resolution)


def _report_evaluator(evaluator: "Evaluator", context: RunContext) -> None:
    """Print and record where the scores come from. A benchmark may have to be fitted first, which
    takes a minute.
    """
    display = context.display.stage("evaluator") if evaluator.runs_inline else nullcontext()
    with display:
        description = evaluator.describe_scores()
    if description:
        update_manifest(context.run, evaluator=description)
        context.display.print(f"scores: {description.scores}")


def _write_user_baseline(context: RunContext) -> None:
    from phinas.nas.selection.baseline_record import make_user_baseline_file

    if context.run.baseline.exists():
        return
    network = run_baseline(context.config, context.data, context.run)
    source = str(context.config.scaling.baseline)
    make_user_baseline_file(network, source).write(context.run.baseline)


def _scale(context: RunContext) -> None:
    from phinas.family_builder import build_family, cached_latency, limit_depth_of_race
    from phinas.reports.sentences.family_limits import describe_depth_jumps, describe_family_limits
    from phinas.scaling_search.coefficients import Coefficients
    from phinas.scaling_search.family.family import write_family

    if context.config.scaling.baseline is not None:
        _write_user_baseline(context)
    baseline = read_baseline(context.run)
    is_race = context.config.scaling.coefficients is None
    record = _search_coefficients(context, baseline) if is_race else _user_coefficients(context)
    limit = family_max_resolution(context.config, context.data, baseline.resolution)
    record = record.model_copy(update={"max_resolution": limit})
    record.write(context.run.coefficients)
    section, latency = (
        context.config.scaling,
        cached_latency(
            context.storage.open_study("scaling"), context.latency_timer, context.executor
        ),
    )
    if is_race:
        record = limit_depth_of_race(baseline, record, section, latency=latency)
        record.write(context.run.coefficients)
    family = build_family(baseline, Coefficients.from_file(record), section, latency=latency)
    record_family(context.run, write_family(family, context.run.family))
    for sentence in describe_family_limits(family, record, context.config):
        context.display.print(f"note: {sentence}")
    if sentence := describe_depth_jumps(family, record):
        context.display.print(f"warning: {sentence}")


def _user_coefficients(context: RunContext) -> "CoefficientsFile":
    """The record of the user's coefficients; a resumed run keeps those that it recorded."""
    from phinas.scaling_search.race.user_coefficients import (
        load_user_coefficients,
        make_user_coefficients_file,
    )

    section = context.config.scaling
    coefficients = load_user_coefficients(section, record_path=context.run.coefficients)
    return make_user_coefficients_file(coefficients, section)


def _search_coefficients(context: RunContext, baseline: ScalableNetwork) -> "CoefficientsFile":
    from phinas.run_learning_rates import check_grid
    from phinas.scaling_search.grid.nominal import nominal_grid
    from phinas.scaling_search.grid.resolutions import adapt_section
    from phinas.scaling_search.race.scaling_result import make_coefficients_file
    from phinas.scaling_search.race.search import search_coefficients

    section = adapt_section(
        context.config.scaling, baseline.resolution, max_resolution=context.max_resolution
    )
    if section.constraint == "nominal":
        warning = nominal_grid(baseline, section, max_resolution=context.max_resolution).warning()
        context.display.print(f"warning: {warning}")
    section = check_grid(context, baseline, section)
    with context.display.stage("scaling", unit="trainings", text_is_result=False) as on_progress:
        result = search_coefficients(
            baseline,
            section,
            seed=context.config.run.seed,
            max_resolution=context.max_resolution,
            trial_store=context.storage.open_study(
                "scaling", paused_trainings=context.paused_trainings
            ),
            executor=context.executor,
            evaluator=make_evaluator(context, baseline),
            on_progress=on_progress,
        )
    return make_coefficients_file(result, section)


def _validate(context: RunContext) -> None:
    from phinas.experiment.seeds import derive_seed
    from phinas.pretrained_validation import compare_family_with_reference
    from phinas.run_learning_rates import check_validation
    from phinas.scaling_search.family.family import read_family
    from phinas.scaling_search.race.user_coefficients import read_coefficients
    from phinas.scaling_search.validation.controls import make_controls, read_controls
    from phinas.scaling_search.validation.validate import (
        ValidationContext,
        members_to_train,
        validate_family,
    )
    from phinas.scaling_search.validation.validation_summary import summarize_validation

    section, seed, max_resolution = (
        context.config.validation,
        context.config.run.seed,
        context.max_resolution,
    )
    baseline = read_baseline(context.run)
    family = read_family(context.run.family)
    members = members_to_train(family, section, max_resolution=max_resolution)
    controls = make_controls(
        read_controls(section.controls),
        baseline,
        members,
        rounding=read_coefficients(context.run.coefficients, field="scaling"),
        max_resolution=max_resolution,
    )
    section = check_validation(context, members, controls)
    with context.display.stage("validation", unit="trainings", text_is_result=False) as on_progress:
        validation = validate_family(
            family,
            section,
            seed=seed,
            max_resolution=max_resolution,
            context=ValidationContext(
                context.storage.open_study("validation"),
                context.executor,
                context.job_factory.make_job,
                context.run.family,
            ),
            on_progress=on_progress,
            controls=controls,
        )
    summary = summarize_validation(validation, seed=derive_seed(seed, "curve"))
    reference = compare_family_with_reference(context, validation)
    summary.model_copy(update={"pretrained_reference": reference}).write(context.run.validation)
    record_artifacts(context.run, list(context.run.family.glob("*.safetensors")))


def _report(context: RunContext) -> None:
    from phinas.experiment.artifacts.learning_rates import CHECKED_STAGES
    from phinas.reports.page import write_report

    artifacts = [
        context.run.earlier_searches,
        context.run.proxy_check,
        *map(context.run.learning_rates, CHECKED_STAGES),
        context.run.baseline,
        context.run.coefficients,
        context.run.validation,
    ]
    record_artifacts(context.run, [path for path in artifacts if path.exists()])
    with context.display.stage("report"):
        write_report(context.run)


STAGE_FUNCTIONS = {"search": _search, "scale": _scale, "validate": _validate, "report": _report}
