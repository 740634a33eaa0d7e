"""Lowering: which convolutions a network is made of. The one place that knows a block's arithmetic.

The torch modules (`blocks`) and the closed-form cost (`cost`) both read what is lowered here, so they cannot disagree.
Sizes follow "same" padding: a convolution of stride s turns a side of n pixels into ceil(n / s).
MBConv as in EfficientNet (arXiv:1905.11946) and its published code: expand 1x1, depthwise k x k, squeeze-and-excitation,
project 1x1 (linear). The squeeze has max(1, int(input_width * se)) channels and the only biases.
"""

from dataclasses import dataclass

from space.spec import ArchSpec, StageSpec


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution. `norm`: a batch norm follows (and no bias); `activation`: a name of spec.ACTIVATIONS, or "sigmoid",
    or "" for none; `pooled`: it works on the globally pooled 1x1 map."""

    role: str
    in_width: int
    out_width: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    norm: bool = True
    activation: str = ""
    pooled: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """The convolutions of one MBConv in order, and whether its input is added to its output."""

    convs: tuple[Conv, ...]
    shortcut: bool


@dataclass(frozen=True, slots=True)
class Network:
    """stem -> stages of blocks -> head -> global average pooling -> linear (classes)."""

    stem: Conv
    stages: tuple[tuple[Block, ...], ...]
    head: Conv


def lower_block(stage: StageSpec, *, in_width: int, first: bool, activation: str) -> Block:
    """One MBConv of `stage`; the `first` one carries the stride."""
    stride = stage.stride if first else 1
    hidden = int(in_width * stage.expansion)
    convs = [Conv("expand", in_width, hidden, activation=activation)] if hidden != in_width else []
    convs.append(Conv("depthwise", hidden, hidden, stage.kernel, stride, groups=hidden, activation=activation))
    if stage.se:
        squeezed = max(1, int(in_width * stage.se))
        convs.append(Conv("squeeze", hidden, squeezed, norm=False, activation=activation, pooled=True))
        convs.append(Conv("excite", squeezed, hidden, norm=False, activation="sigmoid", pooled=True))
    convs.append(Conv("project", hidden, stage.width))
    return Block(tuple(convs), shortcut=stage.skip and stride == 1 and in_width == stage.width)


def lower(spec: ArchSpec) -> Network:
    """Every convolution of `spec`, in the order in which an image meets them."""
    act = spec.activation
    stem = Conv("stem", spec.channels, spec.stem_width, spec.stem_kernel, spec.stem_stride, activation=act)
    stages = []
    width = spec.stem_width
    for stage in spec.stages:
        first = lower_block(stage, in_width=width, first=True, activation=act)
        rest = lower_block(stage, in_width=stage.width, first=False, activation=act)
        stages.append((first, *[rest] * (stage.depth - 1)))
        width = stage.width
    return Network(stem, tuple(stages), Conv("head", width, spec.head_width, activation=act))
