"""The record of trials: Optuna's own RDB storage, one study per stage, written by one driver.

The default is SQLite at `study.db` in the run directory (WAL, synchronous=NORMAL); a URL takes any
other that Optuna knows. A trial is begun in one commit with all its choices, so a kill leaves a
trial with all of them or no trial. Its
measurement is written before its state: a kill between the two loses nothing.

optuna-dashboard opens the file as it is.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from phinas.experiment.errors import DiskError, InputError, StorageError
from phinas.experiment.measurement import Measurement

optuna.logging.set_verbosity(optuna.logging.WARNING)

# SQLite's words for what is not the fault of the file.
_DISK_ERROR_PHRASES = ("disk is full", "readonly", "disk I/O error", "unable to open")
ORPHAN_REASON = "orphan: the driver ended before this trial did; it was put back"


Direction = Literal["maximize", "minimize"]
ObjectiveValue = float | Sequence[float]  # of a trial: one number, or one for each aim of its study


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as it is recorded. value: the first, where a study has several aims."""

    number: int
    state: TrialState
    params: dict[str, Any]
    value: float | None
    user_attrs: dict[str, Any]
    # accuracy by step, as of TrialStore.complete
    intermediate_values: dict[int, float] = field(default_factory=dict)

    @property
    def is_pruned(self) -> bool:
        return self.state == TrialState.PRUNED

    @property
    def is_complete(self) -> bool:
        return self.state == TrialState.COMPLETE

    @property
    def is_unscored(self) -> bool:
        """Measured, and waiting for what its measurement is worth."""
        has_measurement, is_settled = (
            {"unscored", "measurement"} <= self.user_attrs.keys(),
            {"value", "reason"} & self.user_attrs.keys(),
        )
        return self.state == TrialState.RUNNING and has_measurement and not is_settled

    @property
    def measurement(self) -> Measurement:
        return Measurement.from_dict(self.user_attrs["measurement"])


class TrialStore:
    """One study: begin a trial, then complete, prune or fail it. Only the driver writes."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Of the first trial's parameters, and so of all: Optuna takes no others. Empty where there
        is no trial.
        """
        trials = self._study.get_trials(deepcopy=False)
        return dict(trials[0].distributions) if trials else {}

    def begin(
        self,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        /,
        **user_attrs: Any,
    ) -> int:
        """Record a running trial with all its choices, in one commit; returns its number."""
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=user_attrs,
        )
        # Study.add_trial does this too, but does not say which number the trial got.
        with _storage_errors():
            trial_id = self._study._storage.create_new_trial(
                self._study._study_id, template_trial=trial
            )
            return self._study._storage.get_trial_number_from_id(trial_id)

    def complete(
        self,
        number: int,
        value: ObjectiveValue | None,
        measurement: Measurement,
        intermediate_values: Mapping[int, float] | None = None,
        **user_attrs: Any,
    ) -> None:
        """Record what a trial gave, with what it reported on its way (or else its learning curve)
        as intermediate values. Without a value it stays unscored until `set_value`. Raises
        ValueError for a value that is not finite (Optuna would take infinity for the best)."""
        if value is None:
            user_attrs["unscored"] = True
        else:
            _check_finite(value)
            user_attrs["value"] = value
        with _storage_errors():
            self._write(
                number,
                intermediate_values or dict(enumerate(measurement.curve, start=1)),
                user_attrs,
            )
            self._study._storage.set_trial_user_attr(
                self._trial_id(number), "measurement", measurement.to_dict()
            )
            if value is not None:
                self._study.tell(number, value)

    def set_value(self, number: int, value: ObjectiveValue) -> None:
        """Record the value of an unscored trial. Raises ValueError for a value that
        is not finite.
        """
        _check_finite(value)
        self.set_user_attrs(number, value=value)
        with _storage_errors():
            self._study.tell(number, value)

    def set_user_attrs(self, number: int, **user_attrs: Any) -> None:
        """Add to what is recorded of a trial that runs."""
        with _storage_errors():
            self._write(number, {}, user_attrs)

    @property
    def study_attrs(self) -> dict[str, Any]:
        """What was noted of the whole study."""
        with _storage_errors():
            return self._study.user_attrs

    def set_study_attr(self, name: str, value: Any) -> None:
        with _storage_errors():
            self._study.set_user_attr(name, value)

    def prune(
        self,
        number: int,
        reason: str,
        measurement: Measurement,
        intermediate_values: Mapping[int, float],
        **user_attrs: Any,
    ) -> None:
        """Record that a trial was told to stop, why, and what it had come to and cost. It has no
        value.
        """
        with _storage_errors():
            self._write(
                number,
                intermediate_values,
                user_attrs | {"measurement": measurement.to_dict(), "reason": reason},
            )
            self._end_pruned(number)

    def fail(
        self,
        number: int,
        reason: str,
        intermediate_values: Mapping[int, float] | None = None,
        **user_attrs: Any,
    ) -> None:
        """Record why a trial gave nothing, and what it reported before."""
        with _storage_errors():
            self._write(number, intermediate_values or {}, user_attrs | {"reason": reason})
            self._study.tell(number, state=TrialState.FAIL)

    def records(self) -> list[TrialRecord]:
        """Every trial, in the order in which they were begun."""
        with _storage_errors():
            trials = self._study.get_trials(deepcopy=False)
        return [_make_record(trial) for trial in trials]

    def recover(self) -> list[TrialRecord]:
        """Settle what a killed driver left running: finish it if its measurement (or the reason why
        there is none) was written, leave it if it is unscored, else begin it again with the same
        choices and fail it. Returns the trials begun again; their jobs are to be run. A kill in the
        midst of this loses no trial and doubles none."""
        restarted_trials = []
        records = self.records()
        replaced_numbers = {record.user_attrs.get("replaces") for record in records}
        for record in records:
            if record.state != TrialState.RUNNING or record.is_unscored:
                continue
            if {"measurement", "value"} <= record.user_attrs.keys():
                with _storage_errors():
                    self._study.tell(record.number, record.user_attrs["value"])
                continue
            if {"measurement", "reason"} <= record.user_attrs.keys():
                with _storage_errors():
                    self._end_pruned(record.number)
                continue
            if "reason" in record.user_attrs:
                self.fail(record.number, record.user_attrs["reason"])
                continue
            if record.number not in replaced_numbers:
                with _storage_errors():
                    distributions = self._study.get_trials(deepcopy=False)[
                        record.number
                    ].distributions
                copied_attrs = {
                    name: value
                    for name, value in record.user_attrs.items()
                    if name not in ("value", "unscored", "measurement")
                }
                user_attrs = copied_attrs | {"replaces": record.number}
                number = self.begin(record.params, distributions, **user_attrs)
                restarted_trials.append(
                    TrialRecord(number, TrialState.RUNNING, record.params, None, user_attrs)
                )
            self.fail(record.number, ORPHAN_REASON)
        return restarted_trials

    def _write(
        self, number: int, intermediate_values: Mapping[int, float], user_attrs: Mapping[str, Any]
    ) -> None:
        trial_id, storage = self._trial_id(number), self._study._storage
        for step, accuracy in intermediate_values.items():
            storage.set_trial_intermediate_value(trial_id, step, accuracy)
        for name, value in user_attrs.items():
            storage.set_trial_user_attr(trial_id, name, value)

    def _end_pruned(self, number: int) -> None:
        # Not Study.tell, which would make the last accuracy its value, among rewards.
        self._study._storage.set_trial_state_values(self._trial_id(number), TrialState.PRUNED)

    def _trial_id(self, number: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(
            self._study._study_id, number
        )


def _check_finite(value: ObjectiveValue) -> None:
    for number in (value,) if isinstance(value, float | int) else value:
        if not math.isfinite(number):
            raise ValueError(f"the value {number} is not a finite number")


def _make_record(trial: FrozenTrial) -> TrialRecord:
    value = trial.values[0] if trial.values else None
    intermediate_values = dict(sorted(trial.intermediate_values.items()))
    return TrialRecord(
        trial.number,
        trial.state,
        dict(trial.params),
        value,
        dict(trial.user_attrs),
        intermediate_values,
    )


class StudyStorage:
    """All studies of a run."""

    def __init__(self, url: str, *, prefix: str = "") -> None:
        self._prefix = prefix
        sqlite = url.startswith("sqlite:")
        with _storage_errors():
            connection_options = (
                {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
            )
            try:
                # Optuna reads the URL as a format string.
                self._storage = RDBStorage(
                    url.replace("{", "{{").replace("}", "}}"), engine_kwargs=connection_options
                )
            except RuntimeError as error:  # tables of another version of Optuna
                raise StorageError(f"the record of trials can't be used: {error}") from error
            if sqlite:
                event.listen(self._storage.engine, "connect", _set_pragmas)
                self._storage.engine.dispose()  # the connections made so far lack the pragmas

    def open_study(
        self, name: str, *, directions: Sequence[Direction] = ("maximize",)
    ) -> TrialStore:
        """The study of that name, made if there is none. aims: which way the values of its trials
        are to go.
        """
        with _storage_errors():
            study = optuna.create_study(
                study_name=self._prefix + name,
                storage=self._storage,
                directions=list(directions),
                load_if_exists=True,
                sampler=_NO_SAMPLER,
            )
        return TrialStore(study)

    def records(self, name: str) -> list[TrialRecord]:
        """The trials of a study, none where there is no such study; makes nothing."""
        trial_store = self._load_existing(name)
        return trial_store.records() if trial_store else []

    def study_attrs(self, name: str) -> dict[str, Any]:
        """What was noted of a study, nothing where there is no such study; makes nothing."""
        trial_store = self._load_existing(name)
        return trial_store.study_attrs if trial_store else {}

    def _load_existing(self, name: str) -> TrialStore | None:
        with _storage_errors():
            try:
                study = optuna.load_study(
                    study_name=self._prefix + name, storage=self._storage, sampler=_NO_SAMPLER
                )
            except KeyError:
                return None
        return TrialStore(study)

    def close(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()


# Proposals are made elsewhere, in memory; the record needs a sampler only because Optuna's
# constructor does.
_NO_SAMPLER = optuna.samplers.RandomSampler(seed=0)


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def open_storage(path: Path, *, url: str | None, new: bool, run_id: str = "") -> StudyStorage:
    """The storage of a run: at `url`, where studies carry the run's id before their names since
    other runs may share it, else SQLite at `path`. Raises StorageError where an existing run's file
    is missing, empty, truncated or not ours (it is never written over)."""
    if url is not None:
        return StudyStorage(url, prefix=f"{run_id}/")
    if not new:
        _check_file(path)
    # As a file: URI, where SQLite knows how to quote ?, # and %; SQLAlchemy before 2.1 does not.
    return StudyStorage(
        URL.create(
            "sqlite", database=path.absolute().as_uri(), query={"uri": "true"}
        ).render_as_string()
    )


def _check_file(path: Path) -> None:
    advice = "restore it from a copy, or start a new run directory"
    if not path.is_file():
        raise StorageError(f"{path}: the record of trials is missing; {advice}")
    if path.stat().st_size == 0:
        raise StorageError(f"{path}: the record of trials is empty; {advice}")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
        try:
            check_result = connection.execute("PRAGMA quick_check").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if any(phrase in str(error) for phrase in _DISK_ERROR_PHRASES):
            raise DiskError(
                f"{path}: can't be opened ({error}); see to the disk and its permissions"
            ) from None
        raise StorageError(
            f"{path}: is not a readable record of trials ({error}); {advice}"
        ) from None
    if check_result != "ok" or not {"studies", "trials", "version_info"} <= tables:
        raise StorageError(f"{path}: is damaged or is no record of trials; {advice}")


@contextmanager
def _storage_errors() -> Iterator[None]:
    """A storage that fails becomes DiskError (full, read-only) or StorageError; everything else
    passes.
    """
    try:
        yield
    except ArgumentError as error:
        text = str(error).splitlines()[0]
        raise InputError(
            f"run.storage: is no URL of a database, like postgresql://host/name ({text})"
        ) from error
    except ImportError as error:
        raise StorageError(
            f"the driver of this database is not installed ({error.__cause__ or error})"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        text = str(cause).splitlines()[0]
        if any(phrase in text for phrase in _DISK_ERROR_PHRASES):
            raise DiskError(
                f"the record of trials can't be written ({text}); free space or permissions, then "
                "resume"
            ) from error
        raise StorageError(f"the record of trials can't be used: {text}") from error
