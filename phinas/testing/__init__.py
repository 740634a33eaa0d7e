"""Conformance suites: what every search strategy and every evaluator must do.

phinas tests its own strategies and evaluators with them. Test your own in the same way, with a
subclass in a file that pytest collects:

    from phinas.testing import StrategyConformance

    class TestMySampler(StrategyConformance):
        strategy = "my_package.samplers:MySampler"

Each check is one test. Without pytest, `check_strategy("my_package.samplers:MySampler")` runs all
of them and raises AssertionError at the first that fails. `EvaluatorConformance` and
`check_evaluator` do the same for an evaluator.
"""

from phinas.testing.evaluators import EVALUATOR_CHECKS, EvaluatorConformance, check_evaluator
from phinas.testing.strategies import STRATEGY_CHECKS, StrategyConformance, check_strategy

__all__ = [
    "EVALUATOR_CHECKS",
    "STRATEGY_CHECKS",
    "EvaluatorConformance",
    "StrategyConformance",
    "check_evaluator",
    "check_strategy",
]
