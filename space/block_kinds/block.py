"""What a block is made of, and what a kind of block must define."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Outline = Literal["plain", "widening", "narrowing", "waist", "diagonal", "halves"]


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution.

    Attributes:
        name: its role in the block, and the name of its module.
        norm: a batch norm follows; without one the convolution has a bias.
        activation: one of ACTIVATIONS, "sigmoid", or "" for none.
        pooled_input: it works on the globally pooled 1x1 map.
    """

    name: str
    in_width: int
    out_width: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    norm: bool = True
    activation: str = ""
    pooled_input: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """The convolutions of one block, in order.

    Attributes:
        shortcut: the block's input is added to its output.
        projection: the convolution of the shortcut, where there is one.
        activation: the activation after the addition, "" for none.
    """

    convs: tuple[Conv, ...]
    shortcut: bool
    projection: Conv | None = None
    activation: str = ""


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """What one block is lowered from: the fields of its stage, with this block's input width,
    stride and activation.
    """

    in_width: int
    width: int
    kernel: int
    stride: int
    expansion: float
    se: float
    skip: bool
    activation: str

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input."""
        return self.stride == 1 and self.in_width == self.width


@dataclass(frozen=True, slots=True)
class BlockKind:
    """A kind of block. The module, the cost, the diagram and the exports read it here only.

    Attributes:
        labels: its name in diagrams, from the full one to the shortest.
        lower: returns the convolutions of one block; None for `identity`.
        unused_fields: the fields of StageSpec that have no effect.
        outline: its shape in diagrams.
        projects_shortcut: the shortcut is projected where the shapes differ, so that `skip` always
            has an effect.
        expansion_prefix: "1/" where `expansion` is output width over hidden width, "" where it is
            hidden width over input width.
    """

    labels: tuple[str, ...]
    lower: Callable[[BlockSettings], Block] | None
    unused_fields: tuple[str, ...] = ()
    outline: Outline = "plain"
    projects_shortcut: bool = False
    expansion_prefix: str = ""


def squeeze_excite(width: int, settings: BlockSettings) -> tuple[Conv, ...]:
    """Squeeze-and-excitation of a map of `width` channels; none where `se` is 0.

    As in EfficientNet's published code there are max(1, int(in_width * se)) channels between, where
    in_width is the input width of the block.
    """
    if not settings.se:
        return ()
    squeeze_width = max(1, int(settings.in_width * settings.se))
    return (
        Conv(
            "squeeze",
            width,
            squeeze_width,
            norm=False,
            activation=settings.activation,
            pooled_input=True,
        ),
        Conv("excite", squeeze_width, width, norm=False, activation="sigmoid", pooled_input=True),
    )


def residual_block(settings: BlockSettings, *convs: Conv) -> Block:
    """A block of ResNet: squeeze-and-excitation follows `convs`, the activation follows the
    addition, and a 1x1 convolution projects the shortcut where the shapes differ.
    """
    projection = (
        None
        if settings.keeps_shape or not settings.skip
        else Conv("shortcut", settings.in_width, settings.width, 1, settings.stride)
    )
    return Block(
        (*convs, *squeeze_excite(settings.width, settings)),
        settings.skip,
        projection,
        settings.activation,
    )
