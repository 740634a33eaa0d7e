"""Every strategy passes the conformance suite and tests beyond it: worker processes, records on
disk, learning, and the time of a proposal.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from phinas.experiment.errors import InputError
from phinas.experiment.executors import EXECUTORS
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.storage.study_storage import open_storage
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.strategies import STRATEGIES
from phinas.nas.strategies.loading import require_strategy
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.testing import STRATEGY_CHECKS
from phinas.testing.history_checks import check_many_workers
from phinas.testing.searches import (
    SPACE_OF_TWELVE,
    TINY,
    UNRELIABLE,
    Interrupted,
    InterruptedExecutor,
    in_memory_store,
    list_proposals,
    live_records,
    propose,
    run_search,
)

PARETO_STRATEGIES = [name for name, entry in STRATEGIES.items() if entry.supports_pareto]
LEARNING_STRATEGIES = [name for name in STRATEGIES if name not in ("random", "asha")]
# These ignore cost limits and known networks, so the search rejects some of their proposals.
UNCONSTRAINED_STRATEGIES = ("random", "tpe", "evolution")


@pytest.mark.parametrize("check", STRATEGY_CHECKS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_conforms(strategy, check):
    STRATEGY_CHECKS[check](strategy)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_eight_workers_train_distinct_networks(strategy):
    check_many_workers(strategy, 8)


@pytest.mark.parametrize("strategy", ["tpe", "asha"])
def test_a_search_on_disk_interrupted_during_trainings_continues_unchanged(tmp_path, strategy):
    expected = propose(strategy, function=UNRELIABLE, trials=12)
    path = tmp_path / "study.db"
    for num_jobs in (0, 5, 6, None):
        with closing(open_storage(path, url=None, new=not path.exists())) as storage:
            trial_store = storage.open_study("search")
            options = {"function": UNRELIABLE, "trials": 12}
            if num_jobs is None:
                run_search(strategy, trial_store, **options)
                continue
            executor = InterruptedExecutor(num_jobs)
            with pytest.raises(Interrupted):
                run_search(strategy, trial_store, executor=executor, **options)
    with closing(open_storage(path, url=None, new=False)) as storage:
        trial_store = storage.open_study("search")
        assert list_proposals(trial_store) == expected
        states = Counter(record.state for record in trial_store.records())
    assert states[TrialState.RUNNING] == 0


CONTINUE_SCRIPT = """
import json, sys
import optuna
from dataclasses import asdict
from optuna.trial import TrialState, create_trial
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.problem import make_distributions
from phinas.testing.searches import TINY, UNRELIABLE, list_proposals, run_search
proposals = {}
for name, trials in json.load(sys.stdin).items():
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        state = TrialState[trial.pop("state")]
        steps = trial.pop("intermediate_values")
        study.add_trial(create_trial(
            state=state, distributions=make_distributions(TINY),
            intermediate_values={int(step): value for step, value in steps.items()}, **trial))
    run_search(name, TrialStore(study), function=UNRELIABLE, trials=34)
    proposals[name] = [asdict(row) for row in list_proposals(TrialStore(study))]
print(json.dumps(proposals))
"""


@pytest.mark.slow
def test_another_process_proposes_the_same_from_the_same_record():
    """Nothing may depend on the order of a set or on the caches of a process. One test covers all
    strategies, because a process takes long to start.
    """
    records, expected = {}, {}
    for name in STRATEGIES:
        study = optuna.create_study(direction="maximize")
        run_search(name, TrialStore(study), function=UNRELIABLE, trials=27)
        records[name] = [
            {
                "state": trial.state.name,
                "params": trial.params,
                "value": trial.value,
                "user_attrs": trial.user_attrs,
                "intermediate_values": trial.intermediate_values,
            }
            for trial in study.trials
        ]
        expected[name] = [as_json(row) for row in propose(name, function=UNRELIABLE, trials=34)]
    completed = subprocess.run(
        [sys.executable, "-c", CONTINUE_SCRIPT],
        input=json.dumps(records),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(completed.stdout) == expected


def as_json(row):
    return {
        "network_id": row.network_id,
        "value": row.value,
        "num_rejected": row.num_rejected,
        "target_epochs": list(row.target_epochs),
    }


# The suite tests every strategy with several trainings at a time. The effect of worker processes
# does not depend on the strategy.
@pytest.mark.parametrize("strategy", ["tpe", "asha"])
def test_worker_processes_train_distinct_networks(strategy):
    trial_store = in_memory_store()
    executor = EXECUTORS["processes"](2)
    result = run_search(strategy, trial_store, executor=executor)
    proposals = list_proposals(trial_store)
    assert len({row.network_id for row in proposals}) == len(proposals)
    assert len(proposals) == 30 if strategy == "tpe" else len(proposals) > 60
    assert len(result.trials) == sum(row.value is not None for row in proposals) > 5


def test_worker_processes_exhaust_a_small_space():
    trial_store = in_memory_store()
    result = run_search(
        "evolution",
        trial_store,
        function=UNRELIABLE,
        space=SPACE_OF_TWELVE,
        trials=50,
        executor=EXECUTORS["processes"](2),
    )
    assert result.space_exhausted
    assert len({row.network_id for row in list_proposals(trial_store)}) == 12


@pytest.mark.parametrize("strategy", ["evolution", "asha"])
def test_trainings_of_two_processes_are_run_again_after_an_interruption(strategy):
    class InterruptedProcesses(ProcessExecutor):
        def next_result(self):
            raise Interrupted

    trial_store = in_memory_store()
    with pytest.raises(Interrupted):
        run_search(strategy, trial_store, trials=8, executor=InterruptedProcesses(2))
    started = [row.network_id for row in list_proposals(trial_store)]
    run_search(strategy, trial_store, trials=8)
    assert len(started) == 2
    assert [row.network_id for row in list_proposals(trial_store)][:2] == started


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_strategies_that_ignore_cost_limits_have_many_proposals_rejected(strategy):
    rows = propose(strategy, trials=5, min_flops=475_000.0, max_flops=475_600.0)
    has_many_rejections = max(row.num_rejected for row in rows) > 100
    assert has_many_rejections == (strategy in UNCONSTRAINED_STRATEGIES)


def test_a_strategy_that_cannot_search_for_a_front_is_refused_with_those_that_can():
    require_strategy("ppo", pareto=False)
    names = "bayesian, random, tpe, evolution, nsga2"
    with pytest.raises(
        InputError, match=rf"^search\.strategy: ppo .*search\.reward: pareto.*use one of {names}$"
    ):
        require_strategy("ppo", pareto=True)
    for name in PARETO_STRATEGIES:
        require_strategy(name, pareto=True)


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"^search\.strategy: 'tpi' is not a strategy; name one"):
        require_strategy("tpi", pareto=False)


@pytest.mark.parametrize("learner", LEARNING_STRATEGIES)
def test_a_strategy_that_learns_proposes_better_networks_later_than_random_ones(learner):
    random_rows, learner_rows = (propose(name, trials=90) for name in ("random", learner))
    assert (
        statistics.mean(row.value for row in learner_rows[-20:])
        > statistics.mean(row.value for row in random_rows) + 0.02
    )


def test_asha_completes_better_networks_than_random_search_in_the_same_epochs():
    asha, random_search = in_memory_store(), in_memory_store()
    run_search("asha", asha, trials=30)
    run_search("random", random_search, trials=30)
    completed = [record.value for record in live_records(asha) if record.is_complete]
    others = [record.value for record in live_records(random_search)]
    assert statistics.mean(completed) > statistics.mean(others) + 0.02


@pytest.mark.parametrize("learner", LEARNING_STRATEGIES)
def test_a_converged_strategy_is_rarely_called_and_neighbors_are_trained(learner):
    """A converged strategy proposes known networks again and again. Another proposal of TPE takes
    longer than computing the cost of a neighbor.
    """
    space = SearchSpace("some", TINY.base, TINY.decisions[:6])
    rejected = [row.num_rejected for row in propose(learner, space=space, trials=space.size // 2)]
    assert (max(rejected) > 2) == (learner in UNCONSTRAINED_STRATEGIES)
    assert statistics.mean(rejected) < 8


def resident_memory() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# The time of writing a record to disk does not depend on the strategy.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "where", "trials"),
    [
        *((name, "memory", 300) for name, entry in STRATEGIES.items() if entry.pausing == "never"),
        ("random", "disk", 120),
    ],
)
def test_the_time_of_the_driver_for_a_trial_is_short_and_grows_at_most_linearly(
    tmp_path, strategy, where, trials
):
    timestamps, memory_sizes, file_counts = [], [], []

    def on_progress(done, total, text):
        timestamps.append(time.process_time())
        if done in (trials // 3, trials):
            memory_sizes.append(resident_memory())
            file_counts.append(len(list(Path("/proc/self/fd").iterdir())))

    options = {"trials": trials, "on_progress": on_progress}
    if where == "memory":
        result = run_search(strategy, in_memory_store(), **options)
    else:
        with closing(open_storage(tmp_path / "study.db", url=None, new=True)) as storage:
            result = run_search(strategy, storage.open_study("search"), **options)
    seconds = [later - earlier for earlier, later in pairwise(timestamps)]
    assert len(result.trials) == trials
    assert statistics.mean(seconds) < 0.2  # 2% of a training of ten seconds
    # TPE reads its complete history, so its time may grow in proportion (from about 1/6 of all
    # trials to 7/8), but no faster.
    early, late = seconds[trials // 12 : trials // 4], seconds[-trials // 4 :]
    assert statistics.median(late) < 7 / 8 * 6 * statistics.median(early) + 0.01
    assert memory_sizes[1] - memory_sizes[0] < 0.15e6 * (trials - trials // 3)
    assert file_counts[1] <= file_counts[0] + 1
