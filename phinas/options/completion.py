"""Completion of names in a shell: tables of names, and the networks of a run.

Files are completed too where an argument may be a path.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    split_arg_string,
)

from phinas.experiment.errors import PhinasError
from phinas.experiment.run_dir import RunDir
from phinas.options.names import NAME_TABLES

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[Any]]]

# The tables of names that a key accepts, where its legal values do not name them.
TABLES_OF_KEYS = {
    "search.recipe": ("recipes",),
    "scaling.recipe": ("recipes",),
    "recipe": ("recipes",),
    "search.reference": ("presets",),
}
NETWORK_KEYS = ("scaling.baseline",)
PATH_KEYS = (
    "data.source",
    "search.space",
    "search.reference",
    "search.learn_from",
    "weights",
    "scaling.coefficients",
)


def complete_network(
    _ctx: click.Context | None, _param: click.Parameter | None, incomplete: str
) -> list[CompletionItem[Any]]:
    """Presets, files, and the networks of a run after `RUN:`."""
    directory, colon, _name = incomplete.rpartition(":")
    if colon:
        names = _run_networks(Path(directory))
        return matching_items((f"{directory}:{known}" for known in names), incomplete)
    return [file_item(incomplete), *matching_items(NAME_TABLES["presets"](), incomplete)]


def complete_table_name(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """The tables of `phinas list`."""
    return matching_items(NAME_TABLES, incomplete)


def file_item(incomplete: str) -> CompletionItem[Any]:
    """Lets the shell complete files. Bash drops the items before it, so it has to be the first."""
    return CompletionItem(incomplete, type="file")


def matching_items(names: Iterable[str], incomplete: str) -> list[CompletionItem[Any]]:
    """The names that begin with the text so far."""
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _run_networks(directory: Path) -> list[str]:
    """The names of the networks of a run; none where it cannot be read."""
    from phinas.reports.named_network import list_named_networks

    try:
        run = RunDir(directory.expanduser())
        names, trials = list_named_networks(run) if run.exists else ([], [])
    except (OSError, RuntimeError, PhinasError):
        return []
    return [*names, *trials]


class _ColonBashComplete(BashComplete):
    """Completion in Bash, which splits `RUN:b1` into three words and completes the last one."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_WORDS"])[: int(os.environ["COMP_CWORD"]) + 1]
        is_new_word = len(words) <= int(os.environ["COMP_CWORD"])
        joined: list[str] = []
        for index, word in enumerate(words):
            if index and (word == ":" or words[index - 1] == ":"):
                joined[-1] += word
            else:
                joined.append(word)
        if is_new_word and words[-1] != ":":
            joined.append("")
        return joined[1:-1], joined[-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value.rpartition(':')[2]}"


add_completion_class(_ColonBashComplete)
