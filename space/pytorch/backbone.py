"""Feature maps at several scales: the backbone of a detector or a segmentation network, like timm's
`features_only`.

The maps are the last ones before the resolution halves again: those of B0's stages 1, 2, 3, 5 and
7, at reductions 2 to 32. A backbone has no head, no classifier and nothing after its last map. The
other modules have ConvNet's names, and nothing depends on the spec's resolution: a map's size is
ceil(size / reduction) for any image size.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from phinas.space.field_checks import SpecError
from phinas.space.network_fields import NetworkFields
from phinas.space.pytorch.conv_net import ConvNet


@dataclass(frozen=True, slots=True)
class FeatureLevel:
    """One feature map.

    Attributes:
        reduction: size of the image over size of the map (timm's term).
        width: channels.
        module: the module that outputs it (stem, pool, stages.1, ...).
    """

    reduction: int
    width: int
    module: str


def feature_levels(spec: NetworkFields) -> tuple[FeatureLevel, ...]:
    """Every level of a network of `spec`, the finest first."""
    levels = [FeatureLevel(spec.stem_stride, spec.stem_width, "stem")]
    if spec.stem_pool:
        levels.append(FeatureLevel(spec.stem_stride * 2, spec.stem_width, "pool"))
    for number, stage in enumerate(spec.stages, start=1):
        if stage.block != "identity":
            levels.append(
                FeatureLevel(levels[-1].reduction * stage.stride, stage.width, f"stages.{number}")
            )
    # the last of those with equal reductions
    return tuple({level.reduction: level for level in levels}.values())


def _select_levels(
    spec: NetworkFields, reductions: Sequence[int] | None
) -> tuple[FeatureLevel, ...]:
    available = {level.reduction: level for level in feature_levels(spec)}
    if reductions is None:
        return tuple(available.values())
    available_text = f"this network has {', '.join(map(str, available))}"
    if isinstance(reductions, str) or not isinstance(reductions, Sequence) or not reductions:
        raise SpecError(f"levels: {reductions!r} is not a list of reductions; {available_text}")
    for reduction in reductions:
        if (
            isinstance(reduction, bool)
            or not isinstance(reduction, int)
            or reduction not in available
        ):
            raise SpecError(
                f"levels: {reduction!r} is not an available reduction; {available_text}"
            )
    if list(reductions) != (sorted_reductions := sorted(set(reductions))):
        raise SpecError(
            f"levels: {list(reductions)} is not in ascending order; write {sorted_reductions}"
        )
    return tuple(available[reduction] for reduction in reductions)


class Backbone(nn.Module):
    """Computes a list of feature maps (N, width, ceil(H / reduction), ceil(W / reduction)) from
    images (N, channels, H, W) of any size.

    It consists of modules of `model` and shares their weights.

    Args:
        model: a network of `spec`.
        spec: the description of the network.
        levels: reductions in ascending order; None: all.

    Attributes:
        reductions: the reduction of each map, the finest first.
        widths: the channels of each map.

    Raises:
        SpecError: the network has no map of a reduction.
    """

    def __init__(
        self, model: ConvNet, spec: NetworkFields, *, levels: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        selected_levels = _select_levels(spec, levels)
        self.reductions = tuple(level.reduction for level in selected_levels)
        self.widths = tuple(level.width for level in selected_levels)
        layers = OrderedDict(model.stem.named_children())
        pool = layers.pop("pool", None)  # separate, because the map before it is a level
        stages = OrderedDict(model.stages.named_children())
        module_names = ["stem", *(["pool"] if pool else []), *(f"stages.{name}" for name in stages)]
        num_modules = module_names.index(selected_levels[-1].module) + 1
        self._module_names = tuple(module_names[:num_modules])
        self._output_modules = frozenset(level.module for level in selected_levels)
        self._ignored_prefixes = (
            "head.",
            "classifier.",
            *(f"{module}." for module in module_names[num_modules:]),
        )
        self.stem = nn.Sequential(layers)
        if "pool" in self._module_names:
            self.pool = pool
        used_stages = (
            (name, stage)
            for name, stage in stages.items()
            if f"stages.{name}" in self._module_names
        )
        self.stages = nn.Sequential(OrderedDict(used_stages))

    def forward(self, images: Tensor) -> list[Tensor]:
        features, maps = images, []
        for module in self._module_names:
            features = self.get_submodule(module)(features)
            if module in self._output_modules:
                maps.append(features)
        return maps

    def load_network_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy the weights of a ConvNet of the same spec (its state dict).

        Weights of head, classifier and omitted stages are ignored.

        Raises:
            SpecError: any other tensor is missing, unexpected or of another shape. Nothing is
                copied then.
        """
        expected = self.state_dict()
        loaded = {
            name: tensor
            for name, tensor in weights.items()
            if name in expected or not name.startswith(self._ignored_prefixes)
        }
        for name in sorted(expected.keys() | loaded.keys()):
            actual_shape, expected_shape = (
                tuple(state[name].shape) if name in state else "absent"
                for state in (loaded, expected)
            )
            if actual_shape != expected_shape:
                raise SpecError(
                    f"weights: {name} is {actual_shape} in the state dict and {expected_shape} in "
                    "the network; use weights of the same spec"
                )
        self.load_state_dict(loaded)


def build_backbone(spec: NetworkFields, *, levels: Sequence[int] | None = None) -> Backbone:
    """A freshly initialized backbone, with the weights that `ArchSpec.build` would draw.

    Args:
        spec: the description of the network.
        levels: reductions in ascending order, such as (8, 16, 32); None: all.

    Raises:
        SpecError: the network has no map of a reduction.
    """
    return Backbone(ConvNet(spec), spec, levels=levels)
