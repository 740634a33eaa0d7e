"""Training speed on a CPU, compared with an ordinary loop and timm's network: one training at a
time, and two at the same time.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from interleaved_timing import format_median_and_quartiles, speedups, time_rounds
from loops import CLASSES, Workload, count_work, make_loop
from markdown_sections import paragraph, table
from stacked_networks import stack_networks
from torch import nn
from worker_processes import run_together, start_workers

from phinas.space.presets import preset

CPU = torch.device("cpu")
WORKLOADS = (
    Workload("efficientnet_b0", 32, 32, 640),
    Workload("efficientnet_b0", 64, 32, 640),
    Workload("efficientnet_b0", 32, 128, 1280),
    Workload("mobilenet_v2", 32, 32, 640),
    Workload("mobilenet_v2", 64, 32, 640),
    Workload("resnet_50", 32, 32, 160),
    Workload("resnet_50", 64, 32, 160),
)
# Resolution, batch size and number of stacked seeds
STACKED_WORKLOADS = ((32, 32, 2), (32, 32, 4), (32, 128, 3), (64, 32, 3))
WORKERS = 2  # DataLoader processes of the ordinary loops, in total
# Number of trainings at the same time, and CPU threads of each
PARALLEL_RUNS = {"one training, 2 threads": (1, 2), "two trainings, 1 thread each": (2, 1)}

SPEED_DESCRIPTION = """\
A round is one epoch of each training, one after the other, in one process. Images/s are medians
over rounds and depend on other load on the machine. Ratios are computed for each round (median,
quartiles). The time includes everything: crop or shift, flip, normalization, shuffling, collation,
schedule and optimizer. "Loop" is timm's network (the same parameters, dropout and stochastic depth)
in an ordinary loop: a DataLoader with {workers} persistent workers over decoded uint8 images in
memory, PIL transforms (crop of the image padded by 4, flip, ToTensor, Normalize), channels last,
SGD with Nesterov momentum, cross entropy with label smoothing, and a cosine schedule. "Preloaded"
is that loop without data loading: its float tensors are in memory and never augmented. "Phinas" is
`ImageBatches` and `TrainStep`. Images are random and have the network's resolution. float32,
{threads} threads; the loop's workers run in addition. Before the timing, each training runs an
epoch in which its work is counted (passes, images, parameters, and those with a gradient that is
not zero). If the work is not the same for all, the benchmark stops."""


def speed(count: int) -> list[str]:
    """The table of all workloads, each with `count` rounds."""
    rows = []
    for workload in WORKLOADS:
        loops = {
            kind: make_loop(kind, workload, device=CPU, workers=WORKERS)
            for kind in ("loop", "preloaded", "phinas")
        }
        work = {kind: count_work(loop) for kind, loop in loops.items()}
        if len({tuple(counts.values()) for counts in work.values()}) > 1:
            raise SystemExit(f"{workload}: the loops do not do the same work: {work}")
        seconds = time_rounds(loops, count)
        images = work["phinas"]["images"]
        speeds = [f"{images / statistics.median(seconds[kind]):,.0f}" for kind in loops]
        ratios = [
            format_median_and_quartiles(speedups(seconds, kind, "phinas"))
            for kind in ("loop", "preloaded")
        ]
        steps = f"{work['phinas']['passes']} x {workload.batch}"
        rows.append([f"{workload.network}, {workload.resolution} px", steps, *speeds, *ratios])
    headers = (
        "network",
        "steps x batch",
        "loop, images/s",
        "preloaded",
        "phinas",
        "phinas / loop",
        "phinas / preloaded",
    )
    description = SPEED_DESCRIPTION.format(workers=WORKERS, threads=torch.get_num_threads())
    return [*paragraph(description), *table(headers, rows)]


def stacked(count: int) -> list[str]:
    """Seeds of one network, stacked into one network with grouped convolutions, compared with one
    after the other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for resolution, batch, seeds in STACKED_WORKLOADS:
        spec = preset("efficientnet_b0").adapt(resolution=resolution, classes=CLASSES)
        single = spec.build()
        steps = {
            "one after the other": _make_step(single, batch, resolution, networks=1),
            "stacked": _make_step(stack_networks(single, seeds), batch, resolution, networks=seeds),
        }
        for run_step in steps.values():
            run_step()
        seconds = time_rounds(steps, count)
        ratios = [seeds * ratio for ratio in speedups(seconds, "one after the other", "stacked")]
        milliseconds = [f"{1e3 * statistics.median(values):.0f}" for values in seconds.values()]
        rows.append(
            [
                f"{resolution} px",
                str(batch),
                str(seeds),
                *milliseconds,
                format_median_and_quartiles(ratios),
            ]
        )
    torch.set_num_threads(threads)
    description = """efficientnet_b0, forward and backward pass, one thread. Stacked: the channels
    of all seeds are concatenated, and the convolutions are grouped (arXiv:2102.02344), so that a
    step trains all seeds. Speedup: time of the steps of all seeds one after the other over that of
    the stacked step; below 1, stacking is slower."""
    headers = ("resolution", "batch", "seeds", "one seed, ms", "stacked, ms", "speedup")
    return [*paragraph(description), *table(headers, rows)]


def _make_step(
    network: nn.Module, batch: int, resolution: int, *, networks: int
) -> Callable[[], None]:
    network = network.to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3 * networks, resolution, resolution)
    images = images.contiguous(memory_format=torch.channels_last)

    def run_step() -> None:
        network(images).square().mean().backward()
        network.zero_grad(set_to_none=True)

    return run_step


def prepare_epoch(
    kind: str, workload: Workload, threads: int, workers: int
) -> Callable[[int], object]:
    """Make a training and run a warm-up epoch.

    Returns:
        A function that trains one epoch.
    """
    torch.set_num_threads(threads)
    loop = make_loop(kind, workload, device=CPU, workers=workers)
    loop()
    return lambda _message: loop()


def together(count: int) -> list[str]:
    """Two trainings of one thread at the same time, compared with one training of two threads.

    Each training is a process.
    """
    rows = []
    for workload in WORKLOADS[:2]:
        groups = {
            (kind, name): [(kind, workload, threads, WORKERS // trainings)] * trainings
            for kind in ("loop", "phinas")
            for name, (trainings, threads) in PARALLEL_RUNS.items()
        }
        with start_workers(
            prepare_epoch, [arguments for group in groups.values() for arguments in group]
        ) as pipes:
            remaining_pipes = iter(pipes)
            functions = {}
            for (kind, name), group in groups.items():
                group_pipes = [next(remaining_pipes) for _ in group]
                functions[f"{kind}, {name}"] = partial(
                    run_together, group_pipes, range(len(group_pipes))
                )
            seconds = time_rounds(functions, count)
        rows += _parallel_rows(workload, seconds)
    description = f"""Images/s of all trainings of a group in total, batch 32, until the last one
    has ended. Each training is a process. The loops of a group have {WORKERS} DataLoader workers in
    total. Groups are timed alternately; waiting groups use no CPU time."""
    single, double = PARALLEL_RUNS
    headers = ("training", f"{single}, images/s", double, "two / one")
    return [*paragraph(description), *table(headers, rows)]


def _parallel_rows(workload: Workload, seconds: dict[str, list[float]]) -> list[list[str]]:
    """The rows of one workload: each kind of loop, and their ratio."""
    title = f"{workload.network}, {workload.resolution} px"
    single, double = PARALLEL_RUNS
    rows = []
    for kind in ("loop", "phinas"):
        speeds = [
            f"{trainings * workload.images / statistics.median(seconds[f'{kind}, {name}']):,.0f}"
            for name, (trainings, _) in PARALLEL_RUNS.items()
        ]
        speedup_by_round = speedups(seconds, f"{kind}, {single}", f"{kind}, {double}")
        ratios = [2 * ratio for ratio in speedup_by_round]  # two trainings against one
        rows.append([f"{title}, {kind}", *speeds, format_median_and_quartiles(ratios)])
    ratios_to_loop = [
        format_median_and_quartiles(speedups(seconds, f"loop, {name}", f"phinas, {name}"))
        for name in PARALLEL_RUNS
    ]
    return [*rows, [f"{title}, phinas / loop", *ratios_to_loop, ""]]
