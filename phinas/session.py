"""An open run: its lock, trial store, data and workers.

A new run directory is made in an order that survives a kill anywhere: record, manifest, then
config.yaml, which makes it a run. Wrong input found before the first training leaves nothing
behind.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from phinas.adapt_to_data import max_resolution
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Executor, make_executor
from phinas.experiment.manifest import new_manifest, read_manifest, update_manifest
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.schema.config import Config, RunSection, check_resumable, config_from_text
from phinas.experiment.schema.scaling import BUDGET_KEYS
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError, dump_yaml
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.experiment.trial_store import StudyStorage
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.job import TrainingJobFactory
    from phinas.training.timing.latency import LatencyTimer

_WRONG_INPUT = (InputError, SpecError, YamlError)
STAGES = ("search", "scale", "validate", "report")


@dataclass(frozen=True)
class Session:
    """An open run."""

    run: RunDir
    config: Config
    storage: "StudyStorage"
    data: "PreparedData | None"
    display: Display

    @property
    def max_resolution(self) -> float:
        return max_resolution(self.config, self.data)

    @cached_property
    def max_workers(self) -> int:
        return resolve_workers(self.config.run)

    @cached_property
    def executor(self) -> Executor:
        update_manifest(self.run, workers=self.max_workers)
        section = self.config.run
        return make_executor(
            section.executor,
            self.max_workers,
            max_retries=section.max_retries,
            retry_on=section.retry_on,
        )

    @cached_property
    def job_factory(self) -> "TrainingJobFactory":
        from phinas.training.engine.job import TrainingJobFactory

        if self.data is None or self.config.data is None:
            raise InputError(
                "data.source: missing; networks are to be trained, and there are no images"
            )
        return TrainingJobFactory.from_config(
            self.data,
            self.config.data,
            run=self.config.run,
            threads=resolve_threads(self.config.run, max_workers=self.max_workers),
            checkpoints=self.run.checkpoints,
        )

    @property
    def latency_timer(self) -> "LatencyTimer":
        from phinas.training.timing.latency import LatencyTimer

        section = self.config.run
        batch, limit = self.config.search.latency_batch_size, 60 * section.trial_timeout_minutes
        return LatencyTimer(
            section.device, resolve_threads(section, max_workers=self.max_workers), batch, limit
        )

    def close(self) -> None:
        if "executor" in self.__dict__:
            self.executor.close()
        self.storage.close()


def resolve_workers(section: RunSection) -> int:
    """Trainings at a time. Raises InputError where the device is not there."""
    from phinas.training.engine.device import count_slots, resolve_device

    resolve_device(section.device)
    if section.workers != "auto":
        return section.workers
    return (
        1
        if section.executor == "inline"
        else count_slots(section.device, per_gpu=section.trials_per_gpu)
    )


def resolve_threads(section: RunSection, *, max_workers: int) -> int:
    """CPU threads of one training; a task of Ray has one core."""
    if section.threads != "auto":
        return section.threads
    return 1 if section.executor == "ray" else max(1, (os.cpu_count() or 1) // max_workers)


def read_config(run: RunDir) -> Config:
    """The configuration of an existing run."""
    run.require_run()
    return config_from_text(run.config.read_text(encoding="utf-8"), source=str(run.config))


def read_goal(run: RunDir) -> tuple[str, ...]:
    """The stages that the run was started for, in order."""
    goal = read_manifest(run)["goal"]
    return tuple(stage for stage in STAGES if stage in goal)


@contextmanager
def open_session(
    run: RunDir,
    config: Config,
    *,
    goal: Sequence[str],
    preflight: Callable[[Session], None],
    display: Display,
) -> Iterator[Session]:
    """Make the run, or take an existing one up again with a configuration that differs in nothing
    but larger budgets.

    `preflight` raises what is wrong with the configuration, given the images. Raises InputError,
    InUseError or StorageError; nothing of a new run stays behind after wrong input found here.
    """
    run.require_available()
    created = not run.path.exists()
    try:
        with run.locked():
            session = _open(run, config, goal=goal, preflight=preflight, display=display)
            try:
                yield session
            finally:
                session.close()
    except _WRONG_INPUT:
        if created and not run.exists:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _open(
    run: RunDir,
    config: Config,
    *,
    goal: Sequence[str],
    preflight: Callable[[Session], None],
    display: Display,
) -> Session:
    from phinas.experiment.trial_store import open_storage

    new = not run.exists
    if new:
        run.remove_leftovers()
    manifest = (
        new_manifest(seed=config.run.seed) | {"goal": list(goal)} if new else read_manifest(run)
    )
    storage = open_storage(run.study, url=config.run.storage, run_id=manifest["id"], new=new)
    try:
        if new:
            # the file is a record of trials from the start
            storage.open_study("search", directions=config.search.directions)
            run.create(_config_text(config), manifest)
        else:
            unstarted = [
                section for section in ("scaling", "validation") if not storage.records(section)
            ]
            # the ladder is made of coefficients that are known by then
            if "validation" in unstarted:
                unstarted += [f"scaling.{name}" for name in ("phi", *BUDGET_KEYS)]
            check_resumable(read_config(run), config, source=str(run.path), unstarted=unstarted)
            update_manifest(
                run, goal=[stage for stage in STAGES if stage in {*read_goal(run), *goal}]
            )
            write_atomic(run.config, _config_text(config))
        session = _prepare_data(run, config, storage, display)
        preflight(session)
        return session
    except BaseException as error:
        storage.close()
        if new and isinstance(error, _WRONG_INPUT):
            run.config.unlink(missing_ok=True)
        if not run.exists:
            run.remove_leftovers()
        raise


def _prepare_data(
    run: RunDir, config: Config, storage: "StudyStorage", display: Display
) -> Session:
    if config.data is None:
        return Session(run, config, storage, None, display)
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data") as on_progress:
        data = prepare(
            config.data,
            seed=config.run.seed,
            directory=run.data,
            on_progress=lambda done, total: on_progress(done, total, "images read"),
        )
    fields = (
        "name",
        "image_size",
        "channels",
        "train",
        "validation",
        "test",
        "fingerprint",
        "duplicates",
    )
    description = {name: getattr(data, name) for name in fields}
    update_manifest(
        run,
        data=description
        | {"classes": len(data.classes), "skipped_images": list(data.skipped_images)},
    )
    return Session(run, config, storage, data, display)


def _config_text(config: Config) -> str:
    return dump_yaml(config.model_dump())
