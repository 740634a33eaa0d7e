"""The interface of a network: all that search, training, scaling and reports need of one.

`phinas.space.spec.ArchSpec` implements both protocols, and so does a network that a user's function
builds, `phinas.space.builders.built_network.BuiltNetwork`. A network of another kind implements
them too and is listed in `_READERS`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from phinas.space.builders.built_network import KIND, BuiltNetwork
from phinas.space.cost import Cost
from phinas.space.field_checks import SpecError
from phinas.space.scaling import DepthRounding
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from torch import nn


class Network(Protocol):
    """A network that takes images (N, channels, resolution, resolution) and returns logits
    (N, classes). It is immutable.
    """

    @property
    def network_id(self) -> str:
        """Twelve hexadecimal digits: equal for two networks only if they are the same function."""

    @property
    def resolution(self) -> int:
        """Height and width of the images, in px."""

    @property
    def min_resolution(self) -> int:
        """The smallest legal resolution, in px."""

    @property
    def channels(self) -> int:
        """Channels of the images."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    def cost(self) -> Cost:
        """FLOPs (multiply-adds), parameters, activations and peak activations for one image,
        exactly.
        """

    def build(self) -> "nn.Module":
        """The torch module, freshly initialized from torch's current generator on the current
        default device. ONNX export takes it as it is.
        """

    def to_dict(self) -> dict[str, Any]:
        """Plain data from which `network_from_dict` makes the same network; with the key `kind`,
        unless it is a spec.
        """

    def adapt(
        self,
        *,
        channels: int | None = None,
        classes: int | None = None,
        resolution: int | None = None,
    ) -> Self:
        """The same network for other images or classes; None leaves a value as it is.

        Raises:
            SpecError: a value is not legal.
        """


class ScalableNetwork(Network, Protocol):
    """A network that can be scaled in depth, width and resolution."""

    def canonicalize(self) -> Self:
        """The same network in its simplest form."""

    def scale(
        self,
        *,
        depth: float = 1.0,
        width: float = 1.0,
        resolution: float = 1.0,
        divisor: int = 8,
        rounding: DepthRounding = "ceil",
    ) -> Self:
        """This network with its dimensions multiplied by factors and rounded.

        A larger factor never makes a dimension smaller, and a factor of 1 leaves it as it is.

        Args:
            depth: factor of the number of blocks.
            width: factor of all channel counts.
            resolution: factor of the resolution.
            divisor: widths are rounded to multiples of it.
            rounding: how depths are rounded (`phinas.space.scaling`).

        Raises:
            SpecError: a factor is not legal, or the scaled network is not.
        """


NetworkT = TypeVar("NetworkT", bound=ScalableNetwork)

# Each kind of network, and what reads its `to_dict`. Data without the key `kind` is a spec.
_READERS: dict[str, Callable[[object], ScalableNetwork]] = {
    "spec": ArchSpec.from_dict,
    KIND: BuiltNetwork.from_dict,
}


def network_from_dict(data: object) -> ScalableNetwork:
    """The network that `to_dict` described.

    Raises:
        SpecError: the data describes no network; names the field, the value and the remedy.
    """
    if not isinstance(data, Mapping) or "kind" not in data:
        return ArchSpec.from_dict(data)
    fields = dict(data)
    kind = fields.pop("kind")
    if kind not in _READERS:
        raise SpecError(f"kind: {kind!r} is not one of {', '.join(_READERS)}")
    return _READERS[kind](fields)
