"""A strategy of the user: `search.strategy: package.module:Class`."""

import uuid

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.runner import run_strategy
from phinas.nas.strategies.loading import load_strategy, require_strategy, resolve_pausing
from phinas.testing import STRATEGY_CHECKS, StrategyConformance, check_strategy
from phinas.testing.searches import (
    EPOCHS,
    REPORTING,
    in_memory_store,
    live_records,
    propose,
    run_search,
)

MODULE = """
import random
import numpy as np
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from phinas.nas.strategies.base import JointSampler
from phinas.nas.strategies.interface import ResumeTraining, StartTraining


class Plain(RandomSampler):
    "Takes seed=, as Optuna's samplers do."


class Joint(JointSampler):
    "Takes (problem, seed), as the samplers of phinas do."

    def propose(self, finished, rows):
        return self.sample_random()


class Doubling:
    "Trains for two epochs, and resumes the best of three paused trainings for three times as many."

    pausing = "required"

    def __init__(self, problem, seed):
        self.problem, self.random = problem, random.Random(seed)

    def propose(self, history):
        paused = [trial for trial in history if trial.status == "paused"]
        if len(paused) >= 3:
            best = max(paused, key=lambda trial: (trial.rewards[trial.epochs], -trial.number))
            return ResumeTraining(best.number, min(self.problem.epochs, 3 * best.epochs))
        return StartTraining(self.problem.space.sample(self.random), epochs=2)


class BetterHalf:
    "The example of phinas.nas.strategies.interface."

    pausing = "required"

    def __init__(self, problem, seed):
        self.problem, self.random = problem, random.Random(seed)

    def propose(self, history):
        ranked = sorted(history, key=lambda trial: trial.rewards.get(1, 0.0), reverse=True)
        for trial in ranked[: len(ranked) // 2]:
            if trial.status == "paused":
                return ResumeTraining(trial.number, self.problem.epochs)
        return StartTraining(self.problem.space.sample(self.random), epochs=1)


class Full:
    "Has `propose` and never pauses."

    def __init__(self, problem, seed):
        self.problem, self.random = problem, random.Random(seed)

    def propose(self, history):
        return StartTraining(self.problem.space.sample(self.random))


class Unseeded(Full):
    "Takes its random numbers from the system."

    def propose(self, history):
        return StartTraining(self.problem.space.sample(random.SystemRandom()))


class Remembering(Full):
    "Depends on what happened in this process, not on the record."

    calls = 0

    def propose(self, history):
        type(self).calls += 1
        return StartTraining(self.problem.space.sample(random.Random(type(self).calls)))


class Raising(Full):
    def propose(self, history):
        raise RuntimeError("no model")


class RaisingSampler(RandomSampler):
    def sample_independent(self, *arguments):
        raise RuntimeError("no model")


class OutsideSampler(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        return 77


class Outside(Full):
    def propose(self, history):
        choices = self.problem.space.sample(self.random)
        return StartTraining({**choices, "stages.0.kernel": 77})


class Missing(Full):
    def propose(self, history):
        return StartTraining({})


class Unknown(Full):
    def propose(self, history):
        return StartTraining({**self.problem.space.sample(self.random), "color": "red"})


class Flexible(Doubling):
    "Pauses trainings only where it can."

    pausing = "if_possible"

    def propose(self, history):
        if not self.problem.can_pause:
            return StartTraining(self.problem.space.sample(self.random))
        return super().propose(history)


class Unsure(Full):
    pausing = "maybe"


class Undeclared(Full):
    def propose(self, history):
        return StartTraining(self.problem.space.sample(self.random), epochs=2)


class Fractional(Full):
    pausing = "required"

    def propose(self, history):
        return StartTraining(self.problem.space.sample(self.random), epochs=1.5)


class Exiting(Full):
    def propose(self, history):
        raise SystemExit(7)


class NumpyInts(Full):
    def propose(self, history):
        choices = self.problem.space.sample(self.random)
        return StartTraining({
            name: np.int64(value) if type(value) is int else value
            for name, value in choices.items()
        })


class TooLong(Full):
    pausing = "required"

    def propose(self, history):
        return StartTraining(self.problem.space.sample(self.random), epochs=100)


class ResumesNothing(Full):
    pausing = "required"

    def propose(self, history):
        return ResumeTraining(5, 3)


class NoAction(Full):
    def propose(self, history):
        return None


class NoStrategy:
    def __init__(self, problem, seed): pass


class NoSeed(RandomSampler):
    def __init__(self): super().__init__()


class NeedsMore(RandomSampler):
    def __init__(self, table, *, seed): super().__init__(seed=seed)


def function(problem, seed): return RandomSampler(seed=seed)

def reporting(spec, budget, seed, report): return 0.5
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    # A name that this process has never imported, whatever pytest calls its folders.
    name = f"strategies_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize("name", ["Plain", "Joint", "Full", "Doubling", "BetterHalf"])
def test_a_strategy_of_the_user_conforms(module, name):
    check_strategy(f"{module}:{name}")


@pytest.mark.slow
def test_a_sampler_of_optuna_conforms():
    check_strategy("optuna.samplers:TPESampler")


def test_a_conformance_class_has_one_test_for_each_check():
    class TestPlain(StrategyConformance):
        strategy = "random"

    tests = [name for name in dir(TestPlain) if name.startswith("test_")]
    assert sorted(tests) == sorted(f"test_{name}" for name in STRATEGY_CHECKS)
    TestPlain().test_a_spent_budget_starts_no_training()


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("Unseeded", "the_seed_determines_the_proposals", "two searches with the same seed differ"),
        (
            "Remembering",
            "a_search_interrupted_between_trainings_continues_unchanged",
            "continues with other proposals",
        ),
    ],
)
def test_the_suite_finds_a_strategy_that_depends_on_more_than_seed_and_history(
    module, name, check, message
):
    with pytest.raises(AssertionError, match=message):
        STRATEGY_CHECKS[check](f"{module}:{name}")
    with pytest.raises(AssertionError):
        check_strategy(f"{module}:{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent_module:Sampler", r"cannot be imported \(ModuleNotFoundError: .*PYTHONPATH"),
        ("{module}:Absent", r"cannot be imported \(AttributeError: "),
        ("{module}:", r"cannot be imported \(ImportError: "),
        ("{module}:function", "is of type function, not a class; name a class that derives"),
        ("{module}:NoStrategy", "is not a sampler; name a class that derives from optuna"),
        ("{module}:NoSeed", "cannot be made from a problem and a seed"),
        ("{module}:NeedsMore", r"cannot be made from a problem and a seed \(missing .*'table'"),
        ("optuna.samplers:GridSampler", "cannot be made from a problem and a seed"),
        ("absent", "is not a strategy; name one of bayesian, .*, or your own as package.module"),
    ],
)
def test_a_class_that_is_not_a_strategy_is_refused(module, name, message):
    with pytest.raises(InputError, match=rf"^search\.strategy: '.*' {message}"):
        require_strategy(name.format(module=module), pareto=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Raising", "RuntimeError: no model"),
        ("RaisingSampler", "RuntimeError: no model"),
        ("OutsideSampler", "ValueError: .*77.* not in"),
        ("Outside", "ValueError: stages.0.kernel: 77 is none of 3, 5"),
        ("Missing", r"ValueError: choices: stages\.\S+ is missing"),
        ("Unknown", "ValueError: choices: color is not a decision of space 'tiny'"),
        ("Undeclared", "ValueError: pauses a training; declare pausing = .required. in the class"),
        ("TooLong", f"ValueError: epochs: 100 is not between 1 and {EPOCHS}"),
        ("Fractional", r"ValueError: epochs: 1\.5 is not an int"),
        ("Exiting", "SystemExit: 7"),
        ("ResumesNothing", "ValueError: trial: 5 is not a paused trial"),
        ("NoAction", "TypeError: returned None; return StartTraining or ResumeTraining"),
    ],
)
def test_a_strategy_that_fails_ends_the_search_with_class_reason_and_remedy(module, name, message):
    with pytest.raises(
        InputError,
        match=rf"^search\.strategy: '{module}:{name}' failed to make proposal 0 \({message}.*\); "
        "correct the class, then `phinas resume`$",
    ):
        run_search(f"{module}:{name}", in_memory_store(), trials=3)


def test_numbers_of_numpy_are_legal_choices(module):
    result = run_search(f"{module}:NumpyInts", in_memory_store(), trials=3)
    expected = run_search(f"{module}:Full", in_memory_store(), trials=3)
    assert [trial.spec for trial in result.trials] == [trial.spec for trial in expected.trials]


def test_a_strategy_declares_whether_it_searches_for_pareto_fronts(module):
    require_strategy(f"{module}:Plain", pareto=True)
    assert load_strategy(f"{module}:Doubling").pausing == "required"
    with pytest.raises(InputError, match=r"cannot search for a Pareto front"):
        require_strategy(f"{module}:Full", pareto=True)


def test_a_strategy_may_pause_only_where_it_is_possible(module):
    """It can neither with a pruner, nor with an evaluator that cannot pause."""
    pausing_store = in_memory_store()
    run_search(f"{module}:Flexible", pausing_store, trials=6)
    assert {record.target_epochs[0] for record in live_records(pausing_store)} == {2}
    for options in ({"function": REPORTING, "pruner": "median"}, {"function": REPORTING}):
        trial_store = in_memory_store()
        run_search(f"{module}:Flexible", trial_store, trials=6, **options)
        assert {record.target_epochs for record in live_records(trial_store)} == {()}


def test_an_unknown_declaration_of_pausing_is_refused(module):
    with pytest.raises(InputError, match=r"Unsure' declares pausing = 'maybe'; use one of 'never'"):
        load_strategy(f"{module}:Unsure")


def test_a_strategy_that_resumes_needs_an_evaluator_that_pauses_and_no_pruner(module):
    strategy = load_strategy(f"{module}:Doubling")
    with pytest.raises(
        InputError, match=r"^search\.strategy: .*:Doubling pauses .* m:f cannot pause; .*token"
    ):
        resolve_pausing(strategy, SearchSection(evaluator="m:f"), supports_pausing=False)
    with pytest.raises(InputError, match=r"^search\.pruner: median .*; set search.pruner: none$"):
        resolve_pausing(strategy, SearchSection(pruner="median"), supports_pausing=True)
    with pytest.raises(InputError, match="cannot pause"):
        run_search("asha", in_memory_store(), function=f"{module}:reporting")


def test_a_strategy_of_the_user_resumes_trainings_to_their_end(module):
    trial_store = in_memory_store()
    result = run_search(f"{module}:Doubling", trial_store, trials=6)
    records = live_records(trial_store)
    completed = [record for record in records if record.is_complete]
    assert len(completed) == len(result.trials) >= 3
    assert {record.target_epochs for record in completed} == {(2, 6, EPOCHS)}
    assert {record.target_epochs for record in records if record.is_pruned} <= {(2,), (2, 6)}


def test_the_benchmark_runs_a_strategy_of_the_user(module):
    section = {
        "trials": 5,
        "evaluator": "phinas.testing.functions:smooth",
        "recipe": {"epochs": 1},
    }
    result = run_strategy(strategy=f"{module}:Plain", space="tiny", section=section, seed=0)
    expected = propose("random", trials=5, reward_exponent=None, recipe={"epochs": 1})
    assert result["rewards"] == [row.value for row in expected]


@pytest.mark.slow
def test_the_command_line_takes_a_strategy_of_the_user(phinas_in_process, tmp_path):
    (tmp_path / "custom.py").write_text(MODULE)
    options = ["--evaluator", "phinas.testing.functions:smooth", "--space", "tiny", "--trials", 3]
    result = phinas_in_process(
        "search", *options, "--strategy", "custom:Plain", "--out", "run", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "search" / "baseline.yaml").is_file()
    failed = phinas_in_process(
        "search", *options, "--strategy", "custom:Raising", "--out", "failed", cwd=tmp_path
    )
    assert failed.returncode == 2
    assert "strategy: 'custom:Raising' failed to make proposal 0 (RuntimeError" in failed.stderr
    options = [*options[:4], "--trials", 5, "--seeds", 1]
    result = phinas_in_process(
        "bench", "strategies", *options, "--strategies", "random,custom:Plain", "--out", "bench",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "custom:Plain" in result.stdout
