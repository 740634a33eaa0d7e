"""What was run, on which data and machine, and what limits the results."""

from pathlib import Path
from statistics import median

from phinas.experiment.artifacts.manifest import Machine
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.reward import UNUSED_TARGET_NOTE
from phinas.nas.trial import TrialAttributes
from phinas.reports.formatting import pluralize, truncate
from phinas.reports.run_data import RunData
from phinas.reports.sentences.duplicates import list_leaks
from phinas.reports.sentences.rendering import list_sentences, render

LabeledValues = list[tuple[str, str]]
_MAX_NAMED_IMAGES = 5


def make_machine_rows(run_data: RunData) -> LabeledValues:
    """Command, versions, machine and training time."""
    manifest, run = run_data.manifest, run_data.config.run
    machine = manifest.machine
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "unknown"
    devices = ", ".join(_list_devices(run_data))
    workers, executor = manifest.workers or run.workers, manifest.executor or run.executor
    rows = [
        ("command", " ".join(manifest.command)),
        ("seed", str(manifest.seed)),
        ("commit", manifest.commit or "not run from a source tree"),
        ("packages", _describe_packages(machine)),
        ("Python, system", f"{machine.python}, {machine.system}"),
        ("processor", f"{machine.processor}, {pluralize(machine.cores, 'core')}"),
        ("memory", memory),
        ("training device", devices or ("nothing yet" if run_data.has_images else "")),
        ("workers", f"{workers} ({executor})"),
        ("training time", _format_training_time(run_data)),
    ]
    return [(name, value) for name, value in rows if value]


def _describe_packages(machine: Machine) -> str:
    return ", ".join(f"{name} {version}" for name, version in machine.packages.items() if version)


def _list_measurements(run_data: RunData) -> list[Measurement]:
    """Measurements of trainings: of the search if it trains networks, and of the later stages."""
    studies = run_data.trial_records
    if not run_data.search_trains_networks:
        studies = {
            name: records
            for name, records in studies.items()
            if name not in ("search", "proxy_check", "finalists")
        }
    return [
        record.measurement
        for records in studies.values()
        for record in records
        if record.is_complete or record.is_pruned
    ]


def _list_devices(run_data: RunData) -> list[str]:
    return sorted(
        {measurement.device for measurement in _list_measurements(run_data) if measurement.device}
    )


def _format_training_time(run_data: RunData) -> str:
    measurements = _list_measurements(run_data)
    if not measurements or not run_data.has_images:
        return ""
    seconds = sum(measurement.train_seconds for measurement in measurements)
    duration = f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"
    return f"{duration} for {pluralize(len(measurements), 'training')}"


def describe_score_source(run_data: RunData) -> str:
    """Where the scores come from."""
    if run_data.config.data:
        return run_data.config.data.source
    if run_data.has_user_baseline:
        return run_data.scaling_score_source or "no images"
    return run_data.config.search.evaluator


def make_default_title(run_data: RunData) -> str:
    """The title of a run that has no name."""
    source = describe_score_source(run_data)
    return render(
        "notes",
        "title",
        baseline=run_data.config.scaling.baseline or "",
        source=(Path(source).name or source) if run_data.has_images else source,
        has_images=run_data.has_images,
        is_scaled=run_data.coefficients is not None or "scale" in run_data.manifest.goal,
    )


def describe_evaluator_scores(run_data: RunData) -> str:
    """The evaluator's description of its scores; "" for trainings on the images."""
    evaluator = run_data.manifest.evaluator
    if evaluator is not None:
        return evaluator.scores
    return "" if run_data.search_trains_networks else f"of {run_data.config.search.evaluator}"


def describe_scores(run_data: RunData) -> str:
    """What the scores of the page are."""
    return render(
        "notes",
        "scores_note",
        source=run_data.scaling_score_source,
        description=describe_evaluator_scores(run_data),
        label="top-1 accuracy"
        if run_data.search_score_label == "accuracy"
        else run_data.search_score_label,
    )


def make_data_rows(run_data: RunData) -> LabeledValues:
    """The data set."""
    data, scores = run_data.manifest.data, describe_evaluator_scores(run_data)
    rows = [("source", describe_score_source(run_data))]
    if scores:
        rows.append(("scores", scores))
    if data is None:
        return [*rows, ("images", "not read yet" if run_data.has_images else "none")]
    splits = f"{data.train:,} train, {data.validation:,} validation, {data.test:,} test"
    return [
        *rows,
        ("images", f"{splits}; {pluralize(data.classes, 'class', 'classes')}"),
        ("stored as", f"{data.image_size} px, {pluralize(data.channels, 'channel')}"),
        ("fingerprint", data.fingerprint),
        ("unreadable, skipped", _format_skipped(data.skipped_images)),
        *_list_dropped(data.duplicates.dropped),
    ]


def _list_dropped(count: int) -> LabeledValues:
    return [("copies left out", pluralize(count, "training image"))] if count else []


def _format_skipped(skipped: tuple[str, ...]) -> str:
    if not skipped:
        return "none"
    names = ", ".join(skipped[:_MAX_NAMED_IMAGES])
    return truncate(
        f"{len(skipped):,}: {names}{', ...' if len(skipped) > _MAX_NAMED_IMAGES else ''}"
    )


def list_warnings(run_data: RunData) -> list[str]:
    """Problems of the run that limit its results."""
    data, selection = run_data.manifest.data, run_data.selection
    unit = "training" if run_data.has_images else "measurement"
    counts = {
        "failures": len(run_data.failures),
        "interrupted": run_data.num_interrupted,
        "unfinished": run_data.num_unfinished,
    }
    missing_members = [name.upper() for name in run_data.missing_members]
    return list_sentences(
        *(f"{sentence}." for sentence in (list_leaks(data) if data else ())),
        render("notes", "missing_members", names=missing_members) if missing_members else "",
        *(render("notes", name, count=count, unit=unit) for name, count in counts.items() if count),
        render("notes", "space_exhausted") if selection and selection.space_exhausted else "",
    )


def list_notes(run_data: RunData) -> list[str]:
    """What holds for every run of this kind."""
    run, search = run_data.config.run, run_data.config.search
    workers = run_data.manifest.workers or run.workers
    is_sequential = workers == 1 or run.executor == "inline"
    unit = "training" if run_data.has_images else "measurement"
    return list_sentences(
        render("notes", "flops"),
        _describe_trainings(run_data),
        _describe_earlier_searches(run_data),
        _describe_pruning(run_data),
        render(
            "notes",
            "splits",
            search_trains=_was_search_trained(run_data),
            uses_test=any(row.is_complete for row in run_data.trial_records["validation"])
            or bool(run_data.tested_members),
            has_controls=bool(run_data.tested_controls),
        )
        if run_data.has_images
        else "",
        render("notes", "order", is_sequential=is_sequential, unit=unit),
        render("notes", "target", value=search.target_cost, note=UNUSED_TARGET_NOTE)
        if search.reward == "soft"
        and search.target_cost is not None
        and not run_data.has_user_baseline
        else "",
        _describe_latency(run_data),
    )


def _was_search_trained(run_data: RunData) -> bool:
    """Whether there is a search whose scores come from trainings."""
    return run_data.search_trains_networks and not run_data.has_user_baseline


def _describe_trainings(run_data: RunData) -> str:
    if not run_data.has_images:
        return ""
    config = run_data.config
    return render(
        "notes",
        "trainings",
        search_epochs=config.search.recipe.epochs if _was_search_trained(run_data) else 0,
        final_epochs=config.validation.recipe.epochs,
    )


def _describe_earlier_searches(run_data: RunData) -> str:
    """The other runs from which the search learned."""
    if run_data.earlier_searches is None:
        return ""
    searches = run_data.earlier_searches.searches
    return render(
        "notes",
        "earlier_searches",
        runs=[f"{search.run} ({pluralize(len(search.scores), 'trial')})" for search in searches],
    )


def _describe_pruning(run_data: RunData) -> str:
    """How many trials the pruner stopped, with the epochs and the time saved, or how many
    trainings the strategy left paused.
    """
    section, pruned_trials = run_data.config.search, run_data.pruned_trials
    num_trials = len(run_data.trials) + len(pruned_trials)
    if section.pruner == "none":
        if not pruned_trials:
            return ""
        return render(
            "notes",
            "paused",
            strategy=section.strategy,
            num_paused=len(pruned_trials),
            num_trials=num_trials,
        )
    if not pruned_trials:
        return render("notes", "pruner_idle", pruner=section.pruner)
    full_epochs = section.recipe.epochs
    seconds = sum(_seconds_saved(record, full_epochs) for record in pruned_trials)
    return render(
        "notes",
        "pruner",
        pruner=section.pruner,
        num_pruned=len(pruned_trials),
        num_trials=num_trials,
        epochs_saved=sum(full_epochs - _epochs_trained(record) for record in pruned_trials),
        epochs=full_epochs * num_trials,
        time=f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds",
    )


def _epochs_trained(record: TrialRecord) -> int:
    return max(record.intermediate_values)


def _seconds_saved(record: TrialRecord, full_epochs: int) -> float:
    epochs = _epochs_trained(record)
    return record.measurement.train_seconds / epochs * (full_epochs - epochs)


def _describe_latency(run_data: RunData) -> str:
    attributes = [
        TrialAttributes.from_record(record) for record in run_data.trial_records["search"]
    ]
    timings = [trial.latency for trial in attributes if trial.latency is not None]
    if not timings:
        return ""
    spread = median(
        (timing.latency_quartiles_ms[1] - timing.latency_quartiles_ms[0]) / timing.latency_ms
        for timing in timings
    )
    return render(
        "notes",
        "latency",
        runs=min(timing.latency_runs for timing in timings),
        hardware=timings[0].latency_hardware,
        spread=spread,
        ran_concurrently=(run_data.manifest.workers or 1) != 1,
    )


def make_artifact_rows(run_data: RunData) -> list[tuple[str, str, str]]:
    """Path inside the run directory, bytes, sha256."""
    artifacts = sorted(run_data.manifest.artifacts.items())
    return [(name, f"{artifact.bytes:,}", artifact.sha256) for name, artifact in artifacts]
