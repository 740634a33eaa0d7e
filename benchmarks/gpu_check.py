"""Measure what only a GPU can show, one part a call. `gpu_check.sh` runs all parts.

    python benchmarks/gpu_check.py PART --out OUT [--device DEVICE] [--small]

Each result is one line of OUT/results.jsonl. It is written as soon as it is measured, so a part
that is stopped keeps its results. All parts use random images. A part takes 10 to 110 s on a fast
GPU. --small uses tiny sizes, to try the check on a CPU, where no step is captured.

Parts:
    machine              versions, GPU, memory bandwidth, whether MPS runs
    equivalence          captured steps compared with eager ones
    failed_capture       whether training continues after a capture that fails
    throughput           images per second, compared with timm's network in an ordinary loop
    cold_start           time from a new network to its first fast step
    cold_start_autotune  the same with cuDNN's autotuning
    streams              several trainings in one process, on CUDA streams
    stacked_seeds        several seeds as one grouped network
    processes            trials per hour of 1, 4 and 8 processes
"""

import argparse
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_capture import equivalence, failed_capture
from gpu_measurement import CheckContext, describe_error
from gpu_sharing import processes, stacked_seeds, streams
from gpu_throughput import cold_start, cold_start_autotune, throughput

_DEFAULT_MPS_PIPE = "/tmp/nvidia-mps"  # noqa: S108 - where NVIDIA's daemon puts it
_FLOAT_BYTES = 4


def machine(context: CheckContext) -> None:
    """Versions, GPU, memory bandwidth, and whether NVIDIA's multi-process service (MPS) runs."""
    mps_pipe = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", _DEFAULT_MPS_PIPE))
    context.record(
        "machine",
        torch=torch.__version__,
        python=sys.version.split()[0],
        cudnn=torch.backends.cudnn.version(),
        cores=os.cpu_count(),
        mps_control=shutil.which("nvidia-cuda-mps-control") or "",
        mps_running=mps_pipe.exists(),
        **(_describe_gpu() if context.is_cuda else {}),
    )
    source = torch.rand(1 << (16 if context.small else 28), device=context.device)
    destination = torch.empty_like(source)
    seconds = context.median_seconds(lambda: destination.copy_(source), min_seconds=0.3)
    copied_bytes = 2 * _FLOAT_BYTES * source.numel()  # read and written
    context.record("machine", copy_gb_per_second=round(copied_bytes / seconds / 1e9, 1))


def _describe_gpu() -> dict[str, Any]:
    major, minor = torch.cuda.get_device_capability()
    description = {
        "gpu": torch.cuda.get_device_name(),
        "compute_capability": f"{major}.{minor}",
        "cuda": torch.version.cuda,
        "free_memory_gb": round(torch.cuda.mem_get_info()[0] / 1e9, 1),
    }
    if shutil.which("nvidia-smi"):
        query = "--query-gpu=clocks.sm,clocks.mem,power.limit,compute_mode"
        result = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
        )
        description["nvidia_smi"] = result.stdout.strip()
    return description


PARTS: dict[str, Callable[[CheckContext], None]] = {
    part.__name__: part
    for part in (
        machine,
        equivalence,
        failed_capture,
        throughput,
        cold_start,
        cold_start_autotune,
        streams,
        stacked_seeds,
        processes,
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS, metavar="PART", help="one of the parts above")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder that receives results.jsonl"
    )
    parser.add_argument(
        "--device", type=torch.device, default="cuda:0", help="cuda:N or cpu (default: cuda:0)"
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the check")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1 if options.small else 4)
    context = CheckContext(options.out, options.device, options.small)
    try:
        PARTS[options.part](context)
    except Exception as error:
        context.record(options.part, error=describe_error(error))
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
