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
_DISK_TROUBLE = ("disk is full", "readonly", "disk I/O error", "unable to open")
ORPHAN = "orphan: the driver ended before this trial did; it was put back"


Aim = Literal["maximize", "minimize"]
Value = float | Sequence[float]  # of a trial: one number, or one for each aim of its study


@dataclass(frozen=True, slots=True)
class Row:
    """One trial as it is recorded. value: the first, where a study has several aims."""

    number: int
    state: TrialState
    params: dict[str, Any]
    value: float | None
    attributes: dict[str, Any]
    reports: dict[int, float] = field(
        default_factory=dict
    )  # accuracy by step, as of Ledger.complete

    @property
    def pruned(self) -> bool:
        return self.state == TrialState.PRUNED

    @property
    def done(self) -> bool:
        return self.state == TrialState.COMPLETE

    @property
    def held(self) -> bool:
        """Measured, and waiting for what its measurement is worth."""
        written, settled = (
            {"held", "measurement"} <= self.attributes.keys(),
            {"value", "reason"} & self.attributes.keys(),
        )
        return self.state == TrialState.RUNNING and written and not settled

    @property
    def measurement(self) -> Measurement:
        return Measurement.from_dict(self.attributes["measurement"])


class Ledger:
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
        **attributes: Any,
    ) -> int:
        """Record a running trial with all its choices, in one commit; returns its number."""
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=attributes,
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
        value: Value | None,
        measurement: Measurement,
        reports: Mapping[int, float] | None = None,
        **attributes: Any,
    ) -> None:
        """Record what a trial gave, with what it reported on its way (or else its learning curve)
        as intermediate values. Without a value it is held until `settle`. Raises ValueError for a
        value that is not finite (Optuna would take infinity for the best)."""
        if value is None:
            attributes["held"] = True
        else:
            _check_finite(value)
            attributes["value"] = value
        with _storage_errors():
            self._write(number, reports or dict(enumerate(measurement.curve, start=1)), attributes)
            self._study._storage.set_trial_user_attr(
                self._trial_id(number), "measurement", measurement.to_dict()
            )
            if value is not None:
                self._study.tell(number, value)

    def settle(self, number: int, value: Value) -> None:
        """Record what the measurement of a held trial is worth. Raises ValueError for a value that
        is not finite.
        """
        _check_finite(value)
        self.annotate(number, value=value)
        with _storage_errors():
            self._study.tell(number, value)

    def annotate(self, number: int, **attributes: Any) -> None:
        """Add to what is recorded of a trial that runs."""
        with _storage_errors():
            self._write(number, {}, attributes)

    @property
    def notes(self) -> dict[str, Any]:
        """What was noted of the whole study."""
        with _storage_errors():
            return self._study.user_attrs

    def note(self, name: str, fact: Any) -> None:
        with _storage_errors():
            self._study.set_user_attr(name, fact)

    def prune(
        self,
        number: int,
        reason: str,
        measurement: Measurement,
        reports: Mapping[int, float],
        **attributes: Any,
    ) -> None:
        """Record that a trial was told to stop, why, and what it had come to and cost. It has no
        value.
        """
        with _storage_errors():
            self._write(
                number,
                reports,
                attributes | {"measurement": measurement.to_dict(), "reason": reason},
            )
            self._end_pruned(number)

    def fail(
        self,
        number: int,
        reason: str,
        reports: Mapping[int, float] | None = None,
        **attributes: Any,
    ) -> None:
        """Record why a trial gave nothing, and what it reported before."""
        with _storage_errors():
            self._write(number, reports or {}, attributes | {"reason": reason})
            self._study.tell(number, state=TrialState.FAIL)

    def rows(self) -> list[Row]:
        """Every trial, in the order in which they were begun."""
        with _storage_errors():
            trials = self._study.get_trials(deepcopy=False)
        return [_row(trial) for trial in trials]

    def recover(self) -> list[Row]:
        """Settle what a killed driver left running: finish it if its measurement (or the reason why
        there is none) was written, leave it if it is held, else begin it again with the same
        choices and fail it. Returns the trials begun again; their jobs are to be run. A kill in the
        midst of this loses no trial and doubles none."""
        again = []
        rows = self.rows()
        replaced = {row.attributes.get("replaces") for row in rows}
        for row in rows:
            if row.state != TrialState.RUNNING or row.held:
                continue
            if {"measurement", "value"} <= row.attributes.keys():
                with _storage_errors():
                    self._study.tell(row.number, row.attributes["value"])
                continue
            if {"measurement", "reason"} <= row.attributes.keys():
                with _storage_errors():
                    self._end_pruned(row.number)
                continue
            if "reason" in row.attributes:
                self.fail(row.number, row.attributes["reason"])
                continue
            if row.number not in replaced:
                with _storage_errors():
                    distributions = self._study.get_trials(deepcopy=False)[row.number].distributions
                kept = {
                    name: fact
                    for name, fact in row.attributes.items()
                    if name not in ("value", "held", "measurement")
                }
                attributes = kept | {"replaces": row.number}
                number = self.begin(row.params, distributions, **attributes)
                again.append(Row(number, TrialState.RUNNING, row.params, None, attributes))
            self.fail(row.number, ORPHAN)
        return again

    def _write(
        self, number: int, reports: Mapping[int, float], attributes: Mapping[str, Any]
    ) -> None:
        trial_id, storage = self._trial_id(number), self._study._storage
        for step, accuracy in reports.items():
            storage.set_trial_intermediate_value(trial_id, step, accuracy)
        for name, fact in attributes.items():
            storage.set_trial_user_attr(trial_id, name, fact)

    def _end_pruned(self, number: int) -> None:
        # Not Study.tell, which would make the last accuracy its value, among rewards.
        self._study._storage.set_trial_state_values(self._trial_id(number), TrialState.PRUNED)

    def _trial_id(self, number: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(
            self._study._study_id, number
        )


def _check_finite(value: Value) -> None:
    for number in (value,) if isinstance(value, float | int) else value:
        if not math.isfinite(number):
            raise ValueError(f"the value {number} is not a finite number")


def _row(trial: FrozenTrial) -> Row:
    value = trial.values[0] if trial.values else None
    reports = dict(sorted(trial.intermediate_values.items()))
    return Row(
        trial.number, trial.state, dict(trial.params), value, dict(trial.user_attrs), reports
    )


class Store:
    """All studies of a run."""

    def __init__(self, url: str, *, prefix: str = "") -> None:
        self._prefix = prefix
        sqlite = url.startswith("sqlite:")
        with _storage_errors():
            arguments = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
            try:
                # Optuna reads the URL as a format string.
                self._storage = RDBStorage(
                    url.replace("{", "{{").replace("}", "}}"), engine_kwargs=arguments
                )
            except RuntimeError as error:  # tables of another version of Optuna
                raise StorageError(f"the record of trials can't be used: {error}") from error
            if sqlite:
                event.listen(self._storage.engine, "connect", _set_pragmas)
                self._storage.engine.dispose()  # the connections made so far lack the pragmas

    def ledger(self, name: str, *, aims: Sequence[Aim] = ("maximize",)) -> Ledger:
        """The study of that name, made if there is none. aims: which way the values of its trials
        are to go.
        """
        with _storage_errors():
            study = optuna.create_study(
                study_name=self._prefix + name,
                storage=self._storage,
                directions=list(aims),
                load_if_exists=True,
                sampler=_NO_SAMPLER,
            )
        return Ledger(study)

    def rows(self, name: str) -> list[Row]:
        """The trials of a study, none where there is no such study; makes nothing."""
        ledger = self._existing(name)
        return ledger.rows() if ledger else []

    def notes(self, name: str) -> dict[str, Any]:
        """What was noted of a study, nothing where there is no such study; makes nothing."""
        ledger = self._existing(name)
        return ledger.notes if ledger else {}

    def _existing(self, name: str) -> Ledger | None:
        with _storage_errors():
            try:
                study = optuna.load_study(
                    study_name=self._prefix + name, storage=self._storage, sampler=_NO_SAMPLER
                )
            except KeyError:
                return None
        return Ledger(study)

    def close(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()


# Proposals are made elsewhere, in memory; the record needs a sampler only because Optuna's
# constructor does.
_NO_SAMPLER = optuna.samplers.RandomSampler(seed=0)


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def open_store(path: Path, *, url: str | None, new: bool, run_id: str = "") -> Store:
    """The store of a run: at `url`, where studies carry the run's id before their names since other
    runs may share it, else SQLite at `path`. Raises StorageError where an existing run's file is
    missing, empty, truncated or not ours (it is never written over)."""
    if url is not None:
        return Store(url, prefix=f"{run_id}/")
    if not new:
        _check_file(path)
    # As a file: URI, where SQLite knows how to quote ?, # and %; SQLAlchemy before 2.1 does not.
    return Store(
        URL.create(
            "sqlite", database=path.absolute().as_uri(), query={"uri": "true"}
        ).render_as_string()
    )


def _check_file(path: Path) -> None:
    remedy = "restore it from a copy, or start a new run directory"
    if not path.is_file():
        raise StorageError(f"{path}: the record of trials is missing; {remedy}")
    if path.stat().st_size == 0:
        raise StorageError(f"{path}: the record of trials is empty; {remedy}")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
        try:
            verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if any(word in str(error) for word in _DISK_TROUBLE):
            raise DiskError(
                f"{path}: can't be opened ({error}); see to the disk and its permissions"
            ) from None
        raise StorageError(
            f"{path}: is not a readable record of trials ({error}); {remedy}"
        ) from None
    if verdict != "ok" or not {"studies", "trials", "version_info"} <= tables:
        raise StorageError(f"{path}: is damaged or is no record of trials; {remedy}")


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
        if any(word in text for word in _DISK_TROUBLE):
            raise DiskError(
                f"the record of trials can't be written ({text}); free space or permissions, then "
                "resume"
            ) from error
        raise StorageError(f"the record of trials can't be used: {text}") from error
