"""YAML text in and out, hardened: what a file says is what a reader sees, or an error with line and column.

A safe loader (no Python objects) that also refuses duplicate keys, aliases (an alias bomb needs none of our files'
features), tabs, NUL and text over 1 MiB, and reads `1e-3` as the number that YAML 1.2 says it is.
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


class YamlError(ValueError):
    """Text that is not the YAML we read. The message says where and what to do."""


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias (*name) is not allowed here; write the value out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool) or key in seen:
                problem = f"duplicate key {key!r}" if isinstance(key, Hashable) and key in seen else f"{key!r} can't be a key"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str | bytes) -> Any:
    """The plain data in `text` (None for an empty one). Raises YamlError with line and column."""
    if isinstance(text, bytes):
        if len(text) > MAX_BYTES:
            raise YamlError(f"is {len(text):,} bytes long; a file like this has at most {MAX_BYTES:,}")
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise YamlError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    try:
        # The loader derives from SafeLoader: no tag constructs a Python object.
        return yaml.load(text.removeprefix("\ufeff"), Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = (error.problem or "not valid YAML").replace("found character '\\t'", "found a tab; indent with spaces:")
        raise YamlError(f"{where}{problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise YamlError(str(error).splitlines()[0] if str(error) else "is nested too deeply") from None


def read_yaml(path: Path) -> Any:
    """The plain data in a file. Raises YamlError naming the path; FileNotFoundError, PermissionError as they come."""
    if path.is_dir():
        raise YamlError(f"{path}: is a directory, not a YAML file")
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    try:
        return parse_yaml(text)
    except YamlError as error:
        raise YamlError(f"{path}: {error}") from None


def dump_yaml(data: object) -> str:
    """`data` (dicts, lists, strings, numbers) as block YAML in the order given."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
