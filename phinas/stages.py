"""What each stage does: it reads what the one before wrote, repeats nothing that is recorded, and
writes its files anew.
"""

from contextlib import nullcontext
from typing import TYPE_CHECKING

from phinas.adapt_to_data import fitted_space, given_baseline, read_baseline
from phinas.experiment.manifest import add_to_manifest, record_artefacts
from phinas.experiment.run_dir import write_atomic
from phinas.scaling_evaluator import measurer
from phinas.session import Session
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml
from phinas.summary import told_of

if TYPE_CHECKING:
    from phinas.nas.evaluators.interface import Evaluator
    from phinas.scaling_search.coefficients import Coefficients


def _search(session: Session) -> None:
    config = session.config
    if config.scaling.baseline is not None:
        _adopt_baseline(session)
        return
    from phinas.experiment.executors.inline import InlineExecutor
    from phinas.nas.evaluators import make_evaluator
    from phinas.nas.search import search as search_space
    from phinas.nas.selection.baseline import choose_baseline

    space = fitted_space(session.config, session.data)
    trainer = session.trainer if config.search.evaluator == "proxy" else None
    evaluator = make_evaluator(config.search, trainer, limit_seconds=60 * config.run.trial_minutes)
    _introduce(evaluator, session)
    executor = session.executor
    if evaluator.instant:
        executor = InlineExecutor(1)
        add_to_manifest(session.run, workers=1, executor="inline")
    with session.display.stage("search") as notify:
        result = search_space(
            space,
            config.search,
            seed=config.run.seed,
            ledger=session.store.ledger("search", aims=config.search.aims),
            executor=executor,
            evaluator=evaluator,
            notify=notify,
            stopwatch=session.stopwatch,
        )
    if result.why_weight:
        session.display.say(result.why_weight)
    if result.exhausted:
        count = len(result.trials)
        networks = "one network" if count == 1 else f"{count} networks"
        session.display.say(f"space exhausted after {networks}: no other was found inside the gate")
    with session.display.stage("finalists") as notify:
        baseline = choose_baseline(
            result,
            config.search,
            space,
            seed=config.run.seed,
            ledger=session.store.ledger("finalists"),
            executor=executor,
            evaluator=evaluator,
            notify=notify,
            stopwatch=session.stopwatch,
        )
    facts = baseline.to_dict(result)
    if facts["reference"]:
        session.display.say(told_of(facts["reference"]))
    write_atomic(session.run.baseline, dump_yaml(facts | {"exhausted": result.exhausted}))


def _introduce(evaluator: "Evaluator", session: Session) -> None:
    """Say and note what its accuracies are. A benchmark may have to be fitted first, which takes a
    minute.
    """
    shown = session.display.stage("evaluator") if evaluator.instant else nullcontext()
    with shown:
        facts = evaluator.facts()
    if facts:
        add_to_manifest(session.run, evaluator=facts)
        session.display.say(f"accuracies: {facts['accuracies']}")


def _adopt_baseline(session: Session) -> None:
    from phinas.space.cost import cost

    if session.run.baseline.exists():
        return
    spec = given_baseline(session.config, session.data, session.run)
    price = cost(spec)
    facts = {
        "spec": spec.to_dict(),
        "spec_id": spec.spec_id,
        "flops": price.flops,
        "params": price.params,
    }
    given = (
        f"given: {session.config.scaling.baseline}, for {spec.classes} classes at "
        f"{spec.resolution} pixels of a side"
    )
    write_atomic(session.run.baseline, dump_yaml(facts | {"why": given, "finalists": []}))


def _scale(session: Session) -> None:
    from phinas.family_builder import make_ladder, recorded_latency
    from phinas.scaling_search.family.family import write_family

    if session.config.scaling.baseline is not None:
        _adopt_baseline(session)
    baseline = read_baseline(session.run)
    if session.config.scaling.coefficients is None:
        coefficients = _search_coefficients(session, baseline)
    else:
        coefficients = _adopt_coefficients(session)
    latency = recorded_latency(session.store.ledger("scaling"), session.stopwatch, session.executor)
    family = make_ladder(baseline, coefficients, session.config.scaling, latency=latency)
    record_artefacts(session.run, write_family(family, session.run.family))


def _adopt_coefficients(session: Session) -> "Coefficients":
    """Those that the user brings: as they were when the run took them."""
    from phinas.scaling_search.race.user_coefficients import given_coefficients, given_facts

    section = session.config.scaling
    coefficients = given_coefficients(section, recorded=session.run.coefficients)
    write_atomic(session.run.coefficients, dump_yaml(given_facts(coefficients, section)))
    return coefficients


def _search_coefficients(session: Session, baseline: ArchSpec) -> "Coefficients":
    from phinas.scaling_search.grid.nominal import nominal_grid
    from phinas.scaling_search.race.search import search_coefficients

    section = session.config.scaling
    if section.constraint == "nominal":
        warning = nominal_grid(baseline, section, largest_side=session.largest_side).warning()
        session.display.say(f"warning: {warning}")
    with session.display.stage("scaling") as notify:
        result = search_coefficients(
            baseline,
            section,
            seed=session.config.run.seed,
            largest_side=session.largest_side,
            ledger=session.store.ledger("scaling"),
            executor=session.executor,
            make_job=measurer(session, baseline),
            notify=notify,
        )
    write_atomic(session.run.coefficients, dump_yaml(result.to_dict(section)))
    return result.coefficients


def _validate(session: Session) -> None:
    from phinas.experiment.seeds import seed_of
    from phinas.scaling_search.family.family import read_family
    from phinas.scaling_search.race.user_coefficients import read_coefficients
    from phinas.scaling_search.validation.controls import make_controls, read_controls
    from phinas.scaling_search.validation.validate import members_to_train, validate_family
    from phinas.scaling_search.validation.validation_summary import describe_validation

    section, seed, side = session.config.validation, session.config.run.seed, session.largest_side
    baseline = read_baseline(session.run)
    family = read_family(session.run.family, baseline)
    controls = make_controls(
        read_controls(section.controls),
        baseline,
        members_to_train(family, section, largest_side=side),
        rounding=read_coefficients(session.run.coefficients, field="scaling"),
        largest_side=side,
    )
    with session.display.stage("validation") as notify:
        validation = validate_family(
            family,
            section,
            seed=seed,
            largest_side=side,
            ledger=session.store.ledger("validation"),
            executor=session.executor,
            make_job=session.trainer.job,
            weights=session.run.family,
            notify=notify,
            controls=controls,
        )
    facts = describe_validation(validation, seed=seed_of(seed, "curve"))
    write_atomic(session.run.validation, dump_yaml(facts))
    record_artefacts(session.run, list(session.run.family.glob("*.safetensors")))


def _report(session: Session) -> None:
    from phinas.reports.page import write_report

    written = [session.run.baseline, session.run.coefficients, session.run.validation]
    record_artefacts(session.run, [path for path in written if path.exists()])
    with session.display.stage("report"):
        write_report(session.run)


STAGE_WORK = {"search": _search, "scale": _scale, "validate": _validate, "report": _report}
