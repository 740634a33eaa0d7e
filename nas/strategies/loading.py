"""Load a strategy by its name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, get_args

from optuna.samplers import BaseSampler

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import describe_failure, import_function
from phinas.experiment.schema.config import SearchSection
from phinas.nas.problem import Problem
from phinas.nas.strategies import STRATEGIES, Pausing
from phinas.nas.strategies.interface import Strategy

_USAGE = (
    "name a class that derives from optuna.samplers.BaseSampler, or one with a method "
    "propose(history), that takes (problem, seed) or seed=..."
)


@dataclass(frozen=True, slots=True)
class LoadedStrategy:
    """A strategy by its name, ready to be made for each proposal.

    Attributes:
        name: A key of STRATEGIES, or "package.module:Class".
        make: Makes the sampler or Strategy of one proposal from the problem and a seed.
        is_sampler: Whether it is an Optuna sampler.
        supports_pareto: Whether it can search for a Pareto front.
        pausing: Whether it pauses and resumes trainings.
    """

    name: str
    make: Callable[[Problem, int], Any]
    is_sampler: bool
    supports_pareto: bool
    pausing: Pausing

    @property
    def is_user_supplied(self) -> bool:
        return self.name not in STRATEGIES


def load_strategy(name: str, *, key: str = "search.strategy") -> LoadedStrategy:
    """Import a strategy.

    Args:
        name: A key of STRATEGIES, or "package.module:Class" for a user's own: an Optuna sampler
            class, or a class with `propose` (`phinas.nas.strategies.interface.Strategy`). The
            class may declare `supports_pareto` and `pausing`. A sampler supports Pareto fronts
            unless it declares otherwise, and never pauses.
        key: The configuration key or option, for error messages.

    Raises:
        InputError: The strategy does not exist, cannot be imported, or is not a strategy.
    """
    entry = STRATEGIES.get(name)
    if entry is None and ":" not in name:
        raise InputError(
            f"{key}: {name!r} is not a strategy; name one of {', '.join(STRATEGIES)}, "
            "or your own as package.module:Class"
        )
    strategy_class = _import_class(name, entry.path if entry else name, key=key)
    is_sampler = issubclass(strategy_class, BaseSampler)
    if not is_sampler and not callable(getattr(strategy_class, "propose", None)):
        raise InputError(f"{key}: {name!r} is not a sampler; {_USAGE}")
    if entry is not None:
        supports_pareto, pausing = entry.supports_pareto, entry.pausing
    else:
        supports_pareto = bool(getattr(strategy_class, "supports_pareto", is_sampler))
        pausing = "never" if is_sampler else _declared_pausing(strategy_class, name, key=key)
    make = _factory(name, strategy_class, key=key)
    return LoadedStrategy(name, make, is_sampler, supports_pareto, pausing)


def require_strategy(name: str, *, pareto: bool) -> LoadedStrategy:
    """Load a strategy and check that it fits the search.

    Raises:
        InputError: See `load_strategy`. Also if the search is for a Pareto front and the strategy
            cannot search for one.
    """
    strategy = load_strategy(name)
    if pareto and not strategy.supports_pareto:
        names = ", ".join(name for name, entry in STRATEGIES.items() if entry.supports_pareto)
        raise InputError(
            f"search.strategy: {name} maximizes one reward and cannot search for a Pareto front "
            f"(search.reward: pareto); use one of {names}"
        )
    return strategy


def resolve_pausing(
    strategy: LoadedStrategy, section: SearchSection, *, supports_pausing: bool
) -> bool:
    """Whether the strategy pauses and resumes trainings in a search.

    Args:
        strategy: The strategy.
        section: The configuration of the search.
        supports_pausing: Whether its evaluator can pause trainings.

    Raises:
        InputError: The strategy requires it, and the evaluator cannot pause trainings or there is
            a pruner.
    """
    if strategy.pausing == "required":
        if not supports_pausing:
            raise InputError(
                f"search.strategy: {strategy.name} pauses and resumes trainings, and "
                f"{section.evaluator} cannot pause; use search.evaluator: proxy, or give your "
                "function the parameters `report` and `resume_token` (docs/evaluators.md)"
            )
        if section.pruner != "none":
            raise InputError(
                f"search.pruner: {section.pruner} has no effect with strategy {strategy.name}, "
                "which decides itself which trainings continue; set search.pruner: none"
            )
        return True
    is_possible = supports_pausing and section.pruner == "none" and section.reward != "pareto"
    return strategy.pausing == "if_possible" and is_possible


def _declared_pausing(strategy_class: type[Any], name: str, *, key: str) -> Pausing:
    """The attribute `pausing` of a user's class."""
    pausing: Any = getattr(strategy_class, "pausing", "never")
    if pausing not in get_args(Pausing):
        values = ", ".join(map(repr, get_args(Pausing)))
        raise InputError(f"{key}: {name!r} declares pausing = {pausing!r}; use one of {values}")
    return cast("Pausing", pausing)


def _import_class(name: str, path: str, *, key: str) -> type[Any]:
    try:
        strategy_class: Any = import_function(path)
    # A user's module may raise anything while it is imported.
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{key}: {name!r} cannot be imported ({describe_failure(error)}); correct it, or add "
            "its folder to PYTHONPATH"
        ) from None
    if not isinstance(strategy_class, type):
        kind = type(strategy_class).__name__
        raise InputError(f"{key}: {name!r} is of type {kind}, not a class; {_USAGE}")
    return strategy_class


def _factory(
    name: str, strategy_class: type[Any], *, key: str
) -> Callable[[Problem, int], BaseSampler | Strategy]:
    """Returns a function that makes the class from a problem and a seed. Other parameters of the
    class need defaults.
    """
    signature = inspect.signature(strategy_class)
    takes_seed_only = "problem" not in signature.parameters and "seed" in signature.parameters
    try:
        signature.bind(seed=0) if takes_seed_only else signature.bind(None, 0)
    except TypeError as error:
        raise InputError(
            f"{key}: {name!r} cannot be made from a problem and a seed ({error}); {_USAGE}"
        ) from None
    if takes_seed_only:
        return lambda _problem, seed: strategy_class(seed=seed)
    return strategy_class
