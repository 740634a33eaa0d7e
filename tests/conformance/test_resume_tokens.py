"""A user's function that takes a resume token is paused, and resumed with the token it returned."""

import importlib
from contextlib import closing
from dataclasses import replace

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import Recipe
from phinas.experiment.storage.paused_trainings import PausedTrainings
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.space.search_spaces.loading import load_space

SPEC = load_space("tiny").base
RECIPE = Recipe(epochs=5)
MODULE = """
from phinas.experiment.measurement import Measurement

CALLS = []

def evaluate(spec, budget, seed, report, resume_token):
    first = 1 if resume_token is None else resume_token["epoch"] + 1
    epochs = []
    for epoch in range(first, budget + 1):
        epochs.append(epoch)
        if not report(epoch, epoch / 10): break
    CALLS.append((resume_token, epochs))
    return epoch / 10, {"epoch": epoch, "path": "a/b"}

def restarts(spec, budget, seed, report, resume_token):
    epochs = []
    for epoch in range(1, budget + 1):
        epochs.append(epoch)
        if not report(epoch, epoch / 10): break
    CALLS.append((resume_token, epochs))
    return epoch / 10, "a token whose training is gone"

def no_token(spec, budget, seed, report, resume_token):
    CALLS.append(resume_token)
    for epoch in range(1, budget + 1):
        if not report(epoch, epoch / 10): return epoch / 10
    return epoch / 10

def with_stop_epoch(spec, budget, seed, report, stop_epoch, resume_token=None):
    CALLS.append((stop_epoch, resume_token))
    for epoch in range((resume_token or 0) + 1, (stop_epoch or budget) + 1):
        report(epoch, epoch / 10)
    return Measurement(epoch / 10, epochs=epoch), epoch

def object_token(spec, budget, seed, report, resume_token):
    report(1, 0.5)
    return 0.5, object()

def pair_without_token(spec, budget, seed): return 0.5, "token"

def token_without_report(spec, budget, seed, resume_token): return 0.5
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"tokens_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return importlib.import_module(name)


@pytest.fixture
def states(tmp_path):
    return PausedTrainings(tmp_path / "paused", max_bytes=1e6)


def evaluator_of(module, name="evaluate"):
    return FunctionEvaluator(f"{module.__name__}:{name}", 60.0)


def train(evaluator, states, *stop_epochs):
    """Train in parts, and return the result of each part."""
    results = []
    with closing(InlineExecutor(1)) as executor:
        for stop_epoch in stop_epochs:
            job = evaluator.make_job(SPEC, RECIPE, 7, stop_epoch=stop_epoch)
            executor.submit(states.prepare(job))
            results.append(executor.next_result())
            states.store(results[-1], study="search", priority=0.0)
    return results


def test_the_token_of_a_pause_is_passed_to_the_call_that_resumes_the_training(module, states):
    results = train(evaluator_of(module), states, 1, 3, None)
    tokens = [None, {"epoch": 1, "path": "a/b"}, {"epoch": 3, "path": "a/b"}]
    assert list(zip(tokens, ([1], [2, 3], [4, 5]), strict=True)) == module.CALLS
    curves = [result.value["curve"] for result in results]
    assert curves == [[0.1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]]
    assert [result.value["score"] for result in results] == [0.1, 0.3, 0.5]
    assert [result.value["epochs"] for result in results] == [1, 3, 5]


def test_the_time_of_a_resumed_training_includes_its_earlier_parts(module, states):
    first, second = train(evaluator_of(module), states, 1, 3)
    assert second.value["train_seconds"] > first.value["train_seconds"] > 0


def test_a_lost_token_starts_the_training_again_with_the_same_result(module, states, tmp_path):
    evaluator = evaluator_of(module)
    train(evaluator, states, 1)
    for path in (tmp_path / "paused").iterdir():
        path.unlink()
    [result] = train(evaluator, states, None)
    assert module.CALLS[-1] == (None, [1, 2, 3, 4, 5])
    [full] = train(evaluator, PausedTrainings(tmp_path / "other", max_bytes=1e6), None)
    assert replace(result, value=None) == replace(full, value=None)
    assert result.value["curve"] == full.value["curve"]


def test_a_function_may_train_from_the_start_if_the_training_of_its_token_is_gone(module, states):
    results = train(evaluator_of(module, "restarts"), states, 1, 3, None)
    assert [epochs for _, epochs in module.CALLS] == [[1], [1, 2, 3], [1, 2, 3, 4, 5]]
    assert results[-1].value["curve"] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_pause_without_a_token_is_resumed_without_one(module, states):
    results = train(evaluator_of(module, "no_token"), states, 1, 3, None)
    assert module.CALLS == [None, None, None]
    assert [result.value["epochs"] for result in results] == [1, 3, 5]


def test_a_function_may_take_the_stop_epoch_and_return_a_measurement(module, states):
    results = train(evaluator_of(module, "with_stop_epoch"), states, 1, 3, None)
    assert module.CALLS == [(1, None), (3, 1), (None, 3)]
    assert [result.value["score"] for result in results] == [0.1, 0.3, 0.5]


def test_a_training_that_the_pruner_stops_leaves_no_token(module, states):
    evaluator = evaluator_of(module)
    with closing(InlineExecutor(1)) as executor:
        job = evaluator.make_job(SPEC, RECIPE, 7, stop_epoch=3)
        executor.submit(states.prepare(job), lambda epoch, _score: epoch < 3)
        states.store(executor.next_result(), study="search", priority=0.0)
    train(evaluator, states, None)
    assert module.CALLS[-1] == (None, [1, 2, 3, 4, 5])


def test_a_token_that_is_not_json_is_a_failure(module, states):
    [result] = train(evaluator_of(module, "object_token"), states, 1)
    assert result.failure == "invalid_result"
    assert "object_token returned a resume token that is not valid JSON" in result.reason


def test_only_a_function_that_takes_a_token_returns_one(module, states):
    [result] = train(evaluator_of(module, "pair_without_token"), states, None)
    assert "returned (0.5, 'token'); return a score" in result.reason


def test_a_function_that_takes_a_token_without_reporting_is_refused(module):
    with pytest.raises(InputError, match=r"takes a resume_token but no report; give it"):
        evaluator_of(module, "token_without_report")
