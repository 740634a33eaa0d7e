"""The tables of names: they import no library, and each entry can be made."""

import importlib
import subprocess
import sys

import pytest

from phinas.nas.evaluators import EVALUATORS, default_space
from phinas.nas.pruning import PRUNERS
from phinas.nas.search_state.pruner import TrialPruner
from phinas.nas.strategies import STRATEGIES
from phinas.nas.strategies.loading import load_strategy
from phinas.space.search_spaces.loading import load_space


@pytest.mark.parametrize(
    "module", ["phinas.nas.strategies", "phinas.nas.evaluators", "phinas.nas.pruning"]
)
def test_a_table_of_names_imports_no_library(module):
    code = f"import sys, {module}; print([name for name in sys.modules])"
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    imported = {name.partition(".")[0] for name in eval(completed.stdout)}
    assert imported.isdisjoint({"optuna", "torch", "numpy", "scipy", "pandas", "sqlalchemy"})


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_table_has_the_properties_of_a_strategy(name):
    strategy, entry = load_strategy(name), STRATEGIES[name]
    assert not strategy.is_user_supplied
    assert (strategy.supports_pareto, strategy.pausing) == (entry.supports_pareto, entry.pausing)
    assert entry.pausing == "never" or not strategy.is_sampler


@pytest.mark.parametrize("name", EVALUATORS)
def test_the_table_has_the_module_of_an_evaluator(name):
    module, _, class_name = EVALUATORS[name].path.partition(":")
    assert callable(getattr(importlib.import_module(module), class_name).from_name)
    if EVALUATORS[name].default_space is not None:
        assert load_space(EVALUATORS[name].default_space).size > 1


def test_only_a_benchmark_has_a_space_of_its_own():
    assert default_space("accel-nasbench:file.tar.gz") == "accel_nasbench"
    assert default_space("proxy") is None
    assert default_space("package.module:function") is None


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "none"])
def test_every_pruner_of_the_table_can_be_made(name):
    pruner = TrialPruner(name, epochs=8, seed=0)
    pruner.add_trial(0)
    assert pruner.should_prune(0, 1, 0.5) is False


@pytest.mark.parametrize(
    "summary",
    [
        *(entry.summary for entry in STRATEGIES.values()),
        *(entry.summary for entry in EVALUATORS.values()),
        *PRUNERS.values(),
    ],
)
def test_a_summary_is_one_sentence(summary):
    assert summary[0].isupper()
    assert summary.endswith(".")
    assert ". " not in summary
    assert len(summary) <= 100
