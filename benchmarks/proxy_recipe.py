"""Compare recipes for the short trainings of a search.

    python benchmarks/proxy_recipe.py DATA... --out results.jsonl [--processes N] [--report]

Each variant is trained on 16,000 images of 32 px. Results are appended to `--out`, and trainings
that it holds are not repeated. `--report` writes the tables to benchmarks/proxy_recipe.md.
"""

import argparse
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from markdown_sections import paragraph, table, write_section
from recorded_trainings import (
    describe_command,
    format_mean,
    prepare_small_images,
    read_results,
    run_command,
    run_missing,
)
from torch import nn

from phinas.experiment.schema.recipe import Recipe
from phinas.experiment.seeds import derive_seed
from phinas.space.loading import load_spec
from phinas.space.pytorch.conv_net import ConvBlock, ConvNet, last_norm
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.space.stage_spec import StageSpec
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.trainer import Trainer
from phinas.training.engine.training_setup import TrainingSetup
from phinas.training.request import TrainingRequest, TrainingSettings

REPORT = Path(__file__).with_name("proxy_recipe.md")
PACKAGES = ("torch", "numpy")
TRAIN_IMAGES, VALIDATION_IMAGES, RESOLUTION = 16_000, 3_000, 32
EPOCHS, REGULARIZATION_EPOCHS, SEEDS = (3, 10), (3, 10, 30), (0, 1)
B0, YARDSTICK, CHOSEN = "efficientnet_b0", "resnet_20", "proxy"
RANDOM_NETWORKS = {f"random network {number}": number for number in (1, 2)}
NETWORKS = (B0, "mobilenet_v2", *RANDOM_NETWORKS)
# A plain residual network for small images: arXiv:1512.03385, section 4.2.
RESNET_20 = ArchSpec(
    stages=tuple(
        StageSpec(block="basic", kernel=3, expansion=1, se=0.0, depth=3, width=width, stride=stride)
        for width, stride in ((16, 1), (32, 2), (64, 2))
    ),
    stem_width=16,
    stem_stride=1,
    head_width=0,
    activation="relu",
    resolution=RESOLUTION,
)


@dataclass(frozen=True, order=True)
class Job:
    """One training."""

    variant: str
    network: str
    data: str
    epochs: int
    seed: int


Results = Mapping[Job, Mapping[str, Any]]


@dataclass(frozen=True)
class Variant:
    """A recipe and an initialization.

    Attributes:
        changes: Changed keys of the recipe `proxy`.
        published_classifier: Initialize the classifier as the published EfficientNet.
        published_norms: Initialize the batch-norm weights with 1, also those of residual blocks.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    published_classifier: bool = False
    published_norms: bool = False


_ADAMW = {"optimizer": "adamw", "weight_decay": 0.05}
_RMSPROP = {"optimizer": "rmsprop", "learning_rate": 0.016, "weight_decay": 1e-5}
INITIALIZATIONS = {
    "published initialization": Variant(published_classifier=True, published_norms=True),
    "published classifier": Variant(published_classifier=True),
    "published batch-norm weights": Variant(published_norms=True),
}
RECIPES = {
    "learning rate 0.1": Variant({"learning_rate": 0.1}),
    "learning rate 0.4": Variant({"learning_rate": 0.4}),
    "batches of 64": Variant({"batch_size": 64}),
    "batches of 32": Variant({"batch_size": 32}),
    "AdamW 0.003": Variant({**_ADAMW, "learning_rate": 0.003}),
    "RMSProp 0.016": Variant(_RMSPROP),
    "cosine decay": Variant({"schedule": "cosine", "ema_fraction": 0.0}),
    "cosine decay, warm-up of 20%": Variant(
        {"schedule": "cosine", "ema_fraction": 0.0, "warmup_fraction": 0.2}
    ),
    "no average of the weights": Variant({"ema_fraction": 0.0}),
    "average of 5%": Variant({"ema_fraction": 0.05}),
    "average of 25%": Variant({"ema_fraction": 0.25}),
    "no gradient clipping": Variant({"max_gradient_norm": 0.0}),
    "gradient norm 3": Variant({"max_gradient_norm": 3.0}),
    "warm-up of 5%": Variant({"warmup_fraction": 0.05}),
    "warm-up of 20%": Variant({"warmup_fraction": 0.2}),
    "weight decay 0.00005": Variant({"weight_decay": 5e-5}),
    "no label smoothing": Variant({"label_smoothing": 0.0}),
}
REGULARIZATIONS = {
    "half the regularization": Variant({"regularization": 0.5}),
    "the regularization of the network": Variant({"regularization": 1.0}),
}
VARIANTS = {CHOSEN: Variant(), **INITIALIZATIONS, **RECIPES, **REGULARIZATIONS}


def list_jobs(sources: Sequence[Path]) -> list[Job]:
    """All trainings, the most important ones first."""
    names = [str(source) for source in sources]
    yardstick = [
        Job(CHOSEN, YARDSTICK, source, epochs, seed)
        for epochs, seed, source in itertools.product(EPOCHS, SEEDS, names)
    ]
    initializations = [
        Job(variant, network, source, epochs, seed)
        for epochs, seed, variant, network, source in itertools.product(
            EPOCHS, SEEDS, (CHOSEN, *INITIALIZATIONS), (B0, "mobilenet_v2"), names
        )
        if network == B0 or variant in (CHOSEN, "published initialization")
    ]
    recipes = [
        Job(variant, network, source, EPOCHS[0], SEEDS[0])
        for variant, network, source in itertools.product((CHOSEN, *RECIPES), NETWORKS, names)
    ]
    regularizations = [
        Job(variant, B0, source, epochs, seed)
        for epochs, seed, variant, source in itertools.product(
            REGULARIZATION_EPOCHS, SEEDS, (CHOSEN, *REGULARIZATIONS), names
        )
    ]
    return list(dict.fromkeys((*initializations, *yardstick, *regularizations, *recipes)))


def make_network(name: str, data: PreparedData) -> ArchSpec:
    """A network for the images of a data set."""
    if name == YARDSTICK:
        spec = RESNET_20
    elif name in RANDOM_NETWORKS:
        space = load_space("small_images")
        spec = space.decode(space.sample(random.Random(RANDOM_NETWORKS[name])))
    else:
        spec = load_spec(name)
    return spec.adapt(channels=data.channels, classes=len(data.classes), resolution=RESOLUTION)


def initialize_as_published(network: nn.Module, published: ConvNet, variant: Variant) -> None:
    """Undo the initialization of `phinas.training.engine.initialization` that a variant lacks."""
    assert isinstance(network, ConvNet)
    if variant.published_classifier:
        network.classifier.load_state_dict(published.classifier.state_dict())
    if variant.published_norms:
        for block in network.modules():
            if isinstance(block, ConvBlock):
                nn.init.ones_(last_norm(block).weight)


def run_job(job: Job, *, data: Mapping[str, PreparedData]) -> dict[str, Any]:
    """Train and evaluate, as plain data."""
    variant, images = VARIANTS[job.variant], data[job.data]
    network = make_network(job.network, images)
    recipe = Recipe(**variant.changes, epochs=job.epochs)
    settings = TrainingSettings(max_shift=0.125, horizontal_flip=True, device="cpu", threads=1)
    torch.manual_seed(derive_seed(job.seed, "weights"))
    published = ConvNet(network)
    torch.manual_seed(derive_seed(job.seed, "weights"))
    setup = TrainingSetup(
        TrainingRequest(network, recipe, job.seed, settings),
        images,
        micro_batch_size=recipe.known_batch_size,
        initialization=Initialization(
            partial(initialize_as_published, published=published, variant=variant)
        ),
    )
    trainer = Trainer(setup)
    trainer.run(lambda _epoch, _score: True)
    return {
        "accuracy": trainer.curve[-1].accuracy,
        "curve": [point.accuracy for point in trainer.curve],
        "seconds": trainer.progress.train_seconds,
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
    run = partial(run_job, data={str(source): data for source, data in images.items()})
    run_missing(list_jobs(arguments.data), run, arguments.out, processes=arguments.processes)


def accuracies(
    results: Results, variant: str, network: str, *, data: str, epochs: int
) -> list[float]:
    """The accuracies of the trainings in percent, by seed."""
    return [
        100 * values["accuracy"]
        for job, values in sorted(results.items())
        if (job.variant, job.network, job.data, job.epochs) == (variant, network, data, epochs)
    ]


def comparison_of_initializations(results: Results, sources: Sequence[Path]) -> list[str]:
    """Table: accuracy by network and initialization, for each data set and number of epochs."""
    columns = [(str(source), epochs) for source in sources for epochs in EPOCHS]
    rows = []
    for network, variant in itertools.product(
        (B0, "mobilenet_v2", YARDSTICK), (CHOSEN, *INITIALIZATIONS)
    ):
        cells = [
            accuracies(results, variant, network, data=data, epochs=epochs)
            for data, epochs in columns
        ]
        if any(cells):
            rows.append(
                [f"{network}, {variant}", *(format_mean(cell) if cell else "" for cell in cells)]
            )
    headers = [f"{Path(data).name}, {epochs} epochs" for data, epochs in columns]
    return table(("network and initialization", *headers), rows)


def comparison_of_regularizations(results: Results, sources: Sequence[Path]) -> list[str]:
    """Table: accuracy by regularization, for each data set and number of epochs."""
    columns = [(str(source), epochs) for source in sources for epochs in REGULARIZATION_EPOCHS]
    rows = []
    for variant in (CHOSEN, *REGULARIZATIONS):
        cells = [
            accuracies(results, variant, B0, data=data, epochs=epochs) for data, epochs in columns
        ]
        rows.append([variant, *(format_mean(cell) if cell else "" for cell in cells)])
    headers = [f"{Path(data).name}, {epochs} epochs" for data, epochs in columns]
    return table(("regularization", *headers), rows)


def comparison_of_recipes(results: Results, sources: Sequence[Path]) -> list[str]:
    """Table: accuracy by recipe and network after the first number of epochs, seed 0."""
    columns = [(str(source), network) for source in sources for network in NETWORKS]
    rows = []
    for variant in (CHOSEN, *RECIPES):
        cells = [
            accuracies(results, variant, network, data=data, epochs=EPOCHS[0])[:1]
            for data, network in columns
        ]
        if all(cells):
            values = [cell[0] for cell in cells]
            rows.append([variant, *(f"{value:.1f}" for value in values), f"{fmean(values):.1f}"])
    headers = [f"{network}, {Path(data).name}" for data, network in columns]
    return table(("recipe", *headers, "mean"), rows)


def write_report(arguments: argparse.Namespace) -> None:
    """Write the tables of the trainings that are complete."""
    results = read_results(arguments.out, Job)
    names = " ".join(source.name for source in arguments.data)
    source_line = describe_command(
        f"python benchmarks/proxy_recipe.py {names} --out results.jsonl --report", PACKAGES
    )
    initializations = [
        *paragraph(source_line),
        *paragraph(
            f"""Accuracy in percent on {VALIDATION_IMAGES:,} validation images (mean and standard
            deviation over two seeds) after training on {TRAIN_IMAGES:,} images of {RESOLUTION} px
            with the recipe `proxy`."""
        ),
        *comparison_of_initializations(results, arguments.data),
    ]
    recipes = [
        *paragraph(source_line),
        *paragraph(
            f"""The same with {EPOCHS[0]} epochs and one seed. Each recipe is `proxy` with the
            change that its name says. The random networks are of the space `small_images`."""
        ),
        *comparison_of_recipes(results, arguments.data),
    ]
    regularizations = [
        *paragraph(source_line),
        *paragraph(
            f"""{B0}: factors of its dropout (0.2) and stochastic depth (0.2). The recipe `proxy`
            has neither."""
        ),
        *comparison_of_regularizations(results, arguments.data),
    ]
    write_section(REPORT, "Initialization", initializations)
    write_section(REPORT, "Regularization", regularizations)
    write_section(REPORT, "Recipes", recipes)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path, help="data sets")
    return parser


if __name__ == "__main__":
    run_command(make_parser(), REPORT, run_trainings=run_trainings, write_report=write_report)
