"""Training speed on a GPU: an ordinary loop, the same without data loading, phinas, and phinas with
a CUDA graph.

This has run on no GPU yet.
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
from interleaved_timing import format_median_and_quartiles, speedups, time_rounds
from loops import CLASSES, PhinasLoop, PlainLoop, Workload, make_loop
from markdown_sections import paragraph, table
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from worker_processes import run_together, start_workers

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.space.presets import preset
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.yaml_io import read_yaml
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.device import set_determinism
from phinas.training.engine.job import TrainingJobFactory, run_training_job
from phinas.training.request import TrainingSettings

WORKERS = 8  # processes of the DataLoader
LOOPS = ("loop", "preloaded", "phinas", "captured")
WORKLOADS = (
    Workload("efficientnet_b0", 32, 512, 20_480),
    Workload("efficientnet_b0", 224, 128, 2_560),
)
PROCESS_COUNTS = (1, 2, 4, 8)
COMPARED_STEPS = 20
# Memory traffic of training EfficientNet-B0 at 224 px in eager mode, estimated from the shapes
BYTES_PER_IMAGE = 289e6
RECIPE = Recipe()  # the recipe `proxy`
TRIAL_IMAGES = 40_000  # as many as the training images of CIFAR-10 without the validation images


def run_and_synchronize(epoch: Callable[[], object]) -> None:
    epoch()
    torch.cuda.synchronize()


def copy_bandwidth() -> float:
    """Memory bandwidth of a copy in bytes per second, read and written."""
    large = torch.ones(1 << 28, device="cuda")
    destination = torch.empty_like(large)
    runs = time_rounds({"copy": lambda: run_and_synchronize(lambda: destination.copy_(large))}, 12)[
        "copy"
    ]
    return 2 * 4 * large.numel() / statistics.median(runs[2:])


def busy_fraction(epoch: PlainLoop | PhinasLoop) -> float:
    """Fraction of an epoch in which a kernel runs. Kernels do not overlap on the only stream."""
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
    """The table of both workloads, each with `count` rounds."""
    set_determinism(deterministic=False)
    device, bandwidth = torch.device("cuda"), copy_bandwidth()
    rows = []
    for workload in WORKLOADS:
        loops, peak_bytes = {}, {}
        for kind in LOOPS:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            loops[kind] = make_loop(kind, workload, device=device, workers=WORKERS)
            run_and_synchronize(loops[kind])
            run_and_synchronize(loops[kind])
            peak_bytes[kind] = torch.cuda.max_memory_allocated() - before
        seconds = time_rounds(
            {kind: partial(run_and_synchronize, loop) for kind, loop in loops.items()}, count
        )
        images = workload.images // workload.batch * workload.batch
        for kind, loop in loops.items():
            rate = images / statistics.median(seconds[kind])
            bound = bandwidth / BYTES_PER_IMAGE
            rows.append(
                [
                    f"{workload.network}, {workload.resolution} px, batch {workload.batch}: {kind}",
                    f"{rate:,.0f}",
                    format_median_and_quartiles(speedups(seconds, "loop", kind)),
                    f"{busy_fraction(loop):.0%}",
                    f"{peak_bytes[kind] / 1e9:.1f}",
                    f"{rate / bound:.0%}" if workload.resolution == 224 else "",
                ]
            )
        del loops, loop
        torch.cuda.empty_cache()
    description = f"""{torch.cuda.get_device_name()}; bfloat16 by autocast, channels last. Loop:
    timm's network and a DataLoader with {WORKERS} workers (PIL) and pinned memory. Preloaded: the
    same with its images on the GPU as floats, never augmented. Phinas: `ImageBatches` and
    `TrainStep`, eager. Captured: the same as a CUDA graph. Images/s are medians over rounds, and
    ratios are computed for each round. Busy: fraction of the time in which a kernel runs, under
    the profiler. A copy on this GPU has {bandwidth / 1e9:,.0f} GB/s, read and written. The eager
    bound is this bandwidth divided by {BYTES_PER_IMAGE / 1e6:.0f} MB per image, an estimate from
    shapes for eager mode at 224 px; fused kernels may exceed it. CUDA streams instead of processes
    were not measured."""
    headers = ("training", "images/s", "relative to loop", "busy", "peak GB", "of the eager bound")
    return [*paragraph(description), *table(headers, rows)]


def losses(workload: Workload, *, drop: float, use_cuda_graph: bool) -> torch.Tensor:
    """The loss of each of the first steps of a training.

    Args:
        workload: The network and its images.
        drop: Rate of dropout and of stochastic depth.
        use_cuda_graph: Capture the step as a CUDA graph.
    """
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
        spec,
        pixels,
        labels,
        recipe=workload.recipe,
        device=device,
        use_cuda_graph=use_cuda_graph,
    )
    training.model.train()
    torch.manual_seed(1)  # for dropout and stochastic depth
    order = torch.arange(workload.images, device=device).view(-1, workload.batch)
    losses_by_step = []
    for samples in order[:COMPARED_STEPS]:
        training.run_step(samples)
        losses_by_step.append(training.step.loss_sum.clone())
        training.step.loss_sum.zero_()
    return torch.stack(losses_by_step).cpu()


def compare_captured() -> list[str]:
    """The table of loss differences between captured and eager steps, and between two eager runs.

    Two eager runs may differ because the order of additions on a GPU varies.
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
        "last loss",
        "max difference, captured - eager",
        "max difference, eager - eager",
    )
    description = """Losses of eager and captured steps with the same weights, images and random
    numbers, and with deterministic algorithms."""
    return [*paragraph(description), *table(headers, rows)]


def noise_data(directory: Path) -> PreparedData:
    """A data set of random images in CIFAR-10's shape."""
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
    """A worker of a search after a short warm-up trial.

    Returns:
        A function that runs the trial of a given seed.
    """
    text = read_yaml(SPACES["small_images"])
    spec = space_from_dict(text | {"base": text["base"] | {"classes": CLASSES}}).base
    settings = TrainingSettings(0.125, horizontal_flip=True, device=device, threads=2)
    job_factory = TrainingJobFactory(data, settings, limit_seconds=3600.0)

    def trial(seed: int, recipe: Recipe = RECIPE) -> None:
        run_training_job(**job_factory.make_job(spec, recipe, seed).payload)

    trial(0, RECIPE.model_copy(update={"epochs": 1}))
    return trial


def trials_per_hour() -> list[str]:
    """The table of trials per hour by the number of processes that share the GPU."""
    rows = []
    with TemporaryDirectory() as directory:
        data = noise_data(Path(directory))
        for count in PROCESS_COUNTS:
            with start_workers(prepare_trial, [(data, "cuda")] * count) as pipes:
                start = time.perf_counter()
                run_together(pipes, range(count))
                seconds = time.perf_counter() - start
            rows.append([str(count), f"{seconds:.1f}", f"{3600 * count / seconds:,.0f}"])
    description = f"""Each process runs one trial: the base of the space small_images, trained with
    the recipe `proxy` (10 epochs of {TRIAL_IMAGES:,} random images in CIFAR-10's shape). All
    processes start at the same time after a short warm-up trial. The time ends with the last
    one."""
    return [*paragraph(description), *table(("processes", "seconds", "trials per hour"), rows)]
