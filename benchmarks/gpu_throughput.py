"""Speed of single trainings on a GPU: throughput, and the start-up time of a new network."""

import random
import time
from typing import Any

import torch
from gpu_measurement import CheckContext
from gpu_trainings import NoiseTraining, small_images_space
from loops import PlainLoop, Workload, make_dataloader, make_loop
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from phinas.experiment.schema.config import Recipe
from phinas.training.engine.device import set_determinism

WORKLOADS = (
    Workload("efficientnet_b0", 32, 128, 5120),
    Workload("efficientnet_b0", 32, 512, 10_240),
    Workload("efficientnet_b0", 224, 128, 1280),
)
SMALL_WORKLOADS = (Workload("efficientnet_b0", 32, 8, 16),)
DATALOADER_WORKERS = 8
_PROFILED_STEPS = 5


def throughput(context: CheckContext) -> None:
    """Images per second of an ordinary loop, of eager steps and of captured steps."""
    set_determinism(deterministic=False)
    for workload in SMALL_WORKLOADS if context.small else WORKLOADS:
        _record_loops(context, workload)
    for batch_size in (8,) if context.small else (128, 512):
        for use_cuda_graph in (False, True) if context.is_cuda else (False,):
            _record_small_network(context, batch_size, use_cuda_graph=use_cuda_graph)
    if not context.small:
        _record_dataloader(context, WORKLOADS[0])


def _describe(workload: Workload, kind: str) -> dict[str, Any]:
    return {
        "network": workload.network,
        "resolution": workload.resolution,
        "batch_size": workload.batch,
        "loop": kind,
    }


def _record_loops(context: CheckContext, workload: Workload) -> None:
    """The loops of `loops.make_loop`. "preloaded" is timm's network without data loading."""
    images = workload.images // workload.batch * workload.batch
    rates: dict[str, float] = {}
    for kind in ("preloaded", "phinas", "captured") if context.is_cuda else ("preloaded", "phinas"):
        loop = make_loop(kind, workload, device=context.device)
        rates[kind] = images / context.median_seconds(loop)
        context.record(
            "throughput",
            **_describe(workload, kind),
            images_per_second=rates[kind],
            ratio_to_preloaded=rates[kind] / rates["preloaded"],
        )


def _record_small_network(context: CheckContext, batch_size: int, *, use_cuda_graph: bool) -> None:
    spec = small_images_space().base
    training = NoiseTraining(
        spec,
        Recipe(batch_size=batch_size),
        num_images=4 * batch_size,
        device=context.device,
        use_cuda_graph=use_cuda_graph,
    )
    seconds = context.median_seconds(training.run_step)
    workload = Workload("small_images", spec.resolution, batch_size, 4 * batch_size)
    context.record(
        "throughput",
        **_describe(workload, "captured" if use_cuda_graph else "phinas"),
        images_per_second=batch_size / seconds,
        step_ms=1e3 * seconds,
        **_profile_kernels(context, training),
    )


def _record_dataloader(context: CheckContext, workload: Workload) -> None:
    """The ordinary loop with its data: decoded images behind PIL transforms and a DataLoader."""
    dataloader = make_dataloader(
        *workload.pixels(), batch=workload.batch, workers=DATALOADER_WORKERS
    )
    loop = PlainLoop(
        workload.timm_network(),
        dataloader,
        recipe=workload.recipe,
        device=context.device,
        steps=10_000,
    )
    seconds = context.median_seconds(loop, min_seconds=0.5, rounds=2)
    context.record(
        "throughput",
        **_describe(workload, f"loop, {DATALOADER_WORKERS} DataLoader workers"),
        images_per_second=workload.images / seconds,
    )


def _profile_kernels(context: CheckContext, training: NoiseTraining) -> dict[str, Any]:
    """Number of kernels of a step, and the fraction of its time in which a kernel runs."""
    if not context.is_cuda:
        return {}
    context.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        for _ in range(_PROFILED_STEPS):
            training.run_step()
        context.synchronize()
        seconds = time.perf_counter() - start
    kernels = [
        event
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]
    busy_seconds = sum(event.self_device_time_total for event in kernels) * 1e-6
    return {
        "kernels_per_step": len(kernels) / _PROFILED_STEPS,
        "busy_fraction": busy_seconds / seconds,
    }


def cold_start(context: CheckContext) -> None:
    """Time from a new network to its first fast step, with cuDNN's default algorithms.

    cuDNN keeps its choice for a shape as long as the process lives, so later networks profit from
    the shapes of earlier ones.
    """
    _record_cold_starts(context, cudnn_benchmark=False)


def cold_start_autotune(context: CheckContext) -> None:
    """The same as `cold_start` while cuDNN times its algorithms and selects the fastest."""
    _record_cold_starts(context, cudnn_benchmark=True)


def _record_cold_starts(context: CheckContext, *, cudnn_benchmark: bool) -> None:
    set_determinism(deterministic=False)
    torch.backends.cudnn.benchmark = cudnn_benchmark
    generator = random.Random(0)
    space = small_images_space()
    for number in range(2 if context.small else 6):
        spec = space.decode(space.sample(generator))
        start = time.perf_counter()
        training = NoiseTraining(
            spec,
            Recipe(),
            num_images=512,
            device=context.device,
            use_cuda_graph=True,
            seed=number,
        )
        context.synchronize()
        build_end = time.perf_counter()
        training.run_step()
        context.synchronize()
        capture_end = time.perf_counter()
        seconds = context.median_seconds(
            training.run_step, min_seconds=0.1 if context.small else 0.5
        )
        context.record(
            "cold_start_autotune" if cudnn_benchmark else "cold_start",
            network=number,
            depth=spec.depth,
            build_s=build_end - start,
            warmup_and_capture_s=capture_end - build_end,
            step_ms=1e3 * seconds,
        )
