"""The tables of the page, as people read them: percent, few digits, the exact number as the key to sort by."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiment.store import Row
from reports.layout.columns import NAMES, columns_of
from reports.records import Records
from reports.tables import factors
from reports.wording import ALPHA, BETA, DASH, GAMMA, GREEK, PHI, TIMES, joined, percent, shortened, span
from space.cost import cost, stage_costs
from space.spec import ArchSpec

SHOWN_TRIALS = 300


@dataclass(frozen=True, slots=True)
class Cell:
    """text as shown; key to sort by where the text will not do."""

    text: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """columns: name and whether it is a number; marked: index of the row that stands out; note: below the table."""

    columns: tuple[tuple[str, bool], ...]
    rows: list[list[Cell]]
    marked: int | None = None
    note: str = ""


def _whole(value: float) -> Cell:
    return Cell(f"{value:,}", str(value))


def _percent(value: float) -> Cell:
    return Cell(percent(value), repr(value))


def _number(value: float, digits: int) -> Cell:
    return Cell(f"{value:.{digits}f}", repr(value))


def _columns(*names: str) -> tuple[tuple[str, bool], ...]:
    """A name that ends in `:` is of words; others are of numbers."""
    return tuple((name.rstrip(":"), not name.endswith(":")) for name in names)


def show_trials(records: Records) -> Exhibit | None:
    trials = sorted(records.trials, key=lambda trial: -trial.reward)[:SHOWN_TRIALS]
    if not trials:
        return None
    front = {trial.number for trial in records.front}
    extra = {"activations": "activations", "latency": "latency, ms"}.get(records.metric)  # the others are shown in any case
    rows = [
        [
            Cell(str(trial.number)), Cell(trial.spec.spec_id), _whole(trial.cost.flops), _whole(trial.cost.params),
            *([_number(trial.cost_in(records.metric), 3 if records.metric == "latency" else 0)] if extra else []),
            _percent(trial.accuracy), _number(trial.reward, 4) if records.reward else Cell(DASH),
            Cell("yes" if trial.number in front else ""),
        ]
        for trial in trials
    ]  # fmt: skip
    marked = next((place for place, trial in enumerate(trials) if trial.number == records.chosen), None)
    note = "" if len(trials) == len(records.trials) else f"The best {len(trials)} by reward; all are in trials.csv."
    columns = _columns(
        "trial", "network:", "FLOPs", "parameters", *([extra] if extra else []), "accuracy", "reward", "on front:"
    )
    return Exhibit(columns, rows, marked, note)


def show_finalists(records: Records) -> Exhibit | None:
    if not records.finalists:
        return None
    everyone = [*records.finalists, *([records.reference] if records.reference else [])]
    finalists = sorted(everyone, key=lambda row: -row["reward"])
    timed = records.metric == "latency"
    rows = []
    for row in finalists:
        accuracies = row["accuracies"]
        trial, network = (str(row["trial"]), row["spec_id"]) if "trial" in row else (DASH, row["name"])
        searched = Cell(DASH, "-1") if row["search_reward"] is None else _number(row["search_reward"], 4)
        rows.append(
            [
                Cell(trial), Cell(network), _whole(row["flops"]),
                *([_number(row["latency_ms"], 3)] if timed else []), searched,
                _number(row["reward"], 4), _percent(sum(accuracies) / len(accuracies)),
                Cell(", ".join(percent(value) for value in accuracies)), Cell(_against_best(row, records)),
            ]
        )  # fmt: skip
    margin = (records.baseline or {}).get("margin")
    ties = "Mean rewards of finalists closer than {:.4f} are ties (95%, all comparisons together)."
    note = "" if margin is None else "Measured again, each came to the same." if records.noiseless else ties.format(margin)
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
    marked = next((i for i, row in enumerate(finalists) if row.get("trial") == records.chosen), None)
    return Exhibit(_columns(*names), rows, marked, note)


def _against_best(row: dict[str, Any], records: Records) -> str:
    if "trial" not in row:
        answer = {True: "reached", False: "not reached", None: "can't be told whether reached"}[row["rediscovered"]]
        return f"reference: {answer}"
    return "chosen" if row["trial"] == records.chosen else "can't be told from it" if row["tied_with_chosen"] else "worse"


def show_stages(records: Records) -> Exhibit | None:
    spec = records.spec
    if spec is None:
        return None
    whole = cost(spec)
    rows = []
    for row, column in zip(stage_costs(spec), columns_of(spec), strict=True):
        stage = spec.stages[int(row.name) - 1] if row.name.isdigit() else None
        stride = stage.stride if stage else spec.stem_stride if row.name == "stem" else 1
        kind = NAMES[stage.block][0] if stage else "Convolution" if column.depth else DASH
        sizes = [_whole(value) if column.depth else Cell(DASH, "-1") for value in (column.depth, column.kernel, stride)]
        output = [_whole(value) if column.depth else Cell(DASH, "-1") for value in (column.width, column.side)]
        rows.append(
            [
                Cell(row.name), Cell(kind), *sizes, Cell(column.cells["expansion"]), Cell(column.cells["SE"]), *output,
                _whole(row.cost.flops), _percent(column.share), _whole(row.cost.params),
            ]
        )  # fmt: skip
    total = f"{whole.flops:,} FLOPs, {whole.params:,} parameters, {whole.activations:,} activations"
    pool = f" A 3{TIMES}3 max pooling of stride 2 follows the stem." if spec.stem_pool else ""
    convolution = f"a 1{TIMES}1 convolution to {spec.head_width:,} channels, " if spec.head_width else ""
    note = f"In all {total}, at {spec.resolution} pixels.{pool} The head is {convolution}pooling and the classifier."
    sizes_of = ("blocks", "kernel", "stride", "expansion", "SE", "width", "side")
    return Exhibit(_columns("stage:", "block:", *sizes_of, "FLOPs", "share", "parameters"), rows, None, note)


def show_coefficients(records: Records) -> Exhibit | None:
    found = records.coefficients
    if found is None:
        return None
    scales = {"alpha": "depth", "beta": "width", "gamma": "resolution"}
    rows = [
        [Cell(f"{GREEK[name]}, {what}"), _number(found[name], 3), Cell(span(*found["ranges"][name]))]
        for name, what in scales.items()
    ]
    nominal = f"{ALPHA} {TIMES} {BETA}\u00b2 {TIMES} {GAMMA}\u00b2 = {found['nominal']:.2f}"
    winner = next(row for row in found["members"] if row["winner"])
    note = f"{nominal}; measured, the best network has {winner['ratio']:.2f} times the baseline's FLOPs."
    return Exhibit(_columns("coefficient:", "point", "range of the ties"), rows, None, note)


_STATUS = {
    "winner": "best",
    "tied": "tie",
    "open": "tie, not trained with every seed",
    "excluded": "worse",
    "failed": "failed",
}


def _behind(row: dict[str, Any]) -> Cell:
    """Points behind the best, and the 95% interval of that."""
    if row["behind"] is None:
        return Cell(DASH, "1e9")
    interval = row["behind_interval"]
    told = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval and not row["winner"] else ""
    return Cell(f"{100 * row['behind']:.1f}{told}".replace("-", "\N{MINUS SIGN}"), repr(row["behind"]))


def show_grid(records: Records) -> Exhibit | None:
    found = records.coefficients
    if found is None:
        return None
    members = sorted(found["members"], key=lambda row: math.inf if row["behind"] is None else row["behind"])
    rows = [
        [
            Cell(row["spec_id"]), *(Cell(span(*row[name]), repr(row[name][0])) for name in GREEK), Cell(joined(row["depths"])),
            Cell(joined(row["widths"])), _whole(row["resolution"]), _whole(row["flops"]), _number(row["ratio"], 2),
            Cell(DASH, "-1") if row["accuracy"] is None else _percent(row["accuracy"]), _behind(row),
            Cell(_STATUS[row["status"]]),
        ]
        for row in members
    ]  # fmt: skip
    names = (
        "network:",
        ALPHA,
        BETA,
        GAMMA,
        "blocks:",
        "widths:",
        "side",
        "FLOPs",
        f"{TIMES} B0",
        "accuracy",
        "behind",
        "verdict:",
    )
    return Exhibit(_columns(*names), rows, next((i for i, row in enumerate(members) if row["winner"]), None))


def show_family(records: Records) -> Exhibit | None:
    if not records.members:
        return None
    rows = []
    for row in records.members:
        spec = ArchSpec.from_dict(row["spec"])
        asked = factors(records, row["phi"])
        rows.append(
            [
                Cell(row["name"].upper()), Cell(f"{row['phi']:g}"), *_accuracy(row), _whole(row["flops"]),
                _number(row["ratio"], 2), _whole(row["params"]), _whole(spec.resolution),
                Cell(joined([s.depth for s in spec.stages])), Cell(joined([s.width for s in spec.stages])), *_factors(asked),
            ]
        )  # fmt: skip
    asked_names = (f"depth {TIMES}", f"width {TIMES}", f"side {TIMES}")
    names = (
        "member:",
        PHI,
        "test accuracy",
        "95%",
        "FLOPs",
        f"{TIMES} B0",
        "parameters",
        "side",
        "blocks:",
        "widths:",
        *asked_names,
    )
    note = (
        f"Depth, width and side {TIMES}: {ALPHA}, {BETA}, {GAMMA} to the power of {PHI}, as asked; "
        "blocks, widths and side are what rounding made of it."
    )
    return Exhibit(_columns(*names), rows, None, note)


def _factors(asked: dict[str, float | None]) -> list[Cell]:
    return [Cell(DASH) if value is None else _number(value, 2) for value in asked.values()]


def _accuracy(row: dict[str, Any]) -> list[Cell]:
    if not row.get("validated"):
        return [Cell("not validated", "-1"), Cell(DASH, "-1")]
    low, high = row["interval"]
    return [_percent(row["accuracy"]), Cell(f"{100 * low:.1f}{DASH}{percent(high)}", repr(low))]


def show_failures(records: Records) -> Exhibit | None:
    if not records.failures:
        return None
    alike: dict[tuple[str, str], list[Row]] = {}
    for study, row in records.failures:
        alike.setdefault((study, str(row.attributes.get("reason", "no reason was recorded"))), []).append(row)
    rows = [
        [
            Cell(study), _whole(len(found)), _whole(sum(row.attributes.get("attempts", 1) for row in found)),
            Cell(shortened(reason)), Cell(shortened(", ".join(str(row.number) for row in found), 100)),
        ]
        for (study, reason), found in sorted(alike.items(), key=lambda item: -len(item[1]))
    ]  # fmt: skip
    return Exhibit(_columns("study:", "failed", "attempts", "reason:", "trials:"), rows)


EXHIBITS: dict[str, Callable[[Records], Exhibit | None]] = {
    "trials": show_trials,
    "finalists": show_finalists,
    "stages": show_stages,
    "coefficients": show_coefficients,
    "grid": show_grid,
    "family": show_family,
    "failures": show_failures,
}
