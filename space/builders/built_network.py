"""A network that a user's function builds, at factors of depth and width of that function.

Its identity, cost and limits are found by building it on torch's meta device
(`phinas.space.builders.prices`), when they are first needed. Two pairs of factors that give the
same module are the same network.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from phinas.space.builders.builder_function import builder_name, load_builder
from phinas.space.builders.prices import (
    BuilderArguments,
    Price,
    builder_prices,
    call_builder,
)
from phinas.space.cost import Cost
from phinas.space.field_checks import (
    SpecError,
    check_integer,
    check_number,
    field_error,
    field_values,
)
from phinas.space.network_fields import MAX_RESOLUTION
from phinas.space.scaling import DepthRounding, check_factor, round_resolution
from phinas.space.stage_spec import MAX_WIDTH

if TYPE_CHECKING:
    from torch import nn

KIND = "builder"
# Of the user's network. Builders are called at the ends of these ranges.
MIN_FACTOR, MAX_DEPTH_FACTOR, MAX_WIDTH_FACTOR = 0.125, 128.0, 32.0


@dataclass(frozen=True, slots=True, eq=False)
class BuiltNetwork:
    """A network of a model builder (`phinas.space.builders.builder_function`).

    Attributes:
        builder: The name of the function.
        resolution: Height and width of the images, in px.
        channels: Channels of the images.
        classes: Number of classes.
        depth: Factor of the depth of the user's network, as the function gets it.
        width: The same for width.
        source: A hash of the user's files; "" if they are not to be checked. With other files the
            network cannot be built.
        recorded: Identity and cost, if they are known. Then the user's files are needed only to
            build the network.

    Raises:
        SpecError: A field is not legal.
    """

    builder: str
    resolution: int
    channels: int = 3
    classes: int = 1000
    depth: float = 1.0
    width: float = 1.0
    source: str = ""
    recorded: Price | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.builder, str):
            raise field_error("builder", self.builder, "is not the name of a function")
        check_integer("resolution", self.resolution, minimum=1, maximum=MAX_RESOLUTION)
        for name in ("channels", "classes"):
            check_integer(name, getattr(self, name), minimum=1, maximum=MAX_WIDTH)
        limits = {"depth": MAX_DEPTH_FACTOR, "width": MAX_WIDTH_FACTOR}
        for name, maximum in limits.items():
            check_number(name, getattr(self, name), minimum=MIN_FACTOR, maximum=maximum)

    @property
    def network_id(self) -> str:
        """Twelve hexadecimal digits: a hash of the shapes of all parameters and of all operations
        of the module.
        """
        return self._price.network_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BuiltNetwork) and self.network_id == other.network_id

    def __hash__(self) -> int:
        return hash(self.network_id)

    @property
    def structure(self) -> str:
        """A hash of the layers, without their number of pixels. It is found faster than
        `network_id`.
        """
        self._check_source()
        return builder_prices(self.builder).structure(self.arguments)

    @property
    def arguments(self) -> BuilderArguments:
        """What the function is called with."""
        return BuilderArguments(
            self.depth, self.width, self.resolution, self.classes, self.channels
        )

    @property
    def min_resolution(self) -> int:
        """The smallest resolution in px that the network can process, at most its own."""
        return _find_min_resolution(self)

    def cost(self) -> Cost:
        """FLOPs (multiply-adds), parameters, activations and peak activations for one image. They
        are exact; `phinas.space.builders.trace` says what is counted.

        Raises:
            SpecError: The function raises an error, or returns something else than such a network.
        """
        return self._price.cost

    def flops_by_size(self) -> dict[float, int]:
        """The FLOPs by the height of the layers' outputs, as of
        `phinas.space.builders.trace.Trace`.
        """
        return dict(self._price.flops_by_size)

    def build(self) -> "nn.Module":
        """The torch module, as the function returns it."""
        self._check_source()
        return call_builder(self.builder, self.arguments)

    def canonicalize(self) -> Self:
        """The network itself."""
        return self

    def adapt(
        self,
        *,
        channels: int | None = None,
        classes: int | None = None,
        resolution: int | None = None,
    ) -> Self:
        """The same network for other images or classes; None leaves a value as it is."""
        changes = {"channels": channels, "classes": classes, "resolution": resolution}
        values: dict[str, Any] = {name: v for name, v in changes.items() if v is not None}
        return replace(self, **values, recorded=None)

    def with_factors(
        self,
        *,
        depth: float | None = None,
        width: float | None = None,
        resolution: int | None = None,
    ) -> Self:
        """The same network with other factors of the user's network; None leaves one as it is."""
        changes = {"depth": depth, "width": width, "resolution": resolution}
        values: dict[str, Any] = {name: v for name, v in changes.items() if v is not None}
        return replace(self, **values, recorded=None)

    def scale(
        self,
        *,
        depth: float = 1.0,
        width: float = 1.0,
        resolution: float = 1.0,
        divisor: int = 8,  # noqa: ARG002 - the function rounds
        rounding: DepthRounding = "ceil",  # noqa: ARG002
    ) -> Self:
        """This network with its factors and its resolution multiplied. The function rounds depth
        and width; a factor below MIN_FACTOR is raised to it.

        Args:
            depth: factor of the depth.
            width: factor of the width.
            resolution: factor of the resolution.
            divisor: without effect.
            rounding: without effect.

        Raises:
            SpecError: a factor is not legal, or exceeds MAX_DEPTH_FACTOR or MAX_WIDTH_FACTOR.
        """
        for name, factor in (("width", width), ("depth", depth), ("resolution", resolution)):
            check_factor(name, factor)
        return self.with_factors(
            depth=max(MIN_FACTOR, self.depth * depth),
            width=max(MIN_FACTOR, self.width * width),
            resolution=round_resolution(self.resolution * resolution),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the key `kind`, and with identity and cost."""
        values = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        price = self._price
        recorded = {
            "network_id": price.network_id,
            **asdict(price.cost),
            "flops_by_size": [[size, count] for size, count in price.flops_by_size.items()],
        }
        return {"kind": KIND, **values, "recorded": recorded}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """A network from plain data without the key `kind`.

        Raises:
            SpecError: names the field, the value and the remedy.
        """
        values = field_values(cls, data, "")
        if values.get("recorded") is not None:
            values["recorded"] = _recorded_price(values["recorded"])
        return cls(**values)

    @classmethod
    def of_builder(cls, reference: str, *, resolution: int | None = None) -> Self:
        """The user's network at factors of 1, for three channels and 1000 classes.

        Args:
            reference: The name of the function.
            resolution: In px; None: that of the builder.

        Raises:
            SpecError: There is no such function, or its module cannot be imported.
        """
        builder = load_builder(reference)
        source = builder.sources.digest if builder.sources.files else ""
        return cls(builder_name(reference), resolution or builder.resolution, source=source)

    def check_repeatable(self) -> None:
        """Raises SpecError if the function makes different networks of the same arguments."""
        builder_prices(self.builder).check_repeatable(self.arguments)

    @property
    def _price(self) -> Price:
        if self.recorded is not None:
            return self.recorded
        self._check_source()
        return builder_prices(self.builder).price(self.arguments)

    def _check_source(self) -> None:
        if self.source and self.source != load_builder(self.builder).sources.digest:
            raise SpecError(
                f"builder: {self.builder}: its files have changed since this network was made; "
                "restore them, or start a new run"
            )


_PLAIN_FIELDS = tuple(field.name for field in fields(BuiltNetwork) if field.name != "recorded")


def _recorded_price(data: object) -> Price:
    """Raises SpecError if the data is not the record of a network."""
    try:
        assert isinstance(data, Mapping)
        costs = {field.name: int(data[field.name]) for field in fields(Cost)}
        sizes = {float(size): int(count) for size, count in data["flops_by_size"]}
        return Price(str(data["network_id"]), Cost(**costs), sizes)
    except (AssertionError, KeyError, TypeError, ValueError):
        raise field_error("recorded", data, "is not identity and cost; remove it") from None


@lru_cache(maxsize=64)
def _find_min_resolution(network: BuiltNetwork) -> int:
    low, high = 1, network.resolution
    while low < high:
        middle = (low + high) // 2
        try:
            network.with_factors(resolution=middle).cost()
        except SpecError:
            low = middle + 1
        else:
            high = middle
    return high
