"""What each pruner saves, and what that costs: networks drawn at random are trained whole, then
pruned in many orders.

    python benchmarks/pruners.py [--seeds N] [--networks N] [--epochs N] [--train-limit N] [--batch
    N] [--curves FILE]

On digits, space `tiny`. A training that is stopped is the beginning of the whole one (same seeds,
same schedule), so what a pruner would have done follows from the whole curves. FILE keeps these, a
line of JSON a seed; what it has is not trained again.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from scipy.stats import kendalltau

from phinas.experiment.executors import make_executor
from phinas.experiment.schema.config import DataSection, Recipe, RunSection, SearchSection
from phinas.experiment.trial_store import Ledger
from phinas.nas.evaluators.proxy import ProxyEvaluator
from phinas.nas.pruning import PRUNERS, Pruning
from phinas.nas.search import search
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import Trainer

ORDERS = 30
WEIGHT = -0.02
Curves = list[list[float]]  # of rewards, a network a row


def train(seed: int, arguments: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """Whole trainings of networks drawn at random."""
    section = DataSection(
        source="digits", upsample=True, shift=0.08, train_limit=arguments.train_limit
    )
    data = prepare(section, seed=0, directory=directory / "data")
    space = load_space("tiny").fitted(
        channels=data.channels, classes=len(data.classes), resolution=12
    )
    recipe = Recipe(
        epochs=arguments.epochs,
        batch=arguments.batch,
        optimizer="adamw",
        learning_rate=0.02,
        weight_decay=0.02,
    )
    ledger = Ledger(optuna.create_study(direction="maximize"))
    with closing(make_executor("processes", 1, retries=2, on=["died"])) as executor:
        search(
            space,
            SearchSection(strategy="random", trials=arguments.networks, recipe=recipe),
            seed=seed,
            ledger=ledger,
            executor=executor,
            evaluator=ProxyEvaluator(
                Trainer.of(data, section, run=RunSection(device="auto"), threads=1, snapshots=None)
            ),
            notify=lambda *_: None,
        )
    return [
        {"flops": row.attributes["flops"], "accuracies": list(row.reports.values())}
        for row in ledger.rows()
        if row.done
    ]


def rewards(networks: list[dict[str, Any]]) -> Curves:
    return [
        [accuracy * (one["flops"] / 1e6) ** WEIGHT for accuracy in one["accuracies"]]
        for one in networks
    ]


def prune(name: str, curves: Curves, *, seed: int) -> tuple[float, int, float]:
    """The epochs trained (as a fraction of all), the networks trained whole, and the reward lost
    against the best there was.
    """
    epochs = len(curves[0])
    pruning = Pruning(name, epochs=epochs, seed=seed)
    trained, whole = 0, []
    for proposal, curve in enumerate(curves):
        pruning.begin(proposal)
        stop = next(
            (step for step, reward in enumerate(curve, 1) if pruning.stops(proposal, step, reward)),
            0,
        )
        pruning.end(proposal, TrialState.PRUNED if stop else TrialState.COMPLETE)
        trained += stop or epochs
        whole += [] if stop else [curve[-1]]
    return (
        trained / (epochs * len(curves)),
        len(whole),
        max(curve[-1] for curve in curves) - max(whole),
    )


def _row(name: str, every: list[Curves]) -> str:
    rows, fewer = [], []
    for seed, curves in enumerate(every):
        best = max(curve[-1] for curve in curves)
        for order in range(ORDERS):
            shuffled = random.Random(order).sample(curves, len(curves))
            rows.append(prune(name, shuffled, seed=1000 * seed + order))
            as_many = shuffled[: max(1, round(rows[-1][0] * len(curves)))]
            fewer.append(best - max(curve[-1] for curve in as_many))
    spent, whole, lost = ([row[place] for row in rows] for place in range(3))
    mean = statistics.mean
    return (
        f"| {name} | {mean(spent):.0%} | {mean(whole):.1f} of {len(every[0])} | {mean(lost):.4f} "
        f"| {max(lost):.4f} | "
        f"{mean(value == 0 for value in lost):.0%} | {mean(fewer):.4f} | "
        f"{mean(value == 0 for value in fewer):.0%} |"
    )


def table(every: list[Curves]) -> str:
    """Means over seeds and orders; beside each pruner, what the same epochs give on fewer networks,
    all trained whole.
    """
    epochs = len(every[0][0])
    last = [[curve[-1] for curve in curves] for curves in every]
    taus = [
        statistics.mean(
            float(kendalltau([c[k] for c in curves], ends)[0])
            for curves, ends in zip(every, last, strict=True)
        )
        for k in range(epochs)
    ]
    lines = [
        "Rank correlation (Kendall tau) of the reward after each epoch with the last: "
        + ", ".join(f"{t:.2f}" for t in taus),
        "",
        "| pruner | epochs trained | trained whole | reward lost | at most | best kept | lost by "
        "fewer networks | best kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(name, every) for name in PRUNERS]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="What each pruner saves on digits, and what that costs."
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--train-limit", type=int, default=None)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--curves",
        type=Path,
        default=None,
        help="keeps the trainings, or gives those of an earlier call",
    )
    arguments = parser.parse_args()
    kept = (
        arguments.curves.read_text().splitlines()
        if arguments.curves and arguments.curves.exists()
        else []
    )
    every = [json.loads(line) for line in kept][: arguments.seeds]
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(len(every), arguments.seeds):
            every.append(train(seed, arguments, Path(directory)))
            if arguments.curves:
                with arguments.curves.open("a") as file:
                    file.write(json.dumps(every[-1]) + "\n")
    sys.stdout.write(table([rewards(networks) for networks in every]) + "\n")


if __name__ == "__main__":
    main()
