"""The search as tables: its trials, the finalists, and what failed in any study."""

from typing import Any

from phinas.experiment.trial_store import TrialRecord
from phinas.reports.formatting import EN_DASH, format_percent, truncate
from phinas.reports.run_data import RunData
from phinas.reports.tables.cells import (
    Cell,
    ReportTable,
    make_columns,
    make_integer_cell,
    make_number_cell,
    make_percent_cell,
)

SHOWN_TRIALS = 300


def make_trials_table(run_data: RunData) -> ReportTable | None:
    trials = sorted(run_data.trials, key=lambda trial: -trial.reward)[:SHOWN_TRIALS]
    if not trials:
        return None
    front_numbers = {trial.number for trial in run_data.pareto_front}
    # the others are shown in any case
    extra_column = {"activations": "activations", "latency": "latency, ms"}.get(
        run_data.cost_metric
    )
    rows = [
        [
            Cell(str(trial.number)),
            Cell(trial.spec.spec_id),
            make_integer_cell(trial.cost.flops),
            make_integer_cell(trial.cost.params),
            *(
                [
                    make_number_cell(
                        trial.get_cost(run_data.cost_metric),
                        3 if run_data.cost_metric == "latency" else 0,
                    )
                ]
                if extra_column
                else []
            ),
            make_percent_cell(trial.accuracy),
            make_number_cell(trial.reward, 4) if run_data.reward else Cell(EN_DASH),
            Cell("yes" if trial.number in front_numbers else ""),
        ]
        for trial in trials
    ]
    highlighted_row = next(
        (index for index, trial in enumerate(trials) if trial.number == run_data.baseline_trial),
        None,
    )
    note = (
        ""
        if len(trials) == len(run_data.trials)
        else f"The best {len(trials)} by reward; all are in trials.csv."
    )
    names = make_columns(
        "trial",
        "network:",
        "FLOPs",
        "parameters",
        *([extra_column] if extra_column else []),
        "accuracy",
        "reward",
        "on front:",
    )
    return ReportTable(names, rows, highlighted_row, note)


def make_finalists_table(run_data: RunData) -> ReportTable | None:
    if not run_data.finalists:
        return None
    finalists_and_reference = [
        *run_data.finalists,
        *([run_data.reference] if run_data.reference else []),
    ]
    finalists = sorted(finalists_and_reference, key=lambda row: -row["reward"])
    shows_latency = run_data.cost_metric == "latency"
    rows = []
    for row in finalists:
        accuracies = row["accuracies"]
        trial, network = (
            (str(row["trial"]), row["spec_id"]) if "trial" in row else (EN_DASH, row["name"])
        )
        search_reward_cell = (
            Cell(EN_DASH, "-1")
            if row["search_reward"] is None
            else make_number_cell(row["search_reward"], 4)
        )
        rows.append(
            [
                Cell(trial),
                Cell(network),
                make_integer_cell(row["flops"]),
                *([make_number_cell(row["latency_ms"], 3)] if shows_latency else []),
                search_reward_cell,
                make_number_cell(row["reward"], 4),
                make_percent_cell(sum(accuracies) / len(accuracies)),
                Cell(", ".join(format_percent(value) for value in accuracies)),
                Cell(_compare_with_best(row, run_data)),
            ]
        )
    margin = (run_data.baseline or {}).get("margin")
    ties = "Mean rewards of finalists closer than {:.4f} are ties (95%, all comparisons together)."
    note = (
        ""
        if margin is None
        else "Measured again, each came to the same."
        if run_data.is_noiseless
        else ties.format(margin)
    )
    names = (
        "trial",
        "network:",
        "FLOPs",
        *(["latency, ms"] if shows_latency else []),
        "reward in search",
        "mean reward",
        "mean accuracy",
        "each training:" if run_data.search_trains_networks else "each time:",
        "against the best:",
    )
    highlighted_row = next(
        (i for i, row in enumerate(finalists) if row.get("trial") == run_data.baseline_trial), None
    )
    return ReportTable(make_columns(*names), rows, highlighted_row, note)


def _compare_with_best(row: dict[str, Any], run_data: RunData) -> str:
    if "trial" not in row:
        answer = {True: "reached", False: "not reached", None: "can't be told whether reached"}[
            row["rediscovered"]
        ]
        return f"reference: {answer}"
    return (
        "chosen"
        if row["trial"] == run_data.baseline_trial
        else "can't be told from it"
        if row["tied_with_chosen"]
        else "worse"
    )


def make_failures_table(run_data: RunData) -> ReportTable | None:
    if not run_data.failures:
        return None
    rows_by_reason: dict[tuple[str, str], list[TrialRecord]] = {}
    for study, row in run_data.failures:
        rows_by_reason.setdefault(
            (study, str(row.user_attrs.get("reason", "no reason was recorded"))), []
        ).append(row)
    rows = [
        [
            Cell(study),
            make_integer_cell(len(failed_rows)),
            make_integer_cell(sum(row.user_attrs.get("attempts", 1) for row in failed_rows)),
            Cell(truncate(reason)),
            Cell(truncate(", ".join(str(row.number) for row in failed_rows), 100)),
        ]
        for (study, reason), failed_rows in sorted(
            rows_by_reason.items(), key=lambda item: -len(item[1])
        )
    ]
    return ReportTable(make_columns("study:", "failed", "attempts", "reason:", "trials:"), rows)
