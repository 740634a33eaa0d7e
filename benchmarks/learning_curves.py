"""Train networks of a B0-like space and record their learning curves.

    python benchmarks/learning_curves.py CIFAR10 TINY_IMAGENET --out RESULTS [--processes N]
    python benchmarks/learning_curves.py CIFAR10 TINY_IMAGENET --out RESULTS --processes 0 --report

Random networks of the space `mnasnet`, at most as large as 1.1 times B0, are trained on 16,000
images of 32 px for 16 epochs: with a constant learning rate and averaged weights, as in a search,
and with a cosine decay. All networks share the seed of the training, and some are trained again
with another one. Results are appended to `--out`, and trainings that it holds are not repeated.
Those that have been run so far are in benchmarks/data/learning_curve_trainings.jsonl.
`--report` writes the curves to benchmarks/data, from where the evaluator `curves:FILE` reads them,
and the tables to benchmarks/learning_curves.md.
"""

import argparse
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from markdown_sections import paragraph, table, write_section
from recorded_trainings import (
    describe_command,
    prepare_small_images,
    read_results,
    run_command,
    run_missing,
)
from scipy.stats import kendalltau

from phinas.experiment.artifacts.learning_curves import LearningCurve, LearningCurves
from phinas.experiment.schema.recipe import Recipe
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.inactive_choices import InactiveChoices
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.train import train
from phinas.training.request import TrainingRequest, TrainingSettings

REPORT = Path(__file__).with_name("learning_curves.md")
SPACE, RESOLUTION, MAX_RELATIVE_FLOPS = "mnasnet", 32, 1.1
TRAIN_IMAGES, VALIDATION_IMAGES, EPOCHS = 16_000, 5_000, 16
NETWORKS = (80, 40)  # trained on the first and on the second data set
NETWORKS_WITH_TWO_SEEDS = 20
MIN_NETWORKS = 8  # fewer give no rank correlation
# Changes of the recipe `proxy`.
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "cosine": {"schedule": "cosine", "ema_fraction": 0.0},
}
DATA = Path(__file__).with_name("data")
PACKAGES = ("torch", "numpy")
_REPORTED_EPOCHS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16)


@dataclass(frozen=True, order=True)
class Job:
    """One training."""

    network: int
    data: str
    schedule: str
    seed: int


def list_jobs(sources: Sequence[Path]) -> list[Job]:
    """All trainings, the most important ones first."""
    first, second = (source.name for source in sources)
    parts = [  # data, seed, networks
        (first, 0, range(2 * NETWORKS_WITH_TWO_SEEDS)),
        (first, 1, range(NETWORKS_WITH_TWO_SEEDS)),
        (second, 0, range(NETWORKS[1])),
        (first, 0, range(2 * NETWORKS_WITH_TWO_SEEDS, NETWORKS[0])),
    ]
    return [
        Job(network, data, schedule, seed)
        for schedule, (data, seed, networks) in itertools.product(SCHEDULES, parts)
        for network in networks
    ]


@lru_cache(maxsize=1)
def sample_choices() -> list[Choices]:
    """The choices of the networks. The first one is B0."""
    space = adapted_space(channels=3, classes=10)
    generator = random.Random(0)
    max_flops = MAX_RELATIVE_FLOPS * space.base.cost().flops
    sampled = {space.base.network_id: encode(space, space.base)}
    while len(sampled) < max(NETWORKS):
        choices = space.sample(generator)
        spec = space.decode(choices)
        if spec.cost().flops <= max_flops:
            sampled.setdefault(spec.network_id, choices)
    return [*sampled.values()]


def adapted_space(*, channels: int, classes: int) -> SearchSpace:
    return load_space(SPACE).adapt_to(channels=channels, classes=classes, resolution=RESOLUTION)


def run_job(job: Job, *, data: Mapping[str, PreparedData]) -> dict[str, Any]:
    """Train, as plain data."""
    images = data[job.data]
    space = adapted_space(channels=images.channels, classes=len(images.classes))
    choices = sample_choices()[job.network]
    spec = space.decode(choices)
    result = train(
        TrainingRequest(
            spec,
            Recipe(epochs=EPOCHS, **SCHEDULES[job.schedule]),
            job.seed,
            TrainingSettings(max_shift=0.125, horizontal_flip=True, device="cpu", threads=1),
        ),
        images,
    )
    return {
        "accuracy": result.curve[-1].accuracy,
        "curve": [point.accuracy for point in result.curve],
        "choices": choices,
        "flops": spec.cost().flops,
        "seconds": result.train_seconds,
    }


def run_trainings(arguments: argparse.Namespace) -> None:
    """Run the trainings without a result."""
    directory = arguments.out.with_suffix(".data")
    images = prepare_small_images(
        arguments.data,
        directory,
        resolution=RESOLUTION,
        train_images=TRAIN_IMAGES,
        validation_images=VALIDATION_IMAGES,
    )
    run = partial(run_job, data={source.name: data for source, data in images.items()})
    run_missing(list_jobs(arguments.data), run, arguments.out, processes=arguments.processes)


Curves = dict[int, np.ndarray]  # by network: accuracy after each epoch


def select_curves(
    results: Mapping[Job, Mapping[str, Any]], *, data: str, schedule: str, seed: int
) -> Curves:
    return {
        job.network: np.array(values["curve"])
        for job, values in sorted(results.items())
        if (job.data, job.schedule, job.seed) == (data, schedule, seed)
    }


def rank_correlation(curves: Curves, others: Curves, epoch: int) -> float:
    """Kendall tau of the accuracies after an epoch and the final ones of other trainings of the
    same networks.
    """
    networks = sorted(curves.keys() & others.keys())
    early = [curves[network][epoch - 1] for network in networks]
    final = [others[network][-1] for network in networks]
    return float(kendalltau(early, final).statistic)


def seed_noise(curves: Curves, repeated: Curves, epoch: int) -> float:
    """Standard deviation of one training over seeds, from pairs, in points."""
    networks = sorted(curves.keys() & repeated.keys())
    differences = [
        curves[network][epoch - 1] - repeated[network][epoch - 1] for network in networks
    ]
    return 100 * float(np.sqrt(np.mean(np.square(differences)) / 2))


def comparison_of_epochs(
    results: Mapping[Job, Mapping[str, Any]], sources: Sequence[Path]
) -> list[str]:
    """Table: what the accuracy after each epoch says about the final one."""
    rows = []
    for data, schedule in itertools.product((source.name for source in sources), SCHEDULES):
        curves = select_curves(results, data=data, schedule=schedule, seed=0)
        repeated = select_curves(results, data=data, schedule=schedule, seed=1)
        finals = {
            f"the same training ({len(curves)} networks)": curves,
            "the training with another seed": repeated,
            "the training with cosine decay": select_curves(
                results, data=data, schedule="cosine", seed=0
            )
            if schedule != "cosine"
            else {},
        }
        label = f"{data}, {schedule}"
        for name, others in finals.items():
            if len(curves.keys() & others.keys()) >= MIN_NETWORKS:
                values = [
                    f"{rank_correlation(curves, others, epoch):.2f}" for epoch in _REPORTED_EPOCHS
                ]
                rows.append([f"{label}: rank correlation with {name}", *values])
        if len(repeated) >= MIN_NETWORKS:
            noise = [f"{seed_noise(curves, repeated, epoch):.1f}" for epoch in _REPORTED_EPOCHS]
            rows.append([f"{label}: seed noise, points", *noise])
        if curves:
            accuracies = 100 * np.array([*curves.values()])
            for statistic in (np.mean, np.std):
                values = [
                    f"{statistic(accuracies[:, epoch - 1]):.1f}" for epoch in _REPORTED_EPOCHS
                ]
                rows.append([f"{label}: {statistic.__name__} of accuracy, %", *values])
    return table(("", *(f"epoch {epoch}" for epoch in _REPORTED_EPOCHS)), rows)


def write_curves(results: Mapping[Job, Mapping[str, Any]], data: str, schedule: str) -> None:
    """Write the curves of one data set and schedule, for the evaluator `curves:FILE`."""
    selected = {
        job: values
        for job, values in sorted(results.items(), key=lambda item: (item[0].seed, item[0]))
        if (job.data, job.schedule) == (data, schedule)
    }
    if not selected:
        return
    space = adapted_space(channels=3, classes=10)
    networks = sorted({job.network for job in selected})
    decisions = tuple(decision.name for decision in space.decisions)
    inactive_choices = InactiveChoices(space)
    canonical = [
        inactive_choices.canonical_choices(sample_choices()[network]) for network in networks
    ]
    LearningCurves(
        description=f"{data}, {TRAIN_IMAGES:,} images of {RESOLUTION} px, recipe proxy with "
        f"{EPOCHS} epochs, {schedule} schedule",
        space=SPACE,
        epochs=EPOCHS,
        decisions=decisions,
        networks=tuple(tuple(choices[name] for name in decisions) for choices in canonical),
        curves=tuple(
            LearningCurve(
                network=networks.index(job.network),
                seed=job.seed,
                accuracies=tuple(round(accuracy, 4) for accuracy in values["curve"]),
            )
            for job, values in selected.items()
        ),
    ).write(DATA / f"learning_curves_{data}_{schedule}.json")


def write_report(arguments: argparse.Namespace) -> None:
    """Write the curves and tables of the trainings that are complete."""
    results = read_results(arguments.out, Job)
    DATA.mkdir(exist_ok=True)
    for source, schedule in itertools.product(arguments.data, SCHEDULES):
        write_curves(results, source.name, schedule)
    names = " ".join(source.name for source in arguments.data)
    hours = sum(values["seconds"] for values in results.values()) / 3600
    lines = [
        *paragraph(
            describe_command(
                f"python benchmarks/learning_curves.py {names} --out results.jsonl --report",
                PACKAGES,
            )
        ),
        *paragraph(
            f"""{len(results)} trainings of {EPOCHS} epochs on {TRAIN_IMAGES:,} images of
            {RESOLUTION} px, {hours:.1f} hours of one core. Accuracy is that on
            {VALIDATION_IMAGES:,} validation images, so its binomial standard deviation is up to
            0.7 points. The networks are random ones of the space `{SPACE}` with at most
            {MAX_RELATIVE_FLOPS} times the FLOPs of B0. Rank correlations are Kendall's tau."""
        ),
        *comparison_of_epochs(results, arguments.data),
    ]
    write_section(REPORT, "What early epochs say", lines)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs=2, type=Path, help="CIFAR-10 and Tiny-ImageNet")
    return parser


if __name__ == "__main__":
    run_command(make_parser(), REPORT, run_trainings=run_trainings, write_report=write_report)
