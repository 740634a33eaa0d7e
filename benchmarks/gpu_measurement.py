"""Shared by all parts of the GPU check: the options, the results file and the timer."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

_MAX_CALLS_PER_ROUND = 10_000


@dataclass(frozen=True)
class CheckContext:
    """Options of one part of the check, and where it writes its results.

    Attributes:
        out: Folder that receives results.jsonl.
        device: Device that is measured. Nothing is captured on a CPU.
        small: Tiny sizes, to try the check itself.
    """

    out: Path
    device: torch.device
    small: bool
    start_time: float = field(default_factory=time.perf_counter)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def record(self, part: str, **values: Any) -> None:
        """Append one result to results.jsonl and to stdout, and flush both.

        A part that is stopped by its time limit then keeps the results that it has.
        """
        elapsed = round(time.perf_counter() - self.start_time, 1)
        line = json.dumps({"part": part, "elapsed_s": elapsed} | values)
        with (self.out / "results.jsonl").open("a") as file:
            file.write(line + "\n")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def synchronize(self) -> None:
        """Wait until the device has finished all queued work."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def median_seconds(
        self, function: Callable[[], object], *, min_seconds: float = 1.0, rounds: int = 3
    ) -> float:
        """Median time of one call of `function`, in seconds.

        The device is synchronized once a round, not after each call. The first call and the first
        round are warm-up.

        Args:
            function: What is timed.
            min_seconds: A round has as many calls as fill this time.
            rounds: Number of timed rounds.
        """
        function()
        self.synchronize()
        seconds_per_call, calls = [], 1
        for _ in range(rounds + 1):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            self.synchronize()
            seconds = (time.perf_counter() - start) / calls
            seconds_per_call.append(seconds)
            calls = max(1, min(_MAX_CALLS_PER_ROUND, int(min_seconds / max(seconds, 1e-6))))
        return statistics.median(seconds_per_call[1:])


def describe_error(error: Exception) -> str:
    """Type and first line of the message of an error."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"
