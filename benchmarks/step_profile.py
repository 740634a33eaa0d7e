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
from cost import time_call
from loops import PhinasLoop, Workload
from paired import paragraph, table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from phinas.training.engine.train_step import TrainStep

DATA, REST = (
    "data (gather, shift, flip, normalize)",
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
PROFILED = Workload("efficientnet_b0", 64, 32, 320)


class ProfiledStep(TrainStep):
    """Its data by name in a profile."""

    def _prepare(self, images: Tensor, labels: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        with record_function(DATA):
            return super()._prepare(images, labels, samples)


def kind_of_operator(event: Any) -> str | None:
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
        chain.append(kind_of_operator(caller))
        caller = caller.cpu_parent
    for outermost in (DATA, "optimizer"):
        if outermost in chain:
            return outermost
    return next((kind for kind in chain if kind), ELEMENTWISE if event.name in ELEMENTS else REST)


def minimum_work(event: Any) -> tuple[float, float]:
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
            math.ceil(resolution / stride)
            for resolution, stride in zip(images[2:], strides, strict=True)
        ]
        outputs = images[0] * weights[0] * math.prod(reduced)
        return FLOAT * (sizes[0] + sizes[1] + outputs), 2.0 * outputs * math.prod(weights[1:])
    if event.name == "aten::convolution_backward":
        of_images, of_weights = event.concrete_inputs[10][:2]
        passes = of_images + of_weights  # each passes over both; weights are nothing beside them
        _, _, kernel_height, kernel_width = shapes[2]
        # columns of a kernel that is taken in parts
        moved = (sizes[0] + sizes[1]) * passes * kernel_width / kernel_height
        return FLOAT * moved, 2.0 * sizes[0] * math.prod(shapes[2][1:]) * passes
    if event.name in ELEMENTS and kind_of(event) == ELEMENTWISE:
        writes = 0 if event.name in ("aten::sum", "aten::copy_") else max(sizes, default=0)
        return FLOAT * (sum(sizes) + writes), 0.0
    return 0.0, 0.0


def machine_limits() -> dict[str, float]:
    """Bytes a second of a copy and of a read, operations a second of a large product: medians."""
    large = torch.ones(1 << 27)  # half a gigabyte: beyond all caches
    destination = torch.empty_like(large)
    matrix, vector = large.view(1 << 14, -1), torch.ones(1 << 13)
    square = torch.randn(2048, 2048)
    runs: dict[str, tuple[Callable[[], object], float]] = {
        "copy": (partial(destination.copy_, large), 2 * FLOAT * large.numel()),
        "clone": (large.clone, 2 * FLOAT * large.numel()),
        "read": (partial(torch.mv, matrix, vector), FLOAT * large.numel()),
        "product": (partial(torch.mm, square, square), 2.0 * 2048**3),
    }
    for call, _ in runs.values():
        call()
    return {name: amount / time_call(call, runs=7)[0] for name, (call, amount) in runs.items()}


def profile_steps(
    workload: Workload, count: int
) -> tuple[dict[str, dict[str, float]], float, float]:
    """Of each kind the seconds, bytes and operations of a step; seconds of a step, and of one under
    the profiler. What the profiler costs is taken off the rest, which is where it counts operators.
    """
    pixels, labels = workload.pixels()
    loop = PhinasLoop(
        workload.phinas_network(),
        pixels,
        labels,
        recipe=workload.recipe,
        device=torch.device("cpu"),
        step=ProfiledStep,
    )
    loop()
    take_step = partial(loop.take_step, torch.arange(workload.batch))
    seconds_by_kind: dict[str, list[float]] = defaultdict(list)
    amounts: dict[str, dict[str, float]] = {}
    for _ in range(count):
        unprofiled, _ = time_call(take_step, runs=1)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
            profiled, _ = time_call(take_step, runs=1)
        times: dict[str, float] = defaultdict(float)
        amounts = defaultdict(lambda: {"bytes": 0.0, "operations": 0.0})
        for event in profiler.events():
            kind = kind_of(event)
            times[kind] += event.self_cpu_time_total * 1e-6
            moved, operations = minimum_work(event)
            amounts[kind]["bytes"] += moved
            amounts[kind]["operations"] += operations
        for kind, seconds in (times | {"unprofiled": unprofiled, "profiled": profiled}).items():
            seconds_by_kind[kind].append(seconds)
    medians = {kind: statistics.median(times) for kind, times in seconds_by_kind.items()}
    unprofiled, profiled = medians.pop("unprofiled"), medians.pop("profiled")
    medians[REST] = max(
        0.0, unprofiled - sum(seconds for kind, seconds in medians.items() if kind != REST)
    )
    return (
        {kind: {"seconds": seconds} | amounts[kind] for kind, seconds in medians.items()},
        unprofiled,
        profiled,
    )


def section(count: int, *, workload: Workload = PROFILED) -> list[str]:
    """The table of one network, `count` profiled steps."""
    limits = machine_limits()
    kinds, unprofiled, profiled = profile_steps(workload, count)
    total = sum(kind["seconds"] for kind in kinds.values())
    rows, minimum_seconds = [], []
    for name, kind in sorted(kinds.items(), key=lambda item: -item[1]["seconds"]):
        row = [name, f"{kind['seconds'] / total:.1%}", f"{1e3 * kind['seconds']:.1f}"]
        if not kind["bytes"]:
            rows.append([*row, *[""] * 6])
            continue
        moving, counting = kind["bytes"] / limits["copy"], kind["operations"] / limits["product"]
        minimum_seconds.append(max(moving, counting))
        amounts = [f"{kind['bytes'] / 1e6:,.0f}", f"{kind['operations'] / 1e9:,.2f}"]
        reached = [
            f"{kind['bytes'] / kind['seconds'] / 1e9:.1f}",
            f"{1e3 * minimum_seconds[-1]:.1f}",
        ]
        limit = "operations" if counting > moving else "bytes"
        rows.append(
            [*row, *amounts, *reached, limit, f"{minimum_seconds[-1] / kind['seconds']:.0%}"]
        )
    totals = [f"{1e3 * total:.1f}", f"{sum(kind['bytes'] for kind in kinds.values()) / 1e6:,.0f}"]
    totals += [f"{sum(kind['operations'] for kind in kinds.values()) / 1e9:,.2f}", ""]
    rows.append(
        [
            "all",
            "100%",
            *totals,
            f"{1e3 * sum(minimum_seconds):.1f}",
            "",
            f"{sum(minimum_seconds) / total:.0%}",
        ]
    )
    speeds = {name: f"{limit / 1e9:,.1f}" for name, limit in limits.items()}
    description = f"""{workload.network}, {workload.resolution} px, batch {workload.batch},
    {torch.get_num_threads()} threads; {count} steps, medians. A step: {1e3 * unprofiled:.0f} ms,
    {1e3 * profiled:.0f} ms under the profiler. This machine: copy {speeds["copy"]} GB/s into
    memory that is there (read and written, half a gigabyte), {speeds["clone"]} GB/s where it must
    be had first (`clone`), read {speeds["read"]} GB/s (a matrix times a vector), product of 2048 x
    2048 matrices {speeds["product"]} Gop/s. Bytes: inputs read once and outputs written once,
    inputs of batch norm twice (its forward also writes once, its backward too). At least: bytes at
    the speed of the copy or operations at that of the product, whichever takes longer. What lies
    in a cache moves faster than memory, so a kind can reach over 100% of its limit. What the
    profiler costs is taken off the rest."""
    headers = (
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
    return [*paragraph(description), *table(headers, rows)]
