"""Measure how many epochs each pruner saves on digits, and its regret.

    python benchmarks/pruners.py [--seeds N] [--networks N] [--epochs N] [--max-train-images N]
        [--batch-size N] [--curves FILE]

Random networks of the space `tiny` are trained in full. Then each pruner is simulated on their
learning curves in many random orders. A pruned training is the beginning of the full one (same
seeds, same schedule), so the full curves are sufficient.
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
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators.proxy import ProxyEvaluator
from phinas.nas.pruning import PRUNERS
from phinas.nas.search import search
from phinas.nas.search_state.pruner import TrialPruner
from phinas.nas.trial import TrialAttributes
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import TrainingJobFactory

ORDERS = 30
REWARD_EXPONENT = -0.02
Curves = list[list[float]]  # the reward after each epoch, for each network


def train(seed: int, arguments: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """Train random networks in full. Returns the FLOPs and the accuracies of each."""
    section = DataSection(
        source="digits", upsample=True, max_shift=0.08, max_train_images=arguments.max_train_images
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
        {
            "flops": TrialAttributes.from_record(record).flops,
            "accuracies": list(record.intermediate_values.values()),
        }
        for record in trial_store.records()
        if record.is_complete
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
    """Simulate a pruner.

    Args:
        name: The pruner.
        curves: The learning curves, in the order of the trials.
        seed: Seed of the pruner.

    Returns:
        The epochs trained as a fraction of all, the number of networks trained in full, and the
        regret: the best final reward of all networks minus that of the networks trained in full.
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
    rows, fewer_network_regrets = [], []
    for seed, curves in enumerate(curves_by_seed):
        best = max(curve[-1] for curve in curves)
        for order in range(ORDERS):
            shuffled = random.Random(order).sample(curves, len(curves))
            rows.append(prune(name, shuffled, seed=1000 * seed + order))
            equal_budget = shuffled[: max(1, round(rows[-1][0] * len(curves)))]
            fewer_network_regrets.append(best - max(curve[-1] for curve in equal_budget))
    epoch_fractions, full_counts, regrets = ([row[column] for row in rows] for column in range(3))
    mean = statistics.mean
    return (
        f"| {name} | {mean(epoch_fractions):.0%} "
        f"| {mean(full_counts):.1f} of {len(curves_by_seed[0])} "
        f"| {mean(regrets):.4f} | {max(regrets):.4f} "
        f"| {mean(regret == 0 for regret in regrets):.0%} "
        f"| {mean(fewer_network_regrets):.4f} "
        f"| {mean(regret == 0 for regret in fewer_network_regrets):.0%} |"
    )


def table(curves_by_seed: list[Curves]) -> str:
    """The results of all pruners, as means over seeds and orders.

    The last two columns are for the same number of epochs, spent on fewer networks that are all
    trained in full.
    """
    epochs = len(curves_by_seed[0][0])
    final_rewards = [[curve[-1] for curve in curves] for curves in curves_by_seed]
    taus = [
        statistics.mean(
            float(kendalltau([curve[epoch] for curve in curves], rewards_at_end)[0])
            for curves, rewards_at_end in zip(curves_by_seed, final_rewards, strict=True)
        )
        for epoch in range(epochs)
    ]
    lines = [
        "Rank correlation (Kendall tau) of the reward after each epoch with the final reward: "
        + ", ".join(f"{tau:.2f}" for tau in taus),
        "",
        "| pruner | epochs trained | trained in full | mean regret | max regret | best kept "
        "| mean regret of fewer networks | best kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(name, curves_by_seed) for name in PRUNERS]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="number of seeds (default: 3)"
    )
    parser.add_argument(
        "--networks", type=int, default=40, metavar="N", help="networks per seed (default: 40)"
    )
    parser.add_argument(
        "--epochs", type=int, default=9, metavar="N", help="epochs of a training (default: 9)"
    )
    parser.add_argument(
        "--max-train-images",
        type=int,
        metavar="N",
        help="maximum number of training images (default: all)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="batch size (default: 64)"
    )
    parser.add_argument(
        "--curves",
        type=Path,
        metavar="FILE",
        help="save the learning curves here, one JSON line per seed; seeds in it are not trained",
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
