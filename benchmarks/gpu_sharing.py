"""Several trainings on one GPU: on CUDA streams, stacked into one network, and as processes."""

import random
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from gpu_measurement import CheckContext
from gpu_trainings import NoiseTraining, small_images_space
from loops import CLASSES
from stacked_networks import stack_networks
from torch.nn import functional as F  # noqa: N812
from worker_processes import run_together, start_workers

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.engine.device import set_determinism
from phinas.training.engine.job import TrainingJobFactory, run_training_job
from phinas.training.engine.optimizer import make_optimizer
from phinas.training.engine.train_step import activation_dtype, autocast
from phinas.training.request import TrainingSettings

TRAINING_COUNTS = (1, 2, 4, 8)
_WARMUP_STEPS = 3  # before a capture
_TRIAL_EPOCHS = 3


def streams(context: CheckContext) -> None:
    """Images per second of several captured trainings in one process, each on its own stream."""
    set_determinism(deterministic=False)
    spec = replace(small_images_space().base, dropout=0.0)
    for batch_size in (8,) if context.small else (32, 128):
        for count in TRAINING_COUNTS:
            trainings = [
                NoiseTraining(
                    spec,
                    Recipe(batch_size=batch_size),
                    num_images=8 * batch_size,
                    device=context.device,
                    use_cuda_graph=True,
                    seed=seed,
                )
                for seed in range(count)
            ]
            seconds = context.median_seconds(
                _make_concurrent_steps(context, trainings), min_seconds=0.7
            )
            context.record(
                "streams",
                trainings=count,
                batch_size=batch_size,
                images_per_second=count * batch_size / seconds,
            )


def _make_concurrent_steps(
    context: CheckContext, trainings: list[NoiseTraining]
) -> Callable[[], None]:
    """Function that runs one step of each training; the captures are done before."""
    for training in trainings:
        training.run_step()
    context.synchronize()
    streams = [torch.cuda.Stream() if context.is_cuda else None for _ in trainings]

    def run_steps() -> None:
        for training, stream in zip(trainings, streams, strict=True):
            with torch.cuda.stream(stream) if stream else nullcontext():
                training.run_step()

    return run_steps


def stacked_seeds(context: CheckContext) -> None:
    """Images per second of several seeds of one network, stacked into one grouped network.

    A step is forward, backward and SGD, without augmentation.
    """
    set_determinism(deterministic=False)
    batch_size = 8 if context.small else 128
    for count in TRAINING_COUNTS:
        run_step = _make_stacked_step(context.device, batch_size, count)
        if context.is_cuda:
            run_step = _capture_graph(run_step)
        seconds = context.median_seconds(run_step, min_seconds=0.7)
        context.record(
            "stacked_seeds",
            seeds=count,
            batch_size=batch_size,
            images_per_second=count * batch_size / seconds,
            step_ms=1e3 * seconds,
        )


def _make_stacked_step(device: torch.device, batch_size: int, count: int) -> Callable[[], None]:
    spec, recipe = replace(small_images_space().base, dropout=0.0), Recipe()
    network = stack_networks(spec.build(), count)
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = make_optimizer(network, recipe)
    dtype = activation_dtype(recipe, device)
    images = torch.randn(batch_size, 3 * count, spec.resolution, spec.resolution, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (batch_size * count,), device=device)

    def run_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, dtype):
            logits = network(images)
        loss = F.cross_entropy(logits.float().flatten(0, 1), labels, reduction="sum")
        loss.div(batch_size).backward()
        optimizer.step()

    return run_step


def _capture_graph(run_step: Callable[[], None]) -> Callable[[], None]:
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARMUP_STEPS):
            run_step()
        with torch.cuda.graph(graph, stream=stream):
            run_step()
    torch.cuda.current_stream().wait_stream(stream)
    return graph.replay


def processes(context: CheckContext) -> None:
    """Trials per hour by the number of processes that share the GPU.

    Each process trains a network that it has not trained before, so the start-up time of a new
    network is included.
    """
    num_images = 1000 if context.small else 25_000
    with tempfile.TemporaryDirectory() as directory:
        data = _prepare_noise(Path(directory), num_images)
        for count in (1, 2) if context.small else (1, 4, 8):
            worker_arguments = [(data, str(context.device), index) for index in range(count)]
            with start_workers(prepare_worker, worker_arguments) as pipes:
                start = time.perf_counter()
                run_together(pipes, [1] * count)
                seconds = time.perf_counter() - start
            context.record(
                "processes",
                processes=count,
                seconds=seconds,
                trials_per_hour=3600 * count / seconds,
                images_per_second=count * _TRIAL_EPOCHS * data.train / seconds,
                epochs=_TRIAL_EPOCHS,
                train_images=data.train,
            )


def _prepare_noise(directory: Path, num_images: int) -> PreparedData:
    """Random images in CIFAR-10's shape."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (num_images, 32, 32, 3), dtype=np.uint8)
    source = directory / "noise.npz"
    np.savez(
        source,
        x_train=pixels,
        y_train=generator.integers(0, CLASSES, num_images),
        x_test=pixels[:500],
        y_test=np.arange(500) % CLASSES,
    )
    section = DataSection(source=str(source), max_validation_images=2000)
    return prepare(section, seed=0, directory=directory / "data")


def prepare_worker(data: PreparedData, device: str, index: int) -> Callable[[int], None]:
    """A worker of a search after its first trial.

    Returns:
        A function that trains the network of a given number, 0 or 1.
    """
    set_determinism(deterministic=False)
    generator, space = random.Random(index), small_images_space()
    specs = [space.decode(space.sample(generator)) for _ in range(2)]
    settings = TrainingSettings(0.125, horizontal_flip=True, device=device, threads=1)
    job_factory = TrainingJobFactory(data, settings, limit_seconds=600.0)

    def run_trial(number: int, epochs: int = _TRIAL_EPOCHS) -> None:
        job = job_factory.make_job(specs[number], Recipe(epochs=epochs), number)
        run_training_job(**job.payload)

    run_trial(0, epochs=1)
    return run_trial
