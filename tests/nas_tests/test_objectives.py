"""What a search is after: a weight estimated from its first trials, a latency that is measured, a
front instead of a reward.
"""

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage

from phinas.experiment.errors import InputError, NothingFound
from phinas.experiment.executors import EXECUTORS, Job
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.job_list import job_key
from phinas.experiment.schema.config import FIRST_TRIALS, Recipe, SearchSection
from phinas.experiment.trial_store import Ledger, open_store
from phinas.nas.cost_constraint import Gate
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.objective import REWARD
from phinas.nas.pareto import pareto_front
from phinas.nas.problem import Problem
from phinas.nas.reward import Reward
from phinas.nas.search import search
from phinas.nas.selection.baseline import choose_baseline
from phinas.nas.study import COST, Proposer
from phinas.nas.trial import measured_trials
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import Stopwatch

TINY = load_space("tiny").fitted(channels=1, classes=10, resolution=8)
TWELVE = SearchSpace("twelve", TINY.base, (Decision("stages.0.kernel", (3, 5)), Decision("stages.1.width", (8, 16, 24)),
                                           Decision("stages.2.se", (0, 0.25))))  # fmt: skip
BUDGET = FIRST_TRIALS + 6

MODULE = """
import pathlib
from phinas.space.cost import cost

def luck(spec):
    return int(spec.spec_id, 16) % 1009 / 1009

def rising(spec, budget, seed):
    "As cost^0.05, less up to 3% by what else the network is."
    return 0.5 * (cost(spec).flops / 1e5) ** 0.05 * (1 - 0.03 * luck(spec))

def failing(spec, budget, seed):
    if luck(spec) < 0.72: raise RuntimeError("diverged")
    return 0.5

def time(spec, log, on):
    from phinas.space.spec import ArchSpec
    spec = ArchSpec.from_dict(spec)
    with pathlib.Path(log).open("a") as file:
        file.write(spec.spec_id + "\\n")
    if on == "broken" and luck(spec) < 0.2: raise RuntimeError("no such kernel")
    found = 1 + 10 * luck(spec)
    return {"latency_ms": found, "latency_quartiles_ms": [found - 0.1, found + 0.2], "latency_runs": 30, "latency_on": on}
"""


class Killed(Exception):
    """Stands for the kill of a driver."""


class MortalStorage(InMemoryStorage):
    """Ends its driver before the write after `spared` others."""

    def __init__(self):
        super().__init__()
        self.writes, self.spared = 0, None


def _mortal(name):
    written = getattr(InMemoryStorage, name)

    def write(self, *arguments, **options):
        if self.writes == self.spared:
            self.spared = None
            raise Killed
        self.writes += 1
        return written(self, *arguments, **options)

    return write


for _name in (
    "create_new_trial",
    "set_trial_user_attr",
    "set_trial_state_values",
    "set_study_user_attr",
):
    setattr(MortalStorage, _name, _mortal(_name))


@dataclass(frozen=True)
class QuickStopwatch(Stopwatch):
    """Times at once, and keeps a log of what it timed."""

    module: str = ""
    log: str = ""

    def job(self, spec: ArchSpec) -> Job:
        payload = {"spec": spec.to_dict(), "log": self.log, "on": self.device}
        return Job(job_key("time", payload), f"{self.module}:time", payload)


class Bench:
    """Searches with evaluators of MODULE."""

    def __init__(self, folder: Path, module: str) -> None:
        self.module, self.log = module, folder / "timed.log"

    def search(
        self,
        ledger,
        *,
        evaluator="rising",
        executor=None,
        told=None,
        space=TINY,
        seed=0,
        device="a chip",
        **options,
    ):
        section = SearchSection(**{"strategy": "evolution", "trials": BUDGET} | options)
        with closing(executor or InlineExecutor(1)) as used:
            return search(
                space,
                section,
                seed=seed,
                ledger=ledger,
                executor=used,
                evaluator=FunctionEvaluator(f"{self.module}:{evaluator}", 60.0),
                notify=told or (lambda done, total, text: None),
                stopwatch=QuickStopwatch(device, 1, module=self.module, log=str(self.log)),
            )

    def timed(self):
        return self.log.read_text().split() if self.log.exists() else []

    def choose(self, result, ledger=None, **options):
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
            return choose_baseline(
                result,
                section,
                TINY,
                seed=0,
                ledger=ledger or in_memory(),
                executor=executor,
                evaluator=FunctionEvaluator(f"{self.module}:rising", 60.0),
                notify=lambda done, total, text: None,
            )


@pytest.fixture
def bench(tmp_path, monkeypatch):
    name = f"objectives_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Bench(tmp_path, name)


def in_memory(*, storage=None, pareto=False):
    directions = ["maximize", "minimize"] if pareto else ["maximize"]
    return Ledger(optuna.create_study(directions=directions, storage=storage))


def recorded(ledger):
    """Network, value and choices of each finished trial, in the order of the proposals."""
    rows = sorted(
        (row for row in ledger.rows() if row.done), key=lambda row: row.attributes["proposal"]
    )
    return [(row.attributes["spec_id"], row.value, row.params) for row in rows]


def test_the_weight_is_estimated_from_random_trials_and_every_value_is_the_reward_under_it(bench):
    ledger = in_memory()
    result = bench.search(ledger, weight="auto")
    assert result.reward.weight == pytest.approx(-0.05, abs=0.02)
    assert result.why_weight.startswith(f"w = {result.reward.weight:g} was estimated")
    assert ledger.notes[REWARD] == result.reward.to_dict() | {"why": result.why_weight}
    assert len(result.trials) == BUDGET
    for trial in result.trials:
        assert trial.reward == result.reward(trial.accuracy, trial.cost.flops)
    drawn = in_memory()
    bench.search(drawn, strategy="random", weight=0.0, trials=FIRST_TRIALS)
    assert [row[0] for row in recorded(ledger)][:FIRST_TRIALS] == [
        row[0] for row in recorded(drawn)
    ]


def test_progress_says_that_the_first_are_drawn_and_then_the_weight(bench):
    told = []
    bench.search(in_memory(), weight="auto", told=lambda *line: told.append(line))
    assert told[3] == (
        3,
        BUDGET,
        f"3 of the first {FIRST_TRIALS} networks, drawn at random to estimate w from",
    )
    assert "estimated)" in told[-1][2]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def count_writes(bench, **options):
    storage = MortalStorage()
    ledger = in_memory(storage=storage)
    storage.writes = 0
    bench.search(ledger, **options)
    return storage.writes, recorded(ledger), ledger.notes[REWARD]


def assert_killed_before_any_write_it_ends_as_unbroken(bench, writes, **options):
    _, unbroken, noted = count_writes(bench, **options)
    for spared in writes:
        storage = MortalStorage()
        ledger = in_memory(storage=storage)
        storage.writes, storage.spared = 0, spared
        with pytest.raises(Killed):
            bench.search(ledger, **options)
        bench.search(ledger, **options)
        assert recorded(ledger) == unbroken, spared
        assert ledger.notes[REWARD] == noted


@pytest.mark.parametrize("strategy", ["evolution", "tpe"])
def test_a_search_killed_before_some_writes_of_its_record_ends_as_an_unbroken_one(bench, strategy):
    total, _, _ = count_writes(bench, weight="auto", strategy=strategy)
    first = 4 * FIRST_TRIALS  # a held trial is begun, gets two attributes, and its measurement
    writes = [
        5,
        first - 1,
        first,
        first + 1,
        first + 2,
        first + 3,
        first + 20,
        first + 2 * FIRST_TRIALS,
        total - 2,
    ]
    assert_killed_before_any_write_it_ends_as_unbroken(
        bench, writes, weight="auto", strategy=strategy
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "step"), [({"weight": "auto"}, 1), ({"weight": "auto", "cost": "latency"}, 4)]
)
def test_a_search_killed_before_any_write_of_its_record_ends_as_an_unbroken_one(
    bench, options, step
):
    total, _, _ = count_writes(bench, **options)
    assert total > 150
    assert_killed_before_any_write_it_ends_as_unbroken(bench, range(0, total, step), **options)


def test_with_several_workers_the_weight_waits_for_all_first_trials(bench):
    ledger = in_memory()
    result = bench.search(ledger, weight="auto", executor=EXECUTORS["processes"](3))
    alone = bench.search(in_memory(), weight="auto")
    assert result.reward == alone.reward
    assert len({row[0] for row in recorded(ledger)}) == BUDGET


def test_a_budget_that_grew_keeps_the_weight(bench):
    ledger, whole = in_memory(), in_memory()
    first = bench.search(ledger, weight="auto", trials=FIRST_TRIALS)
    assert bench.search(ledger, weight="auto").reward == first.reward
    bench.search(whole, weight="auto")
    assert recorded(ledger) == recorded(whole)


def test_a_space_smaller_than_the_first_trials_is_estimated_from_what_there_is(bench):
    ledger = in_memory()
    result = bench.search(ledger, weight="auto", space=TWELVE)
    assert result.exhausted
    assert len(recorded(ledger)) == 12
    assert result.why_weight


def test_where_most_of_the_first_fail_the_fallback_is_taken(bench):
    result = bench.search(in_memory(), weight="auto", evaluator="failing", seed=2)
    assert "gave an accuracy" in result.why_weight
    assert result.reward.weight == -0.02


@pytest.mark.parametrize("metric", ["params", "activations", "latency"])
def test_the_reward_is_over_the_cost_that_was_asked_for(bench, metric):
    result = bench.search(in_memory(), cost=metric, trials=8)
    assert result.reward.metric == metric
    for trial in result.trials:
        assert trial.reward == result.reward(trial.accuracy, trial.cost_in(metric))


def test_the_gate_stays_on_flops_whatever_the_cost(bench):
    result = bench.search(in_memory(), cost="params", trials=8, max_flops=100_000.0)
    assert all(trial.cost.flops <= 100_000 for trial in result.trials)


def test_each_network_is_timed_once_and_the_base_too(bench):
    ledger = in_memory()
    result = bench.search(ledger, cost="latency", trials=10)
    timed = bench.timed()
    assert len(timed) == len(set(timed)) == 11
    assert timed[0] == TINY.base.spec_id
    assert result.reward.target == ledger.notes["base_latency"]["latency_ms"]
    bench.search(ledger, cost="latency", trials=14)
    assert len(bench.timed()) == 15
    bench.choose(result, cost="latency")
    assert len(bench.timed()) == 15


def test_with_a_target_given_the_base_is_not_timed(bench):
    bench.search(in_memory(), cost="latency", trials=5, target=3.0)
    assert len(bench.timed()) == 5


def test_the_base_as_a_trial_is_not_timed_again(bench):
    result = bench.search(in_memory(), cost="latency", space=TWELVE)
    assert len(result.trials) == 12
    assert TINY.base.spec_id in {trial.spec.spec_id for trial in result.trials}
    assert len(bench.timed()) == len(set(bench.timed())) == 12


def test_a_trial_that_is_begun_again_after_its_timing_is_not_timed_again(bench):
    class Dying(InlineExecutor):
        def next_result(self):
            if len(bench.timed()) == 4 and "budget" in self._job.payload:
                raise Killed
            return super().next_result()

    ledger = in_memory()
    with pytest.raises(Killed):
        bench.search(ledger, cost="latency", trials=6, executor=Dying(1))
    bench.search(ledger, cost="latency", trials=6)
    assert len(bench.timed()) == len(set(bench.timed())) == 7


def test_latency_and_its_spread_are_recorded_and_told_to_the_strategy(bench):
    ledger = in_memory()
    result = bench.search(ledger, cost="latency", trials=5)
    for row in ledger.rows():
        assert (
            row.attributes["latency_quartiles_ms"][0]
            < row.attributes["latency_ms"]
            < row.attributes["latency_quartiles_ms"][1]
        )
    assert [trial.latency_ms for trial in result.trials] == [
        row.attributes["latency_ms"] for row in ledger.rows()
    ]


def test_latencies_of_another_device_are_refused(bench):
    ledger = in_memory()
    bench.search(ledger, cost="latency", trials=4)
    with pytest.raises(InputError, match="were measured on a chip and are now on another chip"):
        bench.search(ledger, cost="latency", trials=6, device="another chip")
    assert len(recorded(ledger)) == 4


def test_a_network_that_cannot_be_timed_is_a_failed_trial_that_was_not_trained(bench):
    ledger = in_memory()
    result = bench.search(ledger, cost="latency", trials=20, device="broken", target=1.0)
    failed = [row for row in ledger.rows() if not row.done]
    assert len(failed) + len(result.trials) == 20
    assert {row.attributes["reason"] for row in failed} == {
        "its latency could not be measured: RuntimeError: no such kernel"
    }


def test_a_base_that_cannot_be_timed_ends_the_search_with_the_reason(bench):
    around = (TINY.decode(choices) for choices in TINY.neighbours(encode(TINY, TINY.base)))
    space = SearchSpace(
        "other", next(spec for spec in around if int(spec.spec_id, 16) % 1009 < 200), TINY.decisions
    )
    with pytest.raises(
        NothingFound,
        match="the others are held against, could not be timed: RuntimeError: no such kernel",
    ):
        bench.search(in_memory(), cost="latency", device="broken", space=space)


@pytest.mark.parametrize("strategy", ["random", "tpe", "evolution"])
def test_a_search_for_a_front_records_both_aims_and_is_judged_at_its_end(bench, tmp_path, strategy):
    section = SearchSection(reward="pareto")
    with closing(open_store(tmp_path / "study.db", url=None, new=True)) as store:
        ledger = store.ledger("search", aims=section.aims)
        result = bench.search(ledger, reward="pareto", strategy=strategy)
        assert store.notes("search")[REWARD]["kind"] == "soft"
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    values = {trial.number: trial.values for trial in study.trials}
    for trial in result.trials:
        assert values[trial.number] == [trial.accuracy, trial.cost.flops]
        assert trial.reward == result.reward(trial.accuracy, trial.cost.flops)
    front = {(trial.accuracy, trial.cost.flops) for trial in pareto_front(result.trials)}
    assert {tuple(trial.values) for trial in study.best_trials} == front
    assert result.reward.weight == pytest.approx(-0.05, abs=0.02)


def test_a_search_for_a_front_over_latency_has_it_as_its_second_aim(bench):
    ledger = in_memory(pareto=True)
    result = bench.search(ledger, reward="pareto", cost="latency", trials=10)
    by_number = {trial.number: trial.values for trial in ledger._study.trials}
    assert all(
        by_number[trial.number] == [trial.accuracy, trial.latency_ms] for trial in result.trials
    )


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_a_search_for_a_front_that_was_killed_ends_as_an_unbroken_one(bench, strategy):
    options = {"reward": "pareto", "strategy": strategy, "trials": 34}
    whole, broken = in_memory(pareto=True), in_memory(pareto=True)
    expected = bench.search(whole, **options)

    def kill(done, total, text):
        if done in kills:
            kills.remove(done)
            raise Killed

    kills = [7, 30]
    while kills:
        with pytest.raises(Killed):
            bench.search(broken, told=kill, **options)
    ended = bench.search(broken, **options)
    assert [(trial.spec, trial.reward) for trial in ended.trials] == [
        (trial.spec, trial.reward) for trial in expected.trials
    ]
    assert recorded(broken) == recorded(whole)


def test_the_baseline_of_a_front_is_chosen_on_it_by_a_soft_reward(bench):
    result = bench.search(in_memory(pareto=True), reward="pareto", weight=-0.2)
    assert (result.reward.weight, result.why_weight) == (-0.2, "")
    baseline = bench.choose(result, reward="pareto")
    front = [trial.number for trial in pareto_front(result.trials)]
    facts = baseline.to_dict(result)
    assert {row["trial"] for row in facts["finalists"]} <= set(front)
    assert facts["pareto_trials"] == front
    assert (
        f"(soft, w = -0.2) of {len(facts['finalists'])} finalists from the Pareto front of "
        f"{len(front)}" in facts["why"]
    )
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_the_reason_for_a_baseline_says_where_its_weight_and_its_cost_come_from(bench):
    result = bench.search(in_memory(), weight="auto", cost="latency")
    facts = bench.choose(result, cost="latency").to_dict(result)
    assert "soft over latency, w = " in facts["why"]
    assert facts["why"].endswith(result.why_weight)
    assert facts["reward"] == result.reward.to_dict() | {"why": result.why_weight}
    assert facts["latency_ms"] == next(
        row["latency_ms"] for row in facts["finalists"] if row["spec_id"] == facts["spec_id"]
    )


def test_a_finished_trial_tells_strategies_its_cost_also_after_a_resume(bench):
    ledger = in_memory()
    bench.search(ledger, cost="latency", trials=6)
    problem = Problem(TINY, Gate(), Reward("soft", -0.07, 1.0, "latency"))
    assert not problem.known_costs
    assert Problem(TINY, Gate(), Reward("soft", -0.07, 1.0, "params")).known_costs
    proposer = Proposer(problem, "random", seed=0, history=ledger.rows())
    told = [trial.user_attrs[COST] for trial in proposer._study.trials]
    assert told == [trial.latency_ms for trial in measured_trials(ledger.rows())]
