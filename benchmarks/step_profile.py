"""Where the time of our training step goes, by kinds of operators, and how far each is from what
the machine can do.

The one decision to know: an operator's time is its own (that of operators which it calls is
theirs), and it goes to the kind of the nearest operator up its calls that has one. Bytes are those
that operators can't do without if each is run by itself: inputs read once, outputs written once,
but that a batch norm in training reads twice, for its statistics and its result.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from cost import timed
from loops import Ours, Setting
from paired import paragraph, table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from phinas.training.engine.train_step import Step

DATA, REST = (
    "data (gather, shift, flip, normalise)",
    "all else (Python, autograd, views, allocation, loss)",
)
PRODUCTS, DENSE, DEPTHWISE = "matrix products (1x1 convolutions)", "stem", "depthwise convolutions"
ELEMENTWISE = "other elementwise and reductions"
ELEMENTS = {
    f"aten::{name}"
    for name in (
        "mul",
        "mul_",
        "add",
        "add_",
        "addcmul",
        "div",
        "div_",
        "sum",
        "sigmoid",
        "sigmoid_backward",
        "copy_",
    )
}
KINDS = {
    "aten::native_batch_norm": "batch norm, forward",
    "aten::native_batch_norm_backward": "batch norm, backward",
    "aten::silu": "SiLU, forward",
    "aten::silu_backward": "SiLU, backward",
    "aten::mm": PRODUCTS,
    "aten::addmm": PRODUCTS,
    "_DepthwiseBackward": DEPTHWISE,
    DATA: DATA,
}
WEIGHTS_AT = {
    "aten::mkldnn_convolution": 1,
    "aten::_slow_conv2d_forward": 1,
    "aten::convolution_backward": 2,
}
READ_AND_WRITTEN = {  # as often as their first input is long
    "aten::native_batch_norm": 3,
    "aten::native_batch_norm_backward": 5,
    "aten::silu": 2,
    "aten::silu_backward": 3,
}
FLOAT = 4  # bytes
PROFILED = Setting("efficientnet_b0", 64, 32, 320)


class Watched(Step):
    """Its data by name in a profile."""

    def _prepare(self, images: Tensor, labels: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        with record_function(DATA):
            return super()._prepare(images, labels, samples)


def own_kind(event: Any) -> str | None:
    if event.name.startswith("Optimizer."):
        return "optimizer"
    if event.name in WEIGHTS_AT:
        weights = event.input_shapes[WEIGHTS_AT[event.name]]
        if weights[1] == 1:
            return DEPTHWISE
        return PRODUCTS if weights[2:] == [1, 1] else DENSE
    return KINDS.get(event.name)


def kind_of(event: Any) -> str:
    """The outermost of data and optimizer, else the nearest that has one."""
    chain = []
    caller = event
    while caller is not None:
        chain.append(own_kind(caller))
        caller = caller.cpu_parent
    for whole in (DATA, "optimizer"):
        if whole in chain:
            return whole
    return next((kind for kind in chain if kind), ELEMENTWISE if event.name in ELEMENTS else REST)


def least(event: Any) -> tuple[float, float]:
    """Bytes that an operator has to move, and operations of its products; zeros where it only calls
    others.
    """
    shapes = event.input_shapes or []
    sizes = [math.prod(shape) for shape in shapes if shape]
    if event.name in READ_AND_WRITTEN:
        return FLOAT * READ_AND_WRITTEN[event.name] * sizes[0], 0.0
    if event.name in ("aten::mm", "aten::addmm"):
        (rows, inner), (_, columns) = [shape for shape in shapes if len(shape) == 2][-2:]
        return FLOAT * (
            rows * inner + inner * columns + rows * columns
        ), 2.0 * rows * inner * columns
    if event.name == "aten::mkldnn_convolution":
        images, weights, strides = shapes[0], shapes[1], event.concrete_inputs[4]
        reduced = [
            math.ceil(side / stride) for side, stride in zip(images[2:], strides, strict=True)
        ]
        outputs = images[0] * weights[0] * math.prod(reduced)
        return FLOAT * (sizes[0] + sizes[1] + outputs), 2.0 * outputs * math.prod(weights[1:])
    if event.name == "aten::convolution_backward":
        of_images, of_weights = event.concrete_inputs[10][:2]
        wanted = of_images + of_weights  # each passes over both; weights are nothing beside them
        _, _, high, wide = shapes[2]
        moved = (
            (sizes[0] + sizes[1]) * wanted * wide / high
        )  # columns of a kernel that is taken in parts
        return FLOAT * moved, 2.0 * sizes[0] * math.prod(shapes[2][1:]) * wanted
    if event.name in ELEMENTS and kind_of(event) == ELEMENTWISE:
        writes = 0 if event.name in ("aten::sum", "aten::copy_") else max(sizes, default=0)
        return FLOAT * (sum(sizes) + writes), 0.0
    return 0.0, 0.0


def machine_limits() -> dict[str, float]:
    """Bytes a second of a copy and of a read, operations a second of a large product: medians."""
    large = torch.ones(1 << 27)  # half a gigabyte: beyond all caches
    into = torch.empty_like(large)
    matrix, vector = large.view(1 << 14, -1), torch.ones(1 << 13)
    square = torch.randn(2048, 2048)
    runs: dict[str, tuple[Callable[[], object], float]] = {
        "copy": (partial(into.copy_, large), 2 * FLOAT * large.numel()),
        "clone": (large.clone, 2 * FLOAT * large.numel()),
        "read": (partial(torch.mv, matrix, vector), FLOAT * large.numel()),
        "product": (partial(torch.mm, square, square), 2.0 * 2048**3),
    }
    for call, _ in runs.values():
        call()
    return {name: amount / timed(call, runs=7)[0] for name, (call, amount) in runs.items()}


def profiled(setting: Setting, count: int) -> tuple[dict[str, dict[str, float]], float, float]:
    """Of each kind the seconds, bytes and operations of a step; seconds of a step, and of one under
    the profiler. What the profiler costs is taken off the rest, which is where it counts operators.
    """
    pixels, labels = setting.pixels()
    ours = Ours(
        setting.ours(),
        pixels,
        labels,
        recipe=setting.recipe,
        device=torch.device("cpu"),
        step=Watched,
    )
    ours()
    one = partial(ours.one, torch.arange(setting.batch))
    spent: dict[str, list[float]] = defaultdict(list)
    amounts: dict[str, dict[str, float]] = {}
    for _ in range(count):
        bare, _ = timed(one, runs=1)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
            watched, _ = timed(one, runs=1)
        times: dict[str, float] = defaultdict(float)
        amounts = defaultdict(lambda: {"bytes": 0.0, "operations": 0.0})
        for event in seen.events():
            kind = kind_of(event)
            times[kind] += event.self_cpu_time_total * 1e-6
            moved, operations = least(event)
            amounts[kind]["bytes"] += moved
            amounts[kind]["operations"] += operations
        for kind, taken in (times | {"bare": bare, "watched": watched}).items():
            spent[kind].append(taken)
    middles = {kind: statistics.median(times) for kind, times in spent.items()}
    bare, watched = middles.pop("bare"), middles.pop("watched")
    middles[REST] = max(0.0, bare - sum(taken for kind, taken in middles.items() if kind != REST))
    return (
        {kind: {"seconds": taken} | amounts[kind] for kind, taken in middles.items()},
        bare,
        watched,
    )


def section(count: int, *, setting: Setting = PROFILED) -> list[str]:
    """The table of one network, `count` profiled steps."""
    limits = machine_limits()
    kinds, bare, watched = profiled(setting, count)
    total = sum(kind["seconds"] for kind in kinds.values())
    rows, leasts = [], []
    for name, kind in sorted(kinds.items(), key=lambda item: -item[1]["seconds"]):
        row = [name, f"{kind['seconds'] / total:.1%}", f"{1e3 * kind['seconds']:.1f}"]
        if not kind["bytes"]:
            rows.append([*row, *[""] * 6])
            continue
        moving, counting = kind["bytes"] / limits["copy"], kind["operations"] / limits["product"]
        leasts.append(max(moving, counting))
        amounts = [f"{kind['bytes'] / 1e6:,.0f}", f"{kind['operations'] / 1e9:,.2f}"]
        reached = [f"{kind['bytes'] / kind['seconds'] / 1e9:.1f}", f"{1e3 * leasts[-1]:.1f}"]
        limit = "operations" if counting > moving else "bytes"
        rows.append([*row, *amounts, *reached, limit, f"{leasts[-1] / kind['seconds']:.0%}"])
    every = [f"{1e3 * total:.1f}", f"{sum(kind['bytes'] for kind in kinds.values()) / 1e6:,.0f}"]
    every += [f"{sum(kind['operations'] for kind in kinds.values()) / 1e9:,.2f}", ""]
    rows.append(
        ["all", "100%", *every, f"{1e3 * sum(leasts):.1f}", "", f"{sum(leasts) / total:.0%}"]
    )
    speeds = {name: f"{limit / 1e9:,.1f}" for name, limit in limits.items()}
    about = f"""{setting.network}, {setting.side} px, batch {setting.batch}, {torch.get_num_threads()} threads; {count} steps,
    medians. A step: {1e3 * bare:.0f} ms, {1e3 * watched:.0f} ms under the profiler. This machine: copy {speeds["copy"]} GB/s
    into memory that is there (read and written, half a gigabyte), {speeds["clone"]} GB/s where it must be had first (`clone`),
    read {speeds["read"]} GB/s (a matrix times a vector), product of 2048 x 2048 matrices {speeds["product"]} Gop/s. Bytes:
    inputs read once and outputs written once, inputs of batch norm twice (its forward also writes once, its backward too). At
    least: bytes at the speed of the copy or operations at that of the product, whichever takes longer. What lies in a cache
    moves faster than memory, so a kind can reach over 100% of its limit. What the profiler costs is taken off the rest."""
    heads = (
        "operators",
        "share of a step",
        "ms",
        "MB at least",
        "Gop",
        "GB/s reached",
        "ms at least",
        "its limit",
        "of that limit",
    )
    return [*paragraph(about), *table(heads, rows)]
