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
from loops import PAD, Ordinary, loader
from paired import paragraph, table

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.experiment.seeds import seed_of
from phinas.space.blocks import build
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import space_from_dict
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.evaluate import evaluate_final
from phinas.training.engine.train import train

CPU = torch.device("cpu")
SPACE, IMAGES, EPOCHS, SEEDS = "small_images", 10_000, 5, (0, 1, 2)


def ours(spec: ArchSpec, data: PreparedData, recipe: Recipe, seed: int) -> tuple[float, float]:
    """Accuracy on the test images, and seconds of training."""
    trained = train(
        spec, data, recipe=recipe, shift=PAD / data.side, flip=True, seed=seed, device=CPU
    )
    score = evaluate_final(
        trained.model, data, side=spec.resolution, mean=trained.mean, std=trained.std
    )
    return score.accuracy, trained.train_seconds


def plain(spec: ArchSpec, data: PreparedData, recipe: Recipe, seed: int) -> tuple[float, float]:
    """The same by the loop that people write; the image is padded by its edge, as ours is."""
    pixels, labels, *_ = data.steer_arrays()
    torch.manual_seed(seed_of(seed, "weights"))
    model = build(spec)
    torch.manual_seed(seed)
    held = np.array(pixels), np.array(labels)
    batches = loader(
        *held, batch=recipe.batch, workers=2, mean=data.mean, std=data.std, padding="edge"
    )
    steps = len(labels) // recipe.batch * recipe.epochs
    epoch = Ordinary(model, batches, recipe=recipe, device=CPU, steps=steps)
    began = time.perf_counter()
    for _ in range(recipe.epochs):
        epoch()
    seconds = time.perf_counter() - began
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return evaluate_final(model, data, side=spec.resolution, mean=mean, std=std).accuracy, seconds


def section(
    source: Path, *, images: int = IMAGES, epochs: int = EPOCHS, seeds: tuple[int, ...] = SEEDS
) -> list[str]:
    recipe = Recipe(epochs=epochs)
    ways = {"ours": ours, "plain loop": plain}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with TemporaryDirectory() as aside:
        wanted = DataSection(source=str(source), train_limit=images, validation_limit=500)
        data = prepare(wanted, seed=0, directory=Path(aside))
        text = read_yaml(SPACES[SPACE])
        spec = space_from_dict(
            text | {"base": text["base"] | {"classes": len(data.classes), "resolution": data.side}}
        ).base
        for seed in seeds:
            for way, measured in ways.items():
                found[way].append(measured(spec, data, recipe, seed))
    rows = []
    for way, scores in found.items():
        accuracies, seconds = zip(*scores, strict=True)
        each = [f"{accuracy:.2%}" for accuracy in accuracies]
        spread = f"{statistics.fmean(accuracies):.2%} ± {100 * statistics.stdev(accuracies):.2f}"
        rows.append([way, *each, spread, f"{statistics.fmean(seconds):.0f}"])
    gaps = [one - other for (one, _), (other, _) in zip(*found.values(), strict=True)]
    error = statistics.stdev(gaps) / len(gaps) ** 0.5
    middle = f"{100 * statistics.fmean(gaps):+.2f} ± {100 * error:.2f} (standard error)"
    rows.append(["ours - plain, points", *[f"{100 * gap:+.2f}" for gap in gaps], middle, ""])
    about = f"""{data.name}: {data.train:,} of its training images, {epochs} epochs of batch {recipe.batch}, the rest as in the
    recipe `proxy`; accuracy on its {data.test:,} test images. The network is the base of the space {SPACE} ({spec.depth} MBConv
    blocks, a stem of stride 1), made by `build` both ways. A short run of a small network: the accuracies are to be compared
    with one another and with nothing published. Seconds are of training alone, {torch.get_num_threads()} threads."""
    return [
        *paragraph(about),
        *table(
            ("training", *[f"seed {seed}" for seed in seeds], "mean ± deviation", "seconds"), rows
        ),
    ]
