"""Our training beside the loop that people write, on this machine: speed, limits, learning.

    python benchmarks/trainings.py [--cpu] [--cuda] [--decode] [--accuracy] [--rounds N] [--threads
    N] [--data FOLDER]

Each part writes its sections of benchmarks/training.md and leaves the others. All contestants take
turns in one process and
ratios are taken round by round: on a machine that others use, speeds are noisy, ratios less so.
--cuda exits with 2 where there is no GPU; --decode and --accuracy say so and are left out where the
data are not there.
"""

import argparse
import datetime
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import decoding
import learning
import step_profile
import torch
import training_cpu
import training_cuda
from cost import describe_machine
from paired import paragraph, write_section

ROOT = Path(__file__).resolve().parents[1]
CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10"
PACKAGES = ("torch", "timm", "torchvision", "pillow", "numpy")
NO_GPU = 2
Sections = dict[str, Callable[[], list[str]]]


def requested_sections(options: argparse.Namespace) -> Sections:
    """The sections that were asked for, by their titles; those of --cpu where nothing was."""
    count = options.rounds
    sections: Sections = {}
    if options.cpu or not (options.cuda or options.decode or options.accuracy):
        sections["Speed on a CPU"] = lambda: training_cpu.speed(count)
        sections["Two trainings at once on a CPU"] = lambda: training_cpu.together(count)
        sections["Where a step's time goes on a CPU"] = lambda: step_profile.section(count)
    if options.cuda:
        sections["Captured and eager steps are the same"] = training_cuda.compare_captured
        sections["Speed on a GPU"] = lambda: training_cuda.speed(count)
        sections["Trials that share a GPU"] = training_cuda.trials_per_hour
    if options.decode:
        sections["Decoding"] = lambda: decoding.section(options.data, count=min(count, 5))
    if options.accuracy:
        sections["Accuracy of a short training"] = lambda: learning.section(options.data)
    return sections


def provenance(threads: int) -> str:
    """What the numbers of a section belong to."""
    description = describe_machine(PACKAGES)
    versions = ", ".join(f"{name} {number}" for name, number in description["versions"].items())
    machine_text = (
        f"{description['processor']}, {description['cores']} cores, load "
        f"{description['load']:.1f}, {threads} threads"
    )
    command = " ".join(["python", "benchmarks/trainings.py", *sys.argv[1:]])
    return (
        f"`{command}`, {datetime.date.today()}, {machine_text}; Python "
        f"{description['python']}, {versions}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="speed and limits on a CPU (about 15 minutes; the default)",
    )
    parser.add_argument(
        "--cuda",
        action="store_true",
        help="the same on a GPU, and whether captured steps are right",
    )
    parser.add_argument("--decode", action="store_true", help="decoding of --data")
    parser.add_argument(
        "--accuracy",
        action="store_true",
        help="both ways to train on --data, three seeds (about 15 minutes)",
    )
    parser.add_argument(
        "--rounds", type=int, default=9, metavar="N", help="of each comparison (default: 9)"
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of torch (default: 2)")
    parser.add_argument(
        "--data", type=Path, default=CIFAR10, metavar="FOLDER", help="CIFAR-10 as Parquet"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "training.md", metavar="FILE"
    )
    options = parser.parse_args()
    if options.cuda and not torch.cuda.is_available():
        sys.stderr.write("--cuda: torch sees no GPU here; nothing was measured\n")
        return NO_GPU
    if (options.decode or options.accuracy) and not options.data.is_dir():
        sys.stderr.write(
            f"{options.data} is not there: --decode and --accuracy are left out; give --data\n"
        )
        if not (options.cpu or options.cuda):
            return 0
        options.decode = options.accuracy = False
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    for title, section in requested_sections(options).items():
        description = provenance(options.threads)
        lines = [*paragraph(description), *section()]
        write_section(options.out, title, lines)
        sys.stdout.write("\n".join([f"## {title}", "", *lines]) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
