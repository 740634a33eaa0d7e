"""An Optuna study with write methods that its public interface lacks, and with the errors of its
database as errors of phinas.

This is the only module that uses the private storage of a study. Both the record of trials on disk
and the in-memory studies of samplers and pruners need it.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from phinas.experiment.errors import DiskError, InputError, StorageError
from phinas.experiment.storage.database_url import ENVIRONMENT_VARIABLE, hide_passwords
from phinas.experiment.storage.reconnection import ConnectionLostError, call_until_connected

# SQLite's primary result codes for problems of the disk, not of the file.
_DISK_ERROR_CODES = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
)


def is_disk_error(error: BaseException) -> bool:
    """Whether SQLite reports that the disk is full, read-only, failing or missing."""
    code = getattr(error, "sqlite_errorcode", None)
    # An extended result code has the primary one in its low byte.
    return code is not None and code & 0xFF in _DISK_ERROR_CODES


@contextmanager
def storage_errors() -> Iterator[None]:
    """Convert the errors of a database. Other errors pass.

    Raises:
        InputError: `run.storage` is not the URL of a database.
        DiskError: The disk is full, read-only or failing.
        StorageError: Any other error of the database.
    """
    try:
        yield
    except ArgumentError as error:
        text = hide_passwords(str(error).splitlines()[0])
        raise InputError(
            f"run.storage: is not the URL of a database ({text}); write one such as "
            "postgresql://HOST/NAME"
        ) from error
    except ImportError as error:
        raise StorageError(
            f"the driver of this database is not installed ({error.__cause__ or error}); install "
            "it, or use another run.storage"
        ) from error
    except ConnectionLostError as error:
        raise StorageError(
            f"the record of trials cannot be reached ({error}); check run.storage and that its "
            "server is running"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        text = str(cause).splitlines()[0]
        if is_disk_error(cause):
            raise DiskError(
                f"the record of trials cannot be written ({text}); free space or correct the "
                "permissions, then `phinas resume`"
            ) from error
        hint = f"; {ENVIRONMENT_VARIABLE} may have the password" if "password" in text else ""
        raise StorageError(
            f"the record of trials cannot be used ({text}); check run.storage and that its "
            f"database can be reached{hint}"
        ) from error


class OptunaStudy:
    """A study whose trials are addressed by their numbers.

    Every method but `ask` raises DiskError or StorageError if its database fails. While a server
    restarts, a method waits for it and then writes what is not written yet.

    Attributes:
        study: Optuna's study.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study

    @property
    @storage_errors()
    def attributes(self) -> dict[str, Any]:
        """The attributes of the study."""
        return call_until_connected(lambda _repeated: self.study.user_attrs)

    @storage_errors()
    def set_attribute(self, name: str, value: Any) -> None:
        call_until_connected(lambda _repeated: self.study.set_user_attr(name, value))

    @storage_errors()
    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers, not copied. Do not change them."""
        return call_until_connected(lambda _repeated: self.study.get_trials(deepcopy=False))

    @storage_errors()
    def trial(self, number: int) -> FrozenTrial:
        return call_until_connected(
            lambda _repeated: self.study._storage.get_trial(self._trial_id(number))
        )

    def ask(
        self, sampler: BaseSampler, distributions: Mapping[str, BaseDistribution]
    ) -> tuple[int, dict[str, Any]]:
        """Start a trial.

        Returns:
            The number of the trial and the choices of the sampler.
        """
        self.study.sampler = sampler
        trial = self.study.ask(dict(distributions))
        return trial.number, dict(trial.params)

    @storage_errors()
    def add(self, trial: FrozenTrial) -> int:
        """Add a trial in one commit.

        Returns:
            The number of the trial, which `Study.add_trial` does not return.
        """
        storage, study_id = self.study._storage, self.study._study_id
        num_trials = call_until_connected(lambda _repeated: storage.get_n_trials(study_id))

        def create(is_repeated: bool) -> int:
            # Only this driver adds trials to the study.
            if is_repeated and storage.get_n_trials(study_id) > num_trials:
                return num_trials
            trial_id = storage.create_new_trial(study_id, template_trial=trial)
            return storage.get_trial_number_from_id(trial_id)

        return call_until_connected(create)

    @storage_errors()
    def write(
        self,
        number: int,
        user_attrs: Mapping[str, Any],
        intermediate_values: Mapping[int, float] | None = None,
    ) -> None:
        """Add attributes and intermediate values by step to a trial, one commit each."""
        storage = self.study._storage

        def set_values(_repeated: bool) -> None:
            trial_id = self._trial_id(number)
            for step, value in (intermediate_values or {}).items():
                storage.set_trial_intermediate_value(trial_id, step, value)
            for name, value in user_attrs.items():
                storage.set_trial_user_attr(trial_id, name, value)

        call_until_connected(set_values)

    @storage_errors()
    def tell(self, number: int, values: float | Sequence[float] | None) -> None:
        """Complete a trial with its values, or fail it without values."""

        def tell(is_repeated: bool) -> None:
            if is_repeated and self._is_finished(number):
                return
            if values is None:
                self.study.tell(number, state=TrialState.FAIL)
            else:
                self.study.tell(number, values)

        call_until_connected(tell)

    @storage_errors()
    def finish(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Set the final state of a trial.

        `Study.tell` would use the last intermediate value of a pruned trial as its value.
        """

        def set_state(is_repeated: bool) -> None:
            if not (is_repeated and self._is_finished(number)):
                self.study._storage.set_trial_state_values(self._trial_id(number), state, values)

        call_until_connected(set_state)

    def _is_finished(self, number: int) -> bool:
        return self.study._storage.get_trial(self._trial_id(number)).state.is_finished()

    def _trial_id(self, number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(
            self.study._study_id, number
        )
