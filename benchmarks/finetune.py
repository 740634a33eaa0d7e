"""Compare ways to fine-tune a published network, and with training its classifier only.

    python benchmarks/finetune.py WEIGHTS DATA... --out results.jsonl [--processes N] [--report]

Each variant is trained on a few images of each data set, with several seeds and numbers of epochs.
A seed also selects the images. Accuracies are those on the first test images. Results are
appended to `--out`, and trainings that it holds are not repeated. `--report` writes the tables to
benchmarks/finetune.md.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_variants import CHOSEN, FROZEN, VARIANTS, randomize_classifier, schedule_layers
from markdown_sections import paragraph, table, write_section
from recorded_trainings import (
    describe_command,
    format_difference,
    format_mean,
    read_results,
    run_command,
    run_missing,
)
from torch import nn

from phinas.experiment.schema.run import DataSection
from phinas.experiment.seeds import derive_seed
from phinas.space.loading import load_spec
from phinas.training.data.image_dataset import load_images
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.evaluate import evaluate_test_split
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.trainer import Trainer
from phinas.training.engine.training_setup import TrainingSetup
from phinas.training.request import TrainingRequest, TrainingSettings
from phinas.training.weights.pretrained import read_pretrained

REPORT = Path(__file__).with_name("finetune.md")
PACKAGES = ("torch", "numpy", "pillow")
TRAIN_IMAGES, VALIDATION_IMAGES, TEST_IMAGES = 1000, 100, 2000
EPOCHS, SEEDS, RESOLUTION = (2, 5, 10), (0, 1, 2), 96
FULLY_COMPARED = (
    2  # variants that are trained with all numbers of epochs; the others with the first
)


@dataclass(frozen=True, order=True)
class Job:
    """One training."""

    variant: str
    data: str
    epochs: int
    seed: int


Results = Mapping[Job, Mapping[str, Any]]


def list_jobs(sources: Sequence[Path]) -> list[Job]:
    """All trainings, the most important ones first."""
    names = list(VARIANTS)
    main = [
        Job(name, str(source), epochs, seed)
        for epochs, seed, source, name in itertools.product(
            EPOCHS, SEEDS, sources, names[:FULLY_COMPARED]
        )
    ]
    others = [
        Job(name, str(source), EPOCHS[0], seed)
        for seed, name, source in itertools.product(SEEDS, names[FULLY_COMPARED:], sources)
    ]
    return main + others


def prepare_images(source: Path, seed: int, directory: Path) -> PreparedData:
    """A few images of a data set, the first `TEST_IMAGES` of its test split among them."""
    few = directory / f"{source.name}.npz"
    if not few.exists():
        directory.mkdir(parents=True, exist_ok=True)
        images = load_images(DataSection(source=str(source)))
        assert images.test is not None
        arrays = {
            "x_train": images.train.pixels,
            "y_train": images.train.labels,
            "x_test": images.test.pixels[:TEST_IMAGES],
            "y_test": images.test.labels[:TEST_IMAGES],
            "classes": np.array(images.classes),
        }
        np.savez(few.with_suffix(".tmp.npz"), **arrays)
        few.with_suffix(".tmp.npz").replace(few)
    section = DataSection(
        source=str(few),
        max_train_images=TRAIN_IMAGES,
        max_validation_images=VALIDATION_IMAGES,
    )
    return prepare(section, seed=seed, directory=directory / f"{source.name}-{seed}")


def run_job(
    job: Job, *, data: Mapping[tuple[str, int], PreparedData], network: str, weights_file: str
) -> dict[str, Any]:
    """Train and evaluate, as plain data."""
    variant, images = VARIANTS[job.variant], data[job.data, job.seed]
    weights = read_pretrained(weights_file, spec_name=network)
    if weights.statistics is None:
        raise SystemExit(f"{weights_file}: it is not known how its images were normalized")
    spec = weights.adapt_spec(load_spec(network)).adapt(
        channels=images.channels, classes=len(images.classes), resolution=RESOLUTION
    )
    statistics = {"mean": weights.statistics.mean, "std": weights.statistics.std}
    images = images.model_copy(update=statistics)

    def load_into(module: nn.Module) -> None:
        weights.load_into(module, spec)
        if variant.random_classifier:
            randomize_classifier(module)

    recipe = variant.make_recipe(job.epochs)
    settings = TrainingSettings(max_shift=0.125, horizontal_flip=True, device="cpu", threads=1)
    torch.manual_seed(derive_seed(job.seed, "weights"))
    setup = TrainingSetup(
        TrainingRequest(spec, recipe, job.seed, settings),
        images,
        micro_batch_size=recipe.known_batch_size,
        initialization=Initialization(load_into, variant.freeze_backbone),
    )
    trainer = Trainer(setup, on_step=schedule_layers(setup, variant))
    trainer.run(lambda _epoch, _score: True)
    evaluation = evaluate_test_split(
        setup.eval_model, images, resolution=RESOLUTION, mean=setup.mean, std=setup.std
    )
    return {
        "accuracy": evaluation.accuracy,
        "loss": evaluation.loss,
        "validation": [point.accuracy for point in trainer.curve],
        "seconds": trainer.progress.train_seconds,
    }


def run_trainings(arguments: argparse.Namespace) -> None:
    """Run the trainings without a result."""
    done = read_results(arguments.out, Job)
    jobs = list_jobs(arguments.data)
    directory = arguments.out.with_suffix(".data")
    data = {
        (job.data, job.seed): prepare_images(Path(job.data), job.seed, directory)
        for job in sorted(jobs)
        if job not in done
    }
    run = partial(run_job, data=data, network=arguments.spec, weights_file=arguments.weights)
    run_missing(jobs, run, arguments.out, processes=arguments.processes)


def accuracies(results: Results, name: str, data: str, epochs: int) -> list[float]:
    """The accuracies of a variant in percent, by seed; empty where a seed is missing."""
    jobs = [Job(name, data, epochs, seed) for seed in SEEDS]
    if not all(job in results for job in jobs):
        return []
    return [100 * results[job]["accuracy"] for job in jobs]


def comparison_with_classifier(results: Results, sources: Sequence[Path]) -> list[str]:
    """Table: the chosen recipe and the classifier alone, for each data set and number of epochs."""
    rows = []
    for source, epochs in itertools.product(sources, EPOCHS):
        scores = {name: accuracies(results, name, str(source), epochs) for name in (FROZEN, CHOSEN)}
        if all(scores.values()):
            means = [format_mean(values) for values in scores.values()]
            difference = format_difference(scores, CHOSEN, FROZEN)
            rows.append([f"{source.name}, {epochs} epochs", *means, difference])
    return table(("images", FROZEN, CHOSEN, "difference, points"), rows)


def comparison_of_variants(results: Results, sources: Sequence[Path]) -> list[str]:
    """Table: all variants with the first number of epochs, each compared with the chosen one."""
    rows = []
    all_scores = {
        source: {name: accuracies(results, name, str(source), EPOCHS[0]) for name in VARIANTS}
        for source in sources
    }
    complete = {
        source: {name: values for name, values in scores.items() if values}
        for source, scores in all_scores.items()
    }
    for name in VARIANTS:
        if not any(name in scores for scores in complete.values()):
            continue
        row = [name]
        for scores in complete.values():
            has_both = name in scores and CHOSEN in scores and name != CHOSEN
            row.append(format_mean(scores[name]) if name in scores else "")
            row.append(format_difference(scores, name, CHOSEN) if has_both else "")
        rows.append(row)
    headers = itertools.chain.from_iterable(
        (source.name, f"compared with {CHOSEN}") for source in sources
    )
    return table(("variant", *headers), rows)


def write_report(arguments: argparse.Namespace) -> None:
    """Write the tables of the trainings that are complete for all seeds."""
    results = read_results(arguments.out, Job)
    names = " ".join(source.name for source in arguments.data)
    source_line = describe_command(
        f"python benchmarks/finetune.py {Path(arguments.weights).name} {names} --out "
        "results.jsonl --report",
        PACKAGES,
    )
    images = f"""{TRAIN_IMAGES:,} training images at {RESOLUTION} px, {len(SEEDS)} seeds, accuracy
    in percent on {TEST_IMAGES:,} test images (mean and standard deviation over the seeds)"""
    main = [
        *paragraph(source_line),
        *paragraph(
            f"""{arguments.spec} from ImageNet weights; {images}. A seed selects the images, their
            order and their augmentation. The difference has a 95% interval of the paired seeds."""
        ),
        *comparison_with_classifier(results, arguments.data),
    ]
    others = [
        *paragraph(source_line),
        *paragraph(
            f"""The same with {EPOCHS[0]} epochs. Each variant is the recipe `finetune` with the
            change that its name says. The intervals use the training noise of all variants."""
        ),
        *comparison_of_variants(results, arguments.data),
    ]
    write_section(REPORT, "All weights or the classifier only", main)
    write_section(REPORT, "Variants", others)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="weights of the network: a file or hf:OWNER/NAME")
    parser.add_argument("data", nargs="+", type=Path, help="data sets with a test split")
    parser.add_argument(
        "--spec", default="efficientnet_lite0", help="network (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    run_command(make_parser(), REPORT, run_trainings=run_trainings, write_report=write_report)
