"""Whether our training learns what a plain one does: one network, one recipe, one set of images,
both ways, seed by seed.

The network is `build`'s both ways, so only the training differs. What a seed decides both ways is
the initial weights; order and augmentation are drawn in other ways, so the two are two draws of the
same thing.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from loops import PAD, PlainLoop, make_dataloader
from paired import paragraph, table

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.experiment.seeds import derive_seed
from phinas.space.blocks import build
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import space_from_dict
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.evaluate import evaluate_test_split
from phinas.training.engine.train import train

CPU = torch.device("cpu")
SPACE, IMAGES, EPOCHS, SEEDS = "small_images", 10_000, 5, (0, 1, 2)


def phinas_training(
    spec: ArchSpec, data: PreparedData, recipe: Recipe, seed: int
) -> tuple[float, float]:
    """Accuracy on the test images, and seconds of training."""
    result = train(
        spec,
        data,
        recipe=recipe,
        max_shift=PAD / data.image_size,
        horizontal_flip=True,
        seed=seed,
        device=CPU,
    )
    score = evaluate_test_split(
        result.model, data, side=spec.resolution, mean=result.mean, std=result.std
    )
    return score.accuracy, result.train_seconds


def plain_training(
    spec: ArchSpec, data: PreparedData, recipe: Recipe, seed: int
) -> tuple[float, float]:
    """The same by the loop that people write; the image is padded by its edge, as ours is."""
    pixels, labels, *_ = data.train_val_arrays()
    torch.manual_seed(derive_seed(seed, "weights"))
    model = build(spec)
    torch.manual_seed(seed)
    arrays = np.array(pixels), np.array(labels)
    batches = make_dataloader(
        *arrays, batch=recipe.batch_size, workers=2, mean=data.mean, std=data.std, padding="edge"
    )
    steps = len(labels) // recipe.batch_size * recipe.epochs
    epoch = PlainLoop(model, batches, recipe=recipe, device=CPU, steps=steps)
    start = time.perf_counter()
    for _ in range(recipe.epochs):
        epoch()
    seconds = time.perf_counter() - start
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return evaluate_test_split(
        model, data, side=spec.resolution, mean=mean, std=std
    ).accuracy, seconds


def section(
    source: Path, *, images: int = IMAGES, epochs: int = EPOCHS, seeds: tuple[int, ...] = SEEDS
) -> list[str]:
    recipe = Recipe(epochs=epochs)
    ways = {"ours": phinas_training, "plain loop": plain_training}
    results: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with TemporaryDirectory() as directory:
        section_config = DataSection(
            source=str(source), max_train_images=images, max_validation_images=500
        )
        data = prepare(section_config, seed=0, directory=Path(directory))
        text = read_yaml(SPACES[SPACE])
        spec = space_from_dict(
            text
            | {"base": text["base"] | {"classes": len(data.classes), "resolution": data.image_size}}
        ).base
        for seed in seeds:
            for way, train_and_score in ways.items():
                results[way].append(train_and_score(spec, data, recipe, seed))
    rows = []
    for way, scores in results.items():
        accuracies, seconds = zip(*scores, strict=True)
        each = [f"{accuracy:.2%}" for accuracy in accuracies]
        spread = f"{statistics.fmean(accuracies):.2%} ± {100 * statistics.stdev(accuracies):.2f}"
        rows.append([way, *each, spread, f"{statistics.fmean(seconds):.0f}"])
    differences = [one - other for (one, _), (other, _) in zip(*results.values(), strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    mean_text = f"{100 * statistics.fmean(differences):+.2f} ± {100 * error:.2f} (standard error)"
    rows.append(
        [
            "ours - plain, points",
            *[f"{100 * difference:+.2f}" for difference in differences],
            mean_text,
            "",
        ]
    )
    description = f"""{data.name}: {data.train:,} of its training images, {epochs} epochs of batch
    {recipe.batch_size}, the rest as in the recipe `proxy`; accuracy on its {data.test:,} test
    images. The network is the base of the space {SPACE} ({spec.depth} MBConv blocks, a stem of
    stride 1), made by `build` both ways. A short run of a small network: the accuracies are to be
    compared with one another and with nothing published. Seconds are of training alone,
    {torch.get_num_threads()} threads."""
    return [
        *paragraph(description),
        *table(
            ("training", *[f"seed {seed}" for seed in seeds], "mean ± deviation", "seconds"), rows
        ),
    ]
