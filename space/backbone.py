"""Maps at several scales from a network of a spec: the backbone of a detector or a segmenter, as
timm's `features_only`.

The maps are the last ones before the side halves again: of B0 those of stages 1, 2, 3, 5 and 7, at
reductions 2 to 32. Head and classifier are not there, nor is anything after the last map that is
asked for. What is left has ConvNet's names, and nothing in it depends on the spec's resolution: a
map's side is ceil(side / reduction) for any side.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from phinas.space.blocks import ConvNet, build
from phinas.space.spec import ArchSpec, SpecError


@dataclass(frozen=True, slots=True)
class Level:
    """One map: the input's side over its side, its channels, and the part that it leaves (stem,
    pool, stages.1, ...).
    """

    reduction: int
    width: int
    part: str


def levels_of(spec: ArchSpec) -> tuple[Level, ...]:
    """Every level that a network of `spec` has, the finest first. One of reduction 1 is there if
    the stem has stride 1.
    """
    levels = [Level(spec.stem_stride, spec.stem_width, "stem")]
    if spec.stem_pool:
        levels.append(Level(spec.stem_stride * 2, spec.stem_width, "pool"))
    for number, stage in enumerate(spec.stages, start=1):
        if stage.block != "identity":
            levels.append(
                Level(levels[-1].reduction * stage.stride, stage.width, f"stages.{number}")
            )
    return tuple(
        {level.reduction: level for level in levels}.values()
    )  # of equal reductions the last


def _chosen(spec: ArchSpec, reductions: Sequence[int] | None) -> tuple[Level, ...]:
    known = {level.reduction: level for level in levels_of(spec)}
    if reductions is None:
        return tuple(known.values())
    there_are = f"this network has {', '.join(map(str, known))}"
    if isinstance(reductions, str) or not isinstance(reductions, Sequence) or not reductions:
        raise SpecError(f"levels: {reductions!r} is not a list of reductions; {there_are}")
    for reduction in reductions:
        if isinstance(reduction, bool) or not isinstance(reduction, int) or reduction not in known:
            raise SpecError(f"levels: {reduction!r} is not a reduction that there is; {there_are}")
    if list(reductions) != (rising := sorted(set(reductions))):
        raise SpecError(f"levels: {list(reductions)} does not rise, as the maps do; write {rising}")
    return tuple(known[reduction] for reduction in reductions)


class FeatureNet(nn.Module):
    """Images (N, channels, H, W) of any side to a list of maps (N, width, ceil(H / reduction),
    ceil(W / reduction)).

    `reductions` and `widths` say what the maps are, the finest first. It is made of the modules of
    `model`, a network of `spec`, and shares their weights. levels: the reductions wanted, rising;
    none: all. Raises SpecError where one is not there.
    """

    def __init__(
        self, model: ConvNet, spec: ArchSpec, *, levels: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        chosen = _chosen(spec, levels)
        self.reductions = tuple(level.reduction for level in chosen)
        self.widths = tuple(level.width for level in chosen)
        layers = OrderedDict(model.stem.named_children())
        pool = layers.pop("pool", None)  # apart, for the map before it is a level
        stages = OrderedDict(model.stages.named_children())
        parts = ["stem", *(["pool"] if pool else []), *(f"stages.{name}" for name in stages)]
        end = parts.index(chosen[-1].part) + 1
        self._parts = tuple(parts[:end])
        self._leaving = frozenset(level.part for level in chosen)
        self._left_out = ("head.", "classifier.", *(f"{part}." for part in parts[end:]))
        self.stem = nn.Sequential(layers)
        if "pool" in self._parts:
            self.pool = pool
        kept = ((name, stage) for name, stage in stages.items() if f"stages.{name}" in self._parts)
        self.stages = nn.Sequential(OrderedDict(kept))

    def forward(self, images: Tensor) -> list[Tensor]:
        features, maps = images, []
        for part in self._parts:
            features = self.get_submodule(part)(features)
            if part in self._leaving:
                maps.append(features)
        return maps

    def load_backbone(self, weights: Mapping[str, Tensor]) -> None:
        """Copy the weights of a ConvNet of the same spec (its `state_dict()`, or a file of it that
        was read).

        Head, classifier and stages that are not here are passed over. Raises SpecError where
        anything else is missing, left over or of another shape; nothing is copied then.
        """
        own = self.state_dict()
        given = {
            name: tensor
            for name, tensor in weights.items()
            if name in own or not name.startswith(self._left_out)
        }
        for name in sorted(own.keys() | given.keys()):
            have, want = (
                tuple(state[name].shape) if name in state else "absent" for state in (given, own)
            )
            if have != want:
                raise SpecError(
                    f"weights: {name} is {have} among them and {want} in the network; give those "
                    "of the same spec"
                )
        self.load_state_dict(given)


def build_features(spec: ArchSpec, *, levels: Sequence[int] | None = None) -> FeatureNet:
    """A freshly initialised network of feature maps, with the weights that `build(spec)` would have
    drawn.

    levels: the reductions wanted, rising, such as (8, 16, 32); none: all of them. Raises SpecError
    where one is not there.
    """
    return FeatureNet(build(spec), spec, levels=levels)
