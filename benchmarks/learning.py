"""Accuracy of a training with phinas, compared with an ordinary loop, for several seeds.

Both train the network of `ArchSpec.build` with the same recipe on the same images, so only the
training code differs. A seed determines the initial weights of both. Data order and augmentation
come from different generators, so the two accuracies of a seed have different training noise.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from loops import PAD, PlainLoop, make_dataloader
from markdown_sections import paragraph, table

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.experiment.seeds import derive_seed
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.evaluate import evaluate_test_split
from phinas.training.engine.train import train
from phinas.training.request import TrainingRequest, TrainingSettings

CPU = torch.device("cpu")
SPACE, IMAGES, EPOCHS, SEEDS = "small_images", 10_000, 5, (0, 1, 2)


def train_with_phinas(
    spec: ArchSpec, data: PreparedData, recipe: Recipe, seed: int
) -> tuple[float, float]:
    """Train with phinas. Returns the accuracy on the test images and the training seconds."""
    settings = TrainingSettings(PAD / data.image_size, horizontal_flip=True, device="cpu")
    result = train(TrainingRequest(spec, recipe, seed, settings), data)
    score = evaluate_test_split(
        result.model, data, resolution=spec.resolution, mean=result.mean, std=result.std
    )
    return score.accuracy, result.train_seconds


def train_with_loop(
    spec: ArchSpec, data: PreparedData, recipe: Recipe, seed: int
) -> tuple[float, float]:
    """The same with an ordinary loop. As in phinas, images are padded by repeating their edge."""
    pixels, labels, *_ = data.train_val_arrays()
    torch.manual_seed(derive_seed(seed, "weights"))
    model = spec.build()
    torch.manual_seed(seed)
    arrays = np.array(pixels), np.array(labels)
    batches = make_dataloader(
        *arrays,
        batch=recipe.known_batch_size,
        workers=2,
        mean=data.mean,
        std=data.std,
        padding="edge",
    )
    steps = len(labels) // recipe.known_batch_size * recipe.epochs
    epoch = PlainLoop(model, batches, recipe=recipe, device=CPU, steps=steps)
    start = time.perf_counter()
    for _ in range(recipe.epochs):
        epoch()
    seconds = time.perf_counter() - start
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return evaluate_test_split(
        model, data, resolution=spec.resolution, mean=mean, std=std
    ).accuracy, seconds


def section(
    source: Path, *, images: int = IMAGES, epochs: int = EPOCHS, seeds: tuple[int, ...] = SEEDS
) -> list[str]:
    """The table of accuracies on the test images of `source`."""
    recipe = Recipe(epochs=epochs, batch_size=128)
    trainers = {"phinas": train_with_phinas, "loop": train_with_loop}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    with TemporaryDirectory() as directory:
        section_config = DataSection(
            source=str(source), max_train_images=images, max_validation_images=500
        )
        data = prepare(section_config, seed=0, directory=Path(directory))
        space_dict = read_yaml(SPACES[SPACE])
        changes = {"classes": len(data.classes), "resolution": data.image_size}
        spec = space_from_dict(space_dict | {"base": space_dict["base"] | changes}).base
        for seed in seeds:
            for name, train_and_evaluate in trainers.items():
                results[name].append(train_and_evaluate(spec, data, recipe, seed))
    description = f"""{data.name}: {data.train:,} of its training images, {epochs} epochs with batch
    size {recipe.known_batch_size}, otherwise the recipe `proxy`; accuracy on the {data.test:,} test
    images. The network is the base of the space {SPACE} ({spec.depth} MBConv blocks, a stem of
    stride 1), built by `ArchSpec.build` for both trainings. These are short trainings of a small
    network: compare the accuracies only with each other, not with published ones. Seconds are those
    of the training only, with {torch.get_num_threads()} threads."""
    headers = ("training", *[f"seed {seed}" for seed in seeds], "mean ± std", "seconds")
    return [*paragraph(description), *table(headers, _accuracy_rows(results))]


def _accuracy_rows(results: dict[str, list[tuple[float, float]]]) -> list[list[str]]:
    """A row for each training, and one for their difference."""
    rows = []
    for name, seed_results in results.items():
        accuracies, seconds = zip(*seed_results, strict=True)
        mean_text = f"{statistics.fmean(accuracies):.2%} ± {100 * statistics.stdev(accuracies):.2f}"
        cells = [f"{accuracy:.2%}" for accuracy in accuracies]
        rows.append([name, *cells, mean_text, f"{statistics.fmean(seconds):.0f}"])
    differences = [
        accuracy - loop_accuracy
        for (accuracy, _), (loop_accuracy, _) in zip(*results.values(), strict=True)
    ]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    mean_text = f"{100 * statistics.fmean(differences):+.2f} ± {100 * error:.2f} (standard error)"
    cells = [f"{100 * difference:+.2f}" for difference in differences]
    return [*rows, ["phinas - loop, points", *cells, mean_text, ""]]
