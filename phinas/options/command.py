"""Commands and options of the command line, with help in groups.

A command tells the program how it can be resumed (`CommandState`), for the messages after an
interrupt or an error.
"""

import contextlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from phinas.experiment.fit_dir import FitDir
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.option_info import describe_values
from phinas.options.value_type import CheckedType, ValueType, is_list_item

SAME_COMMAND = "the same command again"
RESUME_COMMAND = "`phinas resume`"

GENERAL = "General options"
BASIC = "Basic options"
# In the order of `--help`.
HEADINGS = (
    BASIC,
    "Data",
    "Search",
    "Scaling and family",
    "Training",
    "Hardware and run",
    GENERAL,
)
_MAX_NAME_WIDTH = 22
_NO_BREAK_SPACE = "\u00a0"


@dataclass
class CommandState:
    """The command that is running.

    Attributes:
        resume: How it can be resumed: RESUME_COMMAND or SAME_COMMAND.
        paths: The paths that the command got as a directory, which may be a run or a fit.
        interrupt_message: Message after an interrupt, for a command without a run directory.
        debug: Whether to print tracebacks.
        context: The context of the command.
    """

    resume: str = RESUME_COMMAND
    paths: tuple[str, ...] = ()
    interrupt_message: str | None = None
    debug: bool = False
    context: click.Context | None = None

    @property
    def directory(self) -> str:
        """The run or fit directory of the command, or "" where there is none."""
        for path in self.paths:
            # for a ~name that is unknown, and for a current directory that was removed
            with contextlib.suppress(RuntimeError, FileNotFoundError):
                if RunDir(path).exists or FitDir(path).exists:
                    return path
        return ""

    @property
    def resume_command(self) -> str:
        """How to resume the command, or to call it again where there is nothing to resume."""
        if self.resume == SAME_COMMAND or not self.directory:
            return SAME_COMMAND
        return f"`phinas resume {self.directory}`"


class GroupedOption(click.Option):
    """An option under a heading of `--help`."""

    def __init__(self, *args: Any, group: str = GENERAL, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None:
            return None
        # Without what click appends: the help text says it in words.
        text = self.help or ""
        return record[0], f"{text} Required." if self.required else text


class Command(click.Command):
    """A command with options in groups, and lists of numbers that may be separated by blanks.

    Args:
        resume: How the command can be resumed after an interrupt or an error.
        interrupt_message: Message after an interrupt, for a command without a run directory.
        more_help: Makes the last paragraph of `--help`.
    """

    def __init__(
        self,
        *args: Any,
        resume: str = RESUME_COMMAND,
        interrupt_message: str | None = None,
        more_help: Callable[[], str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._resume = resume
        self._interrupt_message = interrupt_message
        self._more_help = more_help

    def invoke(self, ctx: click.Context) -> Any:
        state = ctx.find_object(CommandState)
        if state is not None:
            state.context = ctx
            state.resume = self._resume
            state.interrupt_message = self._interrupt_message
            paths = (ctx.params.get(name) for name in ("out", "directory"))
            state.paths = tuple(str(path) for path in paths if path is not None)
        return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        list_flags = {
            flag
            for option in self.params
            if isinstance(option.type, ValueType) and option.type.is_list
            for flag in option.opts
        }
        joined: list[str] = []
        in_list = False
        for argument in args:
            is_number = is_list_item(argument)
            if in_list and is_number and joined[-1] not in list_flags:
                joined[-1] = f"{joined[-1].removesuffix(',')},{argument}"
                continue
            in_list = argument in list_flags or (in_list and is_number)
            joined.append(argument)
        return super().parse_args(ctx, joined)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups[getattr(param, "group", GENERAL)].append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    _write_records(formatter, records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self._more_help is not None:
            formatter.write_paragraph()
            formatter.write_text(self._more_help())


def _write_records(formatter: click.HelpFormatter, records: list[tuple[str, str]]) -> None:
    """Write options in two columns. Unlike in click's list, the line breaks of a text are kept."""
    column = min(max(len(names) for names, _ in records), _MAX_NAME_WIDTH) + 2
    margin = formatter.current_indent + column
    indent = " " * margin
    width = max(20, formatter.width - margin)
    for names, text in records:
        lines = [
            line
            for paragraph in text.splitlines()
            for line in textwrap.wrap(paragraph, width, break_on_hyphens=False)
        ]
        is_long = len(names) > column - 2
        gap = f"\n{indent}" if is_long else " " * (column - len(names))
        formatter.write(f"{'':{formatter.current_indent}}{names}{gap}")
        formatter.write(f"\n{indent}".join(lines).replace(_NO_BREAK_SPACE, " ") + "\n")


def path_option(flag: str, text: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that takes a path."""
    settings.setdefault("group", GENERAL)
    return click.option(
        flag, cls=GroupedOption, type=click.Path(path_type=Path), help=text, **settings
    )


def plain_option(
    *names: str,
    text: str,
    annotation: Any = None,
    values: str = "",
    default_text: str = "",
    unit: str = "",
    **settings: Any,
) -> Callable[[Any], Any]:
    """An option that sets no configuration key.

    Args:
        text: The meaning, in full sentences.
        annotation: The type of the value. It says the legal values.
        values: The legal values, for an option without annotation.
        default_text: The default in words.
        unit: The unit of a number.
    """
    if annotation is not None:
        settings["type"] = CheckedType(annotation)
        values = values or describe_values(annotation)
    metadata = format_metadata(default_text=default_text, values=values, unit=unit)
    help_text = f"{text}\n{metadata}" if metadata else text
    return click.option(*names, cls=GroupedOption, help=help_text, **settings)


def format_metadata(*, default_text: str, values: str, unit: str = "", key: str = "") -> str:
    """The second line of an option's help: its default, legal values, unit and key."""
    metadata = {"Default": default_text, "Values": values, "Unit": unit, "Key": key}
    # No line break within a unit or a key.
    separators = {"Default": " ", "Values": " "}
    return " ".join(
        f"{name}:{separators.get(name, _NO_BREAK_SPACE)}{text}."
        for name, text in metadata.items()
        if text
    )


OUT = path_option(
    "--out",
    "Run directory, which is created or resumed.",
    required=True,
    metavar="DIRECTORY",
    group=BASIC,
)
JSON = plain_option("--json", "as_json", is_flag=True, text="Print the result as JSON.")
DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
CONFIG = click.argument("config", required=False, type=click.Path(path_type=Path))


def set_option(example: str) -> Callable[[Any], Any]:
    """The option --set of a command; `example` is one of its values."""
    return plain_option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        text=f"Set any configuration key, such as {example}. May be repeated. "
        "docs/configuration.md lists the keys.",
    )
