"""All that an evaluator can do wrong: the trial is recorded with its reason and the search goes on,
or says why not.
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
from phinas.experiment.trial_store import TrialStore
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.search import search
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")

EVALUATORS = """
import os, signal, sys, time
from pathlib import Path

BEHAVIORS = ("raises", "nan", "inf", "none", "string", "percent", "leaves",
             "exits", "killed", "hangs", "fine", "fine")

def behavior_of(spec): return BEHAVIORS[int(spec.spec_id, 16) % len(BEHAVIORS)]

def wild(spec, budget, seed):
    with open(Path(__file__).with_suffix(".txt"), "a") as file: file.write(spec.spec_id + "\\n")
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
    raise RuntimeError("no GPU" if int(spec.spec_id, 16) % 3 else "no driver")

def talkative(spec, budget, seed): raise RuntimeError(f"network {spec.spec_id} " + "x" * 1000)

def every_third(spec, budget, seed):
    path = Path(__file__).with_name("count")
    count = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (count + 1))
    if count % 3: raise RuntimeError("now and then")
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
    "nan": "accuracy: nan is not a finite number",
    "inf": "accuracy: inf is not a finite number",
    "none": ".*:wild returned None; return an accuracy from 0 to 1 or a Measurement",
    "string": ".*:wild returned '0.5'; return an accuracy",
    "percent": "accuracy: 93.5 is not a fraction from 0 to 1",
    "leaves": "SystemExit: 3",
    "exits": r"its process died \(exit code 7\)",
    "killed": r"its process died \(signal 9\)",
    "hangs": r"exceeded its limit of 6 s",
}


class ImpatientEvaluator(FunctionEvaluator):
    """Has a short limit for networks that hang, and a long one for all others, whose workers may be
    slow to start.
    """

    def make_job(self, spec, recipe, seed):
        job = super().make_job(spec, recipe, seed)
        is_hanging = (*REASONS, "fine", "fine")[int(spec.spec_id, 16) % 12] == "hangs"
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
    return kinds[int(row.user_attrs["spec_id"], 16) % len(kinds)]


@pytest.mark.slow
@pytest.mark.parametrize(("retry", "retries"), [(["crash"], 1), (["exception"], 2)])
def test_every_wrong_end_is_recorded_with_its_reason_retried_as_asked_and_outlived(
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
        assert call_counts[row.user_attrs["spec_id"]] == row.user_attrs["attempts"] == expected
        assert row.is_complete is (behavior_of(row) == "fine")
        if not row.is_complete:
            attempts_note = f"; tried {expected} times" if expected > 1 else ""
            assert re.fullmatch(
                f"({REASONS[behavior_of(row)]}.*?){attempts_note}", row.user_attrs["reason"]
            ), row.user_attrs["reason"]
    assert len(result.trials) == sum(behavior_of(row) == "fine" for row in rows)


@pytest.mark.parametrize("limit", [1, 4, 10])
def test_so_many_failures_in_a_row_stop_the_search(evaluators, limit):
    trial_store = in_memory_store()
    with pytest.raises(
        NoResultError,
        match=rf"^{limit} trials in a row failed \(search\.max_consecutive_failures\): ",
    ):
        run(trial_store, f"{evaluators}:broken", max_consecutive_failures=limit)
    assert len(trial_store.records()) == limit


def test_ten_is_the_default(evaluators):
    with pytest.raises(NoResultError, match=r"^10 trials in a row failed"):
        run(in_memory_store(), f"{evaluators}:broken")


def test_the_stop_lists_the_reasons_with_their_counts_and_how_to_go_on(evaluators):
    trial_store = in_memory_store()
    with pytest.raises(NoResultError) as error_info:
        run(trial_store, f"{evaluators}:broken", trials=50)
    counts = Counter(row.user_attrs["reason"] for row in trial_store.records())
    (frequent_reason, frequent_count), (rare_reason, rare_count) = counts.most_common()
    assert str(error_info.value) == (
        f"10 trials in a row failed (search.max_consecutive_failures): {frequent_count} x "
        f"{frequent_reason}; {rare_count} x "
        f"{rare_reason}. "
        "See to the cause, then `phinas resume` goes on with the other 40"
    )


def test_a_stop_with_a_spent_budget_says_what_helps(evaluators):
    with pytest.raises(
        NoResultError, match=r"See to the cause, and raise search\.trials, or use a new --out$"
    ):
        run(in_memory_store(), f"{evaluators}:broken", trials=10)


def test_many_and_long_reasons_are_cut_short(evaluators):
    with pytest.raises(
        NoResultError, match=r"; and 5 other reasons\. See to the cause"
    ) as error_info:
        run(in_memory_store(), f"{evaluators}:talkative")
    assert len(str(error_info.value)) < 2000


def test_a_success_begins_the_count_anew(evaluators):
    trial_store = in_memory_store()
    result = run(trial_store, f"{evaluators}:every_third", trials=15, max_consecutive_failures=3)
    assert (len(result.trials), len(trial_store.records())) == (5, 15)


def test_after_a_stop_and_a_repair_the_search_goes_on_to_its_budget(tmp_path, evaluators):
    trial_store = in_memory_store()
    with pytest.raises(NoResultError):
        run(trial_store, f"{evaluators}:broken", trials=15)
    (tmp_path / "fixed").touch()
    result = run(trial_store, f"{evaluators}:broken", trials=15)
    assert (len(result.trials), len(trial_store.records())) == (5, 15)


def test_after_a_stop_without_a_repair_a_resumed_search_counts_anew(evaluators):
    trial_store = in_memory_store()
    for trials in (10, 20):
        with pytest.raises(NoResultError, match=r"^10 trials in a row failed"):
            run(trial_store, f"{evaluators}:broken")
        assert len(trial_store.records()) == trials


def test_fewer_failures_and_no_success_tell_the_reasons_too(evaluators):
    trial_store = in_memory_store()
    for _ in range(2):  # a spent budget is told the same from its record
        with pytest.raises(
            NoResultError,
            match=r"^no trial gave a measurement: \d x RuntimeError: no (GPU|driver)(; |$)",
        ):
            run(trial_store, f"{evaluators}:broken", trials=4)
    assert len(trial_store.records()) == 4


def test_a_trial_that_hangs_delays_no_other(tmp_path, evaluators):
    executor = make_executor("processes", 3, max_retries=0, retry_on=[])

    def on_progress(done, total, text):
        if done == 19:  # all others are done: the one that hangs may end
            (tmp_path / "end").touch()

    result = run(
        in_memory_store(),
        f"{evaluators}:hangs_first",
        executor=executor,
        trials=20,
        on_progress=on_progress,
    )
    assert sorted(trial.accuracy for trial in result.trials) == [0.25] + [0.5] * 19


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {max_retries: -1}", "run.max_retries: -1 should be greater than or equal to 0"),
        ("run: {max_retries: 101}", "run.max_retries: 101 should be less than or equal to 100"),
        ("run: {max_retries: 1.5}", "run.max_retries: 1.5 should be a valid integer"),
        ("run: {retry_on: crash}", "run.retry_on: 'crash' should be a valid list"),
        (
            "run: {retry_on: [dead]}",
            "run.retry_on.0: 'dead' should be 'crash', 'exception' or 'timeout'",
        ),
        (
            "run: {retry_on: [wrong]}",
            "run.retry_on.0: 'wrong' should be 'crash', 'exception' or 'timeout'",
        ),
        (
            "search: {max_consecutive_failures: 0}",
            "search.max_consecutive_failures: 0 should be greater than or equal to 1",
        ),
        (
            "search: {pruner: halvin}",
            "search.pruner: 'halvin' should be 'none', 'median', 'halving' or 'hyperband'",
        ),
    ],
)
def test_a_wrong_setting_is_told_with_path_value_and_remedy(text, message):
    with pytest.raises(InputError) as error_info:
        config_from_text("data: {source: digits}\n" + text, source="c.yaml")
    assert str(error_info.value).startswith(f"c.yaml: {message}")
