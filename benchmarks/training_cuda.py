"""Training on a GPU: an ordinary loop, the same with its data there already, our step, and our step
as a CUDA graph.

Nothing here has run on a GPU yet.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from crew import crew, together
from loops import CLASSES, Ordinary, Ours, Setting, make
from paired import paragraph, ratios, rounds, table, with_quartiles
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.space.blocks import build
from phinas.space.presets import preset
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import space_from_dict
from phinas.space.yaml_io import read_yaml
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.device import settle
from phinas.training.engine.job import Trainer, measure

WORKERS = 8
WAYS = ("loop", "ready", "ours", "captured")
SETTINGS = (
    Setting("efficientnet_b0", 32, 512, 20_480),
    Setting("efficientnet_b0", 224, 128, 2_560),
)
SHARERS = (1, 2, 4, 8)
SAME_STEPS = 20
TRAFFIC = 289e6  # bytes an image of B0's training at 224 px in eager mode: an estimate, from shapes
RECIPE = Recipe()  # `proxy`
TRIAL_IMAGES = 40_000  # in CIFAR-10's shape: its training images less a fifth


def waiting(epoch: Callable[[], object]) -> None:
    epoch()
    torch.cuda.synchronize()


def copy_bandwidth() -> float:
    """Bytes a second, read and written."""
    large = torch.ones(1 << 28, device="cuda")
    into = torch.empty_like(large)
    runs = rounds({"copy": lambda: waiting(lambda: into.copy_(large))}, 12)["copy"]
    return 2 * 4 * large.numel() / statistics.median(runs[2:])


def busy(epoch: Ordinary | Ours) -> float:
    """The share of an epoch in which a kernel runs (on one stream, so they don't overlap)."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        began = time.perf_counter()
        waiting(epoch)
        taken = time.perf_counter() - began
    kernels = (
        event
        for event in seen.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    return sum(event.self_device_time_total for event in kernels) * 1e-6 / taken


def speed(count: int) -> list[str]:
    """The table of both settings."""
    settle(deterministic=False)
    device, bandwidth = torch.device("cuda"), copy_bandwidth()
    rows = []
    for setting in SETTINGS:
        epochs, peaks = {}, {}
        for way in WAYS:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            epochs[way] = make(way, setting, device=device, workers=WORKERS)
            waiting(epochs[way])
            waiting(epochs[way])
            peaks[way] = torch.cuda.max_memory_allocated() - before
        seconds = rounds({way: partial(waiting, epoch) for way, epoch in epochs.items()}, count)
        images = setting.images // setting.batch * setting.batch
        for way, epoch in epochs.items():
            rate = images / statistics.median(seconds[way])
            bound = bandwidth / TRAFFIC
            rows.append(
                [
                    f"{setting.network}, {setting.side} px, batch {setting.batch}: {way}",
                    f"{rate:,.0f}",
                    with_quartiles(ratios(seconds, "loop", way)),
                    f"{busy(epoch):.0%}",
                    f"{peaks[way] / 1e9:.1f}",
                    f"{rate / bound:.0%}" if setting.side == 224 else "",
                ]
            )
        del epochs, epoch
        torch.cuda.empty_cache()
    about = f"""{torch.cuda.get_device_name()}; bfloat16 by autocast, channels last. Loop: timm's network, a DataLoader with
    {WORKERS} workers (PIL), pinned; ready: the same with its images on the GPU as floats, never augmented; ours: `Batches` and
    `Step`, eager; captured: as a CUDA graph. Images/s are medians, ratios are taken round by round. Busy: time in kernels over
    time, under the profiler. Copy here: {bandwidth / 1e9:,.0f} GB/s, read and written. Of the eager bound: images/s over that
    bandwidth by {TRAFFIC / 1e6:.0f} MB an image, an estimate from shapes for eager mode at 224 px; fused kernels may pass it.
    CUDA streams in place of processes were not measured."""
    heads = ("training", "images/s", "over the loop", "busy", "peak GB", "of the eager bound")
    return [*paragraph(about), *table(heads, rows)]


def losses(setting: Setting, *, drop: float, captured: bool) -> torch.Tensor:
    """Of each of the first steps of one training."""
    device = torch.device("cuda")
    pixels, labels = setting.pixels()
    spec = replace(
        preset(setting.network),
        resolution=setting.side,
        classes=CLASSES,
        dropout=drop,
        drop_path=drop,
    )
    torch.manual_seed(0)
    training = Ours(
        build(spec), pixels, labels, recipe=setting.recipe, device=device, captured=captured
    )
    training.model.train()
    torch.manual_seed(1)  # of what is dropped
    order = torch.arange(setting.images, device=device).view(-1, setting.batch)
    found = []
    for samples in order[:SAME_STEPS]:
        training.one(samples)
        found.append(training.step.total.clone())
        training.step.total.zero_()
    return torch.stack(found).cpu()


def same() -> list[str]:
    """Captured against eager, and eager against itself, which is how much a GPU's order of adding
    alone makes.
    """
    settle(deterministic=True)
    setting = Setting("efficientnet_b0", 32, 128, SAME_STEPS * 128)
    rows = []
    for drop in (0.0, 0.2):
        eager, again, captured = (
            losses(setting, drop=drop, captured=graph) for graph in (False, False, True)
        )
        gaps = [float((other - eager).abs().max()) for other in (captured, again)]
        rows.append(
            [
                f"dropout and stochastic depth {drop}",
                f"{eager[0]:.4f}",
                f"{eager[-1]:.4f}",
                *[f"{gap:.2e}" for gap in gaps],
            ]
        )
    settle(deterministic=False)
    heads = (
        f"{SAME_STEPS} steps, batch {setting.batch}",
        "first loss",
        "last",
        "captured - eager, at most",
        "eager - eager",
    )
    return [
        "The same weights, images and draws, step by step, eager and captured, with deterministic "
        "algorithms.",
        "",
        *table(heads, rows),
    ]


def noise_data(directory: Path) -> PreparedData:
    """Noise in CIFAR-10's shape, prepared as any data are."""
    drawn = np.random.default_rng(0)
    images = TRIAL_IMAGES * 5 // 4
    pixels = drawn.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    np.savez(
        directory / "noise.npz",
        x_train=pixels,
        y_train=drawn.integers(0, CLASSES, images),
        x_test=pixels[:1000],
        y_test=np.arange(1000) % CLASSES,
    )
    return prepare(
        DataSection(source=str(directory / "noise.npz"), validation_limit=5000),
        seed=0,
        directory=directory / "data",
    )


def sharer(data: PreparedData, device: str) -> Callable[[int], object]:
    """A worker of a search, warm by a short trial: what measures one with a seed."""
    text = read_yaml(SPACES["small_images"])
    spec = space_from_dict(text | {"base": text["base"] | {"classes": CLASSES}}).base
    trainer = Trainer(data, shift=0.125, flip=True, device=device, threads=2, limit_seconds=3600.0)

    def trial(seed: int, recipe: Recipe = RECIPE) -> None:
        measure(**trainer.job(spec, recipe, seed).payload)

    trial(0, RECIPE.model_copy(update={"epochs": 1}))
    return trial


def trials() -> list[str]:
    """Trials an hour by how many processes share the GPU."""
    rows = []
    with TemporaryDirectory() as aside:
        data = noise_data(Path(aside))
        for count in SHARERS:
            with crew(sharer, [(data, "cuda")] * count) as pipes:
                began = time.perf_counter()
                together(pipes, range(count))
                seconds = time.perf_counter() - began
            rows.append([str(count), f"{seconds:.1f}", f"{3600 * count / seconds:,.0f}"])
    about = f"""Trials of the recipe `proxy` (10 epochs of {TRIAL_IMAGES:,} images of noise in CIFAR-10's shape) on the base of
    the space small_images, one in each process, all begun at once after a short one to be warm; until the last has ended."""
    return [*paragraph(about), *table(("processes", "seconds", "trials an hour"), rows)]
