"""The description of a search space: its size, the cost of its networks, and its decisions."""

import importlib.util
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phinas.space.loading import path_exists
from phinas.space.search_spaces.cardinality import count_networks
from phinas.space.search_spaces.decisions import Decision, Fields
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError, read_yaml
from phinas.terminal.text_table import DEFAULT_WIDTH, Column, format_table

_METRICS = ("flops", "params", "activations")
_EXACT_DIGITS = 9  # larger numbers of choices are printed as powers of ten
_NETWORK_PREFIXES = ("timm", "torchvision")


@dataclass(frozen=True)
class DecisionDescription:
    """One decision.

    Attributes:
        name: Its name in choices, such as "stages.1.layers.0.op".
        values: Its values.
        fields: The fields that each value sets, of a joint choice. None for a plain one.
    """

    name: str
    values: tuple[Any, ...]
    fields: tuple[Fields, ...] | None


@dataclass(frozen=True)
class SpaceDescription:
    """A search space.

    Attributes:
        name: Its name.
        resolutions: Resolutions of its networks in px.
        channels: Channels of the images.
        classes: Number of classes.
        choices: Number of sets of choices.
        networks: Number of different networks.
        base_network_id: The identifier of the base network.
        base_cost: FLOPs, parameters and activations of the base network.
        cost_ranges: The smallest and the largest value of each, over all networks. None if a stage
            has too many choices for cost tables.
        decisions: The decisions, in the order of a set of choices.
    """

    name: str
    resolutions: tuple[int, ...]
    channels: int
    classes: int
    choices: int
    networks: int
    base_network_id: str
    base_cost: dict[str, int]
    cost_ranges: dict[str, tuple[int, int]] | None
    decisions: tuple[DecisionDescription, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def is_search_space(source: str) -> bool:
    """Whether a name or file is a search space: a shipped one, a YAML file with `base`, or
    package.module:NAME.
    """
    if source in SPACES:
        return True
    path = Path(source).expanduser()
    if path_exists(path) and path.is_file():
        try:
            data = read_yaml(path)
        except (YamlError, OSError):
            return False  # read again as a network, which says what is wrong
        return isinstance(data, Mapping) and "base" in data and "stages" not in _network_keys(data)
    module, _, name = source.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() for part in parts) or parts[0] in _NETWORK_PREFIXES:
        return False
    # Not RUN:NAME, a network of a run.
    return not path_exists(Path(module)) and importlib.util.find_spec(parts[0]) is not None


def _network_keys(data: Mapping[Any, Any]) -> set[Any]:
    """The keys of the file that only a network has: its stages are a list."""
    return {key for key, value in data.items() if isinstance(value, list)}


def describe_space(source: str) -> SpaceDescription:
    """Describe a search space.

    Args:
        source: A shipped space, a YAML file, or package.module:NAME.

    Raises:
        SpecError: It is not a search space.
        YamlError: The file is not YAML.
    """
    space = load_space(source, field="spec")
    base_cost = space.base.cost()
    return SpaceDescription(
        name=space.name,
        resolutions=space.resolutions,
        channels=space.base.channels,
        classes=space.base.classes,
        choices=space.size,
        networks=count_networks(space),
        base_network_id=space.base.network_id,
        base_cost={metric: getattr(base_cost, metric) for metric in _METRICS},
        cost_ranges=_cost_ranges(space),
        decisions=tuple(_describe_decision(decision) for decision in space.decisions),
    )


def _cost_ranges(space: SearchSpace) -> dict[str, tuple[int, int]] | None:
    # numpy, which `phinas describe` of a network does not need
    from phinas.space.search_spaces.cost_tables import CostTables

    try:
        tables = CostTables(space)
    except SpecError:
        return None
    return {metric: tables.cost_range(metric) for metric in _METRICS}


def _describe_decision(decision: Decision) -> DecisionDescription:
    fields = tuple(dict(setting) for setting in decision.settings) if decision.is_joint else None
    return DecisionDescription(decision.name, decision.values, fields)


def as_text(space: SpaceDescription, *, width: int | None = None) -> str:
    """The description of a search space.

    Args:
        space: The description.
        width: Characters of a line; None: 128.
    """
    width = width or DEFAULT_WIDTH
    resolutions = ", ".join(map(str, space.resolutions))
    head = (
        f"{space.name}: a search space of {len(space.decisions)} decisions, "
        f"{_format_count(space.choices)} sets of choices and {_format_count(space.networks)} "
        f"networks, for images of {resolutions} px with {space.channels} channels and "
        f"{space.classes:,} classes"
    )
    costs = [
        Column("", "left"),
        *(Column(title) for title in ("FLOPs", "parameters", "activations")),
    ]
    rows = [[f"base network {space.base_network_id}", *map(_format_int, space.base_cost.values())]]
    for index, title in enumerate(("smallest", "largest") if space.cost_ranges else ()):
        ranges = (space.cost_ranges or {}).values()
        rows.append([title, *(_format_int(limits[index]) for limits in ranges)])
    decisions = [Column("decision", "left"), Column("values", "left", wrap=True)]
    decision_rows = [[name, values] for name, values in _group_layers(space.decisions)]
    return "\n".join(
        [
            *textwrap.wrap(head, width, subsequent_indent="  ", break_on_hyphens=False),
            "",
            *format_table(costs, rows, width=width),
            "",
            *format_table(decisions, decision_rows, width=width),
        ]
    )


def _format_int(count: int) -> str:
    return f"{count:,}"


def _format_count(count: int) -> str:
    return f"{count:,}" if len(str(count)) <= _EXACT_DIGITS else f"{count:.2g}"


def _group_layers(decisions: Iterable[DecisionDescription]) -> list[tuple[str, str]]:
    """Names and values, with the layers of a stage that have equal choices in one row."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for decision in decisions:
        values = "; ".join(_value_texts(decision))
        head, layers, tail = decision.name.partition(".layers.")
        layer, _, field = tail.partition(".")
        group = groups.setdefault((f"{head}{layers}", field, values), [])
        if layers:
            group.append(int(layer))
    return [
        (f"{head}{_format_layers(layers)}.{field}" if layers else head, values)
        for (head, field, values), layers in groups.items()
    ]


def _format_layers(layers: list[int]) -> str:
    is_run = layers == list(range(layers[0], layers[-1] + 1))
    if len(layers) > 2 and is_run:
        return f"{layers[0]}-{layers[-1]}"
    return ",".join(map(str, layers))


def _value_texts(decision: DecisionDescription) -> list[str]:
    if decision.fields is None:
        return [str(value) for value in decision.values]
    texts = []
    for value, fields in zip(decision.values, decision.fields, strict=True):
        setting = ",".join(f"{name}={field_value}" for name, field_value in fields.items())
        is_plain = value == setting or {"block": value} == fields
        texts.append(str(value) if is_plain else f"{value} ({setting})")
    return texts
