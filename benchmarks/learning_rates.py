"""Check whether networks of a scaling search agree on the best of three learning rates.

    python benchmarks/learning_rates.py CIFAR10 --out results.jsonl [--processes N] [--report]

A small network of the space `small_images`, and the deepest and the widest network of its grid, are
trained on 4,000 images with half, once and twice the learning rate of the recipe `proxy`. Results
are appended to `--out`, and trainings that it holds are not repeated. `--report` writes
benchmarks/learning_rates.md.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from markdown_sections import paragraph, table, write_section
from recorded_trainings import (
    describe_command,
    prepare_small_images,
    read_results,
    run_command,
    run_missing,
)

from phinas.experiment.schema.recipe import CHECKED_RATE_FACTORS, Recipe
from phinas.experiment.schema.run import DataSection, RunSection
from phinas.experiment.schema.scaling import ScalingSection
from phinas.experiment.statistics.rate_comparison import RateGain, compare_rates
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.job import TrainingJobFactory, run_training_job

REPORT = Path(__file__).with_name("learning_rates.md")
PACKAGES = ("torch", "numpy")
TRAIN_IMAGES, VALIDATION_IMAGES, IMAGE_SIZE, RESOLUTION = 4000, 2000, 32, 20
SEEDS, EPOCHS, SHORT_EPOCHS = (0, 1, 2), 10, 3
NETWORKS = ("base", "deepest", "widest")


@dataclass(frozen=True, order=True)
class Job:
    """One training with a multiple of the recipe's learning rate."""

    network: str
    factor: float
    seed: int


Results = Mapping[Job, Mapping[str, Any]]


def make_network(name: str, data: PreparedData) -> ArchSpec:
    """The base network with a layer in each stage, or a network with twice its FLOPs."""
    space = load_space("small_images")
    space = space.adapt_to(channels=data.channels, classes=len(data.classes), resolution=RESOLUTION)
    stages = tuple(
        replace(stage, width=width, depth=1, expansion=min(2, stage.expansion))
        for stage, width in zip(space.base.stages, (16, 24, 40, 64), strict=True)
    )
    base = replace(space.base, head_width=160, stages=stages)
    if name == "base":
        return base
    grid = [
        member.spec
        for member in make_grid(base, ScalingSection(tolerance=0.05), max_resolution=IMAGE_SIZE)
        if member.spec.resolution == RESOLUTION
    ]
    if name == "deepest":
        return max(grid, key=lambda spec: sum(stage.depth for stage in spec.stages))
    return max(grid, key=lambda spec: sum(stage.width for stage in spec.stages))


def run_job(job: Job, *, data: PreparedData) -> dict[str, Any]:
    """Train and evaluate, as plain data."""
    factory = TrainingJobFactory.from_config(
        data, DataSection(source="cifar10"), run=RunSection(), threads=1, checkpoints=None
    )
    recipe = Recipe(epochs=EPOCHS)
    recipe = recipe.with_learning_rate(job.factor * recipe.learning_rate)
    network = make_network(job.network, data)
    value = run_training_job(**factory.make_job(network, recipe, job.seed).payload)
    return {"accuracy": value["score"], "curve": value["curve"]}


def run_trainings(arguments: argparse.Namespace) -> None:
    """Run the trainings without a result."""
    images = prepare_small_images(
        [arguments.data],
        arguments.out.with_suffix(".data"),
        resolution=IMAGE_SIZE,
        train_images=TRAIN_IMAGES,
        validation_images=VALIDATION_IMAGES,
    )
    jobs = [
        Job(network, factor, seed)
        for seed in SEEDS
        for factor in CHECKED_RATE_FACTORS
        for network in NETWORKS
    ]
    run = partial(run_job, data=images[arguments.data])
    run_missing(jobs, run, arguments.out, processes=arguments.processes)


def scores_after(
    results: Results, epochs: int, seeds: Sequence[int]
) -> dict[str, dict[float, list[float]]]:
    """The scores of each network after some epochs, by factor of the learning rate and seed."""
    return {
        network: {
            factor: [results[Job(network, factor, seed)]["curve"][epochs - 1] for seed in seeds]
            for factor in CHECKED_RATE_FACTORS
        }
        for network in NETWORKS
    }


def describe_gain(gain: RateGain) -> str:
    """The factor, with its gain in points and the 95% interval."""
    low, high = (100 * value for value in gain.interval)
    return f"{gain.rate:g}: {100 * gain.gain:+.1f} ({low:+.1f} to {high:+.1f})"


def compare_after(results: Results, epochs: int, seeds: Sequence[int]) -> list[str]:
    """Table of accuracies after some epochs, and a sentence about the noise."""
    scores = scores_after(results, epochs, seeds)
    check = compare_rates(scores, recipe_rate=1.0)
    assert check is not None
    assert check.over_recipe is not None
    assert check.noise_std is not None
    rows = [
        [
            network,
            *(f"{100 * fmean(values):.1f}" for values in by_factor.values()),
            f"{100 * (fmean(by_factor[2.0]) - fmean(by_factor[1.0])):+.1f}",
            describe_gain(check.by_network[network]),
        ]
        for network, by_factor in scores.items()
    ]
    error = check.noise_std * math.sqrt(4 / len(seeds))
    factors = [f"rate x {factor:g}" for factor in CHECKED_RATE_FACTORS]
    return [
        *table(("network", *factors, "x 2 minus x 1", f"best other than x {check.rate:g}"), rows),
        *paragraph(
            f"""After {epochs} epochs, {len(seeds)} seeds: training noise
            {100 * check.noise_std:.1f} points; standard error of a difference between two networks
            in the column "x 2 minus x 1": {100 * error:.1f} points. Best other factor than that of
            the recipe, mean of all networks: {describe_gain(check.over_recipe)}. The check uses
            factor {check.rate:g}."""
        ),
    ]


def write_report(arguments: argparse.Namespace) -> None:
    """Write the tables of the trainings."""
    results = read_results(arguments.out, Job)
    command = f"python benchmarks/learning_rates.py {arguments.data.name} --out results.jsonl"
    lines = [
        *paragraph(describe_command(f"{command} --report", PACKAGES)),
        *paragraph(
            f"""Accuracy in percent on {VALIDATION_IMAGES:,} validation images after training on
            {TRAIN_IMAGES:,} images with the recipe `proxy` ({EPOCHS} epochs, learning rate
            {Recipe().learning_rate:g}), mean over seeds. The base network has 1.0M FLOPs at
            {RESOLUTION} px, and the others twice as many. Gains are in points with 95% intervals.
            The recipe's rate is constant after the warm-up, so the scores after {SHORT_EPOCHS}
            epochs are about those of trainings that end there, as in the check of a run."""
        ),
        *compare_after(results, EPOCHS, SEEDS),
        *compare_after(results, SHORT_EPOCHS, SEEDS),
        *compare_after(results, SHORT_EPOCHS, SEEDS[:2]),
    ]
    write_section(REPORT, "Learning rates of the networks of a grid", lines)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="CIFAR-10")
    return parser


if __name__ == "__main__":
    run_command(make_parser(), REPORT, run_trainings=run_trainings, write_report=write_report)
