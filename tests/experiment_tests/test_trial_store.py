"""The record of trials: recovery after an interruption, damaged files, and paths of the file."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from sqlalchemy import text

from phinas.experiment.errors import DiskError, InputError, StorageError
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.study_storage import open_storage
from phinas.experiment.storage.trial_record import ORPHAN_REASON, drop_replaced

CHOICES = {"stages.0.kernel": 3, "stages.0.skip": True, "resolution": 24}
DISTRIBUTIONS = {
    "stages.0.kernel": CategoricalDistribution([3, 5]),
    "stages.0.skip": CategoricalDistribution([True, False]),
    "resolution": CategoricalDistribution([16, 24]),
}
MEASUREMENT = Measurement(0.75, images=100, curve=(0.5, 0.75))


@contextmanager
def open_storage_at(path, *, new=False):
    with closing(open_storage(path, url=None, new=new)) as storage:
        yield storage


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture
def storage(path):
    with open_storage_at(path, new=True) as storage:
        yield storage


@pytest.fixture
def trial_store(storage):
    return storage.open_study("search")


def test_a_completed_trial_is_read_back_after_reopening(path):
    with open_storage_at(path, new=True) as storage:
        trial_store = storage.open_study("search")
        number = trial_store.begin(CHOICES, DISTRIBUTIONS, network_id="abc")
        trial_store.complete(number, 0.7, MEASUREMENT, attempts=2)
    with open_storage_at(path) as storage:
        (row,) = storage.records("search")
    assert row.is_complete
    assert (row.number, row.value, row.params, row.measurement) == (0, 0.7, CHOICES, MEASUREMENT)
    assert (row.user_attrs["network_id"], row.user_attrs["attempts"]) == ("abc", 2)


def test_the_learning_curve_is_recorded_as_intermediate_values(trial_store):
    number = trial_store.begin({}, {})
    trial_store.complete(number, 0.7, MEASUREMENT)
    assert trial_store._study.study.trials[number].intermediate_values == {1: 0.5, 2: 0.75}


def test_the_reason_of_a_failed_trial_is_recorded(trial_store):
    trial_store.fail(trial_store.begin(CHOICES, DISTRIBUTIONS), "NaN loss", attempts=1)
    (row,) = trial_store.records()
    assert (row.state, row.value, row.reason) == (TrialState.FAIL, None, "NaN loss")


def test_trials_are_numbered_in_the_order_of_their_beginning(trial_store):
    assert [trial_store.begin({}, {}) for _ in range(3)] == [0, 1, 2]


def test_each_study_of_a_run_numbers_its_trials_from_zero(storage):
    assert [storage.open_study(name).begin({}, {}) for name in ("search", "scaling", "search")] == [
        0,
        0,
        1,
    ]


def test_reading_a_missing_study_does_not_create_it(storage):
    assert storage.records("scaling") == []
    storage.open_study("search")
    assert storage.records("scaling") == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_and_the_trial_keeps_running(trial_store, value):
    number = trial_store.begin({}, {})
    with pytest.raises(ValueError, match="is not a finite number"):
        trial_store.complete(number, value, MEASUREMENT)
    (row,) = trial_store.records()
    assert row.state == TrialState.RUNNING
    assert "measurement" not in row.user_attrs


def test_an_interrupted_trial_fails_and_is_restarted_with_the_same_choices(trial_store):
    trial_store.begin(CHOICES, DISTRIBUTIONS, network_id="abc")
    (again,) = trial_store.recover()
    first, second = trial_store.records()
    assert (first.state, first.reason) == (TrialState.FAIL, ORPHAN_REASON)
    assert (second.state, second.params, second.number) == (
        TrialState.RUNNING,
        CHOICES,
        again.number,
    )
    assert second.user_attrs["network_id"] == again.user_attrs["network_id"] == "abc"


def test_an_interrupted_trial_whose_measurement_was_written_is_completed(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS)
    # What `complete` writes before its last commit.
    trial_store.set_user_attrs(number, value=0.7, measurement=MEASUREMENT.to_dict())
    assert trial_store.recover() == []
    (row,) = trial_store.records()
    assert (row.is_complete, row.value, row.measurement) == (True, 0.7, MEASUREMENT)


def test_a_trial_interrupted_between_value_and_measurement_is_restarted(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS)
    trial_store.set_user_attrs(number, value=0.7)
    assert [row.params for row in trial_store.recover()] == [CHOICES]


def test_an_interrupted_trial_whose_reason_was_written_fails_and_is_not_restarted(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS)
    trial_store.set_user_attrs(number, reason="its process died 3 times")
    assert trial_store.recover() == []
    (row,) = trial_store.records()
    assert (row.state, row.reason) == (TrialState.FAIL, "its process died 3 times")


def test_an_interrupted_recovery_duplicates_no_trial(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS)
    # What `recover` writes before it fails the interrupted trial.
    trial_store.begin(CHOICES, DISTRIBUTIONS, replaces=number)
    assert len(trial_store.recover()) == 1
    states = [row.state for row in trial_store.records()]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]


def test_a_recovery_does_not_change_a_paused_training_which_can_be_resumed(path):
    with open_storage_at(path, new=True) as storage:
        trial_store = storage.open_study("search")
        number = trial_store.begin(CHOICES, DISTRIBUTIONS, target_epochs=[2])
        assert not trial_store.record(number).is_paused
        trial_store.pause(
            number, MEASUREMENT, epochs=2, intermediate_values={1: 0.5, 2: 0.75}, attempts=1
        )
    with open_storage_at(path) as storage:
        trial_store = storage.open_study("search")
        assert trial_store.recover() == []
        (record,) = trial_store.records()
        assert (record.is_paused, record.paused_epochs, record.measurement) == (
            True,
            (2,),
            MEASUREMENT,
        )
        assert record.intermediate_values == {1: 0.5, 2: 0.75}
        assert trial_store.resume(record, 6) == number
        (record,) = trial_store.records()
        assert (record.is_paused, record.target_epochs) == (False, (2, 6))


def test_a_resumed_training_that_was_interrupted_is_run_again_in_the_same_trial(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS, target_epochs=[2])
    trial_store.pause(number, MEASUREMENT, epochs=2, intermediate_values={2: 0.75})
    trial_store.resume(trial_store.record(number), 6)
    (restarted,) = trial_store.recover()
    assert (restarted.number, restarted.target_epochs) == (number, (2, 6))
    assert len(trial_store.records()) == 1


def test_a_training_that_was_interrupted_while_it_was_paused_is_restarted(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS, target_epochs=[2])
    # What `pause` writes before its last commit.
    trial_store._study.write(number, {"attempts": 1}, {1: 0.5, 2: 0.75})
    (restarted,) = trial_store.recover()
    assert (restarted.replaced_number, restarted.target_epochs) == (number, (2,))
    assert restarted.intermediate_values == {}


def test_a_training_that_was_closed_while_paused_is_resumed_as_a_new_trial(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS, target_epochs=[2], network_id="abc")
    trial_store.pause(number, MEASUREMENT, epochs=2, intermediate_values={1: 0.5, 2: 0.75})
    trial_store.close_paused(trial_store.record(number), "the search ended")
    closed = trial_store.record(number)
    assert (closed.is_pruned, closed.was_closed_while_paused) == (True, True)
    assert (closed.reason, closed.measurement) == ("the search ended", MEASUREMENT)
    copy = trial_store.record(trial_store.resume(closed, 6))
    assert (copy.state, copy.target_epochs, copy.reason) == (TrialState.RUNNING, (2, 6), "")
    assert (copy.intermediate_values, copy.user_attrs["network_id"]) == ({1: 0.5, 2: 0.75}, "abc")
    assert drop_replaced(trial_store.records()) == [copy]


def test_recovery_finishes_an_interrupted_closing_if_its_reason_was_written(trial_store):
    numbers = [trial_store.begin(CHOICES, DISTRIBUTIONS, target_epochs=[2]) for _ in range(2)]
    for number in numbers:
        trial_store.pause(number, MEASUREMENT, epochs=2, intermediate_values={2: 0.75})
        trial_store.set_user_attrs(number, closed=True)
    trial_store.set_user_attrs(numbers[1], reason="the search ended")
    assert trial_store.recover() == []
    records = trial_store.records()
    assert [record.is_paused for record in records] == [True, False]
    assert records[1].was_closed_while_paused


def test_recovery_does_not_change_finished_trials(trial_store):
    trial_store.complete(trial_store.begin({}, {}), 0.7, MEASUREMENT)
    trial_store.fail(trial_store.begin({}, {}), "reason")
    before = trial_store.records()
    assert trial_store.recover() == []
    assert trial_store.records() == before


def test_every_connection_uses_wal_and_synchronous_normal(storage):
    storage.open_study("search").begin({}, {})
    with (
        storage._rdb_storage.engine.connect() as first,
        storage._rdb_storage.engine.connect() as second,
    ):
        for connection in (first, second, storage._rdb_storage.scoped_session()):
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 1
    storage._rdb_storage.scoped_session().rollback()


@pytest.mark.parametrize(
    "name",
    [
        "a b%20",
        "100%",
        "what?mode=memory",
        "#1",
        "ü🎉",
        "new\nline",
        "{0}",
        "{SCHEMA_VERSION}",
        "it's \"q\\",
        "a&b=c:d@e",
    ],
)
def test_a_run_directory_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    with open_storage_at(folder / "study.db", new=True) as storage:
        storage.open_study("search").begin(CHOICES, DISTRIBUTIONS)
    with open_storage_at(folder / "study.db") as storage:
        assert storage.records("search")[0].params == CHOICES
    assert [entry.name for entry in folder.iterdir()] == ["study.db"]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def _empty(path):
    path.write_bytes(b"")


def _text(path):
    path.write_text("trial,accuracy\n" * 1000)


def _foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE trials (name TEXT)")
    connection.execute("INSERT INTO trials VALUES ('mine')")
    connection.commit()
    connection.close()


def _half(path):
    with open_storage_at(path, new=True) as storage:
        trial_store = storage.open_study("search")
        for _ in range(5):
            trial_store.begin(CHOICES, DISTRIBUTIONS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _header_only(path):
    _half(path)
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("write_invalid_file", [_empty, _text, _foreign, _half, _header_only])
def test_a_file_that_is_not_a_record_is_refused_by_name_and_not_changed(path, write_invalid_file):
    write_invalid_file(path)
    before = path.read_bytes()
    with pytest.raises(
        StorageError, match=r"study\.db: .*; restore it from a copy, or start a new run directory"
    ):
        open_storage(path, url=None, new=False)
    assert path.read_bytes() == before


def test_a_missing_record_of_an_existing_run_is_not_created_again(path):
    with pytest.raises(StorageError, match=r"study\.db: the record of trials is missing"):
        open_storage(path, url=None, new=False)
    assert not path.exists()


def test_tables_of_another_version_of_optuna_are_refused(path):
    with open_storage_at(path, new=True):
        pass
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="no longer compatible with the table schema"):
        open_storage(path, url=None, new=False)


@pytest.mark.parametrize("url", ["nonsense", "foo://host/name", "postgres//x"])
def test_a_bad_storage_url_is_refused(path, url):
    with pytest.raises(InputError, match=r"run\.storage: is not the URL of a database"):
        open_storage(path, url=url, new=True)


def test_the_error_names_a_database_driver_that_is_not_installed(path):
    with pytest.raises(
        StorageError, match=r"the driver of this database is not installed .*oracledb"
    ):
        open_storage(path, url="oracle+oracledb://user:secret@127.0.0.1/name", new=True)


def test_a_missing_directory_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError, match="unable to open database file"):
        open_storage(tmp_path / "gone" / "study.db", url=None, new=True)


@pytest.fixture
def small_disk(tmp_path):
    """A mounted file system of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if result.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {result.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_a_disk_error_and_loses_no_committed_trial(small_disk, monkeypatch):
    # Optuna sleeps between its five attempts.
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    path = small_disk / "study.db"
    num_committed, message = 0, ""
    with open_storage_at(path, new=True) as storage:
        trial_store = storage.open_study("search")
        while not message and num_committed < 1000:
            try:
                trial_store.begin(CHOICES, DISTRIBUTIONS, ballast="x" * 1500)
                num_committed += 1
            except DiskError as error:
                message = str(error)
    assert num_committed > 5
    assert "full" in message
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    with open_storage_at(path) as storage:
        assert len(storage.records("search")) == num_committed
        storage.open_study("search").begin(CHOICES, DISTRIBUTIONS)


def test_a_read_only_disk_is_a_disk_error(small_disk, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    path = small_disk / "study.db"
    with open_storage_at(path, new=True) as storage:
        storage.open_study("search").begin({}, {})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = path.read_bytes()
    with pytest.raises(DiskError), open_storage_at(path) as storage:
        storage.open_study("search").begin({}, {})
    assert path.read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.study_storage import open_storage
path = Path(sys.argv[1])
trial_store = open_storage(path, url=None, new=not path.exists()).open_study("search")
for row in trial_store.recover():
    trial_store.complete(row.number, 0.5, Measurement(0.5), again=True)
    print(row.user_attrs["index"], flush=True)
for index in range(int(sys.argv[2]), 1_000_000):
    number = trial_store.begin({}, {}, index=index)
    trial_store.complete(number, 0.5, Measurement(0.5, curve=(0.1, 0.5)))
    print(index, flush=True)
"""


def test_a_killed_writer_loses_no_committed_trial(path):
    generator, committed, num_begun = random.Random(0), [], 0
    for _ in range(3):
        arguments = [sys.executable, "-c", WRITER, str(path), str(num_begun)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            committed += [int(writer.stdout.readline()) for _ in range(generator.randint(2, 8))]
            time.sleep(generator.uniform(0, 0.05))
            os.kill(writer.pid, signal.SIGKILL)
            committed += [int(line) for line in writer.stdout if line.endswith("\n")]
        with open_storage_at(path) as storage:
            num_begun = 1 + max(row.user_attrs["index"] for row in storage.records("search"))
    with open_storage_at(path) as storage:
        storage.open_study("search").recover()
        rows = storage.records("search")
    complete = [row.user_attrs["index"] for row in rows if row.is_complete]
    assert set(committed) <= set(complete)
    assert len(complete) == len(set(complete))  # no trial is complete twice
    not_failed = {row.user_attrs["index"] for row in rows if row.state != TrialState.FAIL}
    assert not_failed == set(range(num_begun))  # no begun trial is lost


def test_a_copy_of_the_file_after_closing_is_a_complete_record(path, tmp_path):
    with open_storage_at(path, new=True) as storage:
        trial_store = storage.open_study("search")
        trial_store.complete(trial_store.begin(CHOICES, DISTRIBUTIONS), 0.7, MEASUREMENT)
    shutil.copy(path, tmp_path / "copy.db")
    with open_storage_at(tmp_path / "copy.db") as storage:
        assert storage.records("search")[0].measurement == MEASUREMENT


def test_a_trial_without_a_value_stays_unscored_until_its_value_is_set(path):
    with open_storage_at(path, new=True) as storage:
        trial_store = storage.open_study("search")
        number = trial_store.begin(CHOICES, DISTRIBUTIONS)
        trial_store.complete(number, None, MEASUREMENT, attempts=1)
    with open_storage_at(path) as storage:
        trial_store = storage.open_study("search")
        assert trial_store.recover() == []
        (row,) = trial_store.records()
        assert (row.is_unscored, row.is_complete, row.measurement) == (True, False, MEASUREMENT)
        trial_store.set_value(number, 0.6)
        (row,) = storage.records("search")
        assert (row.is_unscored, row.is_complete, row.value) == (False, True, 0.6)


def test_an_unscored_trial_whose_value_was_written_before_an_interruption_is_completed(trial_store):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS)
    trial_store.complete(number, None, MEASUREMENT)
    trial_store.set_user_attrs(number, value=0.6)
    assert trial_store.recover() == []
    assert [(row.is_complete, row.value) for row in trial_store.records()] == [(True, 0.6)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [0.5, float("inf")]])
def test_a_value_that_is_not_finite_leaves_a_trial_unscored(trial_store, value):
    number = trial_store.begin(CHOICES, DISTRIBUTIONS)
    trial_store.complete(number, None, MEASUREMENT)
    with pytest.raises(ValueError, match="is not a finite number"):
        trial_store.set_value(number, value)
    assert trial_store.records()[0].is_unscored


def test_a_trial_of_a_study_with_two_objectives_has_two_values(path):
    with open_storage_at(path, new=True) as storage:
        trial_store = storage.open_study("search", directions=("maximize", "minimize"))
        trial_store.complete(trial_store.begin(CHOICES, DISTRIBUTIONS), [0.7, 1e6], MEASUREMENT)
        assert trial_store.records()[0].value == 0.7
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{path}")
    assert study.trials[0].values == [0.7, 1e6]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_attributes_of_a_study_are_read_back_after_reopening(path):
    with open_storage_at(path, new=True) as storage:
        storage.open_study("search").set_study_attr("reward", {"kind": "soft", "exponent": -0.05})
    with open_storage_at(path) as storage:
        assert storage.study_attrs("search") == {"reward": {"kind": "soft", "exponent": -0.05}}
        assert storage.study_attrs("validation") == {}
