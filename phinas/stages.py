"""What each stage does: it reads what the one before wrote, repeats nothing that is recorded, and
writes its files anew.
"""

from contextlib import nullcontext
from typing import TYPE_CHECKING

from phinas.adapt_to_data import read_baseline, run_baseline, space_for_data
from phinas.experiment.manifest import record_artifacts, update_manifest
from phinas.experiment.run_dir import write_atomic
from phinas.scaling_evaluator import make_job_factory
from phinas.session import Session
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml
from phinas.terminal.summary import reference_message

if TYPE_CHECKING:
    from phinas.nas.evaluators.interface import Evaluator
    from phinas.scaling_search.coefficients import Coefficients


def _search(session: Session) -> None:
    config = session.config
    if config.scaling.baseline is not None:
        _write_user_baseline(session)
        return
    from phinas.experiment.executors.inline import InlineExecutor
    from phinas.nas.evaluators import make_evaluator
    from phinas.nas.search import search as search_space
    from phinas.nas.selection.baseline import select_baseline

    space = space_for_data(session.config, session.data)
    job_factory = session.job_factory if config.search.evaluator == "proxy" else None
    evaluator = make_evaluator(
        config.search, job_factory, limit_seconds=60 * config.run.trial_timeout_minutes
    )
    _report_evaluator(evaluator, session)
    executor = session.executor
    if evaluator.runs_inline:
        executor = InlineExecutor(1)
        update_manifest(session.run, workers=1, executor="inline")
    with session.display.stage("search") as on_progress:
        result = search_space(
            space,
            config.search,
            seed=config.run.seed,
            trial_store=session.storage.open_study("search", directions=config.search.directions),
            executor=executor,
            evaluator=evaluator,
            on_progress=on_progress,
            latency_timer=session.latency_timer,
        )
    if result.exponent_explanation:
        session.display.print(result.exponent_explanation)
    if result.space_exhausted:
        count = len(result.trials)
        networks = "one network" if count == 1 else f"{count} networks"
        session.display.print(
            f"space exhausted after {networks}: no other was found inside the gate"
        )
    with session.display.stage("finalists") as on_progress:
        baseline = select_baseline(
            result,
            config.search,
            space,
            seed=config.run.seed,
            trial_store=session.storage.open_study("finalists"),
            executor=executor,
            evaluator=evaluator,
            on_progress=on_progress,
            latency_timer=session.latency_timer,
        )
    baseline_record = baseline.to_dict(result)
    if baseline_record["reference"]:
        session.display.print(reference_message(baseline_record["reference"]))
    write_atomic(
        session.run.baseline,
        dump_yaml(baseline_record | {"space_exhausted": result.space_exhausted}),
    )


def _report_evaluator(evaluator: "Evaluator", session: Session) -> None:
    """Say and note what its accuracies are. A benchmark may have to be fitted first, which takes a
    minute.
    """
    display = session.display.stage("evaluator") if evaluator.runs_inline else nullcontext()
    with display:
        description = evaluator.metadata()
    if description:
        update_manifest(session.run, evaluator=description)
        session.display.print(f"accuracies: {description['accuracies']}")


def _write_user_baseline(session: Session) -> None:
    from phinas.space.cost import network_cost

    if session.run.baseline.exists():
        return
    spec = run_baseline(session.config, session.data, session.run)
    total_cost = network_cost(spec)
    baseline_record = {
        "spec": spec.to_dict(),
        "spec_id": spec.spec_id,
        "flops": total_cost.flops,
        "params": total_cost.params,
    }
    reason = (
        f"given: {session.config.scaling.baseline}, for {spec.classes} classes at "
        f"{spec.resolution} pixels of a side"
    )
    write_atomic(
        session.run.baseline, dump_yaml(baseline_record | {"explanation": reason, "finalists": []})
    )


def _scale(session: Session) -> None:
    from phinas.family_builder import build_family, cached_latency
    from phinas.scaling_search.family.family import write_family

    if session.config.scaling.baseline is not None:
        _write_user_baseline(session)
    baseline = read_baseline(session.run)
    if session.config.scaling.coefficients is None:
        coefficients = _search_coefficients(session, baseline)
    else:
        coefficients = _write_user_coefficients(session)
    latency = cached_latency(
        session.storage.open_study("scaling"), session.latency_timer, session.executor
    )
    family = build_family(baseline, coefficients, session.config.scaling, latency=latency)
    record_artifacts(session.run, write_family(family, session.run.family))


def _write_user_coefficients(session: Session) -> "Coefficients":
    """Those that the user brings: as they were when the run took them."""
    from phinas.scaling_search.race.user_coefficients import (
        describe_user_coefficients,
        load_user_coefficients,
    )

    section = session.config.scaling
    coefficients = load_user_coefficients(section, record_path=session.run.coefficients)
    write_atomic(
        session.run.coefficients, dump_yaml(describe_user_coefficients(coefficients, section))
    )
    return coefficients


def _search_coefficients(session: Session, baseline: ArchSpec) -> "Coefficients":
    from phinas.scaling_search.grid.nominal import nominal_grid
    from phinas.scaling_search.race.search import search_coefficients

    section = session.config.scaling
    if section.constraint == "nominal":
        warning = nominal_grid(baseline, section, max_resolution=session.max_resolution).warning()
        session.display.print(f"warning: {warning}")
    with session.display.stage("scaling") as on_progress:
        result = search_coefficients(
            baseline,
            section,
            seed=session.config.run.seed,
            max_resolution=session.max_resolution,
            trial_store=session.storage.open_study("scaling"),
            executor=session.executor,
            make_job=make_job_factory(session, baseline),
            on_progress=on_progress,
        )
    write_atomic(session.run.coefficients, dump_yaml(result.to_dict(section)))
    return result.coefficients


def _validate(session: Session) -> None:
    from phinas.experiment.seeds import derive_seed
    from phinas.scaling_search.family.family import read_family
    from phinas.scaling_search.race.user_coefficients import read_coefficients
    from phinas.scaling_search.validation.controls import make_controls, read_controls
    from phinas.scaling_search.validation.validate import members_to_train, validate_family
    from phinas.scaling_search.validation.validation_summary import summarize_validation

    section, seed, max_resolution = (
        session.config.validation,
        session.config.run.seed,
        session.max_resolution,
    )
    baseline = read_baseline(session.run)
    family = read_family(session.run.family, baseline)
    controls = make_controls(
        read_controls(section.controls),
        baseline,
        members_to_train(family, section, max_resolution=max_resolution),
        rounding=read_coefficients(session.run.coefficients, field="scaling"),
        max_resolution=max_resolution,
    )
    with session.display.stage("validation") as on_progress:
        validation = validate_family(
            family,
            section,
            seed=seed,
            max_resolution=max_resolution,
            trial_store=session.storage.open_study("validation"),
            executor=session.executor,
            make_job=session.job_factory.make_job,
            weights=session.run.family,
            on_progress=on_progress,
            controls=controls,
        )
    summary = summarize_validation(validation, seed=derive_seed(seed, "curve"))
    write_atomic(session.run.validation, dump_yaml(summary))
    record_artifacts(session.run, list(session.run.family.glob("*.safetensors")))


def _report(session: Session) -> None:
    from phinas.reports.page import write_report

    artifacts = [session.run.baseline, session.run.coefficients, session.run.validation]
    record_artifacts(session.run, [path for path in artifacts if path.exists()])
    with session.display.stage("report"):
        write_report(session.run)


STAGE_FUNCTIONS = {"search": _search, "scale": _scale, "validate": _validate, "report": _report}
