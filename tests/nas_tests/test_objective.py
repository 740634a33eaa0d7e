"""The objective of a search: an exponent that is estimated from the first trials, a cost that is
measured (latency), and a Pareto front in place of a reward.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import EXECUTORS, Job
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.job_list import job_key
from phinas.experiment.schema.config import EXPONENT_ESTIMATION_TRIALS, Recipe, SearchSection
from phinas.experiment.storage.study_storage import open_storage
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.objective import REWARD_ATTRIBUTE, read_reward_record, reward_from_record
from phinas.nas.pareto import pareto_front
from phinas.nas.problem import COST, Problem
from phinas.nas.reward import Reward
from phinas.nas.search import search
from phinas.nas.search_state.history import PastTrials
from phinas.nas.search_state.proposer import SamplerProposer
from phinas.nas.selection.baseline import EvaluationContext, select_baseline
from phinas.nas.selection.baseline_record import make_baseline_file
from phinas.nas.strategies.loading import load_strategy
from phinas.nas.trial import TrialAttributes, completed_trials
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import LatencyTimer

TINY = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8)
SPACE_OF_TWELVE = SearchSpace(
    "twelve",
    TINY.base,
    (
        Decision("stages.0.kernel", (3, 5)),
        Decision("stages.1.width", (8, 16, 24)),
        Decision("stages.2.se", (0, 0.25)),
    ),
)
BUDGET = EXPONENT_ESTIMATION_TRIALS + 6

MODULE = """
import pathlib

def noise(spec):
    return int(spec.network_id, 16) % 1009 / 1009

def rising(spec, budget, seed):
    "Rises as cost^0.05, reduced by 0 to 3% that depends on the network."
    return 0.5 * (spec.cost().flops / 1e5) ** 0.05 * (1 - 0.03 * noise(spec))

def failing(spec, budget, seed):
    if noise(spec) < 0.72: raise RuntimeError("diverged")
    return 0.5

def time(spec, log, on):
    from phinas.space.spec import ArchSpec
    spec = ArchSpec.from_dict(spec)
    with pathlib.Path(log).open("a") as file:
        file.write(spec.network_id + "\\n")
    if on == "broken" and noise(spec) < 0.2: raise RuntimeError("no such kernel")
    median = 1 + 10 * noise(spec)
    return {"latency_ms": median, "latency_quartiles_ms": [median - 0.1, median + 0.2],
            "latency_runs": 30, "latency_hardware": on}
"""


class Killed(Exception):
    """Simulates that the driver is killed."""


class KillableStorage(InMemoryStorage):
    """Raises Killed in place of the write after `writes_before_kill` others."""

    def __init__(self):
        super().__init__()
        self.writes, self.writes_before_kill = 0, None


def _make_killable(name):
    original_write = getattr(InMemoryStorage, name)

    def write(self, *arguments, **options):
        if self.writes == self.writes_before_kill:
            self.writes_before_kill = None
            raise Killed
        self.writes += 1
        return original_write(self, *arguments, **options)

    return write


for _name in (
    "create_new_trial",
    "set_trial_user_attr",
    "set_trial_state_values",
    "set_study_user_attr",
):
    setattr(KillableStorage, _name, _make_killable(_name))


@dataclass(frozen=True)
class FakeLatencyTimer(LatencyTimer):
    """Takes the latency from a function, and logs the networks that it timed."""

    module: str = ""
    log: str = ""

    def make_job(self, spec: ArchSpec) -> Job:
        payload = {"spec": spec.to_dict(), "log": self.log, "on": self.device}
        return Job(job_key("time", payload), f"{self.module}:time", payload)


class SearchRunner:
    """Runs searches with the evaluators of MODULE."""

    def __init__(self, folder: Path, module: str) -> None:
        self.module, self.log = module, folder / "timed.log"

    def search(
        self,
        trial_store,
        *,
        evaluator="rising",
        executor=None,
        on_progress=None,
        space=TINY,
        seed=0,
        device="a chip",
        **options,
    ):
        section = SearchSection(**{"strategy": "evolution", "trials": BUDGET} | options)
        with closing(executor or InlineExecutor(1)) as active_executor:
            return search(
                space,
                section,
                seed=seed,
                trial_store=trial_store,
                executor=active_executor,
                evaluator=FunctionEvaluator(f"{self.module}:{evaluator}", 60.0),
                on_progress=on_progress or (lambda done, total, text: None),
                latency_timer=FakeLatencyTimer(device, 1, module=self.module, log=str(self.log)),
            )

    def timed_network_ids(self):
        return self.log.read_text().split() if self.log.exists() else []

    def select(self, result, trial_store=None, **options):
        section = SearchSection(
            **{
                "finalists": 3,
                "finalist_seeds": 2,
                "finalist_recipe": Recipe(epochs=2),
                "reference": "none",
            }
            | options
        )
        with closing(InlineExecutor(1)) as executor:
            return select_baseline(
                result,
                section,
                TINY,
                seed=0,
                context=EvaluationContext(
                    trial_store or in_memory_store(),
                    executor,
                    FunctionEvaluator(f"{self.module}:rising", 60.0),
                ),
                on_progress=lambda done, total, text: None,
            )


@pytest.fixture
def runner(tmp_path, monkeypatch):
    name = f"objectives_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return SearchRunner(tmp_path, name)


def in_memory_store(*, storage=None, pareto=False):
    directions = ["maximize", "minimize"] if pareto else ["maximize"]
    return TrialStore(optuna.create_study(directions=directions, storage=storage))


def recorded_trials(trial_store):
    """Network, value and choices of each finished trial, in the order of the proposals."""
    rows = sorted(
        (row for row in trial_store.records() if row.is_complete),
        key=lambda row: TrialAttributes.from_record(row).proposal,
    )
    return [(TrialAttributes.from_record(row).network_id, row.value, row.params) for row in rows]


def test_the_exponent_is_estimated_from_random_trials_and_every_value_is_its_reward(runner):
    trial_store = in_memory_store()
    result = runner.search(trial_store, reward_exponent="auto")
    assert result.reward.exponent == pytest.approx(-0.05, abs=0.02)
    assert result.exponent_estimate.value == result.reward.exponent
    assert result.exponent_estimate.case == "estimated"
    record = read_reward_record(trial_store.study_attrs)
    assert record.exponent_estimate == result.exponent_estimate
    assert reward_from_record(record) == result.reward
    assert len(result.trials) == BUDGET
    for trial in result.trials:
        assert trial.reward == result.reward(trial.score, trial.cost.flops)
    random_store = in_memory_store()
    runner.search(
        random_store, strategy="random", reward_exponent=0.0, trials=EXPONENT_ESTIMATION_TRIALS
    )
    assert [row[0] for row in recorded_trials(trial_store)][:EXPONENT_ESTIMATION_TRIALS] == [
        row[0] for row in recorded_trials(random_store)
    ]


def test_progress_reports_the_random_networks_and_then_the_estimated_exponent(runner):
    messages = []
    runner.search(
        in_memory_store(), reward_exponent="auto", on_progress=lambda *line: messages.append(line)
    )
    assert messages[3] == (
        3,
        BUDGET,
        f"3 of {EXPONENT_ESTIMATION_TRIALS} random networks from which the reward exponent is "
        "estimated",
    )
    assert "estimated)" in messages[-1][2]
    assert [done for done, _, _ in messages] == sorted(done for done, _, _ in messages)


def count_writes(runner, **options):
    storage = KillableStorage()
    trial_store = in_memory_store(storage=storage)
    storage.writes = 0
    runner.search(trial_store, **options)
    return storage.writes, recorded_trials(trial_store), trial_store.study_attrs[REWARD_ATTRIBUTE]


def assert_equal_after_interruptions(runner, writes, **options):
    """A search that is killed before any of these writes and resumed has the results of an
    uninterrupted one.
    """
    _, uninterrupted, reward_note = count_writes(runner, **options)
    for writes_before_kill in writes:
        storage = KillableStorage()
        trial_store = in_memory_store(storage=storage)
        storage.writes, storage.writes_before_kill = 0, writes_before_kill
        with pytest.raises(Killed):
            runner.search(trial_store, **options)
        runner.search(trial_store, **options)
        assert recorded_trials(trial_store) == uninterrupted, writes_before_kill
        assert trial_store.study_attrs[REWARD_ATTRIBUTE] == reward_note


@pytest.mark.parametrize("strategy", ["evolution", "tpe"])
def test_a_search_interrupted_before_some_writes_ends_like_an_uninterrupted_one(runner, strategy):
    total, _, _ = count_writes(runner, reward_exponent="auto", strategy=strategy)
    # An unscored trial takes four writes: its beginning, two attributes and its measurement.
    first = 4 * EXPONENT_ESTIMATION_TRIALS
    writes = [
        5,
        first - 1,
        first,
        first + 1,
        first + 2,
        first + 3,
        first + 20,
        first + 2 * EXPONENT_ESTIMATION_TRIALS,
        total - 2,
    ]
    assert_equal_after_interruptions(runner, writes, reward_exponent="auto", strategy=strategy)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"reward_exponent": "auto"}, {"reward_exponent": "auto", "cost": "latency"}]
)
def test_a_search_interrupted_before_any_write_ends_like_an_uninterrupted_one(runner, options):
    total, _, _ = count_writes(runner, **options)
    assert total > 150
    # A trial takes 4, 5, 8 or 9 writes, and its later score 2. Every seventh write of the search
    # covers each kind of write.
    assert_equal_after_interruptions(runner, range(0, total, 7), **options)


def test_with_several_workers_the_exponent_waits_for_all_first_trials(runner):
    trial_store = in_memory_store()
    result = runner.search(trial_store, reward_exponent="auto", executor=EXECUTORS["processes"](2))
    one_worker = runner.search(in_memory_store(), reward_exponent="auto")
    assert result.reward == one_worker.reward
    assert len({row[0] for row in recorded_trials(trial_store)}) == BUDGET


def test_a_larger_budget_keeps_the_exponent(runner):
    trial_store, uninterrupted_store = in_memory_store(), in_memory_store()
    first = runner.search(trial_store, reward_exponent="auto", trials=EXPONENT_ESTIMATION_TRIALS)
    assert runner.search(trial_store, reward_exponent="auto").reward == first.reward
    runner.search(uninterrupted_store, reward_exponent="auto")
    assert recorded_trials(trial_store) == recorded_trials(uninterrupted_store)


def test_in_a_small_space_the_exponent_is_estimated_from_all_networks(runner):
    trial_store = in_memory_store()
    result = runner.search(trial_store, reward_exponent="auto", space=SPACE_OF_TWELVE)
    assert result.space_exhausted
    assert len(recorded_trials(trial_store)) == 12
    assert result.exponent_estimate.num_networks == 12


def test_if_most_of_the_first_trials_fail_the_exponent_is_the_fallback(runner):
    result = runner.search(in_memory_store(), reward_exponent="auto", evaluator="failing", seed=2)
    assert result.exponent_estimate.case == "too_few_networks"
    assert result.reward.exponent == -0.02


@pytest.mark.parametrize("cost_metric", ["params", "activations", "latency"])
def test_the_reward_uses_the_configured_cost(runner, cost_metric):
    result = runner.search(in_memory_store(), cost=cost_metric, trials=8)
    assert result.reward.cost_metric == cost_metric
    for trial in result.trials:
        assert trial.reward == result.reward(trial.score, trial.get_cost(cost_metric))


def test_the_latency_of_a_trial_that_was_not_timed_is_an_error(runner):
    (trial,) = runner.search(in_memory_store(), trials=1).trials
    with pytest.raises(ValueError, match=r"the latency of network .* has not been measured"):
        trial.get_cost("latency")


def test_cost_limits_are_in_flops_for_every_cost_of_the_reward(runner):
    result = runner.search(in_memory_store(), cost="params", trials=8, max_flops=100_000.0)
    assert all(trial.cost.flops <= 100_000 for trial in result.trials)


def test_each_network_and_the_base_network_are_timed_once(runner):
    trial_store = in_memory_store()
    result = runner.search(trial_store, cost="latency", trials=10)
    timed_network_ids = runner.timed_network_ids()
    assert len(timed_network_ids) == len(set(timed_network_ids)) == 11
    assert timed_network_ids[0] == TINY.base.network_id
    assert result.reward.target == trial_store.study_attrs["base_latency"]["latency_ms"]
    runner.search(trial_store, cost="latency", trials=14)
    assert len(runner.timed_network_ids()) == 15
    runner.select(result, cost="latency")
    assert len(runner.timed_network_ids()) == 15


def test_with_a_configured_target_the_base_network_is_not_timed(runner):
    runner.search(in_memory_store(), cost="latency", trials=5, target_cost=3.0)
    assert len(runner.timed_network_ids()) == 5


def test_a_base_network_that_is_also_a_trial_is_timed_once(runner):
    result = runner.search(in_memory_store(), cost="latency", space=SPACE_OF_TWELVE)
    assert len(result.trials) == 12
    assert TINY.base.network_id in {trial.spec.network_id for trial in result.trials}
    assert len(runner.timed_network_ids()) == len(set(runner.timed_network_ids())) == 12


def test_a_trial_that_is_started_again_after_its_timing_is_not_timed_again(runner):
    class KilledExecutor(InlineExecutor):
        def next_result(self):
            if len(runner.timed_network_ids()) == 4 and "budget" in self._job.payload:
                raise Killed
            return super().next_result()

    trial_store = in_memory_store()
    with pytest.raises(Killed):
        runner.search(trial_store, cost="latency", trials=6, executor=KilledExecutor(1))
    runner.search(trial_store, cost="latency", trials=6)
    assert len(runner.timed_network_ids()) == len(set(runner.timed_network_ids())) == 7


def test_latency_and_its_quartiles_are_recorded(runner):
    trial_store = in_memory_store()
    result = runner.search(trial_store, cost="latency", trials=5)
    for row in trial_store.records():
        timing = TrialAttributes.from_record(row).latency
        low, high = timing.latency_quartiles_ms
        assert low < timing.latency_ms < high
    assert [trial.latency_ms for trial in result.trials] == [
        TrialAttributes.from_record(row).latency.latency_ms for row in trial_store.records()
    ]


def test_latencies_of_another_device_are_refused(runner):
    trial_store = in_memory_store()
    runner.search(trial_store, cost="latency", trials=4)
    with pytest.raises(
        InputError, match="were measured on a chip and are now measured on another chip"
    ):
        runner.search(trial_store, cost="latency", trials=6, device="another chip")
    assert len(recorded_trials(trial_store)) == 4


def test_a_network_that_cannot_be_timed_is_a_failed_trial_and_is_not_trained(runner):
    trial_store = in_memory_store()
    result = runner.search(trial_store, cost="latency", trials=20, device="broken", target_cost=1.0)
    failed = [row for row in trial_store.records() if not row.is_complete]
    assert len(failed) + len(result.trials) == 20
    assert {row.reason for row in failed} == {
        "its latency could not be measured: RuntimeError: no such kernel"
    }


def test_a_base_network_that_cannot_be_timed_ends_the_search_with_the_reason(runner):
    neighbors = (TINY.decode(choices) for choices in TINY.neighbors(encode(TINY, TINY.base)))
    space = SearchSpace(
        "other",
        next(spec for spec in neighbors if int(spec.network_id, 16) % 1009 < 200),
        TINY.decisions,
    )
    with pytest.raises(
        NoResultError,
        match=r"search\.target_cost: .* could not be timed: RuntimeError: no such kernel; remove",
    ):
        runner.search(in_memory_store(), cost="latency", device="broken", space=space)


@pytest.mark.parametrize("strategy", ["tpe"])
def test_a_search_for_a_pareto_front_records_both_objectives_and_the_reward_that_selects(
    runner, tmp_path, strategy
):
    section = SearchSection(reward="pareto")
    with closing(open_storage(tmp_path / "study.db", url=None, new=True)) as storage:
        trial_store = storage.open_study("search", directions=section.directions)
        result = runner.search(trial_store, reward="pareto", strategy=strategy)
        assert read_reward_record(storage.study_attrs("search")).kind == "soft"
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    values = {trial.number: trial.values for trial in study.trials}
    for trial in result.trials:
        assert values[trial.number] == [trial.score, trial.cost.flops]
        assert trial.reward == result.reward(trial.score, trial.cost.flops)
    front = {(trial.score, trial.cost.flops) for trial in pareto_front(result.trials)}
    assert {tuple(trial.values) for trial in study.best_trials} == front
    assert result.reward.exponent == pytest.approx(-0.05, abs=0.02)


def test_in_a_search_for_a_pareto_front_over_latency_the_latency_is_the_second_objective(runner):
    trial_store = in_memory_store(pareto=True)
    result = runner.search(trial_store, reward="pareto", cost="latency", trials=10)
    by_number = {trial.number: trial.values for trial in trial_store._study.study.trials}
    assert all(
        by_number[trial.number] == [trial.score, trial.latency_ms] for trial in result.trials
    )


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_an_interrupted_search_for_a_pareto_front_ends_like_an_uninterrupted_one(runner, strategy):
    options = {"reward": "pareto", "strategy": strategy, "trials": 34}
    uninterrupted_store, interrupted_store = (
        in_memory_store(pareto=True),
        in_memory_store(pareto=True),
    )
    uninterrupted_result = runner.search(uninterrupted_store, **options)

    def kill(done, total, text):
        if done in kill_points:
            kill_points.remove(done)
            raise Killed

    kill_points = [7, 30]
    while kill_points:
        with pytest.raises(Killed):
            runner.search(interrupted_store, on_progress=kill, **options)
    resumed_result = runner.search(interrupted_store, **options)
    assert [(trial.spec, trial.reward) for trial in resumed_result.trials] == [
        (trial.spec, trial.reward) for trial in uninterrupted_result.trials
    ]
    assert recorded_trials(interrupted_store) == recorded_trials(uninterrupted_store)


def test_the_baseline_is_selected_from_a_pareto_front_by_a_soft_reward(runner):
    result = runner.search(in_memory_store(pareto=True), reward="pareto", reward_exponent=-0.2)
    assert (result.reward.exponent, result.exponent_estimate) == (-0.2, None)
    baseline = runner.select(result, reward="pareto")
    front = [trial.number for trial in pareto_front(result.trials)]
    selection = make_baseline_file(baseline, result).selection
    assert {row.trial for row in selection.finalists} <= set(front)
    assert list(selection.pareto_trials) == front
    assert selection.searched_front
    assert (selection.reward.kind, selection.reward.exponent) == ("soft", -0.2)


def test_the_baseline_file_has_the_reward_and_the_latency(runner):
    result = runner.search(in_memory_store(), reward_exponent="auto", cost="latency")
    baseline = make_baseline_file(runner.select(result, cost="latency"), result)
    assert reward_from_record(baseline.selection.reward) == result.reward
    assert baseline.selection.reward.exponent_estimate == result.exponent_estimate
    assert result.exponent_estimate is not None
    assert baseline.latency_ms == next(
        row.latency_ms
        for row in baseline.selection.finalists
        if row.network_id == baseline.network_id
    )


def test_a_strategy_of_a_resumed_search_has_the_measured_costs(runner):
    trial_store = in_memory_store()
    runner.search(trial_store, cost="latency", trials=6)
    problem = Problem(TINY, CostConstraint(), Reward("soft", -0.07, 1.0, "latency"))
    assert not problem.has_analytic_costs
    assert Problem(TINY, CostConstraint(), Reward("soft", -0.07, 1.0, "params")).has_analytic_costs
    proposer = SamplerProposer(problem, load_strategy("random"), seed=0)
    for trial in PastTrials(problem, trial_store.records()).in_order():
        proposer.add(trial)
    recorded_costs = [trial.user_attrs[COST] for trial in proposer.trials]
    assert recorded_costs == [trial.latency_ms for trial in completed_trials(trial_store.records())]
