"""Maps at several scales from a network of a spec: the backbone of a detector or a segmenter, as
timm's `features_only`.

The maps are the last ones before the resolution halves again: of B0 those of stages 1, 2, 3, 5 and
7, at reductions 2 to 32. Head and classifier are not there, nor is anything after the last map that
is asked for. What is left has ConvNet's names, and nothing in it depends on the spec's resolution:
a map's size is ceil(size / reduction) for any image size.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from phinas.space.blocks import ConvNet, build
from phinas.space.spec import ArchSpec, SpecError


@dataclass(frozen=True, slots=True)
class FeatureLevel:
    """One map: the input's size over its size (timm's reduction), its channels, and the module
    that outputs it (stem,
    pool, stages.1, ...).
    """

    reduction: int
    width: int
    module: str


def feature_levels(spec: ArchSpec) -> tuple[FeatureLevel, ...]:
    """Every level that a network of `spec` has, the finest first. One of reduction 1 is there if
    the stem has stride 1.
    """
    levels = [FeatureLevel(spec.stem_stride, spec.stem_width, "stem")]
    if spec.stem_pool:
        levels.append(FeatureLevel(spec.stem_stride * 2, spec.stem_width, "pool"))
    for number, stage in enumerate(spec.stages, start=1):
        if stage.block != "identity":
            levels.append(
                FeatureLevel(levels[-1].reduction * stage.stride, stage.width, f"stages.{number}")
            )
    # of equal reductions the last
    return tuple({level.reduction: level for level in levels}.values())


def _select_levels(spec: ArchSpec, reductions: Sequence[int] | None) -> tuple[FeatureLevel, ...]:
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
                f"levels: {reduction!r} is not a reduction that there is; {available_text}"
            )
    if list(reductions) != (sorted_reductions := sorted(set(reductions))):
        raise SpecError(
            f"levels: {list(reductions)} does not rise, as the maps do; write {sorted_reductions}"
        )
    return tuple(available[reduction] for reduction in reductions)


class Backbone(nn.Module):
    """Images (N, channels, H, W) of any size to a list of maps (N, width, ceil(H / reduction),
    ceil(W / reduction)).

    `reductions` and `widths` say what the maps are, the finest first. It is made of the modules of
    `model`, a network of `spec`, and shares their weights. levels: the reductions wanted, rising;
    none: all. Raises SpecError where one is not there.
    """

    def __init__(
        self, model: ConvNet, spec: ArchSpec, *, levels: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        selected_levels = _select_levels(spec, levels)
        self.reductions = tuple(level.reduction for level in selected_levels)
        self.widths = tuple(level.width for level in selected_levels)
        layers = OrderedDict(model.stem.named_children())
        pool = layers.pop("pool", None)  # apart, for the map before it is a level
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
        """Copy the weights of a ConvNet of the same spec (its `state_dict()`, or a file of it that
        was read).

        Head, classifier and stages that are not here are passed over. Raises SpecError where
        anything else is missing, left over or of another shape; nothing is copied then.
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
                    f"weights: {name} is {actual_shape} among them and {expected_shape} in the "
                    "network; give those of the same spec"
                )
        self.load_state_dict(loaded)


def build_backbone(spec: ArchSpec, *, levels: Sequence[int] | None = None) -> Backbone:
    """A freshly initialized network of feature maps, with the weights that `build(spec)` would have
    drawn.

    levels: the reductions wanted, rising, such as (8, 16, 32); none: all of them. Raises SpecError
    where one is not there.
    """
    return Backbone(build(spec), spec, levels=levels)
