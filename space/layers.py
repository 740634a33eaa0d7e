"""Lowering: which convolutions a network is made of. The one place that knows a block's arithmetic.

The torch modules (`blocks`), the closed-form cost (`cost`), other tools' counts and other tools'
names all read what is lowered here, so they cannot disagree. Sizes follow "same" padding: a
convolution of stride s turns a resolution of n pixels into ceil(n / s). Squeeze-and-excitation has
max(1, int(block_input_width * se)) channels between and the only biases, as in EfficientNet's
published code.
"""

from collections.abc import Callable
from dataclasses import dataclass

from phinas.space.spec import ArchSpec, StageSpec


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution. `norm`: a batch norm follows (and no bias); `activation`: a name of
    spec.ACTIVATIONS, or "sigmoid", or "" for none; `pooled_input`: it works on the globally pooled
    1x1 map."""

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
    """The convolutions of one block in order; whether its input is added to its output, through
    which `projection` if any; the activation after that."""

    convs: tuple[Conv, ...]
    shortcut: bool
    projection: Conv | None = None
    activation: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """stem -> 3x3 max pooling of stride 2, if `stem_pool` -> stages of blocks -> head, if any ->
    global average pooling -> linear (classes). A stage without blocks passes its input on."""

    stem: Conv
    stem_pool: bool
    stages: tuple[tuple[Block, ...], ...]
    head: Conv | None


def output_resolution(resolution: int, stride: int) -> int:
    """The resolution of a map after a convolution of that stride with "same" padding."""
    # Not -(-resolution // stride): ONNX divides a negative number towards 0.
    return (resolution + stride - 1) // stride


def _squeeze_excite(width: int, in_width: int, se: float, activation: str) -> list[Conv]:
    """Squeeze-and-excitation of a map of `width` channels."""
    if not se:
        return []
    squeeze_width = max(1, int(in_width * se))
    return [
        Conv("squeeze", width, squeeze_width, norm=False, activation=activation, pooled_input=True),
        Conv("excite", squeeze_width, width, norm=False, activation="sigmoid", pooled_input=True),
    ]


def _mbconv(stage: StageSpec, in_width: int, stride: int, activation: str) -> Block:
    hidden = int(in_width * stage.expansion)
    convs = [Conv("expand", in_width, hidden, activation=activation)] if hidden != in_width else []
    convs.append(
        Conv(
            "depthwise", hidden, hidden, stage.kernel, stride, groups=hidden, activation=activation
        )
    )
    convs += _squeeze_excite(hidden, in_width, stage.se, activation)
    convs.append(Conv("project", hidden, stage.width))
    return Block(tuple(convs), shortcut=stage.skip and stride == 1 and in_width == stage.width)


def _fused_mbconv(stage: StageSpec, in_width: int, stride: int, activation: str) -> Block:
    hidden = int(in_width * stage.expansion)
    shortcut = stage.skip and stride == 1 and in_width == stage.width
    if hidden == in_width:
        convs = [Conv("conv", in_width, stage.width, stage.kernel, stride, activation=activation)]
        return Block(
            (*convs, *_squeeze_excite(stage.width, in_width, stage.se, activation)), shortcut
        )
    convs = [Conv("expand", in_width, hidden, stage.kernel, stride, activation=activation)]
    convs += _squeeze_excite(hidden, in_width, stage.se, activation)
    return Block((*convs, Conv("project", hidden, stage.width)), shortcut)


def _bottleneck(stage: StageSpec, in_width: int, stride: int, activation: str) -> Block:
    # The stride is the k x k convolution's ("ResNet v1.5", torchvision's and timm's), the paper's
    # was the first one's.
    hidden = max(1, int(stage.width / stage.expansion))
    convs = (
        Conv("reduce", in_width, hidden, activation=activation),
        Conv("conv", hidden, hidden, stage.kernel, stride, activation=activation),
        Conv("restore", hidden, stage.width),
        *_squeeze_excite(stage.width, in_width, stage.se, activation),
    )
    shapes_match = stride == 1 and in_width == stage.width
    projection = (
        None
        if shapes_match or not stage.skip
        else Conv("shortcut", in_width, stage.width, 1, stride)
    )
    return Block(convs, stage.skip, projection, activation)


def _separable(stage: StageSpec, in_width: int, stride: int, activation: str) -> Block:
    depthwise = Conv(
        "depthwise",
        in_width,
        in_width,
        stage.kernel,
        stride,
        groups=in_width,
        activation=activation,
    )
    return Block(
        (depthwise, Conv("pointwise", in_width, stage.width, activation=activation)), shortcut=False
    )


def _conv(stage: StageSpec, in_width: int, stride: int, activation: str) -> Block:
    return Block(
        (Conv("conv", in_width, stage.width, stage.kernel, stride, activation=activation),),
        shortcut=False,
    )


_BLOCK_LOWERINGS: dict[str, Callable[[StageSpec, int, int, str], Block]] = {
    "mbconv": _mbconv,
    "fused_mbconv": _fused_mbconv,
    "bottleneck": _bottleneck,
    "separable": _separable,
    "conv": _conv,
}


def lower_block(stage: StageSpec, *, in_width: int, first: bool, activation: str) -> Block:
    """One block of `stage`, which is no identity; the `first` one carries the stride. activation:
    the network's.
    """
    stride = stage.stride if first else 1
    return _BLOCK_LOWERINGS[stage.block](stage, in_width, stride, stage.activation or activation)


def lower_stem(spec: ArchSpec) -> Conv:
    return Conv(
        "stem",
        spec.channels,
        spec.stem_width,
        spec.stem_kernel,
        spec.stem_stride,
        activation=spec.activation,
    )


def lower(spec: ArchSpec) -> Network:
    """Every convolution of `spec`, in the order in which an image meets them."""
    stages: list[tuple[Block, ...]] = []
    width = spec.stem_width
    for stage in spec.stages:
        if stage.block == "identity":
            stages.append(())
            continue
        first = lower_block(stage, in_width=width, first=True, activation=spec.activation)
        repeated_block = lower_block(
            stage, in_width=stage.width, first=False, activation=spec.activation
        )
        stages.append((first, *[repeated_block] * (stage.depth - 1)))
        width = stage.width
    head = (
        Conv("head", width, spec.head_width, activation=spec.activation)
        if spec.head_width
        else None
    )
    return Network(lower_stem(spec), spec.stem_pool, tuple(stages), head)
