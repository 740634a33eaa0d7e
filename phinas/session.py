"""A run that is open for work: its lock, its record of trials, its images and its workers.

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

from phinas.adapt_to_data import largest_side
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Executor, make_executor
from phinas.experiment.manifest import add_to_manifest, new_manifest, read_manifest
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.schema.config import Config, RunSection, check_growth, config_from_text
from phinas.experiment.schema.scaling import BUDGETS
from phinas.progress import Display
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError, dump_yaml

if TYPE_CHECKING:
    from phinas.experiment.trial_store import Store
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.job import Trainer
    from phinas.training.timing.latency import Stopwatch

_WRONG_INPUT = (InputError, SpecError, YamlError)
STAGES = ("search", "scale", "validate", "report")


@dataclass(frozen=True)
class Session:
    """An open run."""

    run: RunDir
    config: Config
    store: "Store"
    data: "PreparedData | None"
    display: Display

    @property
    def largest_side(self) -> float:
        return largest_side(self.config, self.data)

    @cached_property
    def slots(self) -> int:
        return slots_of(self.config.run)

    @cached_property
    def executor(self) -> Executor:
        add_to_manifest(self.run, workers=self.slots)
        section = self.config.run
        return make_executor(
            section.executor, self.slots, retries=section.retries, on=section.retry
        )

    @cached_property
    def trainer(self) -> "Trainer":
        from phinas.training.engine.job import Trainer

        if self.data is None or self.config.data is None:
            raise InputError(
                "data.source: missing; networks are to be trained, and there are no images"
            )
        return Trainer.of(
            self.data,
            self.config.data,
            run=self.config.run,
            threads=threads_of(self.config.run, slots=self.slots),
            snapshots=self.run.snapshots,
        )

    @property
    def stopwatch(self) -> "Stopwatch":
        from phinas.training.timing.latency import Stopwatch

        section = self.config.run
        batch, limit = self.config.search.latency_batch, 60 * section.trial_minutes
        return Stopwatch(section.device, threads_of(section, slots=self.slots), batch, limit)

    def close(self) -> None:
        if "executor" in self.__dict__:
            self.executor.close()
        self.store.close()


def slots_of(section: RunSection) -> int:
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


def threads_of(section: RunSection, *, slots: int) -> int:
    """CPU threads of one training; a task of Ray has one core."""
    if section.threads != "auto":
        return section.threads
    return 1 if section.executor == "ray" else max(1, (os.cpu_count() or 1) // slots)


def read_config(run: RunDir) -> Config:
    """The configuration of an existing run."""
    run.require()
    return config_from_text(run.config.read_text(encoding="utf-8"), where=str(run.config))


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
    admit: Callable[[Session], None],
    display: Display,
) -> Iterator[Session]:
    """Make the run, or take an existing one up again with a configuration that differs in nothing
    but larger budgets.

    `admit` raises what can be known to be wrong once the images are read. Raises InputError,
    InUseError or StorageError; nothing of a new run stays behind after wrong input found here.
    """
    run.require_free()
    made_here = not run.path.exists()
    try:
        with run.locked():
            session = _enter(run, config, goal=goal, admit=admit, display=display)
            try:
                yield session
            finally:
                session.close()
    except _WRONG_INPUT:
        if made_here and not run.exists:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _enter(
    run: RunDir,
    config: Config,
    *,
    goal: Sequence[str],
    admit: Callable[[Session], None],
    display: Display,
) -> Session:
    from phinas.experiment.trial_store import open_store

    new = not run.exists
    if new:
        run.clear_leftovers()
    manifest = (
        new_manifest(seed=config.run.seed) | {"goal": list(goal)} if new else read_manifest(run)
    )
    store = open_store(run.study, url=config.run.storage, run_id=manifest["id"], new=new)
    try:
        if new:
            store.ledger(
                "search", aims=config.search.aims
            )  # the file is a record of trials from the start
            run.create(_text(config), manifest)
        else:
            untouched = [
                section for section in ("scaling", "validation") if not store.rows(section)
            ]
            if (
                "validation" in untouched
            ):  # the ladder is made of coefficients that are known by then
                untouched += [f"scaling.{name}" for name in ("phi", *BUDGETS)]
            check_growth(read_config(run), config, where=str(run.path), untouched=untouched)
            add_to_manifest(
                run, goal=[stage for stage in STAGES if stage in {*read_goal(run), *goal}]
            )
            write_atomic(run.config, _text(config))
        session = _with_data(run, config, store, display)
        admit(session)
        return session
    except BaseException as error:
        store.close()
        if new and isinstance(error, _WRONG_INPUT):
            run.config.unlink(missing_ok=True)
        if not run.exists:
            run.clear_leftovers()
        raise


def _with_data(run: RunDir, config: Config, store: "Store", display: Display) -> Session:
    if config.data is None:
        return Session(run, config, store, None, display)
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data") as notify:
        data = prepare(
            config.data,
            seed=config.run.seed,
            directory=run.data,
            notify=lambda done, total: notify(done, total, "images read"),
        )
    facts = ("name", "side", "channels", "train", "validation", "test", "fingerprint", "duplicates")
    rows = {name: getattr(data, name) for name in facts}
    add_to_manifest(run, data=rows | {"classes": len(data.classes), "skipped": list(data.skipped)})
    return Session(run, config, store, data, display)


def _text(config: Config) -> str:
    return dump_yaml(config.model_dump())
