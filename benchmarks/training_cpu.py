"""Training on a CPU, ours beside an ordinary loop around timm's network: one after the other, and
two trainings at once.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from loops import Workload, count_work, make_loop
from paired import format_median_and_quartiles, paragraph, speedups, table, time_rounds
from worker_processes import run_together, start_workers

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
WORKERS = 2  # of the ordinary loop's DataLoader, in all
# Name, processes at once, threads of each.
PARALLEL_RUNS = {"one of two threads": (1, 2), "two of one thread": (2, 1)}

ABOUT = """\
A round is one epoch of each, in turn, in one process. Images/s are medians over rounds and depend
on what else the machine does; ratios are taken round by round (median, quartiles). All is counted:
crop or shift, flip, normalizing, shuffling, collating, the schedule, the optimizer. "Loop" is
timm's network (the same parameters, dropout and stochastic depth) as people train it: a DataLoader
with {workers} workers that stay over decoded uint8 images in memory, PIL transforms (crop of the
image padded by 4, flip, to tensor, normalize), channels last, SGD with Nesterov momentum, cross
entropy with label smoothing, a cosine. "Ready" is that loop with nothing to do for its data: float
tensors that lie there, never augmented. "Ours" is `ImageBatches` and `TrainStep`. Images are
noise, already at their side. float32, {threads} threads; the loop's workers run beside them.
Before the clock starts each runs an epoch in which its work is counted (passes, images,
parameters, and those with a gradient that is not zero): the same for all, or this stops."""


def speed(count: int) -> list[str]:
    """The table of all settings, `count` rounds each."""
    rows = []
    for workload in WORKLOADS:
        ways = {
            way: make_loop(way, workload, device=CPU, workers=WORKERS)
            for way in ("loop", "ready", "ours")
        }
        work = {way: count_work(epoch) for way, epoch in ways.items()}
        if len({tuple(counted.values()) for counted in work.values()}) > 1:
            raise SystemExit(f"{workload}: unequal work: {work}")
        seconds = time_rounds(ways, count)
        images = work["ours"]["images"]
        speeds = [f"{images / statistics.median(seconds[way]):,.0f}" for way in ways]
        gains = [
            format_median_and_quartiles(speedups(seconds, way, "ours")) for way in ("loop", "ready")
        ]
        steps = f"{work['ours']['passes']} x {workload.batch}"
        rows.append([f"{workload.network}, {workload.resolution} px", steps, *speeds, *gains])
    headers = (
        "network",
        "steps x batch",
        "loop, images/s",
        "ready",
        "ours",
        "ours / loop",
        "ours / ready",
    )
    description = ABOUT.format(workers=WORKERS, threads=torch.get_num_threads())
    return [*paragraph(description), *table(headers, rows)]


def prepare_epoch(
    way: str, workload: Workload, threads: int, workers: int
) -> Callable[[int], object]:
    """What trains one epoch, warm."""
    torch.set_num_threads(threads)
    epoch = make_loop(way, workload, device=CPU, workers=workers)
    epoch()
    return lambda _order: epoch()


def together(count: int) -> list[str]:
    """Two trainings at once of one thread each against one of two, both ways; a process for each
    training.
    """
    rows = []
    for workload in WORKLOADS[:2]:
        members = {
            (way, name): [(way, workload, threads, WORKERS // trainings)] * trainings
            for way in ("loop", "ours")
            for name, (trainings, threads) in PARALLEL_RUNS.items()
        }
        with start_workers(
            prepare_epoch, [member for group in members.values() for member in group]
        ) as pipes:
            remaining_pipes = iter(pipes)
            functions = {}
            for (way, name), group in members.items():
                group_pipes = [next(remaining_pipes) for _ in group]
                functions[f"{way}, {name}"] = partial(
                    run_together, group_pipes, range(len(group_pipes))
                )
            seconds = time_rounds(functions, count)
        single, double = PARALLEL_RUNS
        for way in ("loop", "ours"):
            speeds = [
                f"{trainings * workload.images / statistics.median(seconds[f'{way}, {name}']):,.0f}"
                for name, (trainings, _) in PARALLEL_RUNS.items()
            ]
            gain = [
                2 * ratio for ratio in speedups(seconds, f"{way}, {single}", f"{way}, {double}")
            ]
            rows.append(
                [
                    f"{workload.network}, {workload.resolution} px, {way}",
                    *speeds,
                    format_median_and_quartiles(gain),
                ]
            )
        both = [speedups(seconds, f"loop, {name}", f"ours, {name}") for name in PARALLEL_RUNS]
        rows.append(
            [
                f"{workload.network}, {workload.resolution} px, ours / loop",
                *map(format_median_and_quartiles, both),
                "",
            ]
        )
    description = f"""Images/s of all trainings of a group together, batch 32, until the last has
    ended. Each training is a process of its own, with {WORKERS} DataLoader workers a group in the
    loop. Groups take turns; those that wait take no time."""
    headers = ("training", f"{single}, images/s", f"{double}, together", "two / one")
    return [*paragraph(description), *table(headers, rows)]
