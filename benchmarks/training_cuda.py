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
from loops import CLASSES, PhinasLoop, PlainLoop, Workload, make_loop
from paired import format_median_and_quartiles, paragraph, speedups, table, time_rounds
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from worker_processes import run_together, start_workers

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.space.blocks import build
from phinas.space.presets import preset
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import space_from_dict
from phinas.space.yaml_io import read_yaml
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.device import set_determinism
from phinas.training.engine.job import TrainingJobFactory, run_training_job

WORKERS = 8
WAYS = ("loop", "ready", "ours", "captured")
WORKLOADS = (
    Workload("efficientnet_b0", 32, 512, 20_480),
    Workload("efficientnet_b0", 224, 128, 2_560),
)
PROCESS_COUNTS = (1, 2, 4, 8)
COMPARED_STEPS = 20
BYTES_PER_IMAGE = (
    289e6  # bytes an image of B0's training at 224 px in eager mode: an estimate, from shapes
)
RECIPE = Recipe()  # `proxy`
TRIAL_IMAGES = 40_000  # in CIFAR-10's shape: its training images less a fifth


def run_and_synchronize(epoch: Callable[[], object]) -> None:
    epoch()
    torch.cuda.synchronize()


def copy_bandwidth() -> float:
    """Bytes a second, read and written."""
    large = torch.ones(1 << 28, device="cuda")
    destination = torch.empty_like(large)
    runs = time_rounds({"copy": lambda: run_and_synchronize(lambda: destination.copy_(large))}, 12)[
        "copy"
    ]
    return 2 * 4 * large.numel() / statistics.median(runs[2:])


def busy_fraction(epoch: PlainLoop | PhinasLoop) -> float:
    """The share of an epoch in which a kernel runs (on one stream, so they don't overlap)."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        run_and_synchronize(epoch)
        seconds = time.perf_counter() - start
    kernels = (
        event
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    return sum(event.self_device_time_total for event in kernels) * 1e-6 / seconds


def speed(count: int) -> list[str]:
    """The table of both settings."""
    set_determinism(deterministic=False)
    device, bandwidth = torch.device("cuda"), copy_bandwidth()
    rows = []
    for workload in WORKLOADS:
        epochs, peaks = {}, {}
        for way in WAYS:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            epochs[way] = make_loop(way, workload, device=device, workers=WORKERS)
            run_and_synchronize(epochs[way])
            run_and_synchronize(epochs[way])
            peaks[way] = torch.cuda.max_memory_allocated() - before
        seconds = time_rounds(
            {way: partial(run_and_synchronize, epoch) for way, epoch in epochs.items()}, count
        )
        images = workload.images // workload.batch * workload.batch
        for way, epoch in epochs.items():
            rate = images / statistics.median(seconds[way])
            bound = bandwidth / BYTES_PER_IMAGE
            rows.append(
                [
                    f"{workload.network}, {workload.resolution} px, batch {workload.batch}: {way}",
                    f"{rate:,.0f}",
                    format_median_and_quartiles(speedups(seconds, "loop", way)),
                    f"{busy_fraction(epoch):.0%}",
                    f"{peaks[way] / 1e9:.1f}",
                    f"{rate / bound:.0%}" if workload.resolution == 224 else "",
                ]
            )
        del epochs, epoch
        torch.cuda.empty_cache()
    description = f"""{torch.cuda.get_device_name()}; bfloat16 by autocast, channels last. Loop:
    timm's network, a DataLoader with {WORKERS} workers (PIL), pinned; ready: the same with its
    images on the GPU as floats, never augmented; ours: `ImageBatches` and `TrainStep`, eager;
    captured: as a CUDA graph. Images/s are medians, ratios are taken round by round. Busy: time in
    kernels over time, under the profiler. Copy here: {bandwidth / 1e9:,.0f} GB/s, read and
    written. Of the eager bound: images/s over that bandwidth by {BYTES_PER_IMAGE / 1e6:.0f} MB an
    image, an estimate from shapes for eager mode at 224 px; fused kernels may pass it. CUDA
    streams in place of processes were not measured."""
    headers = ("training", "images/s", "over the loop", "busy", "peak GB", "of the eager bound")
    return [*paragraph(description), *table(headers, rows)]


def losses(workload: Workload, *, drop: float, use_cuda_graph: bool) -> torch.Tensor:
    """Of each of the first steps of one training."""
    device = torch.device("cuda")
    pixels, labels = workload.pixels()
    spec = replace(
        preset(workload.network),
        resolution=workload.resolution,
        classes=CLASSES,
        dropout=drop,
        drop_path=drop,
    )
    torch.manual_seed(0)
    training = PhinasLoop(
        build(spec),
        pixels,
        labels,
        recipe=workload.recipe,
        device=device,
        use_cuda_graph=use_cuda_graph,
    )
    training.model.train()
    torch.manual_seed(1)  # of what is dropped
    order = torch.arange(workload.images, device=device).view(-1, workload.batch)
    losses_by_step = []
    for samples in order[:COMPARED_STEPS]:
        training.take_step(samples)
        losses_by_step.append(training.step.loss_sum.clone())
        training.step.loss_sum.zero_()
    return torch.stack(losses_by_step).cpu()


def compare_captured() -> list[str]:
    """Captured against eager, and eager against itself, which is how much a GPU's order of adding
    alone makes.
    """
    set_determinism(deterministic=True)
    workload = Workload("efficientnet_b0", 32, 128, COMPARED_STEPS * 128)
    rows = []
    for drop in (0.0, 0.2):
        eager, repeated, captured = (
            losses(workload, drop=drop, use_cuda_graph=graph) for graph in (False, False, True)
        )
        differences = [float((other - eager).abs().max()) for other in (captured, repeated)]
        rows.append(
            [
                f"dropout and stochastic depth {drop}",
                f"{eager[0]:.4f}",
                f"{eager[-1]:.4f}",
                *[f"{difference:.2e}" for difference in differences],
            ]
        )
    set_determinism(deterministic=False)
    headers = (
        f"{COMPARED_STEPS} steps, batch {workload.batch}",
        "first loss",
        "last",
        "captured - eager, at most",
        "eager - eager",
    )
    return [
        "The same weights, images and draws, step by step, eager and captured, with deterministic "
        "algorithms.",
        "",
        *table(headers, rows),
    ]


def noise_data(directory: Path) -> PreparedData:
    """Noise in CIFAR-10's shape, prepared as any data are."""
    generator = np.random.default_rng(0)
    images = TRIAL_IMAGES * 5 // 4
    pixels = generator.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    np.savez(
        directory / "noise.npz",
        x_train=pixels,
        y_train=generator.integers(0, CLASSES, images),
        x_test=pixels[:1000],
        y_test=np.arange(1000) % CLASSES,
    )
    return prepare(
        DataSection(source=str(directory / "noise.npz"), max_validation_images=5000),
        seed=0,
        directory=directory / "data",
    )


def prepare_trial(data: PreparedData, device: str) -> Callable[[int], object]:
    """A worker of a search, warm by a short trial: what measures one with a seed."""
    text = read_yaml(SPACES["small_images"])
    spec = space_from_dict(text | {"base": text["base"] | {"classes": CLASSES}}).base
    job_factory = TrainingJobFactory(
        data, max_shift=0.125, horizontal_flip=True, device=device, threads=2, limit_seconds=3600.0
    )

    def trial(seed: int, recipe: Recipe = RECIPE) -> None:
        run_training_job(**job_factory.make_job(spec, recipe, seed).payload)

    trial(0, RECIPE.model_copy(update={"epochs": 1}))
    return trial


def trials_per_hour() -> list[str]:
    """Trials an hour by how many processes share the GPU."""
    rows = []
    with TemporaryDirectory() as directory:
        data = noise_data(Path(directory))
        for count in PROCESS_COUNTS:
            with start_workers(prepare_trial, [(data, "cuda")] * count) as pipes:
                start = time.perf_counter()
                run_together(pipes, range(count))
                seconds = time.perf_counter() - start
            rows.append([str(count), f"{seconds:.1f}", f"{3600 * count / seconds:,.0f}"])
    description = f"""Trials of the recipe `proxy` (10 epochs of {TRIAL_IMAGES:,} images of noise
    in CIFAR-10's shape) on the base of the space small_images, one in each process, all begun at
    once after a short one to be warm; until the last has ended."""
    return [*paragraph(description), *table(("processes", "seconds", "trials an hour"), rows)]
