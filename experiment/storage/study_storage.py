"""The database of a run: one study for each stage, in Optuna's schema.

The default is SQLite at `study.db` in the run directory (WAL, synchronous=NORMAL). `run.storage`
may be any other database that Optuna supports. optuna-dashboard can open both.
"""

import random
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import URL, Engine, event, make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError

from phinas.experiment.errors import DiskError, StorageError
from phinas.experiment.optional_library import import_library
from phinas.experiment.run_dir import file_id
from phinas.experiment.storage.database_url import connection_url
from phinas.experiment.storage.optuna_study import is_disk_error, storage_errors
from phinas.experiment.storage.paused_trainings import PausedTrainings
from phinas.experiment.storage.reconnection import (
    call_until_connected,
    detect_lost_connections,
)
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.experiment.storage.trial_store import Direction, TrialStore


class StudyStorage:
    """The studies of a run.

    Args:
        url: The URL of the database.
        prefix: Prefix of the names of the studies.
        path: The file of an SQLite database. If it is removed or replaced, every later use of the
            storage raises DiskError. SQLite itself would continue to write to the removed file.
    """

    def __init__(self, url: str, *, prefix: str = "", path: Path | None = None) -> None:
        self._prefix = prefix
        sqlite = url.startswith("sqlite:")
        with storage_errors():
            connection_options = (
                {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
            )
            address = url if sqlite else connection_url(url)
            _require_driver(address)
            self._rdb_storage = _open_database(address, connection_options)
            if sqlite:
                event.listen(self._rdb_storage.engine, "connect", _set_pragmas)
                self._rdb_storage.engine.dispose()  # the connections made so far lack the pragmas
            else:
                detect_lost_connections(self._rdb_storage.engine)
            if path is not None:
                _require_same_file(self._rdb_storage.engine, path)

    def open_study(
        self,
        name: str,
        *,
        directions: Sequence[Direction] = ("maximize",),
        paused_trainings: PausedTrainings | None = None,
    ) -> TrialStore:
        """Open the study of this name, or create it.

        Args:
            name: Its name.
            directions: Direction of each objective.
            paused_trainings: The states of its paused trainings. None stores none.
        """
        with storage_errors():
            study = call_until_connected(
                lambda _repeated: optuna.create_study(
                    study_name=self._prefix + name,
                    storage=self._rdb_storage,
                    directions=list(directions),
                    load_if_exists=True,
                    sampler=_NO_SAMPLER,
                )
            )
        return TrialStore(study, paused_trainings)

    def records(self, name: str) -> list[TrialRecord]:
        """The trials of a study. Empty if the study does not exist. It is not created."""
        trial_store = self._load_existing(name)
        return trial_store.records() if trial_store else []

    def record(self, name: str, number: int) -> TrialRecord | None:
        """One trial of a study, without reading the others. None if it does not exist."""
        trial_store = self._load_existing(name)
        return trial_store.find_record(number) if trial_store else None

    def study_attrs(self, name: str) -> dict[str, Any]:
        """The attributes of a study. Empty if the study does not exist. It is not created."""
        trial_store = self._load_existing(name)
        return trial_store.study_attrs if trial_store else {}

    def _load_existing(self, name: str) -> TrialStore | None:
        with storage_errors():
            try:
                study = call_until_connected(
                    lambda _repeated: optuna.load_study(
                        study_name=self._prefix + name,
                        storage=self._rdb_storage,
                        sampler=_NO_SAMPLER,
                    )
                )
            except KeyError:
                return None
        return TrialStore(study)

    def remove_studies(self) -> None:
        """Remove all studies, after a start that failed."""
        with storage_errors():
            for name in optuna.get_all_study_names(self._rdb_storage):
                if name.startswith(self._prefix):
                    optuna.delete_study(study_name=name, storage=self._rdb_storage)

    def close(self) -> None:
        self._rdb_storage.remove_session()
        self._rdb_storage.engine.dispose()


_MAX_OPENINGS = 5
# Proposals are made in memory, so this sampler is not used. Optuna would create a default one.
_NO_SAMPLER = optuna.samplers.RandomSampler(seed=0)


def _require_driver(url: str) -> None:
    """Raises InputError if the driver is that of an extra of phinas, and is not installed."""
    if make_url(url).get_driver_name() == "psycopg":
        import_library(
            "psycopg", attribute="connect", needed_by="run.storage: postgresql", extra="postgres"
        )


def _open_database(url: str, connection_options: dict[str, Any]) -> RDBStorage:
    """Open a database and create its tables, if it has none.

    Several drivers may create the tables of a shared database at the same time. One of them
    succeeds, and the others then find the tables.
    """
    for attempts_left in reversed(range(_MAX_OPENINGS)):
        try:
            # Optuna uses the URL as a format string.
            return RDBStorage(
                url.replace("{", "{{").replace("}", "}}"), engine_kwargs=connection_options
            )
        except RuntimeError as error:  # tables of another version of Optuna
            raise StorageError(f"the record of trials cannot be used: {error}") from error
        except (IntegrityError, ProgrammingError):
            if not attempts_left:
                raise
            time.sleep(random.uniform(0.2, 0.6))
    raise AssertionError


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _require_same_file(engine: Engine, path: Path) -> None:
    """Let every statement check that the file of a database is still the one that was opened."""
    opened_id = file_id(path)

    def check(*_arguments: object) -> None:
        if file_id(path) != opened_id:
            raise DiskError(
                f"{path}: was removed or replaced while phinas used it; put it back, then "
                "`phinas resume`"
            )

    event.listen(engine, "before_cursor_execute", check)


def open_storage(path: Path, *, url: str | None, new: bool, run_id: str = "") -> StudyStorage:
    """Open the storage of a run.

    Args:
        path: The SQLite file, used without a `url`.
        url: The URL of a database. None uses the SQLite file. Several runs may share a database, so
            the names of its studies begin with `run_id`.
        new: Whether the run is new.
        run_id: Identity of the run.

    Raises:
        StorageError: The file of an existing run is missing, empty, truncated or not a record. It
            is not overwritten.
    """
    if url is not None:
        return StudyStorage(url, prefix=f"{run_id}/")
    if not new:
        _check_file(path)
    # As a file: URI, in which SQLite quotes ?, # and %. SQLAlchemy before 2.1 does not.
    return StudyStorage(
        URL.create(
            "sqlite", database=path.absolute().as_uri(), query={"uri": "true"}
        ).render_as_string(),
        path=path.absolute(),
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
        if is_disk_error(error):
            raise DiskError(
                f"{path}: cannot be opened ({error}); check the disk and its permissions"
            ) from None
        raise StorageError(
            f"{path}: is not a readable record of trials ({error}); {advice}"
        ) from None
    if check_result != "ok" or not {"studies", "trials", "version_info"} <= tables:
        raise StorageError(f"{path}: is damaged or not a record of trials; {advice}")
