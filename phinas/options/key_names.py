"""How a user wrote a configuration key: as an option, as --set, or as an argument in Python.

An error names the configuration key, because most checks see the configuration only. Where a user
wrote an option, the front end puts its name in place of the key.
"""

import re
from collections.abc import Collection, Iterable, Mapping

import click

from phinas.options.config_option import ConfigOption

_SUGGESTION = r"unknown key; did you mean [^?\n]*\?"


def written_names(context: click.Context | None, settings: Collection[str]) -> dict[str, str]:
    """The keys that the command line sets, and how: {"search.cost": "--cost"}.

    Args:
        context: The running command.
        settings: The keys of --set.
    """
    names = {
        option.key: option.opts[0]
        for option in _config_options(context)
        if context is not None and context.params.get(option.name or "") is not None
    }
    return names | {key: f"--set {key}" for key in settings}


def names_in_errors(context: click.Context | None, settings: Collection[str]) -> dict[str, str]:
    """How error messages of a command write keys.

    A key that the user did not write is called by its option too, except where a configuration
    file or an existing run may have set it. An argument of a Python function is called by the
    option or argument of the same name.

    Args:
        context: The command that failed.
        settings: The keys of --set.
    """
    if context is None:
        return {}
    names = {
        param.name: param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
        for param in context.command.params
        if param.name is not None and not isinstance(param, ConfigOption)
    }
    if all(context.params.get(name) is None for name in ("config", "directory")):
        names |= {option.key: option.opts[0] for option in _config_options(context)}
    return names | written_names(context, settings)


def flag_keys(context: click.Context | None) -> set[str]:
    """The keys whose option takes no value, such as data.upsample."""
    return {option.key for option in _config_options(context) if option.is_flag}


def write_names(message: str, names: Mapping[str, str], *, flags: Collection[str] = ()) -> str:
    """Replace the configuration keys in a message by the names that the user knows.

    `KEY: VALUE` within a sentence becomes `--option VALUE`. A key without a dot, such as `seed`,
    is also a word, so it is only replaced where it begins a line, and in "seed was 0 and is now 1".
    Keys that are suggested for an unknown key stay, because the user wrote a key there.

    Args:
        message: The message, with one line for each problem.
        names: The name of each key.
        flags: The keys whose option takes no value; `KEY: true` becomes `--option`.
    """
    if not names:
        return message
    dotted = _alternatives(key for key in names if "." in key)
    keys = _alternatives(names)

    def subject(match: re.Match[str]) -> str:
        return names[match[1]]

    def setting(match: re.Match[str]) -> str:
        name, value = names[match[1]], match[2]
        if match[1] in flags and value == "true":
            return name
        if name.startswith("--"):
            return f"{name}{'=' if ' ' in name else ' '}{value}"
        return f"{name}={value.capitalize() if value in ('true', 'false') else value}"

    text = re.sub(rf"^({keys})(?=[:,])", subject, message, flags=re.MULTILINE)
    text = re.sub(rf"(?<=[:;] )({keys})(?= was .+ and is now )", subject, text)
    if not dotted:
        return text
    text = re.sub(
        rf"(?<=[ (])(?<!: )(?<!, )(?<!--set )({dotted}): (\[[^\]]*\]|[\w.]+)", setting, text
    )
    return re.sub(
        rf"{_SUGGESTION}|(?<![\w./'\"-])(?<!--set )({dotted})(?![\w/'\"]|\.\w)",
        lambda match: subject(match) if match[1] else match[0],
        text,
    )


def _alternatives(keys: Iterable[str]) -> str:
    """A regular expression of all keys, the longest first."""
    return "|".join(map(re.escape, sorted(keys, key=len, reverse=True)))


def _config_options(context: click.Context | None) -> list[ConfigOption]:
    params = context.command.params if context is not None else []
    return [param for param in params if isinstance(param, ConfigOption)]
