"""Tests of the proxy check: what is trained again, what is estimated, and that the search is the
same with and without it.
"""

import importlib
from contextlib import closing

import pytest

from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.executors import Job
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.shared import SharedExecutor
from phinas.experiment.schema.config import PROXY_CHECK_NETWORKS, Recipe, SearchSection
from phinas.experiment.statistics.reliability import estimate_reliability
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.evaluators.noise import NoisyEvaluator
from phinas.nas.proxy_check import ProxyCheck
from phinas.testing.searches import (
    EPOCHS,
    SMOOTH,
    TINY,
    Interrupted,
    InterruptedExecutor,
    in_memory_store,
    live_records,
    run_search,
)

FUNCTIONS = """
import numpy as np
from phinas.testing.functions import final_score, score_after

CALLS = []

def noisy(spec, budget, seed, stop_epoch=None):
    CALLS.append((spec.network_id, seed, stop_epoch))
    noise = np.random.default_rng([seed, int(spec.network_id, 16)]).normal()
    return score_after(spec, stop_epoch or budget, budget) + 0.01 * noise

def sometimes_untrained(spec, budget, seed, report):
    score = 0.01 if int(spec.network_id, 16) % 3 == 0 else final_score(spec)
    for epoch in range(1, budget + 1):
        report(epoch, score if epoch == budget else 0.01)
    return score

def fails_again(spec, budget, seed):
    if SEEDS.setdefault(spec.network_id, seed) != seed:
        raise RuntimeError("diverged")
    return final_score(spec)

SEEDS = {}

def table(spec, budget, _seed):
    return final_score(spec)
"""


class FifoExecutor(InlineExecutor):
    """Several workers in this process, whose jobs end in the order in which they were started."""

    def __init__(self, max_workers):
        super().__init__(1)
        self.max_workers = max_workers
        self.most_running = 0
        self._jobs = []

    def submit(self, job, on_report=None):
        self._jobs.append((job, on_report))
        self.most_running = max(self.most_running, len(self._jobs))

    def next_result(self):
        super().submit(*self._jobs.pop(0))
        return super().next_result()


@pytest.fixture
def functions(tmp_path, monkeypatch):
    """The module of FUNCTIONS."""
    name = f"functions_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module(name)


class CheckedSearch:
    """A search with the proxy check, whose records are kept for another run.

    Attributes:
        trial_store: The record of the search.
        repeated_store: The record of the repeated trainings.
        results: The results of the check, with the number of finished trials at that time.
    """

    def __init__(self, function, *, strategy="random", **options):
        self.function, self.strategy, self.options = function, strategy, {"trials": 12} | options
        self.trial_store, self.repeated_store = in_memory_store(), in_memory_store()
        self.results = []

    def run(self, executor=None):
        shared_executor = SharedExecutor(executor or InlineExecutor(1))
        section = SearchSection(
            strategy=self.strategy,
            evaluator=self.function,
            reward_exponent=0.0,
            recipe=Recipe(epochs=EPOCHS),
            **self.options,
        )
        check = ProxyCheck(
            section,
            TINY,
            FunctionEvaluator(self.function, 60.0),
            shared_executor,
            seed=0,
            trial_store=self.trial_store,
            open_repeated_store=lambda: self.repeated_store,
            on_result=lambda result: self.results.append((result, self.num_complete)),
        )
        run_search(
            self.strategy,
            self.trial_store,
            function=self.function,
            executor=shared_executor,
            on_progress=check.after(lambda _done, _total, _text: None),
            **self.options,
        )
        return self

    @property
    def num_complete(self):
        return sum(record.is_complete for record in self.trial_store.records())

    @property
    def result(self):
        ((result, _),) = self.results
        return result


def contents(trial_store):
    """All of a record of trials except for the times."""
    rows = []
    for record in live_records(trial_store):
        measurement = record.measurement.to_dict()
        del measurement["train_seconds"]
        attributes = {**record.user_attrs, "measurement": measurement}
        attributes.pop("paused", None)
        rows.append((record.state, record.params, record.value, attributes))
    return rows


@pytest.mark.parametrize("strategy", ["bayesian", "evolution", "asha"])
@pytest.mark.parametrize("max_workers", [1, 3])
def test_the_search_is_the_same_with_and_without_the_check(functions, strategy, max_workers):
    function = f"{functions.__name__}:noisy"
    search = CheckedSearch(function, strategy=strategy, trials=16)
    executor = FifoExecutor(max_workers)
    search.run(executor)
    assert len(search.results) == 1
    assert len(search.repeated_store.records()) == 3
    assert executor.most_running == max_workers
    plain = in_memory_store()
    run_search(strategy, plain, function=function, trials=16, executor=FifoExecutor(max_workers))
    assert contents(search.trial_store) == contents(plain)


def test_the_check_is_made_once_as_soon_as_there_are_enough_networks(functions):
    search = CheckedSearch(f"{functions.__name__}:noisy").run()
    ((_, num_complete),) = search.results
    assert num_complete == PROXY_CHECK_NETWORKS
    assert len(functions.CALLS) == 12 + 3
    assert CheckedSearch(f"{functions.__name__}:noisy", trials=7).run().results == []


def test_networks_of_all_ranks_are_trained_again_with_one_other_seed(functions):
    search = CheckedSearch(f"{functions.__name__}:noisy").run()
    networks = search.result.networks
    ranked = sorted(networks, key=lambda row: row.score)
    assert [row.is_repeated for row in ranked] == [index in (1, 4, 6) for index in range(8)]
    assert [row.proposal for row in networks] == list(range(8))
    seeds = {network_id: set() for network_id, _, _ in functions.CALLS}
    for network_id, seed, _ in functions.CALLS:
        seeds[network_id].add(seed)
    assert {frozenset(seeds[row.network_id]) for row in networks if row.is_repeated} == {
        frozenset(seed for _, seed, _ in functions.CALLS)
    }
    assert all(len(seeds[row.network_id]) == 1 for row in networks if not row.is_repeated)


def test_the_result_is_the_estimate_from_these_scores(functions, tmp_path):
    search = CheckedSearch(f"{functions.__name__}:noisy").run()
    check = search.result
    scores = [row.score for row in check.networks]
    pairs = [(index, row.repeated_score) for index, row in enumerate(check.networks)]
    estimate = estimate_reliability(scores, [pair for pair in pairs if pair[1] is not None])
    assert check.result.noise_std == estimate.noise_std > 0
    assert check.result.true_rank_correlation.value == estimate.true_rank_correlation.value
    assert check.result.true_rank_correlation.interval == estimate.true_rank_correlation.interval
    assert (check.epochs, check.recipe_epochs, check.num_pairs) == (EPOCHS, EPOCHS, 3)
    check.write(tmp_path / "proxy_check.yaml")
    assert ProxyCheckFile.read(tmp_path / "proxy_check.yaml") == check


def test_trainings_without_noise_have_the_true_ranking():
    check = CheckedSearch(SMOOTH).run().result
    assert check.result.noise_std == 0
    assert check.result.true_rank_correlation.value == 1


def test_paused_trainings_are_compared_after_the_same_number_of_epochs(functions):
    search = CheckedSearch(f"{functions.__name__}:noisy", strategy="asha", trials=16).run()
    check = search.result
    # of the rungs 1, 3 and 9 the first one is below a quarter of the epochs
    assert (check.epochs, check.recipe_epochs) == (3, EPOCHS)
    assert [record.measurement.epochs for record in search.repeated_store.records()] == [3, 3, 3]


def test_an_interrupted_check_is_continued_and_trains_nothing_twice(functions):
    function = f"{functions.__name__}:noisy"
    search = CheckedSearch(function)
    with pytest.raises(Interrupted):
        search.run(InterruptedExecutor(PROXY_CHECK_NETWORKS + 1))
    assert search.results == []
    assert sum(record.is_complete for record in search.repeated_store.records()) == 1
    search.run()
    assert len(functions.CALLS) == len(set(functions.CALLS)) == 12 + 3
    uninterrupted = CheckedSearch(function).run()
    assert search.result == uninterrupted.result
    assert contents(search.trial_store) == contents(uninterrupted.trial_store)


def test_networks_that_failed_to_learn_are_no_spread(functions):
    search = CheckedSearch(f"{functions.__name__}:sometimes_untrained", trials=24).run()
    ((check, num_complete),) = search.results
    assert num_complete > PROXY_CHECK_NETWORKS == len(check.networks)
    assert min(row.score for row in check.networks) > 0.05
    # at an earlier epoch, they could not be distinguished from the others
    assert check.epochs == EPOCHS


def test_repeated_trainings_that_fail_leave_the_noise_unknown(functions):
    search = CheckedSearch(f"{functions.__name__}:fails_again").run()
    assert search.result.result is None
    assert search.result.num_pairs == 0
    assert sum(row.is_repeated for row in search.result.networks) == 3
    assert search.num_complete == 12


def test_scores_of_tables_do_not_depend_on_the_seed(functions):
    table = FunctionEvaluator(f"{functions.__name__}:table", 60.0)
    assert not table.depends_on_seed
    assert FunctionEvaluator(f"{functions.__name__}:noisy", 60.0).depends_on_seed
    assert NoisyEvaluator(table, 0.01).depends_on_seed


class Recorder(InlineExecutor):
    """Two workers, whose jobs end in an order that the test sets."""

    def __init__(self, order):
        super().__init__(1)
        self.max_workers = 2
        self._order, self._jobs = list(order), {}

    def submit(self, job, on_report=None):
        assert len(self._jobs) < self.max_workers
        self._jobs[job.key] = job

    def next_result(self):
        super().submit(self._jobs.pop(self._order.pop(0)))
        return super().next_result()


def make_job(key):
    return Job(key, "phinas.testing.functions:final_score", {"spec": None})


def test_results_of_the_search_wait_until_the_borrowed_workers_are_returned():
    with closing(SharedExecutor(Recorder(["first", "second", "other", "third"]))) as executor:
        executor.submit(make_job("first"))
        executor.submit(make_job("second"))
        borrowed = executor.borrow()
        borrowed.submit(make_job("other"))  # waits for a worker
        assert borrowed.next_result().key == "other"
        with pytest.raises(RuntimeError, match="no job is running"):
            borrowed.next_result()
        executor.submit(make_job("third"))
        assert [executor.next_result().key for _ in range(3)] == ["first", "second", "third"]
