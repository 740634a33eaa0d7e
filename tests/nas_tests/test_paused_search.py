"""A search that pauses trainings has the same record whenever it is interrupted, and with or
without the states of its trainings.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import DataSection, Recipe, RunSection, SearchSection
from phinas.experiment.storage.paused_trainings import PausedTrainings
from phinas.experiment.storage.study_storage import open_storage
from phinas.nas.evaluators.proxy import ProxyEvaluator
from phinas.nas.search import search
from phinas.space.search_spaces.loading import load_space
from phinas.testing.searches import (
    Interrupted,
    InterruptedExecutor,
    in_memory_store,
    live_records,
    run_search,
)
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import TrainingJobFactory

TIMES = ("train_seconds", "images_per_second")
# The score after an epoch depends on all epochs before it. Each call is logged with the epoch at
# which it begins.
MODULE = """
import hashlib, json
from pathlib import Path

FOLDER = Path(__file__).parent
SLOW = (FOLDER / "slow").exists()

def evaluate(spec, budget, seed, report, resume_token):
    state = {"epoch": 0, "value": spec.network_id}
    if resume_token is not None and (FOLDER / resume_token).exists():
        state = json.loads((FOLDER / resume_token).read_text())
    with (FOLDER / "calls.txt").open("a") as file: file.write(f"{state['epoch']}\\n")
    while state["epoch"] < budget:
        if SLOW: import time; time.sleep(0.1)
        state["epoch"] += 1
        state["value"] = hashlib.sha256(f"{state['value']} {seed}".encode()).hexdigest()
        score = int(state["value"][:8], 16) / 2**32
        if not report(state["epoch"], score):
            token = f"{spec.network_id}-{state['epoch']}.json"
            (FOLDER / token).write_text(json.dumps(state))
            return score, token
    return score
"""


@pytest.fixture
def stepwise(tmp_path, monkeypatch):
    """The name of a function that is paused with a token, in a module in tmp_path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"stepwise_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return f"{name}:evaluate"


def contents(trial_store):
    """The record as text, without the times, the trials that others replace, and their numbers."""
    rows = []
    for record in live_records(trial_store):
        attributes = json.loads(json.dumps(record.user_attrs))
        for holder in (attributes, attributes.get("paused", {})):
            for name in TIMES:
                holder.get("measurement", {}).pop(name, None)
        for name in ("replaces", "attempts"):
            attributes.pop(name, None)
        state, scores = record.state.name, record.intermediate_values
        rows.append([state, record.params, record.value, attributes, scores])
    return json.dumps(rows, sort_keys=True)


def with_states(trial_store, folder, **options):
    """The record after a restart of the driver, which opens the states again."""
    trial_store.paused_trainings = PausedTrainings(
        folder / "paused", **{"max_bytes": 1e6} | options
    )
    return trial_store


def num_calls(folder):
    return len((folder / "calls.txt").read_text().split())


def resumed_epochs(folder):
    """The epochs at which calls began that resumed a training."""
    return [int(line) for line in (folder / "calls.txt").read_text().split() if line != "0"]


def test_trainings_of_a_search_are_resumed_from_their_states_which_its_end_removes(
    stepwise, tmp_path
):
    trial_store = with_states(in_memory_store(), tmp_path)
    run_search("asha", trial_store, function=stepwise, trials=6)
    targets = [record.target_epochs for record in live_records(trial_store)]
    promotions = sum(len(target) - 1 for target in targets)
    assert len(resumed_epochs(tmp_path)) == promotions >= 6
    assert trial_store.paused_trainings.num_bytes == 0


@pytest.mark.parametrize("max_bytes", [1e6, 600, 0])
def test_states_do_not_change_the_record(stepwise, tmp_path, max_bytes):
    without, bounded = (
        in_memory_store(),
        with_states(in_memory_store(), tmp_path, max_bytes=max_bytes),
    )
    run_search("asha", without, function=stepwise, trials=6)
    assert resumed_epochs(tmp_path) == []
    run_search("asha", bounded, function=stepwise, trials=6)
    assert contents(bounded) == contents(without)
    assert bool(resumed_epochs(tmp_path)) is (max_bytes > 0)


def test_a_search_interrupted_at_any_training_has_the_record_of_an_uninterrupted_one(
    stepwise, tmp_path
):
    uninterrupted = with_states(in_memory_store(), tmp_path)
    run_search("asha", uninterrupted, function=stepwise, trials=4)
    total, expected = num_calls(tmp_path), contents(uninterrupted)
    num_resumed = len(resumed_epochs(tmp_path))
    for num_jobs in range(1, total):
        (tmp_path / "calls.txt").unlink()
        trial_store = with_states(in_memory_store(), tmp_path)
        executor = InterruptedExecutor(num_jobs)
        with pytest.raises(Interrupted):
            run_search("asha", trial_store, function=stepwise, trials=4, executor=executor)
        run_search("asha", with_states(trial_store, tmp_path), function=stepwise, trials=4)
        assert contents(trial_store) == expected
        assert len(resumed_epochs(tmp_path)) == num_resumed


def test_a_search_without_its_states_has_the_same_record(stepwise, tmp_path):
    uninterrupted = in_memory_store()
    run_search("asha", uninterrupted, function=stepwise, trials=4)
    trial_store = with_states(in_memory_store(), tmp_path)
    with pytest.raises(Interrupted):
        run_search(
            "asha", trial_store, function=stepwise, trials=4, executor=InterruptedExecutor(12)
        )
    for path in (tmp_path / "paused").iterdir():
        path.write_bytes(b"damaged")
    run_search("asha", with_states(trial_store, tmp_path), function=stepwise, trials=4)
    assert contents(trial_store) == contents(uninterrupted)


def test_a_larger_budget_after_the_end_of_a_search_has_the_record_of_one_search(stepwise, tmp_path):
    uninterrupted = with_states(in_memory_store(), tmp_path)
    run_search("asha", uninterrupted, function=stepwise, trials=6)
    trial_store = with_states(in_memory_store(), tmp_path)
    for trials in (3, 6):
        run_search("asha", with_states(trial_store, tmp_path), function=stepwise, trials=trials)
    assert contents(trial_store) == contents(uninterrupted)


def test_states_of_trainings_that_are_not_in_the_record_are_removed(stepwise, tmp_path):
    trial_store = with_states(in_memory_store(), tmp_path)
    with pytest.raises(Interrupted):
        run_search(
            "asha", trial_store, function=stepwise, trials=4, executor=InterruptedExecutor(2)
        )
    assert trial_store.paused_trainings.num_bytes > 0
    other = in_memory_store()
    other.name = trial_store.name
    run_search("random", with_states(other, tmp_path), function=stepwise, trials=1)
    assert other.paused_trainings.num_bytes == 0


DRIVER = """
import sys
from contextlib import closing
from pathlib import Path

from phinas.experiment.executors import make_executor
from phinas.experiment.storage.paused_trainings import PausedTrainings
from phinas.experiment.storage.study_storage import open_storage
from phinas.testing.searches import run_search

folder, function, executor = Path(sys.argv[1]), *sys.argv[2:]
storage = open_storage(folder / "study.db", url=None, new=not (folder / "study.db").exists())
states = PausedTrainings(folder / "paused", max_bytes=1e6)
run_search(
    "asha",
    storage.open_study("search", paused_trainings=states),
    function=function,
    trials=3,
    executor=make_executor(executor, 1, max_retries=0, retry_on=[]),
)
storage.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_killed_search_has_the_record_of_an_uninterrupted_one(stepwise, tmp_path, executor):
    uninterrupted = in_memory_store()
    run_search("asha", uninterrupted, function=stepwise, trials=3)
    total = num_calls(tmp_path)
    (tmp_path / "calls.txt").unlink()
    (tmp_path / "slow").touch()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", DRIVER, str(tmp_path), stepwise, executor]

    def start():
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path})

    for num_before in (total // 3, 2 * total // 3):
        with start() as process:
            deadline = time.monotonic() + 240
            while not (tmp_path / "calls.txt").exists() or num_calls(tmp_path) < num_before:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
    with start() as process:
        assert process.wait(timeout=300) == 0
    storage = open_storage(tmp_path / "study.db", url=None, new=False)
    with closing(storage):
        assert contents(storage.open_study("search")) == contents(uninterrupted)
    assert resumed_epochs(tmp_path)
    assert not list((tmp_path / "paused").glob("[0-9a-f]" * 64))


def test_real_trainings_that_are_interrupted_have_the_record_of_uninterrupted_ones(tmp_path):
    section = DataSection(source="digits", max_train_images=100, max_validation_images=100)
    data = prepare(section, seed=0, directory=tmp_path / "data")

    def run(trial_store, executor):
        job_factory = TrainingJobFactory.from_config(
            data,
            section,
            run=RunSection(device="cpu", trial_timeout_minutes=5.0),
            threads=1,
            checkpoints=tmp_path / "checkpoints",
        )
        with closing(executor):
            search(
                load_space("tiny").adapt_to(channels=1, classes=10, resolution=8),
                SearchSection(strategy="asha", trials=3, recipe=Recipe(epochs=3, batch_size=50)),
                seed=0,
                trial_store=trial_store,
                executor=executor,
                evaluator=ProxyEvaluator(job_factory),
                on_progress=lambda *_: None,
            )
        return trial_store

    expected = contents(run(in_memory_store(), InlineExecutor(1)))
    assert contents(run(with_states(in_memory_store(), tmp_path), InlineExecutor(1))) == expected
    trial_store = with_states(in_memory_store(), tmp_path, max_bytes=1e9)
    with pytest.raises(Interrupted):
        run(trial_store, InterruptedExecutor(4))
    assert trial_store.paused_trainings.num_bytes > 0
    run(with_states(trial_store, tmp_path, max_bytes=1e9), InlineExecutor(1))
    assert contents(trial_store) == expected
    assert trial_store.paused_trainings.num_bytes == 0
    assert not list(tmp_path.glob("checkpoints/*"))
