"""Names that options accept: the tables of strategies, spaces and the like, with summaries.

`experiment` cannot import these tables, so the schema writes a placeholder such as `{strategies}`.
None of the tables imports torch, Optuna or numpy, so that `--help` is fast.
"""

import re
from collections.abc import Callable, Mapping
from operator import attrgetter

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.option_info import join_words, list_options
from phinas.experiment.schema.recipe import RECIPES
from phinas.space.closest_name import suggest_name

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _sources() -> dict[str, str]:
    from phinas.training.data.sources import SOURCES

    return {entry.usage: entry.summary for entry in SOURCES.values()}


def _strategies() -> dict[str, str]:
    from phinas.nas.strategies import STRATEGIES

    return {name: entry.summary for name, entry in STRATEGIES.items()}


def _evaluators() -> dict[str, str]:
    from phinas.nas.evaluators import EVALUATORS

    return {entry.usage: entry.summary for entry in EVALUATORS.values()}


def _pruners() -> dict[str, str]:
    from phinas.nas.pruning import PRUNERS

    return dict(PRUNERS)


def _spaces() -> dict[str, str]:
    from phinas.space.search_spaces.definitions import space_summaries

    return space_summaries()


def _presets() -> dict[str, str]:
    from phinas.space.presets import PUBLISHED_NETWORKS

    return {
        name: f"{entry.params} parameters, {entry.flops} FLOPs at {entry.resolution} px; "
        f"{entry.source.partition(';')[0].partition(', tensorflow/')[0]}"
        for name, entry in PUBLISHED_NETWORKS.items()
    }


def _recipes() -> dict[str, str]:
    return {name: summary for name, (summary, _) in RECIPES.items()}


# Placeholder to the names that it stands for, each with a summary.
NAME_TABLES: dict[str, Callable[[], Mapping[str, str]]] = {
    "sources": _sources,
    "strategies": _strategies,
    "evaluators": _evaluators,
    "pruners": _pruners,
    "spaces": _spaces,
    "presets": _presets,
    "recipes": _recipes,
}
# Keys whose value is a name of a table or has a colon, as package.module:function.
_CHECKED_KEYS = {
    "search.strategy": "strategies",
    "search.evaluator": "evaluators",
    "search.pruner": "pruners",
}


def expand_names(text: str) -> str:
    """`text` with each placeholder replaced by the names of its table."""

    def names(match: re.Match[str]) -> str:
        table = NAME_TABLES.get(match[1])
        if table is None:
            return match[0]
        return join_words([*table()]) if match[0] == text else ", ".join(table())

    return _PLACEHOLDER.sub(names, text)


def table_names(text: str) -> list[str]:
    """The names of all tables whose placeholders are in `text`."""
    tables = (NAME_TABLES.get(placeholder) for placeholder in _PLACEHOLDER.findall(text))
    return [name for table in tables if table is not None for name in table()]


def check_names(config: Config, written: Mapping[str, str]) -> None:
    """Check the values of a configuration that are names of a table.

    Args:
        config: The configuration.
        written: How the user wrote a key, such as {"search.strategy": "--strategy"}.

    Raises:
        InputError: A name is not in its table; says the closest one.
    """
    for key, placeholder in _CHECKED_KEYS.items():
        value = attrgetter(key)(config)
        if ":" in value:
            continue
        names = NAME_TABLES[placeholder]()
        if value in names:
            continue
        suggestion = suggest_name(value, names, cutoff=0.5)
        hint = f" ({suggestion})" if suggestion else ""
        legal = expand_names(list_options(Config)[key].values)
        raise InputError(
            f"{written.get(key, key)}: {value!r} is not a legal value{hint}; use {legal}"
        )
