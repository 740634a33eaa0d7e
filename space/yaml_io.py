"""A strict YAML reader and writer: a file is read as it looks, or refused with line and column.

The loader is safe (no Python objects) and also refuses duplicate keys, aliases and tags (so alias
bombs too), tabs, NUL and text over 1 MiB. Numbers are those of YAML 1.2: `1e-3` is a number, `1:30`
is a string; `010`, which is 8 in YAML 1.1 and 10 in 1.2, is a string.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|"
    r"[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_INTEGER = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$")
_REMOVED_TAGS = tuple(
    f"tag:yaml.org,2002:{name}" for name in ("float", "int", "timestamp", "merge", "value")
)


class YamlError(ValueError):
    """Text that is not legal YAML here. The message gives the place and what to do."""


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            problem = "an alias (*name) is not allowed here; write the value out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem=f"a tag ({event.tag}) is not allowed here", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool) or key in keys:
                message = (
                    f"duplicate key {key!r}"
                    if isinstance(key, Hashable) and key in keys
                    else f"{key!r} cannot be a key"
                )
                raise yaml.MarkedYAMLError(problem=message, problem_mark=key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.yaml_implicit_resolvers = {
    first_char: [(tag, pattern) for tag, pattern in resolvers if tag not in _REMOVED_TAGS]
    for first_char, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))


class _StrictDumper(yaml.SafeDumper):
    """Quotes strings that the strict loader, unlike PyYAML's, would read as numbers ("1e-3"), and
    escapes what is not printable (PyYAML turns U+0085 in a plain string into a space).
    """


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    )


_StrictDumper.add_representer(str, _represent_text)
_StrictDumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str | bytes) -> Any:
    """The plain data in `text`; None if it is empty.

    Raises:
        YamlError: the text is not legal; gives line and column.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(f"is longer than {MAX_BYTES:,} bytes; write a smaller file")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise YamlError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    try:
        # The loader derives from SafeLoader: no tag constructs a Python object.
        return yaml.load(text.removeprefix("\ufeff"), Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = error.problem or "not valid YAML"
        raise YamlError(
            position + ("a tab is not allowed here; use spaces" if "'\\t'" in problem else problem)
        ) from None
    except RecursionError:
        raise YamlError("is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(str(error).splitlines()[0]) from None


def read_yaml(path: Path) -> Any:
    """The plain data in a file.

    Raises:
        YamlError: the file is not legal YAML, or is a directory; names the path.
        OSError: the file cannot be read.
    """
    if path.is_dir():
        raise YamlError(f"{path}: is a directory, not a YAML file")
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    try:
        return parse_yaml(text)
    except YamlError as error:
        raise YamlError(f"{path}: {error}") from None


def dump_yaml(data: object) -> str:
    """`data` (dicts, lists, strings, numbers) as block YAML, in its order."""
    return yaml.dump(data, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True, width=120)
