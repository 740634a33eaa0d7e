"""Every strategy keeps one contract: what it proposes follows from the seed and the record, and no
trial is wasted.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from phinas.experiment.errors import InputError
from phinas.experiment.executors import EXECUTORS, Result
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.trial_store import ORPHAN_REASON, TrialStore, open_storage
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.pareto import hypervolume, pareto_front
from phinas.nas.search import search
from phinas.nas.strategies import PARETO_STRATEGIES, STRATEGIES, require_strategy
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace
from phinas.space.spec import ArchSpec

LEARNING_STRATEGIES = [name for name in STRATEGIES if name != "random"]
# look at neither gate nor memory before they propose, so the search has to refuse
UNCONSTRAINED_STRATEGIES = (
    "random",
    "tpe",
    "evolution",
)
TINY = load_space("tiny")
SPACE_OF_TWELVE = SearchSpace(
    "twelve",
    TINY.base,
    (
        Decision("stages.0.kernel", (3, 5)),
        Decision("stages.1.width", (8, 16, 24)),
        Decision("stages.2.se", (0, 0.25)),
    ),
)
# 64 sets of choices that mean 25 networks: a layer that is left out, or beyond the depth of its
# stage, has idle choices.
SPACE_WITH_DUPLICATES = SearchSpace(
    "skips",
    TINY.base,
    (
        Decision("stages.1.layers.1.block", ("mbconv", "identity")),
        Decision("stages.1.layers.1.kernel", (3, 5)),
        Decision("stages.1.layers.1.expansion", (2, 3)),
        Decision("stages.2.depth", (1, 2)),
        Decision("stages.2.layers.1.se", (0, 0.25)),
        Decision("stages.2.layers.1.kernel", (3, 5)),
    ),
)

EVALUATORS = """
def smooth(spec, budget, seed):
    rows = spec.stages
    kernels, se = sum(row.kernel == 5 for row in rows), sum(row.se > 0 for row in rows)
    return 0.1 + 0.03 * kernels + 0.03 * se + 0.02 * spec.depth

def unreliable(spec, budget, seed):
    behavior = int(spec.spec_id, 16) % 9
    if behavior == 0: raise RuntimeError("diverged")
    if behavior == 1: return float("nan")
    return smooth(spec, budget, seed)
"""


@pytest.fixture
def evaluators(tmp_path, monkeypatch):
    """The name of a module of evaluators that a worker can import, as a user's own module would
    be.
    """
    name = f"evaluators_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


class Killed(Exception):
    """Stands for the kill of a driver."""


class KilledExecutor(InlineExecutor):
    """Ends its driver in the midst of a trial: the one after `spared` others."""

    def __init__(self, jobs_before_kill: int) -> None:
        super().__init__(1)
        self._jobs_before_kill = jobs_before_kill

    def next_result(self) -> Result:
        if self._jobs_before_kill == 0:
            raise Killed
        self._jobs_before_kill -= 1
        return super().next_result()


class ShuffledExecutor(InlineExecutor):
    """As many max_workers as you like, in this process; jobs end in an order of their own, the same
    for the same seed.
    """

    def __init__(self, max_workers: int, *, seed: int = 0) -> None:
        super().__init__(1)
        self.max_workers = max_workers
        self._pending_jobs = []
        self._order = random.Random(seed)

    def submit(self, job, on_report=None) -> None:
        assert len(self._pending_jobs) < self.max_workers
        self._pending_jobs.append(job)

    def next_result(self) -> Result:
        super().submit(self._pending_jobs.pop(self._order.randrange(len(self._pending_jobs))))
        return super().next_result()


def in_memory_store() -> TrialStore:
    """A record that costs no time: Optuna's SQL takes most of a trial with an instant evaluator."""
    return TrialStore(optuna.create_study(direction="maximize"))


def run(
    trial_store: TrialStore,
    evaluator: str,
    strategy: str,
    *,
    trials=30,
    seed=0,
    space=TINY,
    executor=None,
    on_progress=None,
    **options,
):
    """A search on that record, begun or carried on, and its proposals."""
    section = SearchSection(
        strategy=strategy, trials=trials, reward_exponent=0.0, evaluator=evaluator, **options
    )
    with closing(executor or InlineExecutor(1)) as active_executor:
        result = search(
            space,
            section,
            seed=seed,
            trial_store=trial_store,
            executor=active_executor,
            evaluator=FunctionEvaluator(evaluator, 60.0),
            on_progress=on_progress or (lambda done, total, text: None),
        )
    return result, list_proposals(trial_store.records())


def run_on_disk(path: Path, *arguments, **options):
    """The same on a record that is opened for it and closed after it, as a driver does."""
    with closing(open_storage(path, url=None, new=not path.exists())) as storage:
        return run(storage.open_study("search"), *arguments, **options)


def run_in_memory(study: optuna.Study, *arguments, **options):
    """The same on a record that is kept in memory between runs."""
    return run(TrialStore(study), *arguments, **options)


def kill_after(count):
    def kill(done, total, text):
        if done == count:
            raise Killed

    return kill


def list_proposals(rows):
    """What was proposed, in order: network, what came of it, and how many were refused before
    it.
    """
    proposal_rows = [row for row in rows if row.user_attrs.get("reason") != ORPHAN_REASON]
    proposal_rows.sort(key=lambda row: row.user_attrs["proposal"])
    assert [row.user_attrs["proposal"] for row in proposal_rows] == list(range(len(proposal_rows)))
    return [
        (row.user_attrs["spec_id"], row.value, row.user_attrs["num_rejected"])
        for row in proposal_rows
    ]


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return request.param


def test_the_same_seed_proposes_the_same_and_another_seed_others(evaluators, strategy):
    runs = [
        run(in_memory_store(), f"{evaluators}:smooth", strategy, seed=seed)[1] for seed in (3, 3, 4)
    ]
    assert runs[0] == runs[1]
    other_ids = {spec_id for spec_id, _, _ in runs[2]}
    assert sum(spec_id in other_ids for spec_id, _, _ in runs[0]) < 10


def test_a_search_killed_in_the_midst_of_trials_proposes_what_an_unbroken_one_does(
    tmp_path, evaluators, strategy
):
    uninterrupted, expected = run(
        in_memory_store(), f"{evaluators}:unreliable", strategy, trials=40
    )
    # Writing to disk takes most of the time, and strategies never see the record itself.
    run_again, target = (
        (run_on_disk, tmp_path / "study.db")
        if strategy == "tpe"
        else (run_in_memory, optuna.create_study(direction="maximize"))
    )
    for jobs_before_kill in (0, 12, 21):
        with pytest.raises(Killed):
            run_again(
                target,
                f"{evaluators}:unreliable",
                strategy,
                trials=40,
                executor=KilledExecutor(jobs_before_kill),
            )
    resumed, rows = run_again(target, f"{evaluators}:unreliable", strategy, trials=40)
    assert rows == expected
    assert [trial.spec for trial in resumed.trials] == [
        trial.spec for trial in uninterrupted.trials
    ]
    if strategy == "tpe":
        with closing(open_storage(target, url=None, new=False)) as storage:
            all_rows = storage.records("search")
    else:
        all_rows = TrialStore(target).records()
    assert len(all_rows) == 43  # three were begun twice
    assert {row.state for row in all_rows} == {TrialState.COMPLETE, TrialState.FAIL}


def test_a_search_killed_between_trials_proposes_what_an_unbroken_one_does(evaluators, strategy):
    _, uninterrupted = run(in_memory_store(), f"{evaluators}:smooth", strategy, trials=36)
    trial_store = in_memory_store()
    for count in (5, 30):
        with pytest.raises(Killed):
            run(
                trial_store,
                f"{evaluators}:smooth",
                strategy,
                trials=36,
                on_progress=kill_after(count),
            )
    assert run(trial_store, f"{evaluators}:smooth", strategy, trials=36)[1] == uninterrupted


CARRY_ON = """
import json, sys
sys.path[:0] = [{tests!r}, {evaluators!r}]
import optuna
from optuna.trial import TrialState, create_trial
from phinas.experiment.trial_store import TrialStore
from phinas.nas.problem import make_distributions
from test_strategies import TINY, run
proposals = {{}}
for name, trials in json.load(sys.stdin).items():
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        state = TrialState[trial.pop("state")]
        study.add_trial(create_trial(state=state, distributions=make_distributions(TINY), **trial))
    proposals[name] = run(TrialStore(study), {evaluator!r}, name, trials=34)[1]
print(json.dumps(proposals))
"""


@pytest.mark.slow
def test_another_process_carries_on_as_this_one_would(tmp_path, evaluators):
    """What a strategy keeps in memory for speed must not be what it knows. All strategies in one
    test: a start takes long.
    """
    records, expected = {}, {}
    for name in STRATEGIES:
        study = optuna.create_study(direction="maximize")
        expected[name] = run(TrialStore(study), f"{evaluators}:unreliable", name, trials=34)[1]
        records[name] = [
            {
                "state": trial.state.name,
                "params": trial.params,
                "value": trial.value,
                "user_attrs": trial.user_attrs,
            }
            for trial in study.trials[:27]
        ]
    names = {
        "tests": str(Path(__file__).parent),
        "evaluators": str(tmp_path),
        "evaluator": f"{evaluators}:unreliable",
    }
    command = [sys.executable, "-c", CARRY_ON.format(**names)]
    completed = subprocess.run(
        command, input=json.dumps(records), capture_output=True, text=True, check=True
    )
    assert {
        name: [tuple(row) for row in rows] for name, rows in json.loads(completed.stdout).items()
    } == expected


def test_a_budget_that_grew_carries_on_as_if_it_had_been_so_from_the_start(evaluators, strategy):
    _, uninterrupted = run(in_memory_store(), f"{evaluators}:smooth", strategy, trials=35)
    trial_store = in_memory_store()
    run(trial_store, f"{evaluators}:smooth", strategy, trials=20)
    assert run(trial_store, f"{evaluators}:smooth", strategy, trials=35)[1] == uninterrupted


def test_a_spent_budget_starts_nothing(evaluators, strategy):
    trial_store = in_memory_store()
    _, first = run(trial_store, f"{evaluators}:smooth", strategy, trials=5)
    result, repeated_rows = run(
        trial_store, f"{evaluators}:smooth", strategy, trials=5, executor=KilledExecutor(0)
    )
    assert repeated_rows == first
    assert (len(result.trials), result.space_exhausted) == (5, False)


def test_a_space_smaller_than_the_budget_gives_each_network_once_and_is_exhausted(
    evaluators, strategy
):
    trial_store = in_memory_store()
    result, rows = run(
        trial_store, f"{evaluators}:unreliable", strategy, space=SPACE_OF_TWELVE, trials=50
    )
    all_spec_ids = {
        SPACE_OF_TWELVE.decode(choices).spec_id for choices in SPACE_OF_TWELVE.enumerate()
    }
    assert result.space_exhausted
    assert len(rows) == len(all_spec_ids) == 12
    assert {spec_id for spec_id, _, _ in rows} == all_spec_ids
    resumed, repeated_rows = run(
        trial_store,
        f"{evaluators}:unreliable",
        strategy,
        space=SPACE_OF_TWELVE,
        trials=50,
        executor=KilledExecutor(0),
    )
    assert resumed.space_exhausted
    assert repeated_rows == rows


def test_a_space_as_large_as_the_budget_is_not_said_to_be_exhausted(evaluators, strategy):
    result, rows = run(
        in_memory_store(), f"{evaluators}:smooth", strategy, space=SPACE_OF_TWELVE, trials=12
    )
    assert not result.space_exhausted
    assert len({spec_id for spec_id, _, _ in rows}) == 12


def test_a_network_of_many_names_is_trained_once_and_every_network_is_found(evaluators, strategy):
    result, rows = run(
        in_memory_store(),
        f"{evaluators}:unreliable",
        strategy,
        space=SPACE_WITH_DUPLICATES,
        trials=64,
    )
    assert result.space_exhausted
    assert len(rows) == len({spec_id for spec_id, _, _ in rows}) == 25


def test_a_space_of_one_network_gives_it_and_is_exhausted(evaluators, strategy):
    space = SearchSpace(
        "one", TINY.base, (Decision("stages.0.kernel", (5,)), Decision("stages.2.depth", (2,)))
    )
    result, rows = run(in_memory_store(), f"{evaluators}:smooth", strategy, space=space, trials=3)
    assert (len(rows), result.space_exhausted) == (1, True)


def test_a_decision_of_one_value_is_kept_to_while_the_others_are_searched(evaluators, strategy):
    space = SearchSpace("some", TINY.base, (Decision("stages.2.depth", (3,)), *TINY.decisions[:8]))
    result, _ = run(in_memory_store(), f"{evaluators}:smooth", strategy, space=space, trials=40)
    assert len(result.trials) == 40
    assert {trial.spec.stages[2].depth for trial in result.trials} == {3}


def test_no_network_is_trained_twice_and_failures_are_lived_with(evaluators, strategy):
    result, rows = run(in_memory_store(), f"{evaluators}:unreliable", strategy, trials=60)
    assert len({spec_id for spec_id, _, _ in rows}) == 60
    failed = [spec_id for spec_id, value, _ in rows if value is None]
    assert failed == [spec_id for spec_id, _, _ in rows if int(spec_id, 16) % 9 < 2]
    assert len(result.trials) == 60 - len(failed)
    assert len(failed) > 3


def test_a_narrow_gate_is_never_left_and_still_yields_every_trial(evaluators, strategy):
    # A thousandth of the space, about 370 of its networks, lies between; what is searched is
    # replayed here too.
    flops_limits = {"min_flops": 475_000.0, "max_flops": 475_600.0}
    result, rows = run(
        in_memory_store(), f"{evaluators}:smooth", strategy, trials=5, **flops_limits
    )
    assert len(result.trials) == len({spec_id for spec_id, _, _ in rows}) == 5
    assert all(475_000 <= trial.cost.flops <= 475_600 for trial in result.trials)
    assert all(trial.cost == network_cost(trial.spec) for trial in result.trials)
    assert (max(refused for _, _, refused in rows) > 100) == (strategy in UNCONSTRAINED_STRATEGIES)
    trial_store = in_memory_store()
    with pytest.raises(Killed):
        run(
            trial_store,
            f"{evaluators}:smooth",
            strategy,
            trials=5,
            executor=KilledExecutor(2),
            **flops_limits,
        )
    assert run(trial_store, f"{evaluators}:smooth", strategy, trials=5, **flops_limits)[1] == rows


def test_a_gate_that_admits_a_hundredth_is_searched_like_any_space(evaluators, strategy):
    flops_limits = {"min_flops": 475_000.0, "max_flops": 480_000.0}
    result, rows = run(
        in_memory_store(), f"{evaluators}:unreliable", strategy, trials=15, **flops_limits
    )
    assert len({spec_id for spec_id, _, _ in rows}) == 15
    assert all(475_000 <= trial.cost.flops <= 480_000 for trial in result.trials)


def test_nothing_outside_a_gate_is_ever_handed_to_an_executor(evaluators, strategy):
    class CheckingExecutor(InlineExecutor):
        def submit(self, job, on_report=None):
            assert 300_000 <= network_cost(ArchSpec.from_dict(job.payload["spec"])).flops <= 400_000
            super().submit(job, on_report)

    flops_limits = {"min_flops": 300_000.0, "max_flops": 400_000.0}
    result, _ = run(
        in_memory_store(),
        f"{evaluators}:smooth",
        strategy,
        trials=30,
        executor=CheckingExecutor(1),
        **flops_limits,
    )
    assert len(result.trials) == 30


def test_a_gate_that_nothing_meets_is_refused_before_anything_is_recorded(evaluators, strategy):
    trial_store = in_memory_store()
    with pytest.raises(InputError, match="the nearest has"):
        run(trial_store, f"{evaluators}:smooth", strategy, min_flops=1.0, max_flops=2.0)
    assert trial_store.records() == []


# Every strategy with many trials under way: ShuffledExecutor, below. What processes add does not
# depend on the strategy.
@pytest.mark.parametrize("strategy", ["tpe"])
def test_several_workers_spend_the_budget_on_distinct_networks(evaluators, strategy):
    executor = EXECUTORS["processes"](2)
    result, rows = run(
        in_memory_store(), f"{evaluators}:smooth", strategy, trials=30, executor=executor
    )
    assert len(result.trials) == len({spec_id for spec_id, _, _ in rows}) == 30
    assert [trial.proposal for trial in result.trials] == list(range(30))


# One worker is what all other tests have.
@pytest.mark.parametrize("workers", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_however_many_trials_are_under_way_and_in_whatever_order_they_end_none_is_repeated(
    evaluators, strategy, workers
):
    runs = [
        run(
            in_memory_store(),
            f"{evaluators}:unreliable",
            strategy,
            trials=45,
            executor=ShuffledExecutor(workers),
        )
        for _ in range(2)
    ]
    assert runs[0][1] == runs[1][1]
    assert len({spec_id for spec_id, _, _ in runs[0][1]}) == 45
    executor = ShuffledExecutor(workers)
    result, rows = run(
        in_memory_store(),
        f"{evaluators}:unreliable",
        strategy,
        space=SPACE_WITH_DUPLICATES,
        trials=64,
        executor=executor,
    )
    assert (len({spec_id for spec_id, _, _ in rows}), len(rows), result.space_exhausted) == (
        25,
        25,
        True,
    )


@pytest.mark.parametrize("strategy", ["evolution"])
def test_several_workers_exhaust_a_small_space(evaluators, strategy):
    executor = EXECUTORS["processes"](2)
    result, rows = run(
        in_memory_store(),
        f"{evaluators}:unreliable",
        strategy,
        space=SPACE_OF_TWELVE,
        trials=50,
        executor=executor,
    )
    assert result.space_exhausted
    assert len({spec_id for spec_id, _, _ in rows}) == len(rows) == 12


def test_two_trials_under_way_when_a_driver_is_killed_are_both_run_again(evaluators, strategy):
    class KilledExecutorOfTwo(ProcessExecutor):
        def next_result(self):
            raise Killed

    trial_store = in_memory_store()
    with pytest.raises(Killed):
        run(
            trial_store, f"{evaluators}:smooth", strategy, trials=8, executor=KilledExecutorOfTwo(2)
        )
    started = [spec_id for spec_id, _, _ in list_proposals(trial_store.records())]
    result, rows = run(trial_store, f"{evaluators}:smooth", strategy, trials=8)
    assert len(started) == 2
    assert [spec_id for spec_id, _, _ in rows][:2] == started
    assert len(result.trials) == 8


def test_a_record_of_another_space_is_refused(evaluators, strategy):
    trial_store = in_memory_store()
    run(trial_store, f"{evaluators}:smooth", strategy, trials=3)
    first = TINY.decisions[0]
    wider = replace(
        TINY,
        decisions=(
            replace(first, values=(*first.values, max(first.values) + 2)),
            *TINY.decisions[1:],
        ),
    )
    for other in (SPACE_OF_TWELVE, wider, TINY.adapt_to(channels=1, classes=7)):
        with pytest.raises(
            InputError,
            match=r"search\.space: .* has changed since the run began; put the old space back",
        ):
            run(trial_store, f"{evaluators}:smooth", strategy, trials=5, space=other)
    assert len(trial_store.records()) == 3


@pytest.mark.parametrize("name", PARETO_STRATEGIES)
def test_a_strategy_for_fronts_finds_a_better_front_later(evaluators, name):
    trial_store = TrialStore(optuna.create_study(directions=["maximize", "minimize"]))
    result, rows = run(trial_store, f"{evaluators}:smooth", name, trials=90, reward="pareto")
    assert len({spec_id for spec_id, _, _ in rows}) == 90
    costs = [float(trial.cost.flops) for trial in result.trials]

    def front_hypervolume(trials):
        front = [(trial.cost.flops, trial.accuracy) for trial in pareto_front(trials)]
        return hypervolume(front, min_cost=min(costs), max_cost=max(costs))

    assert front_hypervolume(result.trials) > front_hypervolume(result.trials[:20])


def test_a_strategy_that_cannot_look_for_a_front_is_refused_with_those_that_can(monkeypatch):
    monkeypatch.setitem(STRATEGIES, "single", STRATEGIES["random"])
    require_strategy("single", pareto=False)
    names = "bayesian, random, tpe, evolution, nsga2"
    with pytest.raises(
        InputError, match=rf"search\.strategy: single .*search\.reward: pareto.*{names} can"
    ):
        require_strategy("single", pareto=True)
    for name in PARETO_STRATEGIES:
        require_strategy(name, pareto=True)


def test_progress_is_told_from_what_is_recorded_to_the_whole_budget(evaluators, strategy):
    trial_store, progress = in_memory_store(), []
    run(trial_store, f"{evaluators}:unreliable", strategy, trials=6)
    run(
        trial_store,
        f"{evaluators}:unreliable",
        strategy,
        trials=9,
        on_progress=lambda *line: progress.append(line[:2]),
    )
    assert progress == [(6, 9), (7, 9), (8, 9), (9, 9)]


@pytest.mark.parametrize("learner", LEARNING_STRATEGIES)
def test_a_strategy_that_learns_proposes_better_networks_later_than_random_ones(
    evaluators, learner
):
    random_rows, learner_rows = (
        run(in_memory_store(), f"{evaluators}:smooth", name, trials=90)[1]
        for name in ("random", learner)
    )
    assert (
        statistics.mean(value for _, value, _ in learner_rows[-20:])
        > statistics.mean(value for _, value, _ in random_rows) + 0.02
    )


@pytest.mark.parametrize("learner", LEARNING_STRATEGIES)
def test_what_a_strategy_wants_but_knows_is_looked_for_beside_it_without_many_asks(
    evaluators, learner
):
    """A converged strategy proposes the known again and again; each ask of TPE costs more than a
    neighbor's price.
    """
    space = SearchSpace("some", TINY.base, TINY.decisions[:6])
    _, rows = run(
        in_memory_store(), f"{evaluators}:smooth", learner, space=space, trials=space.size // 2
    )
    refused = [count for _, _, count in rows]
    assert (max(refused) > 2) == (learner in UNCONSTRAINED_STRATEGIES)
    assert statistics.mean(refused) < 8


def memory() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# What the record on disk costs does not depend on the strategy.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "where", "trials"),
    [*((name, "memory", 300) for name in STRATEGIES), ("random", "disk", 120)],
)
def test_trials_cost_the_driver_little_and_no_more_than_their_number_explains(
    tmp_path, evaluators, strategy, where, trials
):
    timestamps, memory_sizes, file_counts = [], [], []

    def on_progress(done, total, text):
        timestamps.append(time.process_time())
        if done in (trials // 3, trials):
            memory_sizes.append(memory())
            file_counts.append(len(list(Path("/proc/self/fd").iterdir())))

    target = in_memory_store() if where == "memory" else tmp_path / "study.db"
    result, _ = (run if where == "memory" else run_on_disk)(
        target, f"{evaluators}:smooth", strategy, trials=trials, on_progress=on_progress
    )
    seconds = [later - earlier for earlier, later in pairwise(timestamps)]
    assert len(result.trials) == trials
    assert statistics.mean(seconds) < 0.2  # 2% of a trial of ten seconds
    # TPE looks at all of its history, so its time may grow as that does (from about 1/6 of all
    # trials to 7/8), but no faster.
    early, late = seconds[trials // 12 : trials // 4], seconds[-trials // 4 :]
    assert statistics.median(late) < 7 / 8 * 6 * statistics.median(early) + 0.01
    assert memory_sizes[1] - memory_sizes[0] < 0.15e6 * (trials - trials // 3)
    assert file_counts[1] <= file_counts[0] + 1
