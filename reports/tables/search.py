"""The search as tables: its trials, the finalists, and what failed in any study."""

from typing import Any

from phinas.experiment.trial_store import Row
from phinas.reports.formatting import DASH, percent, shortened
from phinas.reports.run_data import Records
from phinas.reports.tables.cells import Cell, Exhibit, columns, number, percentage, whole

SHOWN_TRIALS = 300


def show_trials(records: Records) -> Exhibit | None:
    trials = sorted(records.trials, key=lambda trial: -trial.reward)[:SHOWN_TRIALS]
    if not trials:
        return None
    front = {trial.number for trial in records.front}
    extra = {"activations": "activations", "latency": "latency, ms"}.get(
        records.metric
    )  # the others are shown in any case
    rows = [
        [
            Cell(str(trial.number)),
            Cell(trial.spec.spec_id),
            whole(trial.cost.flops),
            whole(trial.cost.params),
            *(
                [number(trial.cost_in(records.metric), 3 if records.metric == "latency" else 0)]
                if extra
                else []
            ),
            percentage(trial.accuracy),
            number(trial.reward, 4) if records.reward else Cell(DASH),
            Cell("yes" if trial.number in front else ""),
        ]
        for trial in trials
    ]
    marked = next(
        (place for place, trial in enumerate(trials) if trial.number == records.chosen), None
    )
    note = (
        ""
        if len(trials) == len(records.trials)
        else f"The best {len(trials)} by reward; all are in trials.csv."
    )
    names = columns(
        "trial",
        "network:",
        "FLOPs",
        "parameters",
        *([extra] if extra else []),
        "accuracy",
        "reward",
        "on front:",
    )
    return Exhibit(names, rows, marked, note)


def show_finalists(records: Records) -> Exhibit | None:
    if not records.finalists:
        return None
    everyone = [*records.finalists, *([records.reference] if records.reference else [])]
    finalists = sorted(everyone, key=lambda row: -row["reward"])
    timed = records.metric == "latency"
    rows = []
    for row in finalists:
        accuracies = row["accuracies"]
        trial, network = (
            (str(row["trial"]), row["spec_id"]) if "trial" in row else (DASH, row["name"])
        )
        searched = (
            Cell(DASH, "-1") if row["search_reward"] is None else number(row["search_reward"], 4)
        )
        rows.append(
            [
                Cell(trial),
                Cell(network),
                whole(row["flops"]),
                *([number(row["latency_ms"], 3)] if timed else []),
                searched,
                number(row["reward"], 4),
                percentage(sum(accuracies) / len(accuracies)),
                Cell(", ".join(percent(value) for value in accuracies)),
                Cell(_against_best(row, records)),
            ]
        )
    margin = (records.baseline or {}).get("margin")
    ties = "Mean rewards of finalists closer than {:.4f} are ties (95%, all comparisons together)."
    note = (
        ""
        if margin is None
        else "Measured again, each came to the same."
        if records.noiseless
        else ties.format(margin)
    )
    names = (
        "trial",
        "network:",
        "FLOPs",
        *(["latency, ms"] if timed else []),
        "reward in search",
        "mean reward",
        "mean accuracy",
        "each training:" if records.trained else "each time:",
        "against the best:",
    )
    marked = next(
        (i for i, row in enumerate(finalists) if row.get("trial") == records.chosen), None
    )
    return Exhibit(columns(*names), rows, marked, note)


def _against_best(row: dict[str, Any], records: Records) -> str:
    if "trial" not in row:
        answer = {True: "reached", False: "not reached", None: "can't be told whether reached"}[
            row["rediscovered"]
        ]
        return f"reference: {answer}"
    return (
        "chosen"
        if row["trial"] == records.chosen
        else "can't be told from it"
        if row["tied_with_chosen"]
        else "worse"
    )


def show_failures(records: Records) -> Exhibit | None:
    if not records.failures:
        return None
    alike: dict[tuple[str, str], list[Row]] = {}
    for study, row in records.failures:
        alike.setdefault(
            (study, str(row.attributes.get("reason", "no reason was recorded"))), []
        ).append(row)
    rows = [
        [
            Cell(study),
            whole(len(found)),
            whole(sum(row.attributes.get("attempts", 1) for row in found)),
            Cell(shortened(reason)),
            Cell(shortened(", ".join(str(row.number) for row in found), 100)),
        ]
        for (study, reason), found in sorted(alike.items(), key=lambda item: -len(item[1]))
    ]
    return Exhibit(columns("study:", "failed", "attempts", "reason:", "trials:"), rows)
