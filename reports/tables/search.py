"""The search as tables: its trials, the finalists, and the failures of all studies."""

from phinas.experiment.artifacts.baseline_file import FinalistRecord, ReferenceRecord
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.trial import Trial
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

MAX_SHOWN_TRIALS = 300


def make_trials_table(run_data: RunData) -> ReportTable | None:
    trials = sorted(run_data.trials, key=lambda trial: -trial.reward)[:MAX_SHOWN_TRIALS]
    if not trials:
        return None
    # FLOPs and parameters are shown in any case
    extra_column = {"activations": "activations", "latency": "latency, ms"}.get(
        run_data.cost_metric, ""
    )
    front_numbers = {trial.number for trial in run_data.pareto_front}
    rows = [
        [
            Cell(str(trial.number)),
            Cell(trial.spec.network_id),
            make_integer_cell(trial.cost.flops),
            make_integer_cell(trial.cost.params),
            *([_make_cost_cell(trial, run_data.cost_metric)] if extra_column else []),
            make_percent_cell(trial.score),
            make_number_cell(trial.reward, 4) if run_data.reward else Cell(EN_DASH),
            Cell("yes" if trial.number in front_numbers else ""),
        ]
        for trial in trials
    ]
    baseline_row = next(
        (index for index, trial in enumerate(trials) if trial.number == run_data.baseline_trial),
        None,
    )
    note = (
        ""
        if len(trials) == len(run_data.trials)
        else f"The best {len(trials)} by reward; all are in trials.csv."
    )
    columns = make_columns(
        "trial",
        "network:",
        "FLOPs",
        "parameters",
        *([extra_column] if extra_column else []),
        run_data.search_score_label,
        "reward",
        "on Pareto front:",
    )
    return ReportTable(columns, rows, baseline_row, note)


def _make_cost_cell(trial: Trial, cost_metric: str) -> Cell:
    return make_number_cell(trial.get_cost(cost_metric), 3 if cost_metric == "latency" else 0)


def make_finalists_table(run_data: RunData) -> ReportTable | None:
    if not run_data.finalists:
        return None
    networks: list[FinalistRecord | ReferenceRecord] = [*run_data.finalists]
    if run_data.reference is not None:
        networks.append(run_data.reference)
    networks.sort(key=lambda row: -row.reward)
    shows_latency = run_data.cost_metric == "latency"
    columns = make_columns(
        "trial",
        "network:",
        "FLOPs",
        *(["latency, ms"] if shows_latency else []),
        "reward in search",
        "mean reward",
        f"mean {run_data.search_score_label}",
        f"{run_data.search_score_label} of each "
        f"{'training' if run_data.search_trains_networks else 'measurement'}:",
        "result:",
    )
    rows = [_make_finalist_row(row, run_data, shows_latency=shows_latency) for row in networks]
    selected_row = next(
        (index for index, row in enumerate(networks) if _is_selected(row, run_data)), None
    )
    return ReportTable(columns, rows, selected_row, _make_margin_note(run_data))


def _make_margin_note(run_data: RunData) -> str:
    margin = run_data.selection.margin if run_data.selection else None
    if margin is None:
        return ""
    if run_data.is_noiseless:
        return "Repeated measurements were identical."
    return (
        f"Finalists whose mean rewards differ by less than {margin:.4f} are tied (95%, corrected "
        "for multiple comparisons)."
    )


def _is_selected(row: FinalistRecord | ReferenceRecord, run_data: RunData) -> bool:
    return isinstance(row, FinalistRecord) and row.trial == run_data.baseline_trial


def _make_finalist_row(
    row: FinalistRecord | ReferenceRecord, run_data: RunData, *, shows_latency: bool
) -> list[Cell]:
    trial, name = (
        (str(row.trial), row.network_id) if isinstance(row, FinalistRecord) else (EN_DASH, row.name)
    )
    return [
        Cell(trial),
        Cell(name),
        make_integer_cell(row.flops),
        *(
            [Cell(EN_DASH, "-1") if row.latency_ms is None else make_number_cell(row.latency_ms, 3)]
            if shows_latency
            else []
        ),
        Cell(EN_DASH, "-1")
        if row.search_reward is None
        else make_number_cell(row.search_reward, 4),
        make_number_cell(row.reward, 4),
        make_percent_cell(row.mean_score),
        Cell(", ".join(format_percent(value) for value in row.scores)),
        Cell(_verdict_text(row, run_data)),
    ]


def _verdict_text(row: FinalistRecord | ReferenceRecord, run_data: RunData) -> str:
    if isinstance(row, ReferenceRecord):
        verdicts = {
            True: "its reward is reached",
            False: "its reward is not reached",
            None: "not significantly different",
        }
        return f"reference network: {verdicts[row.rediscovered]}"
    if _is_selected(row, run_data):
        return "selected"
    return "tied" if row.tied_with_selected else "significantly worse"


def make_failures_table(run_data: RunData) -> ReportTable | None:
    if not run_data.failures:
        return None
    records_by_reason: dict[tuple[str, str], list[TrialRecord]] = {}
    for study, record in run_data.failures:
        reason = record.reason or "no reason was recorded"
        records_by_reason.setdefault((study, reason), []).append(record)
    rows = [
        [
            Cell(study),
            make_integer_cell(len(records)),
            make_integer_cell(sum(record.attempts or 1 for record in records)),
            Cell(truncate(reason)),
            Cell(truncate(", ".join(str(record.number) for record in records), 100)),
        ]
        for (study, reason), records in sorted(
            records_by_reason.items(), key=lambda item: -len(item[1])
        )
    ]
    return ReportTable(make_columns("study:", "failed", "attempts", "reason:", "trials:"), rows)
