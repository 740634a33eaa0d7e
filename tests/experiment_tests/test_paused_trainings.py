"""States of paused trainings: stored by content, bounded, evicted, never needed for a result."""

import hashlib
import json
from dataclasses import replace

import pytest

from phinas.experiment.executors import Job, Result
from phinas.experiment.executors.job_files import JobFile, JobFiles
from phinas.experiment.paused_state import PAUSED_STATE, PausedState
from phinas.experiment.storage.paused_trainings import PausedTrainings


def job(training, stop_epoch=1):
    return Job(
        f"{training} to {stop_epoch}",
        "module:function",
        {"request": training},
        training_key=training,
        stop_epoch=stop_epoch,
    )


def pause(states, training, content, *, epoch=1, priority=0.5, study="search"):
    """Run a job that pauses a training with this content (bytes: a file; other: a token)."""
    prepared = states.prepare(job(training, epoch))
    states.store(end(prepared, content, epoch), study=study, priority=priority)
    return prepared


def end(prepared, content, epoch):
    """The result of a job that left a state."""
    if not isinstance(content, bytes):
        state = PausedState(epoch, token=content)
        return Result(prepared.key, {PAUSED_STATE: state.to_dict()})
    path = prepared.open_files().output_path("weights")
    path.write_bytes(content)
    state = PausedState(epoch, file="weights")
    sha256 = hashlib.sha256(content).hexdigest()
    files = {"weights": JobFile(str(path), sha256)}
    return Result(prepared.key, {PAUSED_STATE: state.to_dict()}, files=files)


def read(states, training, stop_epoch=9):
    """Epoch and content of the state that the next job of a training gets, or None."""
    prepared = states.prepare(job(training, stop_epoch))
    states.store(Result(prepared.key, {}), study="search", priority=0.0)
    state = PausedState.from_dict(prepared.payload.get(PAUSED_STATE))
    if state is None:
        return None
    if not state.file:
        return state.epoch, state.token
    path = JobFiles(prepared.files, None).find(state.file)
    return state.epoch, path.read_bytes() if path else None


def files_in(folder):
    return {path.name for path in folder.iterdir()} - {"index.json", "incoming"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "paused"


def open_states(folder, max_bytes=1e9):
    return PausedTrainings(folder, max_bytes=max_bytes)


@pytest.mark.parametrize("content", [b"weights", {"path": "a/b", "number": 3}, "id", 0])
def test_the_next_job_of_a_training_gets_its_state_and_its_key_does_not_change(folder, content):
    states = open_states(folder)
    pause(states, "a", content)
    for opened in (states, open_states(folder)):
        assert read(opened, "a") == (1, content)
        assert read(opened, "b") is None
        assert opened.prepare(job("a", 3)).key == job("a", 3).key


def test_a_file_is_named_by_the_hash_of_its_content(folder):
    pause(open_states(folder), "a", b"weights")
    assert files_in(folder) == {hashlib.sha256(b"weights").hexdigest()}


def test_a_job_that_cannot_be_paused_is_unchanged(folder):
    plain = replace(job("a"), training_key="")
    assert open_states(folder).prepare(plain) is plain
    assert not folder.exists()


def test_a_later_state_replaces_an_earlier_one_and_the_end_of_the_training_removes_it(folder):
    states = open_states(folder)
    pause(states, "a", b"one", epoch=1)
    pause(states, "a", b"three", epoch=3)
    assert read(states, "a") == (3, b"three")
    assert len(files_in(folder)) == 1
    states.remove(Result(states.prepare(job("a", None)).key, {}))
    assert read(states, "a") is None
    assert files_in(folder) == set()


def test_a_job_gets_no_state_from_its_stop_epoch_on(folder):
    states = open_states(folder)
    pause(states, "a", b"three", epoch=3)
    assert read(states, "a", stop_epoch=3) is None
    assert read(states, "a", stop_epoch=4) == (3, b"three")
    assert read(states, "a", stop_epoch=None) == (3, b"three")


def test_a_pause_without_a_state_leaves_the_earlier_one(folder):
    states = open_states(folder)
    pause(states, "a", b"one")
    states.store(Result(states.prepare(job("a", 3)).key, {}), study="search", priority=1.0)
    assert read(states, "a") == (1, b"one")


def test_equal_states_are_one_file_until_both_trainings_have_ended(folder):
    states = open_states(folder, max_bytes=4)
    pause(states, "a", b"same")
    pause(states, "b", b"same")
    assert (len(files_in(folder)), states.num_bytes) == (1, 4)
    states.remove(Result(states.prepare(job("a", None)).key, {}))
    assert read(states, "b") == (1, b"same")
    states.remove(Result(states.prepare(job("b", None)).key, {}))
    assert files_in(folder) == set()


def test_the_states_with_the_lowest_rewards_are_evicted(folder):
    states = open_states(folder, max_bytes=20)
    for training, priority in (("a", 0.3), ("b", 0.1), ("c", 0.4), ("d", 0.2)):
        pause(states, training, training.encode() * 8, priority=priority)
    assert [read(states, training) is not None for training in "abcd"] == [True, False, True, False]
    assert states.num_bytes == 16
    assert len(files_in(folder)) == 2
    smaller = open_states(folder, max_bytes=8)
    assert [read(smaller, training) is not None for training in "abcd"] == [
        False,
        False,
        True,
        False,
    ]


def test_a_state_that_is_larger_than_the_disk_space_is_not_stored(folder):
    states = open_states(folder, max_bytes=3)
    pause(states, "a", b"1234", priority=1.0)
    assert (read(states, "a"), files_in(folder)) == (None, set())


def test_the_state_of_a_running_job_is_evicted_last(folder):
    states = open_states(folder, max_bytes=8)
    pause(states, "a", b"aaaa", priority=0.1)
    pause(states, "b", b"bbbb", priority=0.2)
    resumed = states.prepare(job("a", 3))
    pause(states, "c", b"cccc", priority=0.3)
    assert JobFiles(resumed.files, None).find(PAUSED_STATE).read_bytes() == b"aaaa"
    assert read(states, "b") is None
    states.store(Result(resumed.key, {}), study="search", priority=0.1)
    pause(states, "d", b"dddd", priority=0.2)
    assert read(states, "a") is None
    assert read(states, "c") is not None


def test_without_disk_space_jobs_write_no_state_and_earlier_states_are_removed(folder):
    pause(open_states(folder), "a", b"one")
    states = open_states(folder, max_bytes=0)
    assert files_in(folder) == set()
    assert states.prepare(job("a", 3)) == job("a", 3)
    pause(states, "a", "token")
    assert read(states, "a") is None


@pytest.mark.parametrize("content", [b"weights", "token"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_missing_or_damaged_state_is_not_used(folder, content, damage):
    states = open_states(folder)
    pause(states, "a", content)
    [name] = files_in(folder)
    path = folder / name
    stored = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(stored[:-1] if damage == "cut" else stored[:-1] + b"?")
    for opened in (states, open_states(folder)):
        state = read(opened, "a")
        assert state in (None, (1, None))  # a changed file is detected where the job runs
    pause(states, "a", content)
    assert read(states, "a") == (1, content)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"format": 99, "states": []}', "3"])
def test_without_a_readable_index_all_states_are_removed(folder, text):
    pause(open_states(folder), "a", b"one")
    index = folder / "index.json"
    index.unlink() if text is None else index.write_text(text)
    assert read(open_states(folder), "a") is None
    assert files_in(folder) == set()


def test_what_a_killed_driver_left_is_removed_when_the_states_are_opened(folder):
    states = open_states(folder)
    pause(states, "a", b"one")
    end(states.prepare(job("b", 3)), b"written by a job", 3)
    (folder / hashlib.sha256(b"moved").hexdigest()).write_bytes(b"moved")
    (folder / "index.json.77.tmp").write_text("{")
    opened = open_states(folder)
    assert read(opened, "a") == (1, b"one")
    assert len(files_in(folder)) == 1
    assert not (folder / "incoming").exists()


def test_every_step_of_storing_a_state_may_be_the_last_one(folder, monkeypatch):
    """A driver is killed before or after the new index is written, and before files are removed."""
    from phinas.experiment.storage import paused_trainings

    class Killed(Exception):
        pass

    def kill(*_arguments):
        raise Killed

    for target, expected in (("write_json", (1, b"one")), ("_remove_orphans", (3, b"three"))):
        states = open_states(folder)
        states.retain("search", ())
        pause(states, "a", b"one")
        with monkeypatch.context() as patch:
            owner = paused_trainings if target == "write_json" else PausedTrainings
            patch.setattr(owner, target, kill)
            with pytest.raises(Killed):
                pause(states, "a", b"three", epoch=3)
        opened = open_states(folder)
        assert read(opened, "a") == expected
        assert len(files_in(folder)) == 1


def test_states_of_one_study_are_removed_without_those_of_another(folder):
    states = open_states(folder)
    for training in "abc":
        pause(states, training, training)
    pause(states, "d", "d", study="scaling")
    states.retain("search", {"b", "d"})
    assert [read(states, training) is not None for training in "abcd"] == [False, True, False, True]
    states.retain("search", ())
    assert [read(states, training) is not None for training in "abcd"] == [
        False,
        False,
        False,
        True,
    ]


def test_a_job_that_writes_no_file_for_its_state_stores_none(folder):
    states = open_states(folder)
    prepared = states.prepare(job("a"))
    state = PausedState(1, file="weights").to_dict()
    states.store(Result(prepared.key, {PAUSED_STATE: state}), study="search", priority=1.0)
    assert read(states, "a") is None


def test_the_index_is_json_without_private_types(folder):
    pause(open_states(folder), "a", b"one", priority=0.25)
    data = json.loads((folder / "index.json").read_text())
    [state] = data["states"]
    assert (state["training_key"], state["epoch"], state["priority"]) == ("a", 1, 0.25)
