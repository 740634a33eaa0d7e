"""What was run on what, and what a reader must know to judge the numbers."""

from statistics import median
from typing import Any

from phinas.nas.reward import UNUSED_TARGET_NOTE
from phinas.reports.formatting import pluralize, truncate
from phinas.reports.run_data import RunData

LabeledValues = list[tuple[str, str]]


def make_machine_rows(run_data: RunData) -> LabeledValues:
    manifest = run_data.manifest
    machine = manifest.get("machine", {})
    packages = ", ".join(
        f"{name} {version}" for name, version in machine.get("packages", {}).items() if version
    )
    run = run_data.config.run
    memory = machine.get("memory_bytes", 0)
    rows = [
        ("command", " ".join(manifest.get("command", []))),
        ("seed", str(manifest.get("seed", run.seed))),
        ("commit", manifest.get("commit") or "not of a source tree"),
        ("packages", packages),
        ("Python, system", f"{machine.get('python', '?')}, {machine.get('system', '?')}"),
        (
            "processor",
            f"{machine.get('processor', '?')}, {pluralize(machine.get('cores') or 0, 'core')}",
        ),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"),
        (
            "trained on",
            ", ".join(_list_devices(run_data)) or ("nothing yet" if run_data.has_images else ""),
        ),
        (
            "workers",
            f"{manifest.get('workers', run.workers)} ({manifest.get('executor', run.executor)})",
        ),
        ("time in training", _format_training_time(run_data)),
    ]
    return [(name, value) for name, value in rows if value]


def _list_measurements(run_data: RunData) -> list[dict[str, Any]]:
    """Of trainings: those of a search that trains, and of what came after it."""
    later_studies = {
        name: rows
        for name, rows in run_data.trial_records.items()
        if name not in ("search", "finalists")
    }
    studies = run_data.trial_records if run_data.search_trains_networks else later_studies
    return [
        row.user_attrs["measurement"]
        for rows in studies.values()
        for row in rows
        if row.is_complete or row.is_pruned
    ]


def _list_devices(run_data: RunData) -> list[str]:
    return sorted(
        {
            str(measurement["device"])
            for measurement in _list_measurements(run_data)
            if measurement.get("device")
        }
    )


def _format_training_time(run_data: RunData) -> str:
    measurements = _list_measurements(run_data)
    seconds = sum(row.get("train_seconds", 0.0) for row in measurements)
    duration = f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"
    return (
        f"{duration} in all, of {pluralize(len(measurements), 'training')}"
        if measurements and run_data.has_images
        else ""
    )


def describe_accuracy_source(run_data: RunData) -> str:
    """Where the accuracies come from."""
    if run_data.config.data:
        return run_data.config.data.source
    return (
        (run_data.scaling_accuracy_source or "no images")
        if run_data.has_user_baseline
        else run_data.config.search.evaluator
    )


def describe_evaluator_accuracies(run_data: RunData) -> str:
    """What an evaluator says of its accuracies; nothing where they are trainings on the images."""
    description = run_data.manifest.get("evaluator", {}).get("accuracies", "")
    return description or (
        "" if run_data.search_trains_networks else f"of {run_data.config.search.evaluator}"
    )


def describe_accuracies(run_data: RunData) -> str:
    description = describe_evaluator_accuracies(run_data)
    if run_data.scaling_accuracy_source:
        return (
            f"accuracies of the scaling search are those of {run_data.scaling_accuracy_source}, "
            "not of trainings"
        )
    return (
        f"accuracies: {description}"
        if description
        else "accuracies are top-1, after short trainings, and compare networks of this page only"
    )


def make_data_rows(run_data: RunData) -> LabeledValues:
    data = run_data.manifest.get("data")
    rows = [("source", describe_accuracy_source(run_data))]
    if describe_evaluator_accuracies(run_data):
        rows.append(("accuracies", describe_evaluator_accuracies(run_data)))
    if not data:
        return [*rows, ("images", "not read yet" if run_data.has_images else "none")]
    splits = ", ".join(f"{data[name]:,} {name}" for name in ("train", "validation", "test"))
    return [
        *rows,
        ("images", f"{splits}; {pluralize(data['classes'], 'class', 'classes')}"),
        (
            "stored as",
            f"{data['image_size']} pixels of a side, {pluralize(data['channels'], 'channel')}",
        ),
        ("fingerprint", str(data["fingerprint"])),
        ("left out as unreadable", _format_skipped(data.get("skipped_images", []))),
    ]


def _format_skipped(skipped: list[Any]) -> str:
    if not skipped:
        return "none"
    names = ", ".join(str(item) for item in skipped[:5])
    return truncate(f"{len(skipped):,}: {names}{', ...' if len(skipped) > 5 else ''}")


def list_warnings(run_data: RunData) -> list[str]:
    """What makes the numbers worth less than they look."""
    data = run_data.manifest.get("data") or {}
    kind = "training" if run_data.has_images else "measurement"
    warnings = []
    if data.get("duplicates"):
        warnings.append(
            f"{pluralize(data['duplicates'], 'image')} of the validation or test images are in "
            "another split too: accuracies on them are too high. Remove the copies from the data "
            "and run again."
        )
    if run_data.failures:
        warnings.append(
            f"{pluralize(len(run_data.failures), kind)} failed; the reasons are listed below."
        )
    if run_data.num_interrupted:
        warnings.append(
            "The run was interrupted: "
            f"{pluralize(run_data.num_interrupted, f'{kind} was', f'{kind}s were')} cut off and "
            "put back with the same choices; they are counted once."
        )
    if run_data.num_unfinished:
        warnings.append(
            f"{pluralize(run_data.num_unfinished, f'{kind} is', f'{kind}s are')} under way or "
            "waiting for `phinas resume DIR`."
        )
    if (run_data.baseline or {}).get("space_exhausted"):
        warnings.append(
            "The space is exhausted: every network inside the gate was measured before the budget "
            "was spent."
        )
    return warnings


def list_notes(run_data: RunData) -> list[str]:
    """What holds for every run of this kind."""
    run = run_data.config.run
    kind = "training" if run_data.has_images else "measurement"
    is_sequential = run_data.manifest.get("workers", run.workers) == 1 or run.executor == "inline"
    order = (
        f"One {kind} at a time: the same command and seed propose the same networks again."
        if is_sequential
        else f"With several workers the order in which {kind}s end influences what is proposed "
        "next: the same seed may "
        "propose other networks on another machine. The order is in the record."
    )
    search = run_data.config.search
    target_has_no_effect = (
        search.reward == "soft"
        and search.target_cost is not None
        and not run_data.has_user_baseline
    )
    epochs, final = run_data.config.search.recipe.epochs, run_data.config.validation.recipe.epochs
    in_search = (
        f"{pluralize(epochs, 'epoch')} in the search, " if run_data.search_trains_networks else ""
    )
    trainings = (
        f"Trainings are short ({in_search}{final} in the validation) and serve to compare networks "
        "of this page with each other. They are not comparable with published accuracies."
    )
    subject = "The search and the scaling" if run_data.search_trains_networks else "The scaling"
    tested_networks = "the family and its controls" if run_data.controls else "the family alone"
    splits = (
        f"{subject} saw training and validation images only; the test split was opened for "
        f"{tested_networks}."
    )
    return [
        "FLOPs are multiply-adds of convolutions and the classifier, per image; other tools may "
        "count twice as many.",
        *([trainings] if run_data.has_images else []),
        *_describe_pruning(run_data),
        *([splits] if run_data.has_images else []),
        order,
        *(
            [f"search.target_cost is {search.target_cost:g}, but {UNUSED_TARGET_NOTE}."]
            if target_has_no_effect
            else []
        ),
        *_describe_latency(run_data),
    ]


def _describe_pruning(run_data: RunData) -> list[str]:
    """How many trials were stopped, and what that saved; their own pace says how long the rest
    would have taken.
    """
    section, pruned_trials = run_data.config.search, run_data.pruned_trials
    if section.pruner == "none":
        return []
    if not pruned_trials:
        return [f"The pruner ({section.pruner}) stopped no trial."]
    full_epochs = section.recipe.epochs
    epochs_by_trial = [max(row.intermediate_values) for row in pruned_trials]
    epochs_saved = sum(full_epochs - epochs for epochs in epochs_by_trial)
    seconds_per_epoch = [
        row.measurement.train_seconds / epochs
        for row, epochs in zip(pruned_trials, epochs_by_trial, strict=True)
    ]
    seconds = sum(
        pace * (full_epochs - epochs)
        for pace, epochs in zip(seconds_per_epoch, epochs_by_trial, strict=True)
    )
    time = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
    trials = len(run_data.trials) + len(pruned_trials)
    return [
        f"The pruner ({section.pruner}) stopped {len(pruned_trials)} of "
        f"{pluralize(trials, 'trial')} on their way: {epochs_saved:,} of {full_epochs * trials:,} "
        f"epochs were not trained, about {time}."
    ]


def _describe_latency(run_data: RunData) -> list[str]:
    timed_trials = [
        row.user_attrs for row in run_data.trial_records["search"] if "latency_ms" in row.user_attrs
    ]
    if not timed_trials:
        return []
    relative_iqr = median(
        (attributes["latency_quartiles_ms"][1] - attributes["latency_quartiles_ms"][0])
        / attributes["latency_ms"]
        for attributes in timed_trials
    )
    runs = min(attributes["latency_runs"] for attributes in timed_trials)
    ran_concurrently = run_data.manifest.get("workers", 1) != 1
    text = (
        f"Latency is the median of at least {runs} undisturbed inferences of each network, with "
        f"random weights, on {timed_trials[0]['latency_hardware']}; the middle half of them spans "
        f"{100 * relative_iqr:.0f}% of it (median over the networks)."
    )
    text += " It differs a little from run to run, and so may what is proposed from it."
    return [
        text + (" Other trainings ran beside it, which slows it down." if ran_concurrently else "")
    ]


def make_artifact_rows(run_data: RunData) -> list[tuple[str, str, str]]:
    """Path inside the run directory, bytes, sha256."""
    artifacts = run_data.manifest.get("artifacts", {})
    return [
        (name, f"{artifact['bytes']:,}", artifact["sha256"])
        for name, artifact in sorted(artifacts.items())
    ]
