"""Profile of a train step by kinds of operators, compared with the limits of the machine.

The time of an operator excludes that of the operators that it calls. It is assigned to the kind of
the nearest caller that has a kind. Bytes are the minimum memory traffic of each operator by itself:
inputs are read once and outputs written once, except that a batch norm in training mode reads its
input twice, for its statistics and for its result.
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
from markdown_sections import paragraph, table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from phinas.training.engine.train_step import TrainStep

DATA = "data (gather, shift, flip, normalize)"
REST = "other (Python, autograd, views, allocation, loss)"
PRODUCTS, STEM, DEPTHWISE = "matrix products (1x1 convolutions)", "stem", "depthwise convolutions"
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
# Position of the weights among the inputs
WEIGHT_INPUTS = {
    "aten::mkldnn_convolution": 1,
    "aten::_slow_conv2d_forward": 1,
    "aten::convolution_backward": 2,
}
# How often these operators read or write a tensor of the size of their first input
READS_AND_WRITES = {
    "aten::native_batch_norm": 3,
    "aten::native_batch_norm_backward": 5,
    "aten::silu": 2,
    "aten::silu_backward": 3,
}
FLOAT_BYTES = 4
PROFILED = Workload("efficientnet_b0", 64, 32, 320)


class ProfiledStep(TrainStep):
    """A train step whose data preparation has a name in the profile."""

    def _prepare(self, images: Tensor, labels: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        with record_function(DATA):
            return super()._prepare(images, labels, samples)


def kind_of_operator(event: Any) -> str | None:
    if event.name.startswith("Optimizer."):
        return "optimizer"
    if event.name in WEIGHT_INPUTS:
        weights = event.input_shapes[WEIGHT_INPUTS[event.name]]
        if weights[1] == 1:
            return DEPTHWISE
        return PRODUCTS if weights[2:] == [1, 1] else STEM
    return KINDS.get(event.name)


def kind_of(event: Any) -> str:
    """Data or optimizer if any caller is of that kind, or else the kind of the nearest caller."""
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
    """Minimum bytes that an operator reads and writes, and operations of its products.

    Both are 0 for an operator that only calls others.
    """
    shapes = event.input_shapes or []
    sizes = [math.prod(shape) for shape in shapes if shape]
    if event.name in READS_AND_WRITES:
        return FLOAT_BYTES * READS_AND_WRITES[event.name] * sizes[0], 0.0
    if event.name in ("aten::mm", "aten::addmm"):
        (rows, inner), (_, columns) = [shape for shape in shapes if len(shape) == 2][-2:]
        return FLOAT_BYTES * (
            rows * inner + inner * columns + rows * columns
        ), 2.0 * rows * inner * columns
    if event.name == "aten::mkldnn_convolution":
        images, weights, strides = shapes[0], shapes[1], event.concrete_inputs[4]
        output_size = [
            math.ceil(resolution / stride)
            for resolution, stride in zip(images[2:], strides, strict=True)
        ]
        outputs = images[0] * weights[0] * math.prod(output_size)
        return FLOAT_BYTES * (sizes[0] + sizes[1] + outputs), 2.0 * outputs * math.prod(weights[1:])
    if event.name == "aten::convolution_backward":
        input_gradient, weight_gradient = event.concrete_inputs[10][:2]
        # Each gradient reads or writes both maps once. The weights are negligible.
        passes = input_gradient + weight_gradient
        _, _, kernel_height, kernel_width = shapes[2]
        # The CPU kernels may split a kernel into groups of columns. Together these count as one.
        elements = (sizes[0] + sizes[1]) * passes * kernel_width / kernel_height
        return FLOAT_BYTES * elements, 2.0 * sizes[0] * math.prod(shapes[2][1:]) * passes
    if event.name in ELEMENTS and kind_of(event) == ELEMENTWISE:
        writes = 0 if event.name in ("aten::sum", "aten::copy_") else max(sizes, default=0)
        return FLOAT_BYTES * (sum(sizes) + writes), 0.0
    return 0.0, 0.0


def machine_limits() -> dict[str, float]:
    """Bytes per second of a copy, a clone and a read, and operations per second of a large product.

    All are medians.
    """
    large = torch.ones(1 << 27)  # half a gigabyte, larger than all caches
    destination = torch.empty_like(large)
    matrix, vector = large.view(1 << 14, -1), torch.ones(1 << 13)
    square = torch.randn(2048, 2048)
    runs: dict[str, tuple[Callable[[], object], float]] = {
        "copy": (partial(destination.copy_, large), 2 * FLOAT_BYTES * large.numel()),
        "clone": (large.clone, 2 * FLOAT_BYTES * large.numel()),
        "read": (partial(torch.mv, matrix, vector), FLOAT_BYTES * large.numel()),
        "product": (partial(torch.mm, square, square), 2.0 * 2048**3),
    }
    for call, _ in runs.values():
        call()
    return {name: amount / time_call(call, runs=7)[0] for name, (call, amount) in runs.items()}


def profile_steps(
    workload: Workload, count: int
) -> tuple[dict[str, dict[str, float]], float, float]:
    """Profile `count` train steps.

    The overhead of the profiler is subtracted from the kind `REST`, where it is recorded.

    Returns:
        For each kind the "seconds", "bytes" and "operations" of a step; the seconds of a step
        without the profiler; and those of a step with it. Times are medians.
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
    run_step = partial(loop.run_step, torch.arange(workload.batch))
    seconds_by_kind: dict[str, list[float]] = defaultdict(list)
    amounts: dict[str, dict[str, float]] = {}
    for _ in range(count):
        unprofiled, _ = time_call(run_step, runs=1)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
            profiled, _ = time_call(run_step, runs=1)
        times: dict[str, float] = defaultdict(float)
        amounts = defaultdict(lambda: {"bytes": 0.0, "operations": 0.0})
        for event in profiler.events():
            kind = kind_of(event)
            times[kind] += event.self_cpu_time_total * 1e-6
            num_bytes, operations = minimum_work(event)
            amounts[kind]["bytes"] += num_bytes
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
    """The table of one workload, with `count` profiled steps."""
    limits = machine_limits()
    kinds, unprofiled, profiled = profile_steps(workload, count)
    total = sum(kind["seconds"] for kind in kinds.values())
    rows, minimum_seconds = [], []
    for name, kind in sorted(kinds.items(), key=lambda item: -item[1]["seconds"]):
        row = [name, f"{kind['seconds'] / total:.1%}", f"{1e3 * kind['seconds']:.1f}"]
        if not kind["bytes"]:
            rows.append([*row, *[""] * 6])
            continue
        memory_seconds = kind["bytes"] / limits["copy"]
        compute_seconds = kind["operations"] / limits["product"]
        minimum_seconds.append(max(memory_seconds, compute_seconds))
        amounts = [f"{kind['bytes'] / 1e6:,.0f}", f"{kind['operations'] / 1e9:,.2f}"]
        speeds = [
            f"{kind['bytes'] / kind['seconds'] / 1e9:.1f}",
            f"{1e3 * minimum_seconds[-1]:.1f}",
        ]
        limit = "compute" if compute_seconds > memory_seconds else "memory"
        rows.append(
            [*row, *amounts, *speeds, limit, f"{minimum_seconds[-1] / kind['seconds']:.0%}"]
        )
    totals = [f"{1e3 * total:.1f}", f"{sum(kind['bytes'] for kind in kinds.values()) / 1e6:,.0f}"]
    totals += [f"{sum(kind['operations'] for kind in kinds.values()) / 1e9:,.2f}", ""]
    rows.append(
        [
            "total",
            "100%",
            *totals,
            f"{1e3 * sum(minimum_seconds):.1f}",
            "",
            f"{sum(minimum_seconds) / total:.0%}",
        ]
    )
    limit_texts = {name: f"{limit / 1e9:,.1f}" for name, limit in limits.items()}
    description = f"""{workload.network}, {workload.resolution} px, batch {workload.batch},
    {torch.get_num_threads()} threads; medians of {count} steps. A step takes
    {1e3 * unprofiled:.0f} ms, and {1e3 * profiled:.0f} ms under the profiler. Limits of this
    machine: copy {limit_texts["copy"]} GB/s into allocated memory (read and written, half a
    gigabyte), {limit_texts["clone"]} GB/s with allocation (`clone`), read {limit_texts["read"]}
    GB/s (a matrix times a vector), product of 2048 x 2048 matrices {limit_texts["product"]} Gop/s.
    Minimum MB: inputs are read once and outputs written once, except that batch norm reads its
    inputs twice (its forward and its backward also write once). Minimum ms: the bytes at the speed
    of the copy or the operations at that of the product, whichever takes longer. Caches are faster
    than memory, so a kind can exceed 100% of its limit. The overhead of the profiler is subtracted
    from the kind "other"."""
    headers = (
        "operators",
        "fraction of a step",
        "ms",
        "minimum MB",
        "Gop",
        "GB/s",
        "minimum ms",
        "limit",
        "fraction of the limit",
    )
    return [*paragraph(description), *table(headers, rows)]
