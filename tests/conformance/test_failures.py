"""Failures of an evaluator: the trial is recorded with the reason, and the search continues or ends
with a message.
"""

import re
from collections import Counter
from contextlib import closing
from dataclasses import replace

import optuna
import pytest

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import make_executor
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import Recipe, SearchSection, config_from_text
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.search import search
from phinas.nas.trial import TrialAttributes
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")

EVALUATORS = """
import os, signal, sys, time
from pathlib import Path

BEHAVIORS = ("raises", "nan", "inf", "none", "string", "percent", "leaves",
             "exits", "killed", "hangs", "fine", "fine")

def behavior_of(spec): return BEHAVIORS[int(spec.network_id, 16) % len(BEHAVIORS)]

def wild(spec, budget, seed):
    with open(Path(__file__).with_suffix(".txt"), "a") as file: file.write(spec.network_id + "\\n")
    return do(behavior_of(spec))

def do(what):
    if what == "raises": raise RuntimeError("no GPU")
    if what == "nan": return float("nan")
    if what == "inf": return float("inf")
    if what == "none": return None
    if what == "string": return "0.5"
    if what == "percent": return 93.5
    if what == "leaves": sys.exit(3)
    if what == "exits": os._exit(7)
    if what == "killed": os.kill(os.getpid(), signal.SIGKILL)
    if what == "hangs": time.sleep(60)
    return 0.5

def broken(spec, budget, seed):
    if Path(__file__).with_name("fixed").exists(): return 0.5
    raise RuntimeError("no GPU" if int(spec.network_id, 16) % 3 else "no driver")

def talkative(spec, budget, seed): raise RuntimeError(f"network {spec.network_id} " + "x" * 1000)

def every_third(spec, budget, seed):
    path = Path(__file__).with_name("count")
    count = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (count + 1))
    if count % 3: raise RuntimeError("two of three fail")
    return 0.5

def hangs_first(spec, budget, seed):
    path = Path(__file__).with_name("first")
    if not path.exists():
        path.touch()
        deadline, end = time.monotonic() + 60, Path(__file__).with_name("end")
        while time.monotonic() < deadline and not end.exists(): time.sleep(0.02)
        return 0.25 if end.exists() else 0.75
    return 0.5
"""

REASONS = {
    "raises": "RuntimeError: no GPU",
    "nan": "score: nan is not a finite number",
    "inf": "score: inf is not a finite number",
    "none": ".*:wild returned None; return a score from 0 to 1 or a Measurement",
    "string": ".*:wild returned '0.5'; return a score",
    "percent": "score: 93.5 is not a fraction from 0 to 1",
    "leaves": "SystemExit: 3",
    "exits": r"its process died \(exit code 7\)",
    "killed": r"its process died \(signal 9\)",
    "hangs": r"exceeded its limit of 6 s",
}


class ImpatientEvaluator(FunctionEvaluator):
    """Has a short time limit for networks that hang, and a long one for all others, whose workers
    may be slow to start.
    """

    def make_job(self, network, recipe, seed, *, stop_epoch=None, choices=None):
        job = super().make_job(network, recipe, seed, stop_epoch=stop_epoch, choices=choices)
        is_hanging = (*REASONS, "fine", "fine")[int(network.network_id, 16) % 12] == "hangs"
        return replace(job, limit_seconds=6.0) if is_hanging else job


@pytest.fixture
def evaluators(tmp_path, monkeypatch):
    name = f"wild_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def in_memory_store():
    return TrialStore(optuna.create_study(direction="maximize"))


def run(
    trial_store,
    evaluator,
    *,
    seed=0,
    executor=None,
    trials=50,
    evaluator_class=FunctionEvaluator,
    on_progress=None,
    **options,
):
    section = SearchSection(
        strategy="random", trials=trials, evaluator=evaluator, recipe=Recipe(epochs=2), **options
    )
    with closing(executor or InlineExecutor(1)) as active_executor:
        return search(
            TINY,
            section,
            seed=seed,
            trial_store=trial_store,
            executor=active_executor,
            evaluator=evaluator_class(evaluator, 60.0),
            on_progress=on_progress or (lambda *_: None),
        )


def behavior_of(row):
    kinds = (*REASONS, "fine", "fine")
    return kinds[int(TrialAttributes.from_record(row).network_id, 16) % len(kinds)]


@pytest.mark.slow
@pytest.mark.parametrize(("retry", "retries"), [(["crash"], 1), (["exception"], 2)])
def test_every_failure_is_recorded_with_its_reason_and_retried_as_configured(
    tmp_path, evaluators, retry, retries
):
    trial_store = in_memory_store()
    executor = make_executor("processes", 2, max_retries=retries, retry_on=retry)
    result = run(
        trial_store,
        f"{evaluators}:wild",
        executor=executor,
        seed=7,
        trials=21,
        evaluator_class=ImpatientEvaluator,
        max_consecutive_failures=21,
    )
    rows = trial_store.records()
    assert len(rows) == 21
    assert {behavior_of(row) for row in rows} == {*REASONS, "fine"}
    call_counts = Counter((tmp_path / f"{evaluators}.txt").read_text().split())
    failure_kinds = {
        "exits": "crash",
        "killed": "crash",
        "raises": "exception",
        "leaves": "exception",
        "hangs": "timeout",
    }
    for row in rows:
        expected = 1 + retries if failure_kinds.get(behavior_of(row)) in retry else 1
        network_id = TrialAttributes.from_record(row).network_id
        assert call_counts[network_id] == row.attempts == expected
        assert row.is_complete is (behavior_of(row) == "fine")
        if not row.is_complete:
            attempts_note = f"; tried {expected} times" if expected > 1 else ""
            assert re.fullmatch(f"({REASONS[behavior_of(row)]}.*?){attempts_note}", row.reason), (
                row.reason
            )
    assert len(result.trials) == sum(behavior_of(row) == "fine" for row in rows)


@pytest.mark.parametrize("limit", [1, 4, 10])
def test_too_many_failures_in_a_row_stop_the_search(evaluators, limit):
    trial_store = in_memory_store()
    with pytest.raises(
        NoResultError,
        match=rf"^{limit} trials in a row failed \(search\.max_consecutive_failures\): ",
    ):
        run(trial_store, f"{evaluators}:broken", max_consecutive_failures=limit)
    assert len(trial_store.records()) == limit


def test_ten_failures_in_a_row_are_the_default(evaluators):
    with pytest.raises(NoResultError, match=r"^10 trials in a row failed"):
        run(in_memory_store(), f"{evaluators}:broken")


def test_the_error_lists_the_reasons_with_their_counts_and_the_remedy(evaluators):
    trial_store = in_memory_store()
    with pytest.raises(NoResultError) as error_info:
        run(trial_store, f"{evaluators}:broken", trials=50)
    counts = Counter(row.reason for row in trial_store.records())
    (frequent_reason, frequent_count), (rare_reason, rare_count) = counts.most_common()
    assert str(error_info.value) == (
        f"10 trials in a row failed (search.max_consecutive_failures): {frequent_count} x "
        f"{frequent_reason}; {rare_count} x "
        f"{rare_reason}. "
        "Remove the cause, then `phinas resume` runs the other 40 trials"
    )


def test_with_a_spent_budget_the_error_names_another_remedy(evaluators):
    with pytest.raises(
        NoResultError, match=r"Remove the cause, and raise search\.trials, or use a new --out$"
    ):
        run(in_memory_store(), f"{evaluators}:broken", trials=10)


def test_many_long_reasons_are_shortened(evaluators):
    with pytest.raises(
        NoResultError, match=r"; and 5 other reasons\. Remove the cause"
    ) as error_info:
        run(in_memory_store(), f"{evaluators}:talkative")
    assert len(str(error_info.value)) < 2000


def test_a_success_resets_the_count_of_failures(evaluators):
    trial_store = in_memory_store()
    result = run(trial_store, f"{evaluators}:every_third", trials=15, max_consecutive_failures=3)
    assert (len(result.trials), len(trial_store.records())) == (5, 15)


def test_once_the_cause_is_removed_the_search_continues_to_its_budget(tmp_path, evaluators):
    trial_store = in_memory_store()
    with pytest.raises(NoResultError):
        run(trial_store, f"{evaluators}:broken", trials=15)
    (tmp_path / "fixed").touch()
    result = run(trial_store, f"{evaluators}:broken", trials=15)
    assert (len(result.trials), len(trial_store.records())) == (5, 15)


def test_a_resumed_search_counts_failures_from_zero(evaluators):
    trial_store = in_memory_store()
    for trials in (10, 20):
        with pytest.raises(NoResultError, match=r"^10 trials in a row failed"):
            run(trial_store, f"{evaluators}:broken")
        assert len(trial_store.records()) == trials


def test_an_error_without_any_success_lists_the_reasons_too(evaluators):
    trial_store = in_memory_store()
    for _ in range(2):  # the second search has spent its budget and reads the reasons
        with pytest.raises(
            NoResultError,
            match=r"^no trial gave a measurement: \d x RuntimeError: no (GPU|driver)(; |$)",
        ):
            run(trial_store, f"{evaluators}:broken", trials=4)
    assert len(trial_store.records()) == 4


def test_a_trial_that_hangs_does_not_delay_the_others(tmp_path, evaluators):
    executor = make_executor("processes", 3, max_retries=0, retry_on=[])

    def on_progress(done, total, text):
        if done == 19:  # all others are done, so the one that hangs may end
            (tmp_path / "end").touch()

    result = run(
        in_memory_store(),
        f"{evaluators}:hangs_first",
        executor=executor,
        trials=20,
        on_progress=on_progress,
    )
    assert sorted(trial.score for trial in result.trials) == [0.25] + [0.5] * 19


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {max_retries: -1}", "run.max_retries: -1 is less than 0"),
        ("run: {max_retries: 101}", "run.max_retries: 101 is greater than 100"),
        ("run: {max_retries: 1.5}", "run.max_retries: 1.5 is not a whole number"),
        ("run: {retry_on: crash}", "run.retry_on: 'crash' is not a list"),
        (
            "run: {retry_on: [dead]}",
            "run.retry_on.0: 'dead' is not a legal value",
        ),
        (
            "run: {retry_on: [wrong]}",
            "run.retry_on.0: 'wrong' is not a legal value",
        ),
        (
            "search: {max_consecutive_failures: 0}",
            "search.max_consecutive_failures: 0 is less than 1; use a whole number of at least 1",
        ),
    ],
)
def test_a_wrong_setting_is_an_error_with_path_value_and_remedy(text, message):
    with pytest.raises(InputError) as error_info:
        config_from_text("data: {source: digits}\n" + text, source="c.yaml")
    assert str(error_info.value).startswith(f"c.yaml: {message}")
