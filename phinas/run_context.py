"""Open a run, with its lock, trial storage, data and workers.

A new run directory gets its trial storage first, then manifest.json, and config.yaml last. Only a
directory with config.yaml is a run, so a process that is killed at any point leaves either a run
that can be resumed or no run. If a new run cannot start, because the input is wrong or the storage
cannot be used, its files are removed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from phinas.adapt_to_data import largest_resolution, max_resolution
from phinas.experiment.artifacts.manifest import AutoPrecision
from phinas.experiment.artifacts.run_results import require_readable_versions
from phinas.experiment.cpu_threads import max_cpu_threads
from phinas.experiment.errors import DiskError, InputError, InUseError, PhinasError, StorageError
from phinas.experiment.executors import Executor, Job, make_executor
from phinas.experiment.manifest import create_run, new_manifest, read_manifest, update_manifest
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.schema.config import Config, RunSection, check_resumable, config_from_text
from phinas.experiment.schema.scaling import BUDGET_KEYS
from phinas.reports.sentences.duplicates import list_leaks
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError, dump_yaml
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.experiment.storage.paused_trainings import PausedTrainings
    from phinas.experiment.storage.study_storage import StudyStorage
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.job import TrainingJobFactory
    from phinas.training.timing.latency import LatencyTimer

INPUT_ERRORS = (InputError, SpecError, YamlError)
STAGES = ("search", "scale", "validate", "report")


@dataclass(frozen=True)
class RunContext:
    """An open run.

    Attributes:
        run: The run directory.
        config: The configuration.
        storage: The studies with all trials.
        data: The images, or None for a run without images.
        display: Shows the progress.
    """

    run: RunDir
    config: Config
    storage: "StudyStorage"
    data: "PreparedData | None"
    display: Display

    @property
    def max_resolution(self) -> float:
        """The highest resolution of networks in px. It may be infinite."""
        return max_resolution(self.config, self.data)

    @cached_property
    def max_workers(self) -> int:
        """The number of jobs that run at the same time."""
        return resolve_workers(self.config.run)

    @cached_property
    def executor(self) -> Executor:
        """The executor of the run, which is created when it is first used."""
        update_manifest(self.run, workers=self.max_workers)
        section = self.config.run
        return self.check_files_with(
            make_executor(
                section.executor,
                self.max_workers,
                max_retries=section.max_retries,
                retry_on=section.retry_on,
            )
        )

    def check_files_with(self, executor: Executor) -> Executor:
        """An executor that ends the run with an error once the run directory or its images are
        gone.
        """
        from phinas.experiment.executors.checked import CheckedExecutor

        return CheckedExecutor(executor, self._check_files)

    def _check_files(self) -> None:
        self.run.require_unchanged()
        if self.data is not None:
            from phinas.training.data.prepared_dataset import read_prepared

            try:
                read_prepared(self.run.data, verify_sha256=False)
            except InputError as error:
                raise DiskError(str(error)) from None

    @cached_property
    def job_factory(self) -> "TrainingJobFactory":
        """Makes the training jobs of the run.

        Raises:
            InputError: The run has no images.
        """
        from phinas.training.engine.job import TrainingJobFactory

        if self.data is None or self.config.data is None:
            raise InputError(
                "data.source: is missing, but this run trains networks; name the images with --data"
            )
        return TrainingJobFactory.from_config(
            self.data,
            self.config.data,
            run=self.config.run,
            threads=resolve_threads(self.config.run, max_workers=self.max_workers),
            checkpoints=self.run.checkpoints,
            metric=self.config.metric,
            auto_precision=self._auto_precision,
        )

    @property
    def _auto_precision(self) -> AutoPrecision:
        """What `precision: auto` of a recipe means in this run. The first training decides it, so
        that a run is resumed on another machine with the same precision.
        """
        from phinas.training.engine.device import auto_precision

        precision = read_manifest(self.run).auto_precision
        if precision is None:
            device = self.config.run.device
            # the GPUs of a Ray cluster are those of its nodes
            precision = (
                _find_auto_precision(self.executor, device)
                if self.config.run.executor == "ray"
                else auto_precision(device)
            )
            update_manifest(self.run, auto_precision=precision)
        return precision

    @cached_property
    def paused_trainings(self) -> "PausedTrainings":
        """The states of the paused trainings of all stages."""
        from phinas.experiment.storage.paused_trainings import PausedTrainings

        gigabytes = self.config.run.max_paused_gigabytes
        return PausedTrainings(self.run.paused, max_bytes=1e9 * gigabytes)

    @property
    def latency_timer(self) -> "LatencyTimer":
        """Makes the timing jobs of the run."""
        from phinas.training.timing.latency import LatencyTimer

        section = self.config.run
        threads = resolve_threads(section, max_workers=self.max_workers)
        batch, limit = self.config.search.latency_batch_size, 60 * section.trial_timeout_minutes
        return LatencyTimer(section.device, threads, batch, limit, section.latency_runtime)

    def close(self) -> None:
        """Stop the workers and close the storage."""
        if "executor" in self.__dict__:
            self.executor.close()
        self.storage.close()


def _find_auto_precision(executor: Executor, device: str) -> AutoPrecision:
    """What `precision: auto` of a recipe means on a worker's device.

    Raises:
        StorageError: No worker could be started.
    """
    function = "phinas.training.engine.device:find_auto_precision"
    executor.submit(Job("auto_precision", function, {"device": device}, limit_seconds=300))
    result = executor.next_result()
    if result.value is None:
        raise StorageError(f"the first job failed, which only looks at its device: {result.reason}")
    return "bf16" if result.value["precision"] == "bf16" else "fp32"


def resolve_workers(section: RunSection) -> int:
    """The number of jobs that run at the same time.

    Raises:
        InputError: The machine does not have the device.
    """
    from phinas.training.engine.device import count_slots, resolve_device

    resolve_device(section.device)
    if section.workers != "auto":
        return section.workers
    if section.executor == "inline":
        return 1
    return count_slots(section.device, per_gpu=section.trials_per_gpu)


def resolve_threads(section: RunSection, *, max_workers: int) -> int:
    """The number of CPU threads of one training."""
    if section.threads != "auto":
        return section.threads
    # A Ray task has one CPU core.
    return 1 if section.executor == "ray" else max(1, max_cpu_threads() // max_workers)


def read_config(run: RunDir) -> Config:
    """Read the configuration of an existing run.

    Raises:
        InputError: The directory is not a run, or its configuration is wrong.
    """
    run.require_run()
    try:
        text = run.config.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{run.config}: is not UTF-8 text; restore the file from a copy, or start again in a "
            "new directory"
        ) from None
    return config_from_text(text, source=str(run.config))


def read_goal(run: RunDir) -> tuple[str, ...]:
    """The stages that the run was started for, in the order of STAGES."""
    goal = read_manifest(run).goal
    return tuple(stage for stage in STAGES if stage in goal)


@contextmanager
def open_run(
    run: RunDir,
    config: Config,
    *,
    goal: Sequence[str],
    preflight: Callable[[RunContext], None],
    display: Display,
) -> Iterator[RunContext]:
    """Create a run or open an existing one, and close it at the end.

    Args:
        run: The run directory.
        config: The configuration. For an existing run it may differ only in what
            `check_resumable` allows.
        goal: The stages to run. They are added to those that the run was started for.
        preflight: Checks the configuration with the images, and raises an error if it is wrong.
        display: Shows the progress.

    Yields:
        The open run.

    Raises:
        InputError: The configuration is wrong, or the directory is not a run. A new run is removed.
        SpecError: A network is not valid. A new run is removed.
        InUseError: Another process uses the run.
        StorageError: The trial storage cannot be used. A new run is removed.
    """
    run.require_available()
    created = run.missing_directories
    try:
        with run.locked():
            context = _open(run, config, goal=goal, preflight=preflight, display=display)
            try:
                yield context
            finally:
                context.close()
    except InUseError:
        raise
    except (PhinasError, *INPUT_ERRORS):
        if not run.exists:
            _remove_failed_start(run, created=created)
        raise


def _remove_failed_start(run: RunDir, *, created: Sequence[Path]) -> None:
    """Remove the directories that a run made and that could not start, or else only its lock."""
    if created:
        run.remove_created(created)
    elif run.path.is_dir():
        run.remove_lock()


def _open(
    run: RunDir,
    config: Config,
    *,
    goal: Sequence[str],
    preflight: Callable[[RunContext], None],
    display: Display,
) -> RunContext:
    from phinas.experiment.storage.study_storage import open_storage

    new = not run.exists
    if new:
        run.remove_leftovers()
    else:
        run.remove_temporary_files()
    manifest = new_manifest(seed=config.run.seed, goal=goal) if new else read_manifest(run)
    storage_url, config = config.run.storage, _without_password(config)
    try:
        storage = open_storage(run.study, url=storage_url, run_id=manifest.id, new=new)
    except BaseException:
        if new:
            run.remove_leftovers()
        raise
    try:
        if new:
            # Create the file now, so that every run has a readable trial storage.
            storage.open_study("search", directions=config.search.directions)
            create_run(run, dump_yaml(config.model_dump()), manifest)
        else:
            unstarted = [
                section for section in ("scaling", "validation") if not storage.records(section)
            ]
            # The family is built from finished coefficients, so it may still change.
            if "validation" in unstarted:
                unstarted += [f"scaling.{name}" for name in ("phi", *BUDGET_KEYS)]
            require_readable_versions(run)
            # A run of an earlier version of phinas may have the password in its configuration.
            old = _without_password(read_config(run))
            check_resumable(old, config, source=str(run.path), unstarted=unstarted)
            update_manifest(
                run, goal=[stage for stage in STAGES if stage in {*read_goal(run), *goal}]
            )
            write_atomic(run.config, dump_yaml(config.model_dump()))
        context = _prepare_data(run, config, storage, display)
        preflight(context)
        if config.run.executor == "ray":
            _ = context.executor  # so that a cluster that cannot be used is an error at the start
        return context
    except BaseException as error:
        if new and isinstance(error, (*INPUT_ERRORS, StorageError)):
            run.config.unlink(missing_ok=True)
        if not run.exists:
            # The studies of a server that is lost remain.
            with suppress(PhinasError):
                storage.remove_studies()
            run.remove_leftovers()
        storage.close()
        raise


def _without_password(config: Config) -> Config:
    """The configuration with the URL of the database without its password."""
    from phinas.experiment.storage.database_url import split_password

    if config.run.storage is None:
        return config
    section = config.run.model_copy(update={"storage": split_password(config.run.storage)[0]})
    return config.model_copy(update={"run": section})


def _prepare_data(
    run: RunDir, config: Config, storage: "StudyStorage", display: Display
) -> RunContext:
    if config.data is None:
        return RunContext(run, config, storage, None, display)
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data", unit="images") as on_progress:
        data = prepare(
            config.data,
            seed=config.run.seed,
            directory=run.data,
            max_size=largest_resolution(config),
            on_progress=lambda done, total: on_progress(done, total, ""),
        )
    for note in data.notes:
        display.print(f"note: {note}")
    for leak in list_leaks(data):
        display.print(f"warning: {leak}")
    update_manifest(run, data=data.describe())
    return RunContext(run, config, storage, data, display)
