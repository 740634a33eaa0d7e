"""What the networks of a builder cost: each is built and traced once.

Building and tracing take 0.05 to 0.5 s, and the same arguments come again and again: in the grid,
for each phi, in a plan, in the run after it and in its workers. So the results are kept in memory
and in a file of the cache directory, one for each state of the user's files and of torch.
"""

import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.space.builders.builder_function import BuilderFunction, describe, load_builder
from phinas.space.cache_directory import CACHE_LIMIT_VARIABLE, is_trusted_owner, open_cache_folder
from phinas.space.cost import Cost
from phinas.space.field_checks import SpecError

if TYPE_CHECKING:
    from torch import nn

_FORMAT = 1  # of the file, and of what is counted


@dataclass(frozen=True, slots=True)
class BuilderArguments:
    """The arguments of a call of a builder."""

    depth: float
    width: float
    resolution: int
    classes: int
    channels: int

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in asdict(self).items())


@dataclass(frozen=True, slots=True)
class Price:
    """What a network is and costs; attributes as of `phinas.space.builders.trace.Trace`."""

    network_id: str
    cost: Cost
    flops_by_size: Mapping[float, int]


class BuilderPrices:
    """The prices of the networks of one builder.

    Attributes:
        num_traces: How many networks were traced, those of the cache not included.
    """

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.num_traces = 0
        self._structures: dict[str, str] = {}
        self._prices: dict[str, Price] = {}
        self._settings: dict[str, str] = {}
        self._by_settings: dict[tuple[str, int], Price] = {}
        self._path = _cache_path(load_builder(reference))
        self._read()

    def structure(self, arguments: BuilderArguments) -> str:
        """A hash of the layers of a network. It is built but not traced."""
        key = str(arguments)
        if key not in self._structures:
            self._build(arguments)
        return self._structures[key]

    def check_repeatable(self, arguments: BuilderArguments) -> None:
        """Raises SpecError if two calls with these arguments make different networks."""
        self._build(arguments)
        self._build(arguments)

    def price(self, arguments: BuilderArguments) -> Price:
        """Identity and cost of a network.

        Raises:
            SpecError: The builder raises an error, or returns something else than such a network.
        """
        key = str(arguments)
        if key not in self._prices:
            place = (self._settings.get(key, ""), arguments.resolution)
            if place not in self._by_settings:
                module = self._build(arguments)
                place = (self._settings[key], arguments.resolution)
                if place not in self._by_settings:
                    self._by_settings[place] = self._trace(module, arguments)
            self._prices[key] = self._by_settings[place]
            self._append("price", key, _price_to_data(self._prices[key]))
        return self._prices[key]

    def _build(self, arguments: BuilderArguments) -> "nn.Module":
        from torch import nn

        from phinas.space.builders.meta_module import build_on_meta, settings_id, structure_id

        module = build_on_meta(lambda: call_builder(self.reference, arguments))
        assert isinstance(module, nn.Module)
        key = str(arguments)
        structure = structure_id(module)
        ignored = (arguments.depth, arguments.width)
        self._settings[key] = settings_id(module, ignored=ignored)
        if key not in self._structures:
            self._structures[key] = structure
            self._append("structure", key, structure)
        if self._structures[key] != structure:
            raise SpecError(
                f"builder: {self.reference}: made two different networks of {arguments}; it must "
                "make the same network each time"
            )
        return module

    def _trace(self, module: "nn.Module", arguments: BuilderArguments) -> Price:
        from phinas.space.builders.trace import TraceError, trace

        try:
            traced = trace(
                module,
                channels=arguments.channels,
                resolution=arguments.resolution,
                classes=arguments.classes,
            )
        except TraceError as error:
            raise SpecError(f"builder: {self.reference}({arguments}): {error}") from None
        except Exception as error:
            raise SpecError(
                f"builder: {self.reference}({arguments}): the network cannot process an image of "
                f"{arguments.resolution} px ({describe(error)})"
            ) from error
        if not traced.cost.flops:
            raise SpecError(
                f"builder: {self.reference}({arguments}): the network has no convolution, linear "
                "layer or matrix product, so it has no FLOPs to scale"
            )
        self.num_traces += 1
        return Price(traced.network_id, traced.cost, traced.flops_by_size)

    def _read(self) -> None:
        if self._path is None or not self._path.is_file():
            return
        if not is_trusted_owner(self._path):
            self._path = None
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                kind, key, value = json.loads(line)
                if kind == "structure":
                    self._structures[key] = str(value)
                else:
                    self._prices[key] = _price_from_data(value)
            except (ValueError, TypeError, KeyError):
                continue  # a line that another process has not finished

    def _append(self, kind: str, key: str, value: object) -> None:
        """Add a line to the file. Without one, prices are computed again by each process."""
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([kind, key, value]) + "\n")
        except OSError:
            self._path = None


@lru_cache(maxsize=16)
def builder_prices(reference: str) -> BuilderPrices:
    """The prices of a builder's networks, for this process."""
    return BuilderPrices(reference)


def call_builder(reference: str, arguments: BuilderArguments) -> "nn.Module":
    """Call the user's function.

    Raises:
        SpecError: It raises an error, or returns something else than a module.
    """
    from torch import nn

    function: Callable[..., Any] = load_builder(reference).function
    try:
        module = function(**asdict(arguments))
    except ModuleNotFoundError as error:
        raise SpecError(
            f"builder: {reference}({arguments}): needs the package {error.name!r}, which is not "
            "installed; install it"
        ) from None
    except Exception as error:
        raise SpecError(f"builder: {reference}({arguments}): raised {describe(error)}") from error
    if not isinstance(module, nn.Module):
        raise SpecError(
            f"builder: {reference}({arguments}): returned {type(module).__name__} and not a "
            "torch.nn.Module"
        )
    return module


def _cache_path(builder: BuilderFunction) -> Path | None:
    """The file for these sources; None without a cache, or if another user owns it."""
    if os.environ.get(CACHE_LIMIT_VARIABLE, "").strip() in ("0", "0.0"):
        return None
    packages = {**builder.sources.packages, "torch": importlib.metadata.version("torch")}
    versions = "-".join(f"{name}{number}" for name, number in sorted(packages.items()))
    name = f"{_FORMAT}-{builder.cache_name}-{versions}"
    try:
        return open_cache_folder("builders") / f"{name[:200]}.jsonl"
    except OSError:
        return None


def _price_to_data(price: Price) -> dict[str, Any]:
    sizes = [[size, flops] for size, flops in price.flops_by_size.items()]
    return {"id": price.network_id, "cost": list(_cost_values(price.cost)), "sizes": sizes}


def _price_from_data(data: Mapping[str, Any]) -> Price:
    sizes = {float(size): int(flops) for size, flops in data["sizes"]}
    return Price(str(data["id"]), Cost(*map(int, data["cost"])), sizes)


def _cost_values(cost: Cost) -> tuple[int, int, int, int]:
    return cost.flops, cost.params, cost.activations, cost.peak_activations
