"""Model builders for the networks of timm that no spec describes, by the names that they have there
("timm:convnext_atto").

A network is timm's own with scaled arguments of its constructor. Factors of 1 give exactly timm's
network. Rounding is the published one where there is one:

- Depths of stages are rounded up and widths to multiples of 8, as in compound scaling
  (arXiv:1905.11946, `phinas.space.scaling`), for ConvNeXt, ResNet and EfficientViT.
- The depths, widths and group widths of RegNet are rounded as by the published code of its scaling
  (arXiv:2103.06877): depths to the nearest, widths to multiples of the group width.
- The width of a vision transformer, and of EfficientViT's stages with attention, is a whole number
  of heads of the published size (as from DeiT-Ti to DeiT-B, arXiv:2012.12877).
- The images of a vision transformer are padded with zeros to a multiple of its patch. So all
  resolutions that need the same patches cost the same.

timm's defaults are kept: no dropout and no stochastic depth.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from phinas.space.closest_name import suggest_name
from phinas.space.field_checks import SpecError
from phinas.space.interchange.library_models import LIBRARY_MODELS, has_spec, library_name
from phinas.space.interchange.torchvision_import import import_with_torchvision
from phinas.space.scaling import round_depth, scale_depths, scale_widths

if TYPE_CHECKING:
    from torch import nn

# What to do about a network that is not supported
OWN_FUNCTION = "write a function that builds it, and name that as path/to/file.py:function"
_PREFIX = "timm:"
_REGNET_DIVISOR = 8  # of widths and group widths


@dataclass(frozen=True, slots=True)
class _Target:
    """The arguments of a builder."""

    depth: float
    width: float
    resolution: int
    classes: int
    channels: int

    def depths(self, depths: Sequence[int]) -> tuple[int, ...]:
        return tuple(scale_depths(depths, self.depth))

    def widths(self, widths: Sequence[int], *, divisor: int = 8) -> tuple[int, ...]:
        return tuple(scale_widths(widths, self.width, divisor=divisor))

    def heads(self, heads: int) -> int:
        return round_depth(heads * self.width, rounding="round")


@dataclass(frozen=True, slots=True)
class TimmFamily:
    """Networks of timm that are scaled alike.

    Attributes:
        title: The name of the family.
        pattern: A regular expression for the beginning of its networks' names.
        modules: The modules of timm.models that have them.
        build: Makes a network from its name and the arguments of a builder.
    """

    title: str
    pattern: str
    modules: tuple[str, ...]
    build: Callable[[str, _Target], "nn.Module"]


def timm_model_name(source: str) -> str | None:
    """The name in timm of a network that is scaled by its constructor's arguments.

    Args:
        source: "timm:NAME", with or without the tag of weights, or the name on the Hugging Face
            Hub.

    Returns:
        None if the source is something else, a spec describes the network, or its family is not
        supported. Whether timm has the network is not checked.
    """
    name = library_name(source)
    if not name.startswith(_PREFIX) or has_spec(name):
        return None
    model = name.removeprefix(_PREFIX).partition(".")[0]
    return model if _find_family(model) is not None else None


def describe_families() -> str:
    """The supported families in words."""
    titles = [family.title for family in FAMILIES]
    return f"{', '.join(titles[:-1])} and {titles[-1]}"


def suggest_spec(model: str) -> str:
    """The words "did you mean ...?" for a name that is similar to that of a network of timm with a
    spec, or "".
    """
    return suggest_name(f"{_PREFIX}{model}", LIBRARY_MODELS, cutoff=0.85)


def timm_builder(model: str) -> Callable[..., "nn.Module"]:
    """The model builder of a network: `build(*, depth, width, resolution, classes, channels)`.

    Args:
        model: A name that `timm_model_name` returned.

    Raises:
        SpecError: timm is not installed or has no such network.
    """
    family = _find_family(model)
    assert family is not None
    models = _import_timm("timm.models", model)
    if not models.is_model(model):
        names = [name for part in family.modules for name in models.list_models(module=part)]
        hint = suggest_name(model, names) or f"timm.list_models() has the {len(names)} that it has"
        raise SpecError(f"builder: timm {_version()} has no {family.title} {model!r}; {hint}")
    function = partial(_build, model)
    if not models.is_model_in_modules(model, family.modules) or not _is_original(model, function):
        raise SpecError(
            f"builder: {_PREFIX}{model}: phinas cannot scale this network of timm by its arguments "
            f"(but {describe_families()}); {OWN_FUNCTION}"
        )
    return function


def timm_resolution(model: str) -> int:
    """The resolution in px for which timm has the network."""
    return int(_import_timm("timm.models", model).get_pretrained_cfg(model).input_size[-1])


def _is_original(model: str, function: Callable[..., "nn.Module"]) -> bool:
    """Whether factors of 1 give the parameters of timm's network. Not so for pruned networks, and
    for those that crop images to a multiple of their patch.
    """
    from phinas.space.builders.meta_module import build_on_meta, tensor_shapes

    original = _original_network(model)
    resolution, classes = timm_resolution(model), original.num_classes
    module: Any = build_on_meta(
        lambda: function(depth=1, width=1, resolution=resolution, classes=classes, channels=3)
    )
    return tensor_shapes(module) == tensor_shapes(original)


def _build(
    model: str, *, depth: float, width: float, resolution: int, classes: int, channels: int
) -> "nn.Module":
    family = _find_family(model)
    assert family is not None
    return family.build(model, _Target(depth, width, resolution, classes, channels))


def _find_family(model: str) -> TimmFamily | None:
    return next((family for family in FAMILIES if re.match(family.pattern, model)), None)


def _import_timm(module: str, model: str) -> Any:
    try:
        return import_with_torchvision(module)
    except ModuleNotFoundError as error:
        package = (error.name or "timm").partition(".")[0]
        suggestion = suggest_spec(model)
        raise SpecError(
            f"builder: {_PREFIX}{model}: needs the package {package!r}, which is not installed; "
            "install it" + (f" ({suggestion})" if suggestion else "")
        ) from None


def _version() -> str:
    return str(import_with_torchvision("timm").__version__)


def _create(model: str, target: _Target, **arguments: Any) -> "nn.Module":
    """timm's network with other arguments of its constructor."""
    module: nn.Module = import_with_torchvision("timm").create_model(
        model, num_classes=target.classes, in_chans=target.channels, **arguments
    )
    return module


@lru_cache(maxsize=8)
def _original_network(model: str) -> Any:
    """timm's network, without memory for its weights. Its layers show the arguments with which it
    was made.
    """
    from phinas.space.builders.meta_module import build_on_meta

    return build_on_meta(lambda: import_with_torchvision("timm").create_model(model))


def _build_convnext(model: str, target: _Target) -> "nn.Module":
    original = _original_network(model)
    return _create(
        model,
        target,
        depths=target.depths([len(stage.blocks) for stage in original.stages]),
        dims=target.widths([stage["num_chs"] for stage in original.feature_info]),
    )


def _build_regnet(model: str, target: _Target) -> "nn.Module":
    """A RegNet with scaled stages.

    Its constructor takes the parameters of a quantized linear function of widths, which no scaled
    stages follow. The published code scales the stages, and so does this.
    """
    regnet: Any = import_with_torchvision("timm.models.regnet")

    class ScaledRegNet(regnet.RegNet):  # type: ignore[misc]
        """timm's RegNet with scaled arguments of its stages."""

        def _get_stage_args(self, *args: Any, **kwargs: Any) -> tuple[list[dict[str, Any]], Any]:
            stages, common = super()._get_stage_args(*args, **kwargs)
            return [stage | _scale_regnet_stage(stage, target) for stage in stages], common

    module: nn.Module = ScaledRegNet(
        regnet.model_cfgs[model], num_classes=target.classes, in_chans=target.channels
    )
    return module


def _scale_regnet_stage(stage: dict[str, Any], target: _Target) -> dict[str, Any]:
    """Depth, width and group width as by pycls/models/scaler.py, with one factor for both widths.

    timm's networks that are scaled have no bottleneck ratio.
    """
    depth = max(1, round(stage["depth"] * target.depth))
    scaled = {"depth": depth, "drop_path_rates": [0.0] * depth}
    if target.width == 1:
        return scaled
    width = max(1, round(stage["out_chs"] * target.width / _REGNET_DIVISOR)) * _REGNET_DIVISOR
    group = max(1, round(stage["group_size"] * target.width))
    if 2 < group <= 5:
        group = 4
    elif group > 5:
        group = round(group / _REGNET_DIVISOR) * _REGNET_DIVISOR
    group = min(group, width)
    return scaled | {"out_chs": max(group, round(width / group) * group), "group_size": group}


def _build_resnet(model: str, target: _Target) -> "nn.Module":
    """A ResNet or ResNeXt. timm has no argument for the 64 channels of a stem of one layer."""
    original = _original_network(model)
    stages = [original.layer1, original.layer2, original.layer3, original.layer4]
    expansion = stages[0][0].expansion
    widths = [stage["num_chs"] // expansion for stage in original.feature_info[1:]]
    arguments: dict[str, Any] = {}
    if not hasattr(original.conv1, "in_channels"):  # a stem of three layers
        arguments["stem_width"] = target.widths([original.conv1[3].out_channels])[0]
    return _create(
        model,
        target,
        layers=target.depths([len(stage) for stage in stages]),
        channels=target.widths(widths),
        **arguments,
    )


def _build_transformer(model: str, target: _Target) -> "nn.Module":
    from torch import nn

    original = _original_network(model)
    original_heads = next(
        layer.num_heads for layer in original.modules() if hasattr(layer, "num_heads")
    )
    heads = target.heads(original_heads)
    patch = original.patch_embed.patch_size[0]
    padding = -target.resolution % patch
    module = _create(
        model,
        target,
        depth=target.depths([len(original.blocks)])[0],
        embed_dim=original.embed_dim // original_heads * heads,
        num_heads=heads,
        img_size=target.resolution + padding,
    )
    if not padding:
        return module
    before, after = padding // 2, padding - padding // 2
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), module)


def _build_efficientvit(model: str, target: _Target) -> "nn.Module":
    original = _original_network(model)
    # Blocks of a stage that its depth does not count: the one that halves the resolution.
    is_large = type(original).__name__ == "EfficientVitLarge"
    num_local_stages = 3 if is_large else 2
    extra = [int(is_large or index >= num_local_stages) for index in range(len(original.stages))]
    head = next(layer.dim for layer in original.modules() if type(layer).__name__ == "LiteMLA")
    widths = [stage["num_chs"] for stage in original.feature_info]
    local, global_ = widths[:num_local_stages], widths[num_local_stages:]
    stem_width = original.stem.in_conv.conv.out_channels
    return _create(
        model,
        target,
        depths=target.depths(
            [
                len(original.stem) - 1,
                *(len(s.blocks) - count for s, count in zip(original.stages, extra, strict=True)),
            ]
        ),
        widths=target.widths([stem_width, *local]) + target.widths(global_, divisor=head),
        head_widths=target.widths(original.head.widths),
    )


FAMILIES = (
    TimmFamily("ConvNeXt", "(test_)?convnext", ("convnext",), _build_convnext),
    TimmFamily("RegNet X and Y", r"regnet[xy]_\d+(_tv)?$", ("regnet",), _build_regnet),
    # Not with group norm, whose groups do not divide all widths
    TimmFamily("ResNet", r"(test_|eca|se)*resne(t|xt)(?!v2)(?!.*_gn$)", ("resnet",), _build_resnet),
    TimmFamily(
        "ViT and DeiT", "(test_)?(vit|deit3?)_", ("vision_transformer", "deit"), _build_transformer
    ),
    TimmFamily(
        "EfficientViT-B and -L", r"efficientvit_[bl]\d", ("efficientvit_mit",), _build_efficientvit
    ),
)
