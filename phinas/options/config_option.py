"""Options that set a configuration key: flag, help and type follow from the schema."""

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from phinas.experiment.schema.config import Config
from phinas.experiment.schema.fields import Section
from phinas.experiment.schema.option_info import OptionInfo, list_options, split_union, unwrap
from phinas.options.command import BASIC, GroupedOption, format_metadata, set_option
from phinas.options.completion import (
    NETWORK_KEYS,
    PATH_KEYS,
    TABLES_OF_KEYS,
    complete_network,
    file_item,
    matching_items,
)
from phinas.options.groups import BASIC_KEYS, FLAGS, MEANINGS, METAVARS, heading_of
from phinas.options.names import NAME_TABLES, expand_names, table_names
from phinas.options.value_type import ValueType


class ConfigOption(GroupedOption):
    """An option that sets one configuration key.

    Args:
        info: The key.
        default: A default of the command, in place of the schema's.
        meaning: The meaning for the command, in place of the schema's.
        values: The legal values of the command, in place of the schema's.
        flag_value: The value of the option without an argument.
    """

    def __init__(
        self,
        info: OptionInfo,
        *,
        default: Any = None,
        meaning: str | None = None,
        values: str | None = None,
        required: bool = False,
        flag_value: str | None = None,
    ) -> None:
        self.key = info.key
        self.info = info
        self._command_values = values
        self._command_default = default
        is_flag = unwrap(info.annotation)[0] is bool
        # click takes any `flag_value`, None included, for an option whose value may be left out.
        click_settings: dict[str, Any] = {"is_flag": is_flag}
        if flag_value is not None:
            click_settings["flag_value"] = flag_value
        # click takes any `default`, None included, as the value of a required option.
        if default is not None or not required:
            click_settings["default"] = default
        super().__init__(
            [flag_name(info.key), parameter_name(info.key)],
            group=BASIC if info.key in BASIC_KEYS else heading_of(info.key),
            required=required,
            type=None if is_flag else ValueType(info.annotation),
            metavar=None if is_flag else _metavar(info),
            help=meaning or MEANINGS.get(info.key, info.meaning),
            **click_settings,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        record = super().get_help_record(ctx)
        names = record[0] if record else self.opts[0]
        metadata = format_metadata(
            default_text="" if self.required else self._default_text(),
            values="" if self.is_flag else self.legal_values,
            unit=self.info.unit,
            key=self.key,
        )
        requirement = " Required." if self.required else ""
        return names, f"{self.help}{requirement}\n{metadata}"

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """The legal words that begin with the text so far, for completion in a shell."""
        if self.key in NETWORK_KEYS:
            return complete_network(ctx, self, incomplete)
        words = [*self.info.choices, *table_names(self.info.values)]
        for table in TABLES_OF_KEYS.get(self.key, ()):
            words += NAME_TABLES[table]()
        words = [word for word in words if word.islower()]  # no placeholder such as FILE.npz
        files = [file_item(incomplete)] if self.key in PATH_KEYS else []
        return [*files, *matching_items(words, incomplete)]

    @property
    def legal_values(self) -> str:
        """The legal values in words."""
        return self._command_values or expand_names(self.info.values)

    def _default_text(self) -> str:
        if self._command_default is not None:
            return str(self._command_default)
        if ".recipe." in f".{self.key}" and self.info.default is not None:
            return "that of the recipe"
        return "off" if self.is_flag and not self.info.default else self.info.default_text


def flag_name(key: str) -> str:
    """The option of a key: its last part, where `FLAGS` has no other."""
    return FLAGS.get(key) or "--" + key.rpartition(".")[2].replace("_", "-")


def parameter_name(key: str) -> str:
    """The name of a key as a parameter of a Python function."""
    return key.replace(".", "__")


def _metavar(info: OptionInfo) -> str:
    if info.key in METAVARS:
        return METAVARS[info.key]
    if ValueType(info.annotation).is_list:
        return "X,Y,..."
    kinds = [unwrap(branch)[0] for branch in split_union(info.annotation)]
    if int in kinds or float in kinds:
        return "N" if int in kinds else "X"
    return info.key.rpartition(".")[2].upper()


def config_options(
    *groups: Sequence[str], root: type[Section] = Config, example: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each of these keys to a command, and `--set` for all others.

    Args:
        groups: Dotted keys.
        root: The section that the keys begin at.
        example: A value of `--set`, for its help.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        keys = dict.fromkeys(key for group in groups for key in group)
        common = "scaling.max_grid_members=20" if root is Config else "recipe.ema_fraction=0.1"
        command = set_option(example or common)(command)
        for key in reversed(keys):
            command = config_option(key, root=root)(command)
        return command

    return wrap


def config_option(
    key: str, *, root: type[Section] = Config, **settings: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for one key to a command; `settings` as of ConfigOption."""
    info = list_options(root)[key]

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        params = command.__dict__.setdefault("__click_params__", [])
        params.append(ConfigOption(info, **settings))
        return command

    return wrap


def option_text(key: str, *, root: type[Section] = Config) -> dict[str, str]:
    """Arguments of `plain_option` for an option with the meaning of a key that sets no key."""
    info = list_options(root)[key]
    return {
        "text": info.meaning,
        "values": expand_names(info.values),
        "default_text": info.default_text,
        "unit": info.unit,
    }
