"""What was run on what, and what a reader must know to judge the numbers."""

from statistics import median
from typing import Any

from phinas.nas.reward import IDLE_TARGET
from phinas.reports.formatting import counted, shortened
from phinas.reports.run_data import Records

Facts = list[tuple[str, str]]


def machine_facts(records: Records) -> Facts:
    manifest = records.manifest
    machine = manifest.get("machine", {})
    packages = ", ".join(
        f"{name} {version}" for name, version in machine.get("packages", {}).items() if version
    )
    run = records.config.run
    memory = machine.get("memory_bytes", 0)
    facts = [
        ("command", " ".join(manifest.get("command", []))),
        ("seed", str(manifest.get("seed", run.seed))),
        ("commit", manifest.get("commit") or "not of a source tree"),
        ("packages", packages),
        ("Python, system", f"{machine.get('python', '?')}, {machine.get('system', '?')}"),
        (
            "processor",
            f"{machine.get('processor', '?')}, {counted(machine.get('cores') or 0, 'core')}",
        ),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"),
        ("trained on", ", ".join(_devices(records)) or ("nothing yet" if records.imaged else "")),
        (
            "workers",
            f"{manifest.get('workers', run.workers)} ({manifest.get('executor', run.executor)})",
        ),
        ("time in training", _hours(records)),
    ]
    return [(name, value) for name, value in facts if value]


def _measurements(records: Records) -> list[dict[str, Any]]:
    """Of trainings: those of a search that trains, and of what came after it."""
    after = {
        name: rows for name, rows in records.rows.items() if name not in ("search", "finalists")
    }
    studies = records.rows if records.trained else after
    return [
        row.attributes["measurement"]
        for rows in studies.values()
        for row in rows
        if row.done or row.pruned
    ]


def _devices(records: Records) -> list[str]:
    return sorted(
        {str(measured["device"]) for measured in _measurements(records) if measured.get("device")}
    )


def _hours(records: Records) -> str:
    measured = _measurements(records)
    seconds = sum(row.get("train_seconds", 0.0) for row in measured)
    shown = f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"
    return (
        f"{shown} in all, of {counted(len(measured), 'training')}"
        if measured and records.imaged
        else ""
    )


def source(records: Records) -> str:
    """Where the accuracies come from."""
    if records.config.data:
        return records.config.data.source
    return (records.scaled_by or "no images") if records.given else records.config.search.evaluator


def accuracies(records: Records) -> str:
    """What an evaluator says of its accuracies; nothing where they are trainings on the images."""
    said = records.manifest.get("evaluator", {}).get("accuracies", "")
    return said or ("" if records.trained else f"of {records.config.search.evaluator}")


def about_accuracies(records: Records) -> str:
    said = accuracies(records)
    if records.scaled_by:
        return (
            f"accuracies of the scaling search are those of {records.scaled_by}, not of trainings"
        )
    return (
        f"accuracies: {said}"
        if said
        else "accuracies are top-1, after short trainings, and compare networks of this page only"
    )


def data_facts(records: Records) -> Facts:
    data = records.manifest.get("data")
    facts = [("source", source(records))]
    if accuracies(records):
        facts.append(("accuracies", accuracies(records)))
    if not data:
        return [*facts, ("images", "not read yet" if records.imaged else "none")]
    splits = ", ".join(f"{data[name]:,} {name}" for name in ("train", "validation", "test"))
    return [
        *facts,
        ("images", f"{splits}; {counted(data['classes'], 'class', 'classes')}"),
        ("stored as", f"{data['side']} pixels of a side, {counted(data['channels'], 'channel')}"),
        ("fingerprint", str(data["fingerprint"])),
        ("left out as unreadable", _skipped(data.get("skipped", []))),
    ]


def _skipped(skipped: list[Any]) -> str:
    if not skipped:
        return "none"
    names = ", ".join(str(item) for item in skipped[:5])
    return shortened(f"{len(skipped):,}: {names}{', ...' if len(skipped) > 5 else ''}")


def warnings(records: Records) -> list[str]:
    """What makes the numbers worth less than they look."""
    data = records.manifest.get("data") or {}
    kind = "training" if records.imaged else "measurement"
    told = []
    if data.get("duplicates"):
        told.append(
            f"{counted(data['duplicates'], 'image')} of the validation or test images are in "
            "another split too: "
            "accuracies on them are too high. Remove the copies from the data and run again."
        )
    if records.failures:
        told.append(f"{counted(len(records.failures), kind)} failed; the reasons are listed below.")
    if records.cut_off:
        told.append(
            f"The run was interrupted: {counted(records.cut_off, f'{kind} was', f'{kind}s were')} "
            "cut off and put back "
            "with the same choices; they are counted once."
        )
    if records.unfinished:
        told.append(
            f"{counted(records.unfinished, f'{kind} is', f'{kind}s are')} under way or waiting "
            "for `phinas resume DIR`."
        )
    if (records.baseline or {}).get("exhausted"):
        told.append(
            "The space is exhausted: every network inside the gate was measured before the budget "
            "was spent."
        )
    return told


def notes(records: Records) -> list[str]:
    """What holds for every run of this kind."""
    run = records.config.run
    kind = "training" if records.imaged else "measurement"
    one = records.manifest.get("workers", run.workers) == 1 or run.executor == "inline"
    order = (
        f"One {kind} at a time: the same command and seed propose the same networks again."
        if one
        else f"With several workers the order in which {kind}s end influences what is proposed "
        "next: the same seed may "
        "propose other networks on another machine. The order is in the record."
    )
    search = records.config.search
    idle = search.reward == "soft" and search.target is not None and not records.given
    epochs, final = records.config.search.recipe.epochs, records.config.validation.recipe.epochs
    in_search = f"{counted(epochs, 'epoch')} in the search, " if records.trained else ""
    trainings = (
        f"Trainings are short ({in_search}{final} in the validation) and serve to compare "
        "networks of this page with each other. They are not comparable with published accuracies."
    )
    saw = "The search and the scaling" if records.trained else "The scaling"
    tested = "the family and its controls" if records.controls else "the family alone"
    splits = (
        f"{saw} saw training and validation images only; the test split was opened for {tested}."
    )
    return [
        "FLOPs are multiply-adds of convolutions and the classifier, per image; other tools may "
        "count twice as many.",
        *([trainings] if records.imaged else []),
        *_pruning(records),
        *([splits] if records.imaged else []),
        order,
        *([f"search.target is {search.target:g}, but {IDLE_TARGET}."] if idle else []),
        *_about_latency(records),
    ]


def _pruning(records: Records) -> list[str]:
    """How many trials were stopped, and what that saved; their own pace says how long the rest
    would have taken.
    """
    section, pruned = records.config.search, records.pruned
    if section.pruner == "none":
        return []
    if not pruned:
        return [f"The pruner ({section.pruner}) stopped no trial."]
    whole = section.recipe.epochs
    trained = [max(row.reports) for row in pruned]
    saved = sum(whole - epochs for epochs in trained)
    pace = [
        row.measurement.train_seconds / epochs for row, epochs in zip(pruned, trained, strict=True)
    ]
    seconds = sum(each * (whole - epochs) for each, epochs in zip(pace, trained, strict=True))
    time = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
    trials = len(records.trials) + len(pruned)
    return [
        f"The pruner ({section.pruner}) stopped {len(pruned)} of {counted(trials, 'trial')} on "
        "their way: "
        f"{saved:,} of {whole * trials:,} epochs were not trained, about {time}."
    ]


def _about_latency(records: Records) -> list[str]:
    timed = [row.attributes for row in records.rows["search"] if "latency_ms" in row.attributes]
    if not timed:
        return []
    spread = median(
        (facts["latency_quartiles_ms"][1] - facts["latency_quartiles_ms"][0]) / facts["latency_ms"]
        for facts in timed
    )
    runs = min(facts["latency_runs"] for facts in timed)
    beside = records.manifest.get("workers", 1) != 1
    told = (
        f"Latency is the median of at least {runs} undisturbed inferences of each network, with "
        "random weights, on "
        f"{timed[0]['latency_on']}; the middle half of them spans {100 * spread:.0f}% of it "
        "(median over the networks)."
    )
    told += " It differs a little from run to run, and so may what is proposed from it."
    return [told + (" Other trainings ran beside it, which slows it down." if beside else "")]


def artefacts(records: Records) -> list[tuple[str, str, str]]:
    """Path inside the run directory, bytes, sha256."""
    rows = records.manifest.get("artefacts", {})
    return [(name, f"{facts['bytes']:,}", facts["sha256"]) for name, facts in sorted(rows.items())]
