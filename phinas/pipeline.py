"""search, scale, validate, report: each stage reads what the one before wrote, and repeats nothing that is recorded.

There are no "stage done" marks. Every stage can be run again at any time: trainings that the record has are replayed, and the
files are written anew from them. Resuming is running.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiment.config import Config
from experiment.errors import InputError
from experiment.manifest import add_to_manifest, record_artefacts
from experiment.rundir import RunDir, write_atomic
from phinas.fitting import fitted_baseline, fitted_space, space_name
from phinas.measuring import measurer, require_measurer
from phinas.progress import Display
from phinas.session import STAGES, Session, open_session, read_config, read_goal
from phinas.summary import summary, told_of
from space.loading import load_space, load_spec
from space.spec import ArchSpec
from space.yaml_text import dump_yaml, read_yaml

if TYPE_CHECKING:
    from nas.evaluators.interface import Evaluator
    from scaling_search.coefficients import Coefficients


def run(config: Config, *, out: str | Path, stages: Sequence[str] = STAGES, quiet: bool = False) -> dict[str, Any]:
    """All of it: search, scale, validate, report, in the run directory `out`; the summary of what came out.

    An `out` that is a run of this configuration is carried on. Raises the errors of experiment.errors.
    """
    check(config, stages, recorded=RunDir(out).coefficients)
    display = Display(quiet=quiet)
    if "search" in stages and config.search.reward == "soft" and config.search.target is not None:
        from nas.reward import IDLE_TARGET

        display.say(f"note: search.target: {config.search.target:g}: {IDLE_TARGET}")
    directory = RunDir(out)
    with open_session(directory, config, goal=stages, admit=_admit, display=display) as session:
        for stage in STAGES:
            if stage in stages:
                _STAGES[stage](session)
    return summary(directory)


def search(config: Config, *, out: str | Path, quiet: bool = False) -> dict[str, Any]:
    """Only the search for a baseline, and the report of it. Raises InputError where the configuration brings a baseline."""
    if config.scaling.baseline is not None:
        raise InputError(f"scaling.baseline: {config.scaling.baseline!r} is given, so there is nothing to search; use `scale`")
    return run(config, out=out, stages=("search", "report"), quiet=quiet)


def scale(directory: str | Path, *, config: Config | None = None, quiet: bool = False) -> dict[str, Any]:
    """alpha, beta, gamma and the family for the baseline of a run.

    config: the run's own but for `scaling` and `validation`, which may differ as long as that stage has not begun.
    """
    target = RunDir(directory)
    return _again(target, config, ("scale", "report"), needs=target.baseline, verb="search", quiet=quiet)


def validate(directory: str | Path, *, config: Config | None = None, quiet: bool = False) -> dict[str, Any]:
    """Train the affordable members of a run's family; `config` as for `scale`."""
    target = RunDir(directory)
    return _again(target, config, ("validate", "report"), needs=target.coefficients, verb="scale", quiet=quiet)


def resume(directory: str | Path, *, quiet: bool = False) -> dict[str, Any]:
    """Carry a run on from wherever it stopped, to the end that it was started for."""
    target = RunDir(directory)
    target.require()
    return run(read_config(target), out=target.path, stages=read_goal(target), quiet=quiet)


def report(directory: str | Path) -> dict[str, Any]:
    """Write the report of a run anew from what the run holds. It may be running elsewhere."""
    target = RunDir(directory)
    target.require()
    from reports.page import write_report

    write_report(target)
    return summary(target)


def _again(
    target: RunDir, config: Config | None, stages: tuple[str, ...], *, needs: Path, verb: str, quiet: bool
) -> dict[str, Any]:
    config = config or read_config(target)
    if not needs.exists():
        raise InputError(f"{needs}: is not there yet; run `phinas {verb}` (or `phinas resume`) on this run first")
    return run(config, out=target.path, stages=stages, quiet=quiet)


def check(config: Config, stages: Sequence[str], *, recorded: Path | None = None) -> None:
    """What can be known to be wrong before anything is written. recorded: the coefficients that the run has already, if any.
    Raises InputError or SpecError."""
    from nas.strategies import require_strategy

    require_strategy(config.search.strategy, pareto=config.search.reward == "pareto")
    if {"scale", "validate"} & set(stages):
        require_measurer(config)
    trains = "validate" in stages or ("scale" in stages and config.scaling.evaluator == "proxy")
    if config.data is None and trains and config.scaling.baseline is not None:
        what = "validation" if "validate" in stages else "scaling"
        raise InputError(f"data.source: missing; {what} trains networks: name the images with --data, in a new run")
    if config.data is None and trains:
        raise InputError(
            "data.source: missing; scaling trains networks: use `phinas search` without images, and scale what it finds on "
            "yours: phinas scale --baseline RUN/search/baseline.yaml --data IMAGES --out NEW_RUN"
        )
    if config.run.executor == "inline" and config.run.workers not in ("auto", 1):
        raise InputError(f"run.workers: {config.run.workers} trainings at a time need run.executor: processes")
    if config.scaling.coefficients is not None and "scale" in stages:
        from scaling_search.given import given_coefficients

        given_coefficients(config.scaling, recorded=recorded)
    if "validate" in stages:
        from scaling_search.controls import read_controls

        read_controls(config.validation.controls)
    if config.scaling.baseline is not None:
        load_spec(config.scaling.baseline)
    elif "search" in stages:
        _check_search(config)


def _check_search(config: Config) -> None:
    from experiment.seeds import seed_of
    from nas.evaluators import OWN_SPACES, make_evaluator
    from nas.gate import require_reachable
    from nas.pruning import require_reports
    from nas.reference import require_reference
    from nas.search import gate_of

    space = load_space(space_name(config.search))
    if config.search.resolution:
        space = space.fitted(channels=space.base.channels, classes=space.base.classes, resolution=config.search.resolution)
    require_reference(config.search.reference)
    kind = config.search.evaluator.partition(":")[0]
    if kind in OWN_SPACES and config.data is not None:
        raise InputError(
            f"search.evaluator: {kind} knows networks for its own images, not for those of data.source; search without images, "
            "and scale what it finds on yours: phinas scale --baseline RUN/search/baseline.yaml --data IMAGES --out NEW_RUN"
        )
    if config.search.evaluator != "proxy":
        evaluator = make_evaluator(config.search, None, limit_seconds=0.0)
        evaluator.require_space(space)
        require_reports(config.search.pruner, config.search.evaluator, reports=evaluator.reports)
    elif config.search.noise:
        raise InputError(
            f"search.noise: {config.search.noise:g} is for accuracies that are looked up; trainings have noise of their own"
        )
    require_reachable(space, gate_of(config.search), seed=seed_of(config.run.seed, "gate"))


def _admit(session: Session) -> None:
    """What can be known to be wrong once the images are read, before anything is trained."""
    from scaling_search.grid import make_grid, require_room
    from training.device import resolve_device

    resolve_device(session.config.run.device)
    goal, scaling = read_goal(session.run), session.config.scaling
    if scaling.coefficients is not None:
        _admit_given(session)
    elif scaling.baseline is not None:
        make_grid(_given_baseline(session), scaling, largest_side=session.largest_side)
    elif "search" in goal:
        space = fitted_space(session.config, session.data)
        if "scale" in goal:
            require_room(space.base.resolution, scaling, largest_side=session.largest_side)


def _admit_given(session: Session) -> None:
    """With coefficients that are given there is no grid; whether they make the family can be known of a given baseline."""
    from phinas.ladder import make_ladder
    from scaling_search.given import given_coefficients

    goal, scaling = read_goal(session.run), session.config.scaling
    if scaling.baseline is not None:
        make_ladder(_given_baseline(session), given_coefficients(scaling, recorded=session.run.coefficients), scaling)
    elif "search" in goal:
        fitted_space(session.config, session.data)


def _search(session: Session) -> None:
    config = session.config
    if config.scaling.baseline is not None:
        _adopt_baseline(session)
        return
    from experiment.executors.inline import InlineExecutor
    from nas.baseline import choose_baseline
    from nas.evaluators import make_evaluator
    from nas.search import search as search_space

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
    """Say and note what its accuracies are. A benchmark may have to be fitted first, which takes a minute."""
    shown = session.display.stage("evaluator") if evaluator.instant else nullcontext()
    with shown:
        facts = evaluator.facts()
    if facts:
        add_to_manifest(session.run, evaluator=facts)
        session.display.say(f"accuracies: {facts['accuracies']}")


def _given_baseline(session: Session) -> ArchSpec:
    """The baseline that the user brings, for this data's channels and classes: as it was when the run began."""
    if session.run.baseline.exists():
        return _read_baseline(session.run)
    return fitted_baseline(session.config, session.data)


def _adopt_baseline(session: Session) -> None:
    from space.cost import cost

    if session.run.baseline.exists():
        return
    spec = _given_baseline(session)
    price = cost(spec)
    facts = {"spec": spec.to_dict(), "spec_id": spec.spec_id, "flops": price.flops, "params": price.params}
    given = f"given: {session.config.scaling.baseline}, for {spec.classes} classes at {spec.resolution} pixels of a side"
    write_atomic(session.run.baseline, dump_yaml(facts | {"why": given, "finalists": []}))


def _scale(session: Session) -> None:
    from phinas.ladder import make_ladder, recorded_latency
    from scaling_search.family import write_family

    if session.config.scaling.baseline is not None:
        _adopt_baseline(session)
    baseline = _read_baseline(session.run)
    if session.config.scaling.coefficients is None:
        coefficients = _search_coefficients(session, baseline)
    else:
        coefficients = _adopt_coefficients(session)
    latency = recorded_latency(session.store.ledger("scaling"), session.stopwatch, session.executor)
    family = make_ladder(baseline, coefficients, session.config.scaling, latency=latency)
    record_artefacts(session.run, write_family(family, session.run.family))


def _adopt_coefficients(session: Session) -> "Coefficients":
    """Those that the user brings: as they were when the run took them."""
    from scaling_search.given import given_coefficients, given_facts

    section = session.config.scaling
    coefficients = given_coefficients(section, recorded=session.run.coefficients)
    write_atomic(session.run.coefficients, dump_yaml(given_facts(coefficients, section)))
    return coefficients


def _search_coefficients(session: Session, baseline: ArchSpec) -> "Coefficients":
    from scaling_search.nominal import nominal_grid
    from scaling_search.search import search_coefficients

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
    from experiment.seeds import seed_of
    from scaling_search.controls import make_controls, read_controls
    from scaling_search.family import read_family
    from scaling_search.findings import describe_validation
    from scaling_search.given import read_coefficients
    from scaling_search.validate import members_to_train, validate_family

    section, seed, side = session.config.validation, session.config.run.seed, session.largest_side
    baseline = _read_baseline(session.run)
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
    from reports.page import write_report

    written = [session.run.baseline, session.run.coefficients, session.run.validation]
    record_artefacts(session.run, [path for path in written if path.exists()])
    with session.display.stage("report"):
        write_report(session.run)


_STAGES = {"search": _search, "scale": _scale, "validate": _validate, "report": _report}


def _read_baseline(run: RunDir) -> ArchSpec:
    return ArchSpec.from_dict(read_yaml(run.baseline)["spec"])
