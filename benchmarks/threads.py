"""Training speed of `phinas fit` on a quiet machine and beside busy processes.

    python benchmarks/threads.py DATA [--rounds N]

Trains efficientnet_b0 at 32 px on DATA for one epoch, with each setting of `--threads` in turn, and
prints the images per second of each round. The busy processes are as many as there are CPUs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from phinas.experiment.cpu_threads import count_available_cpus

IMAGES = 6000


def images_per_second(data: str, threads: str, out: Path) -> float:
    """Train once, and return the training speed that the fit records."""
    command = [sys.executable, "-m", "phinas", "-q", "fit", "efficientnet_b0", "--data", data]
    command += ["--resolution", "32", "--recipe", "validate", "--epochs", "1", "--device", "cpu"]
    command += ["--set", f"data.max_train_images={IMAGES}", "--threads", threads]
    command += ["--set", "data.max_validation_images=200", "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    record = json.loads((out / "measurement.json").read_text(encoding="utf-8"))
    return float(record["measurement"]["images_per_second"])


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many CPUs busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    cpus = count_available_cpus()
    for busy in (0, cpus):
        for threads in ("auto", "1", str(cpus)):
            speeds = []
            for _ in range(arguments.rounds):
                with busy_processes(busy), tempfile.TemporaryDirectory() as directory:
                    speeds.append(
                        images_per_second(arguments.data, threads, Path(directory) / "fit")
                    )
            text = ", ".join(f"{speed:,.0f}" for speed in speeds)
            click.echo(f"{busy} busy processes, --threads {threads}: {text} images/s")


if __name__ == "__main__":
    main()
