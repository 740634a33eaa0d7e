"""Trainings of a benchmark, whose results are appended to a file as JSON lines.

A job is a frozen dataclass of plain values. A job whose result is in the file is not run again, so
that an interrupted benchmark continues.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from cost import describe_machine

from phinas.experiment.schema.run import DataSection
from phinas.experiment.statistics.paired_comparison import compare_pair
from phinas.training.data.prepared_dataset import PreparedData, prepare

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JobT = TypeVar("JobT", bound="DataclassInstance")
Result = dict[str, Any]


def read_results(path: Path, job_class: type[JobT]) -> dict[JobT, Result]:
    """The results so far. An incomplete last line of a killed run is ignored."""
    results = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        results[job_class(**values.pop("job"))] = values
    return results


def run_missing(
    jobs: Iterable[JobT], run_job: Callable[[JobT], Result], path: Path, *, processes: int
) -> None:
    """Run the jobs without a result, with one thread each, and append each result to the file.

    Args:
        jobs: The jobs, the most important ones first.
        run_job: Runs a job in a worker process. It must be possible to pickle it.
        path: The file of results.
        processes: Number of simultaneous jobs.
    """
    jobs = [*jobs]
    done = read_results(path, type(jobs[0])) if jobs else {}
    missing = [job for job in jobs if job not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_use_one_thread) as pool:
        futures = {pool.submit(run_job, job): job for job in missing}
        for number, future in enumerate(as_completed(futures), start=1):
            job, values = futures[future], future.result()
            with path.open("a") as file:
                file.write(json.dumps({"job": asdict(job), **values}) + "\n")
            sys.stdout.write(f"{number} of {len(missing)}: {job}: {values['accuracy']:.2%}\n")
            sys.stdout.flush()


def _use_one_thread() -> None:
    torch.set_num_threads(1)


def prepare_small_images(
    sources: Iterable[Path],
    directory: Path,
    *,
    resolution: int,
    train_images: int,
    validation_images: int,
) -> dict[Path, PreparedData]:
    """A part of each data set at a low resolution, prepared in a folder of its own."""
    return {
        source: prepare(
            DataSection(
                source=str(source),
                image_size=resolution,
                max_train_images=train_images,
                max_validation_images=validation_images,
            ),
            seed=0,
            directory=directory / source.name,
        )
        for source in sources
    }


def run_command(
    parser: argparse.ArgumentParser,
    report: Path,
    *,
    run_trainings: Callable[[argparse.Namespace], None],
    write_report: Callable[[argparse.Namespace], None],
) -> None:
    """Parse the command line, with the options --out, --processes and --report, and do its work.

    Args:
        parser: The parser of the other arguments.
        report: The file that `write_report` writes.
        run_trainings: Runs the trainings without a result.
        write_report: Writes the tables of the trainings that are complete.
    """
    _add_run_options(parser, report)
    options = parser.parse_args()
    if options.processes:
        run_trainings(options)
    if options.report:
        write_report(options)


def _add_run_options(parser: argparse.ArgumentParser, report: Path) -> None:
    parser.add_argument("--out", type=Path, required=True, help="file of the results, JSON lines")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="simultaneous trainings (default: 1; 0 trains nothing)",
    )
    parser.add_argument("--report", action="store_true", help=f"write benchmarks/{report.name}")


def describe_command(command: str, packages: Sequence[str]) -> str:
    """Command, date, processor and versions, as the first line of a section."""
    machine = describe_machine(packages)
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine['processor']}; {versions}."


def format_mean(values: Sequence[float]) -> str:
    """Mean and standard deviation; the value alone where there is one."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"


def format_difference(scores: Mapping[str, Sequence[float]], first: str, second: str) -> str:
    """Points by which the first variant is more accurate, with a 95% interval over the seeds."""
    difference, low, high = compare_pair(scores, first, second)
    return f"{difference:+.1f} ({low:+.1f} to {high:+.1f})"
