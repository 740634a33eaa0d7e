"""Time the cost of a network in phinas and in the FLOP counters of other tools.

    python benchmarks/cost.py [--quick] [--threads N] [--json FILE]

The counters run on the network of `ArchSpec.build`, in eval mode, with one image at the network's
resolution. Neither the construction of the network nor imports are timed. "caches empty" means that
no stage of the network has been computed before. Each count is compared with
`phinas.space.flop_conventions`, and the exit code is 1 if one differs. A counter that is not
installed (`pip install -e ".[benchmarks]"`) is listed as not installed. The default is one thread,
because on a shared machine several threads wait for each other, and counters then take thirty
times as long.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from counters import COUNTERS
from threadpoolctl import threadpool_limits

from phinas.space.cost import stage_cost
from phinas.space.flop_conventions import count_flops
from phinas.space.interchange.torchvision_import import import_with_torchvision
from phinas.space.presets import preset
from phinas.space.search_spaces.cost_tables import METRICS, CostTables
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml

Row = dict[str, Any]
PACKAGES = ("torch", "numpy", "fvcore", "ptflops", "thop", "torchinfo", "calflops", "torchvision")
# For each network the number of timed runs of a counter, and the spaces whose tables are timed with
# this network as the base.
NETWORKS = {
    "efficientnet_b0": (7, ["accel_nasbench", "mnasnet"]),
    "efficientnet_b7": (3, ["mnasnet"]),
}

# Title to the counter's name in phinas.space.flop_conventions, and the device of the network.
TIMED_COUNTERS = {
    "fvcore": ("fvcore", "cpu"),
    "ptflops, pytorch": ("ptflops", "cpu"),
    "ptflops, aten": ("ptflops_aten", "cpu"),
    "thop": ("thop", "cpu"),
    "torchinfo": ("torchinfo", "cpu"),
    "calflops, FLOPs": ("calflops", "cpu"),
    "torch FlopCounterMode": ("torch", "cpu"),
    "torch FlopCounterMode, meta device": ("torch", "meta"),
}


def time_call(
    call: Callable[[], Any],
    *,
    runs: int,
    calls_per_run: int = 1,
    setup: Callable[[], object] = lambda: None,
) -> tuple[float, Any]:
    """Time a function.

    Args:
        call: The function.
        runs: Number of timed runs.
        calls_per_run: Number of calls in a run.
        setup: Called before each run, and not timed.

    Returns:
        The median seconds of one call, and the result of the last call.
    """
    seconds, result = [], None
    for _ in range(runs):
        setup()
        started = time.perf_counter()
        for _ in range(calls_per_run):
            result = call()
        seconds.append((time.perf_counter() - started) / calls_per_run)
    return statistics.median(seconds), result


def time_closed_form(spec: ArchSpec) -> list[Row]:
    """The closed form, with cached stages as in a search, and with empty caches."""
    cached_seconds, cost = time_call(spec.cost, runs=7, calls_per_run=200)
    uncached_seconds, _ = time_call(spec.cost, runs=101, setup=stage_cost.cache_clear)
    return [
        {"name": "phinas spec.cost()", "seconds": cached_seconds, "count": cost.flops},
        {
            "name": "phinas spec.cost(), caches empty",
            "seconds": uncached_seconds,
            "count": cost.flops,
        },
    ]


def time_tables(space_name: str, name: str, *, networks: int = 1_000_000) -> list[Row]:
    """The cost tables of a search space with this network as its base: one network at a time, and
    many in a batch.
    """
    space = space_from_dict(read_yaml(SPACES[space_name]) | {"base": name})
    choices = encode(space, preset(name))
    fill_seconds, tables = time_call(
        partial(CostTables, space), runs=3, setup=stage_cost.cache_clear
    )
    limits = [len(decision.values) for decision in space.decisions]
    indices = np.random.default_rng(0).integers(
        0, limits, size=(networks, len(limits)), dtype=np.uint8
    )
    indices[0] = space.to_indices(choices)
    seconds_each, cost = time_call(
        partial(tables.network_cost, choices), runs=7, calls_per_run=2000
    )
    batch_seconds, batch_costs = time_call(partial(tables.batch_costs, indices), runs=5)
    flops = int(batch_costs[0, METRICS.index("flops")])
    return [
        {
            "name": f"phinas {space_name}: CostTables.network_cost",
            "seconds": seconds_each,
            "count": cost.flops,
        },
        {
            "name": f"phinas {space_name}: batch of {networks:,}, per network",
            "seconds": batch_seconds / networks,
            "count": flops,
        },
        {
            "name": f"phinas {space_name}: building the tables ({space.size:.1e} choices)",
            "seconds": fill_seconds,
            "count": None,
        },
    ]


def time_counters(spec: ArchSpec, *, runs: int) -> list[Row]:
    """The FLOP counters of other tools on the built network."""
    expected = count_flops(spec)
    rows: list[Row] = []
    for name, (convention, device) in TIMED_COUNTERS.items():
        try:
            count = COUNTERS[convention]()
        except ImportError as error:
            rows.append({"name": name, "missing": f"not installed ({error.name})"})
            continue
        with torch.device(device):
            model = spec.build().eval()
            images = torch.zeros(1, spec.channels, spec.resolution, spec.resolution)
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            seconds, number = time_call(partial(count, model, images), runs=runs)
        rows.append(
            {
                "name": name,
                "seconds": seconds,
                "count": number,
                "agrees": number == expected[convention],
            }
        )
    return rows


def format_seconds(seconds: float) -> str:
    for unit, size in {"s": 1.0, "ms": 1e-3, "µs": 1e-6}.items():
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def describe_machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, load, threads and versions."""
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    )
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[1],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions,
    }


def format_markdown(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    load = f"load {machine['load']:.1f}"
    head = f"{machine['processor']}, {machine['cores']} cores, {load}, {threads}"
    lines = [f"{head}; Python {machine['python']}, {versions}. Times are for one network, medians."]
    for network, rows in results["networks"].items():
        lines += [
            "",
            f"| {network} | time | relative to spec.cost() | count "
            "| equals phinas.space.flop_conventions |",
            "|---|--:|--:|--:|---|",
        ]
        for row in rows:
            if "missing" in row:
                lines.append(f"| {row['name']} | {row['missing']} | | | |")
                continue
            agrees = {True: "yes", False: "NO"}.get(row.get("agrees"), "")
            ratio = row["seconds"] / rows[0]["seconds"]
            ratio_text = f"{ratio:,.{2 if ratio < 10 else 0}f}"
            count_text = f"{row['count']:,}" if row["count"] is not None else ""
            lines.append(
                f"| {row['name']} | {format_seconds(row['seconds'])} | {ratio_text} "
                f"| {count_text} | {agrees} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="only EfficientNet-B0, and one run of each counter"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="CPU threads of torch and numpy (default: 1)",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with suppress(ImportError):  # ptflops and calflops import it
        import_with_torchvision("torchvision")
    networks = {}
    for name, (runs, spaces) in list(NETWORKS.items())[: 1 if options.quick else None]:
        spec = preset(name)
        rows = [
            *time_closed_form(spec),
            *(row for space in spaces for row in time_tables(space, name)),
        ]
        networks[name] = rows + time_counters(spec, runs=1 if options.quick else runs)
    results = {"machine": describe_machine(), "networks": networks}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    sys.stdout.write(format_markdown(results))
    return 0 if all(row.get("agrees", True) for rows in networks.values() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
