"""Adapt the search space and the baseline to the channels, classes and resolution of the data.

`phinas plan` and `phinas run` both call this module, so they accept the same configurations.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, SearchSection
from phinas.network_source import load_network
from phinas.space.network import NetworkT
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import MAX_RESOLUTION, ArchSpec

# FLOPs rise somewhat slower than the square of the resolution, because feature maps are rounded up.
_FLOPS_SLACK = 1.1


class ImageProperties(Protocol):
    """What networks depend on: `PreparedData`, or the images of a plan."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names."""

    @property
    def channels(self) -> int:
        """Channels of an image."""

    @property
    def image_size(self) -> int:
        """Height and width at which the images are stored, in px."""

    @property
    def native_size(self) -> int:
        """Median size of the images before that, in px."""


def max_resolution(config: Config, data: ImageProperties | None) -> float:
    """The highest resolution of networks in px.

    It is the image size. Without images, or where upsampling is allowed, it is infinite.
    """
    return (
        math.inf if data is None or config.data is None or config.data.upsample else data.image_size
    )


def largest_resolution(config: Config) -> int:
    """The highest resolution in px that any stage of a run may train, however large images are.

    Images are stored at it. It includes all stages, because a later command may run them. Of the
    family, only members up to `validation.max_flops_multiple` are trained. None of them, and no
    control, has a higher resolution than scaling by resolution alone gives at these FLOPs.
    """
    if config.scaling.baseline is not None:
        spec = load_network(config.scaling.baseline, field="scaling.baseline")
        resolutions: tuple[int, ...] = (config.search.resolution or spec.resolution,)
    else:
        space = load_space(search_space_name(config.search), field="search.space")
        resolutions = (config.search.resolution,) if config.search.resolution else space.resolutions
    factors = [math.sqrt(config.validation.max_flops_multiple) * _FLOPS_SLACK]
    if config.scaling.coefficients is None:
        factors.append(config.scaling.gamma[1])
    return min(MAX_RESOLUTION, math.ceil(max(resolutions) * max(factors)))


def describe_image_size(data: ImageProperties) -> str:
    """The size of the stored images, and what to set where the images themselves are larger."""
    text = f"the image size {data.image_size} px"
    if data.image_size >= data.native_size:
        return text
    return (
        f"{text} at which the images are stored (they have {data.native_size} px; set "
        "data.image_size to store them larger)"
    )


def search_space_name(section: SearchSection) -> str:
    """The name of the configured search space, or else of the evaluator's default."""
    from phinas.nas.evaluators import default_space

    return section.space or default_space(section.evaluator) or "small_images"


def space_for_data(config: Config, data: ImageProperties | None) -> SearchSpace:
    """Adapt the configured search space to the channels and classes of the data.

    Args:
        config: The configuration. `search.resolution` replaces the resolution of the space.
        data: The images, or None to keep the channels and classes of the space.

    Raises:
        InputError: The space is wrong, or a resolution exceeds the image size.
    """
    space = load_space(search_space_name(config.search), field="search.space")
    if data is None:
        base = space.base
        return space.adapt_to(
            channels=base.channels, classes=base.classes, resolution=config.search.resolution
        )
    space = space.adapt_to(
        channels=data.channels, classes=len(data.classes), resolution=config.search.resolution
    )
    if max(space.resolutions) > max_resolution(config, data):
        raise InputError(
            f"search.resolution: {max(space.resolutions)} px exceeds "
            f"{describe_image_size(data)}; lower it, or set data.upsample: true to enlarge the "
            "images"
        )
    return space


def baseline_for_data(config: Config, data: ImageProperties | None) -> ArchSpec:
    """Adapt the user's baseline (`scaling.baseline`) to the data.

    Args:
        config: The configuration. `search.resolution` replaces the resolution of the baseline.
        data: The images, or None to keep the channels and classes of the baseline.
    """
    spec = load_network(str(config.scaling.baseline), field="scaling.baseline")
    return adapt_spec(
        spec,
        data,
        resolution=config.search.resolution
        or int(min(spec.resolution, max_resolution(config, data))),
    )


def adapt_spec(network: NetworkT, data: ImageProperties | None, *, resolution: int) -> NetworkT:
    """Change the resolution of a network, and its channels and classes to those of the data.

    Args:
        network: The network.
        data: The images, or None to keep the channels and classes.
        resolution: The new resolution in px.
    """
    if data is None:
        return network.adapt(resolution=resolution)
    return network.adapt(channels=data.channels, classes=len(data.classes), resolution=resolution)


def run_baseline(config: Config, data: ImageProperties | None, run: RunDir) -> ArchSpec:
    """The baseline that the run has recorded, or else the user's, adapted to the data."""
    return read_baseline(run) if run.baseline.exists() else baseline_for_data(config, data)


def read_baseline(run: RunDir) -> ArchSpec:
    """The recorded baseline of a run, which is the result of its search or the user's network."""
    return BaselineFile.read(run.baseline).spec
