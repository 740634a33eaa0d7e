"""What each pruner saves, and what that costs: networks drawn at random are trained whole, then
pruned in many orders.

    python benchmarks/pruners.py [--seeds N] [--networks N] [--epochs N] [--max-train-images N]
    [--batch-size N] [--curves FILE]

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
from phinas.experiment.trial_store import TrialStore
from phinas.nas.evaluators.proxy import ProxyEvaluator
from phinas.nas.pruning import PRUNERS, TrialPruner
from phinas.nas.search import search
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import TrainingJobFactory

ORDERS = 30
REWARD_EXPONENT = -0.02
Curves = list[list[float]]  # of rewards, a network a row


def train(seed: int, arguments: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """Whole trainings of networks drawn at random."""
    section = DataSection(
        source="digits", upsample=True, shift=0.08, max_train_images=arguments.max_train_images
    )
    data = prepare(section, seed=0, directory=directory / "data")
    space = load_space("tiny").adapt_to(
        channels=data.channels, classes=len(data.classes), resolution=12
    )
    recipe = Recipe(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        optimizer="adamw",
        learning_rate=0.02,
        weight_decay=0.02,
    )
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    with closing(make_executor("processes", 1, max_retries=2, retry_on=["crash"])) as executor:
        search(
            space,
            SearchSection(strategy="random", trials=arguments.networks, recipe=recipe),
            seed=seed,
            trial_store=trial_store,
            executor=executor,
            evaluator=ProxyEvaluator(
                TrainingJobFactory.from_config(
                    data, section, run=RunSection(device="auto"), threads=1, checkpoints=None
                )
            ),
            on_progress=lambda *_: None,
        )
    return [
        {"flops": row.user_attrs["flops"], "accuracies": list(row.intermediate_values.values())}
        for row in trial_store.records()
        if row.is_complete
    ]


def rewards(networks: list[dict[str, Any]]) -> Curves:
    return [
        [
            accuracy * (network["flops"] / 1e6) ** REWARD_EXPONENT
            for accuracy in network["accuracies"]
        ]
        for network in networks
    ]


def prune(name: str, curves: Curves, *, seed: int) -> tuple[float, int, float]:
    """The epochs trained (as a fraction of all), the networks trained whole, and the reward lost
    against the best there was.
    """
    epochs = len(curves[0])
    pruner = TrialPruner(name, epochs=epochs, seed=seed)
    trained_epochs, full_rewards = 0, []
    for proposal, curve in enumerate(curves):
        pruner.add_trial(proposal)
        stop_step = next(
            (
                step
                for step, reward in enumerate(curve, 1)
                if pruner.should_prune(proposal, step, reward)
            ),
            0,
        )
        pruner.finish_trial(proposal, TrialState.PRUNED if stop_step else TrialState.COMPLETE)
        trained_epochs += stop_step or epochs
        full_rewards += [] if stop_step else [curve[-1]]
    return (
        trained_epochs / (epochs * len(curves)),
        len(full_rewards),
        max(curve[-1] for curve in curves) - max(full_rewards),
    )


def _row(name: str, curves_by_seed: list[Curves]) -> str:
    rows, fewer_losses = [], []
    for seed, curves in enumerate(curves_by_seed):
        best = max(curve[-1] for curve in curves)
        for order in range(ORDERS):
            shuffled = random.Random(order).sample(curves, len(curves))
            rows.append(prune(name, shuffled, seed=1000 * seed + order))
            equal_budget = shuffled[: max(1, round(rows[-1][0] * len(curves)))]
            fewer_losses.append(best - max(curve[-1] for curve in equal_budget))
    epoch_fractions, full_counts, losses = ([row[column] for row in rows] for column in range(3))
    mean = statistics.mean
    return (
        f"| {name} | {mean(epoch_fractions):.0%} | {mean(full_counts):.1f} of "
        f"{len(curves_by_seed[0])} | {mean(losses):.4f} "
        f"| {max(losses):.4f} | "
        f"{mean(value == 0 for value in losses):.0%} | {mean(fewer_losses):.4f} | "
        f"{mean(value == 0 for value in fewer_losses):.0%} |"
    )


def table(curves_by_seed: list[Curves]) -> str:
    """Means over seeds and orders; beside each pruner, what the same epochs give on fewer networks,
    all trained whole.
    """
    epochs = len(curves_by_seed[0][0])
    last = [[curve[-1] for curve in curves] for curves in curves_by_seed]
    taus = [
        statistics.mean(
            float(kendalltau([c[k] for c in curves], ends)[0])
            for curves, ends in zip(curves_by_seed, last, strict=True)
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
    lines += [_row(name, curves_by_seed) for name in PRUNERS]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="What each pruner saves on digits, and what that costs."
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--max-train-images", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--curves",
        type=Path,
        default=None,
        help="keeps the trainings, or gives those of an earlier call",
    )
    arguments = parser.parse_args()
    saved_lines = (
        arguments.curves.read_text().splitlines()
        if arguments.curves and arguments.curves.exists()
        else []
    )
    networks_by_seed = [json.loads(line) for line in saved_lines][: arguments.seeds]
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(len(networks_by_seed), arguments.seeds):
            networks_by_seed.append(train(seed, arguments, Path(directory)))
            if arguments.curves:
                with arguments.curves.open("a") as file:
                    file.write(json.dumps(networks_by_seed[-1]) + "\n")
    sys.stdout.write(table([rewards(networks) for networks in networks_by_seed]) + "\n")


if __name__ == "__main__":
    main()
