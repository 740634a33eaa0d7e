"""The stages of a run.

Each reads what the one before wrote, repeats nothing that is recorded, and writes its files again.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from phinas.adapt_to_data import read_baseline, run_baseline, space_for_data
from phinas.experiment.manifest import record_artifacts, record_family, update_manifest
from phinas.experiment.schema.config import Config
from phinas.run_context import RunContext, read_goal
from phinas.scaling_evaluator import make_job_factory
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.nas.evaluators.interface import Evaluator
    from phinas.scaling_search.coefficients import Coefficients


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
    from phinas.run_proxy_check import make_proxy_check

    space = space_for_data(context.config, context.data)
    job_factory = context.job_factory if config.search.evaluator == "proxy" else None
    evaluator = make_evaluator(
        config.search, job_factory, limit_seconds=60 * config.run.trial_timeout_minutes
    )
    _report_evaluator(evaluator, context)
    executor = context.executor
    if evaluator.runs_inline:
        executor = InlineExecutor(1)
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
    with context.display.stage("finalists", unit="trainings", text_is_result=False) as on_progress:
        selected = select_baseline(
            result,
            config.search,
            space,
            seed=config.run.seed,
            context=EvaluationContext(
                context.storage.open_study("finalists"),
                executor,
                evaluator,
                context.latency_timer,
            ),
            on_progress=on_progress,
            is_scalable=_scalability_check(context),
        )
    baseline = make_baseline_file(selected, result)
    if sentence := describe_passed_over(baseline):
        context.display.print(f"note: {sentence}")
    if baseline.selection is not None and (sentence := describe_reference(baseline.selection)):
        context.display.print(sentence)
    baseline.write(context.run.baseline)


def _scalability_check(context: RunContext) -> Callable[[ArchSpec], bool] | None:
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
    from phinas.family_builder import build_family, cached_latency
    from phinas.scaling_search.family.family import write_family

    if context.config.scaling.baseline is not None:
        _write_user_baseline(context)
    baseline = read_baseline(context.run)
    if context.config.scaling.coefficients is None:
        coefficients = _search_coefficients(context, baseline)
    else:
        coefficients = _write_user_coefficients(context)
    latency = cached_latency(
        context.storage.open_study("scaling"), context.latency_timer, context.executor
    )
    family = build_family(baseline, coefficients, context.config.scaling, latency=latency)
    record_family(context.run, write_family(family, context.run.family))


def _write_user_coefficients(context: RunContext) -> "Coefficients":
    """Record the user's coefficients; a resumed run keeps those that it recorded."""
    from phinas.scaling_search.race.user_coefficients import (
        load_user_coefficients,
        make_user_coefficients_file,
    )

    section = context.config.scaling
    coefficients = load_user_coefficients(section, record_path=context.run.coefficients)
    make_user_coefficients_file(coefficients, section).write(context.run.coefficients)
    return coefficients


def _search_coefficients(context: RunContext, baseline: ArchSpec) -> "Coefficients":
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
    with context.display.stage("scaling", unit="trainings", text_is_result=False) as on_progress:
        result = search_coefficients(
            baseline,
            section,
            seed=context.config.run.seed,
            max_resolution=context.max_resolution,
            trial_store=context.storage.open_study("scaling"),
            executor=context.executor,
            make_job=make_job_factory(context, baseline),
            on_progress=on_progress,
        )
    make_coefficients_file(result, section).write(context.run.coefficients)
    return result.coefficients


def _validate(context: RunContext) -> None:
    from phinas.experiment.seeds import derive_seed
    from phinas.pretrained_validation import compare_family_with_reference
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
    controls = make_controls(
        read_controls(section.controls),
        baseline,
        members_to_train(family, section, max_resolution=max_resolution),
        rounding=read_coefficients(context.run.coefficients, field="scaling"),
        max_resolution=max_resolution,
    )
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
    from phinas.reports.page import write_report

    artifacts = [
        context.run.earlier_searches,
        context.run.proxy_check,
        context.run.baseline,
        context.run.coefficients,
        context.run.validation,
    ]
    record_artifacts(context.run, [path for path in artifacts if path.exists()])
    with context.display.stage("report"):
        write_report(context.run)


def displayed_stages(config: Config, stages: Sequence[str]) -> list[str]:
    """The titles of the stages that a run shows, in order.

    Args:
        config: The configuration of the run.
        stages: The stages to run.
    """
    searches = "search" in stages and config.scaling.baseline is None
    is_shown = {
        "data": config.data is not None,
        "search": searches,
        "finalists": searches,
        "scaling": "scale" in stages and config.scaling.coefficients is None,
        "validation": "validate" in stages,
        "report": "report" in stages,
    }
    return [title for title, shown in is_shown.items() if shown]


STAGE_FUNCTIONS = {"search": _search, "scale": _scale, "validate": _validate, "report": _report}
