"""Compare training with phinas and an ordinary loop on this machine: speed, limits and accuracy.

    python benchmarks/trainings.py [--cpu] [--cuda] [--decode] [--accuracy] [--data FOLDER]
        [--rounds N] [--threads N] [--out FILE]

Each option writes its sections of benchmarks/training.md and keeps the others. Trainings are timed
alternately, and ratios are computed for each round. On a shared machine, speeds are noisy, and
ratios are less so.
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
from markdown_sections import paragraph, write_section

REPORT = Path(__file__).with_name("training.md")
PACKAGES = ("torch", "timm", "torchvision", "pillow", "numpy")
Sections = dict[str, Callable[[], list[str]]]


def requested_sections(options: argparse.Namespace) -> Sections:
    """Title to section, for the requested options. Without any, those of --cpu."""
    count = options.rounds
    sections: Sections = {}
    if options.cpu or not (options.cuda or options.decode or options.accuracy):
        sections["Speed on a CPU"] = lambda: training_cpu.speed(count)
        sections["Two simultaneous trainings on a CPU"] = lambda: training_cpu.together(count)
        sections["Stacked seeds on a CPU"] = lambda: training_cpu.stacked(count)
        sections["Profile of a train step on a CPU"] = lambda: step_profile.section(count)
    if options.cuda:
        sections["Captured compared with eager steps"] = training_cuda.compare_captured
        sections["Speed on a GPU"] = lambda: training_cuda.speed(count)
        sections["Trials that share a GPU"] = training_cuda.trials_per_hour
    if options.decode:
        sections["Decoding"] = lambda: decoding.section(options.data, count=min(count, 5))
    if options.accuracy:
        sections["Accuracy of a short training"] = lambda: learning.section(options.data)
    return sections


def provenance(threads: int) -> str:
    """Command, date, machine and versions of a section."""
    description = describe_machine(PACKAGES)
    versions = ", ".join(f"{name} {number}" for name, number in description["versions"].items())
    machine_text = (
        f"{description['processor']}, {description['cores']} cores, load "
        f"{description['load']:.1f}, {threads} threads"
    )
    # Folders without their parents, which mean nothing on other machines
    arguments = [Path(argument).name for argument in sys.argv[1:]]
    command = " ".join(["python", "benchmarks/trainings.py", *arguments])
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
        help="measure speed and limits on a CPU (about 15 minutes; the default)",
    )
    parser.add_argument(
        "--cuda",
        action="store_true",
        help="measure the speed on a GPU, and compare captured with eager steps",
    )
    parser.add_argument(
        "--decode", action="store_true", help="measure the decoding speed for the images of --data"
    )
    parser.add_argument(
        "--accuracy",
        action="store_true",
        help="compare the accuracies on --data with three seeds (about 15 minutes)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="folder with CIFAR-10 as Parquet files, for --decode and --accuracy",
    )
    parser.add_argument(
        "--rounds", type=int, default=9, metavar="N", help="rounds of each timing (default: 9)"
    )
    parser.add_argument(
        "--threads", type=int, default=2, metavar="N", help="CPU threads of torch (default: 2)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=REPORT,
        metavar="FILE",
        help="Markdown file to update (default: benchmarks/training.md)",
    )
    options = parser.parse_args()
    if options.cuda and not torch.cuda.is_available():
        parser.error("--cuda needs a GPU, and torch finds none; use --cpu, or a machine with a GPU")
    if options.decode or options.accuracy:
        if options.data is None:
            parser.error("--decode and --accuracy need images; set --data")
        if not options.data.is_dir():
            parser.error(f"--data {options.data} is not a folder; name one with Parquet files")
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
