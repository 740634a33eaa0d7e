"""Training on a CPU, ours beside an ordinary loop around timm's network: one after the other, and
two trainings at once.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from crew import crew
from crew import together as all_at_once
from loops import Setting, make, work
from paired import paragraph, ratios, rounds, table, with_quartiles

CPU = torch.device("cpu")
SETTINGS = (
    Setting("efficientnet_b0", 32, 32, 640),
    Setting("efficientnet_b0", 64, 32, 640),
    Setting("efficientnet_b0", 32, 128, 1280),
    Setting("mobilenet_v2", 32, 32, 640),
    Setting("mobilenet_v2", 64, 32, 640),
    Setting("resnet_50", 32, 32, 160),
    Setting("resnet_50", 64, 32, 160),
)
WORKERS = 2  # of the ordinary loop's DataLoader, in all
# Name, processes at once, threads of each.
TOGETHER = {"one of two threads": (1, 2), "two of one thread": (2, 1)}

ABOUT = """\
A round is one epoch of each, in turn, in one process. Images/s are medians over rounds and depend on what else the machine
does; ratios are taken round by round (median, quartiles). All is counted: crop or shift, flip, normalising, shuffling,
collating, the schedule, the optimizer. "Loop" is timm's network (the same parameters, dropout and stochastic depth) as people
train it: a DataLoader with {workers} workers that stay over decoded uint8 images in memory, PIL transforms (crop of the image
padded by 4, flip, to tensor, normalise), channels last, SGD with Nesterov momentum, cross entropy with label smoothing, a
cosine. "Ready" is that loop with nothing to do for its data: float tensors that lie there, never augmented. "Ours" is `Batches`
and `Step`. Images are noise, already at their side. float32, {threads} threads; the loop's workers run beside them. Before the
clock starts each runs an epoch in which its work is counted (passes, images, parameters, and those with a gradient that is not
zero): the same for all, or this stops."""


def speed(count: int) -> list[str]:
    """The table of all settings, `count` rounds each."""
    rows = []
    for setting in SETTINGS:
        ways = {
            way: make(way, setting, device=CPU, workers=WORKERS)
            for way in ("loop", "ready", "ours")
        }
        done = {way: work(epoch) for way, epoch in ways.items()}
        if len({tuple(counted.values()) for counted in done.values()}) > 1:
            raise SystemExit(f"{setting}: unequal work: {done}")
        seconds = rounds(ways, count)
        images = done["ours"]["images"]
        speeds = [f"{images / statistics.median(seconds[way]):,.0f}" for way in ways]
        gains = [with_quartiles(ratios(seconds, way, "ours")) for way in ("loop", "ready")]
        steps = f"{done['ours']['passes']} x {setting.batch}"
        rows.append([f"{setting.network}, {setting.side} px", steps, *speeds, *gains])
    heads = (
        "network",
        "steps x batch",
        "loop, images/s",
        "ready",
        "ours",
        "ours / loop",
        "ours / ready",
    )
    about = ABOUT.format(workers=WORKERS, threads=torch.get_num_threads())
    return [*paragraph(about), *table(heads, rows)]


def contestant(way: str, setting: Setting, threads: int, workers: int) -> Callable[[int], object]:
    """What trains one epoch, warm."""
    torch.set_num_threads(threads)
    epoch = make(way, setting, device=CPU, workers=workers)
    epoch()
    return lambda _order: epoch()


def together(count: int) -> list[str]:
    """Two trainings at once of one thread each against one of two, both ways; a process for each
    training.
    """
    rows = []
    for setting in SETTINGS[:2]:
        members = {
            (way, name): [(way, setting, threads, WORKERS // trainings)] * trainings
            for way in ("loop", "ours")
            for name, (trainings, threads) in TOGETHER.items()
        }
        with crew(contestant, [member for group in members.values() for member in group]) as pipes:
            left = iter(pipes)
            turns = {}
            for (way, name), group in members.items():
                own = [next(left) for _ in group]
                turns[f"{way}, {name}"] = partial(all_at_once, own, range(len(own)))
            seconds = rounds(turns, count)
        one, two = TOGETHER
        for way in ("loop", "ours"):
            speeds = [
                f"{trainings * setting.images / statistics.median(seconds[f'{way}, {name}']):,.0f}"
                for name, (trainings, _) in TOGETHER.items()
            ]
            gain = [2 * ratio for ratio in ratios(seconds, f"{way}, {one}", f"{way}, {two}")]
            rows.append(
                [f"{setting.network}, {setting.side} px, {way}", *speeds, with_quartiles(gain)]
            )
        both = [ratios(seconds, f"loop, {name}", f"ours, {name}") for name in TOGETHER]
        rows.append(
            [f"{setting.network}, {setting.side} px, ours / loop", *map(with_quartiles, both), ""]
        )
    about = f"""Images/s of all trainings of a group together, batch 32, until the last has ended. Each training is a process of
    its own, with {WORKERS} DataLoader workers a group in the loop. Groups take turns; those that wait take no time."""
    heads = ("training", f"{one}, images/s", f"{two}, together", "two / one")
    return [*paragraph(about), *table(heads, rows)]
