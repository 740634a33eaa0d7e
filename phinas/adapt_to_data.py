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
from phinas.network_source import load_baseline
from phinas.scaling_search.grid.resolutions import scales_without_resolution
from phinas.space.network import NetworkT, ScalableNetwork
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import MAX_RESOLUTION, SpecError

# Resolutions that are suggested.
_RESOLUTION_STEP, _MIN_RESOLUTION = 4, 16  # px
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


def family_max_resolution(
    config: Config, data: ImageProperties | None, resolution: int
) -> int | None:
    """The highest resolution of the family in px; None: there is none.

    It is the images' own size, at which they may be stored later. Enlarged images
    (`data.upsample`) have no more detail. So their family keeps to resolutions that the grid of the
    scaling search compares.

    Args:
        config: The configuration.
        data: The images, or None.
        resolution: Of the baseline, in px.

    Raises:
        InputError: `scaling.max_resolution` is below the resolution of the baseline.
    """
    section = config.scaling
    if section.max_resolution is not None:
        if section.max_resolution < resolution:
            raise InputError(
                f"scaling.max_resolution: {section.max_resolution} px is below the baseline's "
                f"resolution {resolution} px; raise it, or lower search.resolution"
            )
        return section.max_resolution
    if data is None or config.data is None:
        return None
    image_size = max(data.image_size, data.native_size)
    if not config.data.upsample:
        return image_size
    max_factor = section.ranges["gamma"][1] ** section.compared_phi
    return max(image_size, math.floor(resolution * max_factor + 1e-9))


def largest_resolution(config: Config) -> int:
    """The highest resolution in px that any stage of a run may train, however large images are.

    Images are stored at it. It includes all stages, because a later command may run them. Of the
    family, only members up to `validation.max_flops_multiple` are trained. None of them, and no
    control, has a higher resolution than scaling by resolution alone gives at these FLOPs.
    """
    if config.scaling.baseline is not None:
        spec = load_baseline(config.scaling.baseline, field="scaling.baseline")
        resolutions: tuple[int, ...] = (config.search.resolution or spec.resolution,)
    else:
        space = load_space(search_space_name(config.search), field="search.space")
        resolutions = (config.search.resolution,) if config.search.resolution else space.resolutions
    factors = [math.sqrt(config.validation.max_flops_multiple) * _FLOPS_SLACK]
    if config.scaling.coefficients is None:
        factors.append(config.scaling.ranges["gamma"][1])
    return min(MAX_RESOLUTION, math.ceil(max(resolutions) * max(factors)))


def describe_image_size(data: ImageProperties) -> str:
    """The size of the stored images, and what to set where the images themselves are larger."""
    text = f"the image size {data.image_size} px"
    if data.image_size >= data.native_size:
        return text
    return (
        f"{text} at which the images are stored (their median size is {data.native_size} px; "
        "set data.image_size to store them larger)"
    )


def search_space_name(section: SearchSection) -> str:
    """The name of the configured search space, or else of the evaluator's default."""
    from phinas.nas.evaluators import default_space

    return section.space or default_space(section.evaluator) or "small_images"


def space_for_data(config: Config, data: ImageProperties | None) -> SearchSpace:
    """Adapt the configured search space to the channels and classes of the data.

    Args:
        config: The configuration. `search.resolution` replaces the resolution of the space, which
            is at most the image size where that key is not set.
        data: The images, or None to keep the channels and classes of the space.

    Raises:
        InputError: The space is wrong, or a resolution exceeds the image size.
    """
    name = search_space_name(config.search)
    space = load_space(name, field="search.space")
    requested = config.search.resolution
    if data is None:
        base = space.base
        return space.adapt_to(channels=base.channels, classes=base.classes, resolution=requested)
    limit = max_resolution(config, data)
    largest, resolution = requested or max(space.resolutions), requested
    if largest > limit:
        if requested or len(space.resolutions) > 1:
            subject = "search.resolution:" if requested else f"search.space: {name}, with up to"
            raise InputError(
                f"{subject} {largest} px exceeds {describe_image_size(data)}; lower it, or set "
                "data.upsample: true to enlarge the images"
            )
        resolution = int(limit)
    try:
        return space.adapt_to(
            channels=data.channels, classes=len(data.classes), resolution=resolution
        )
    except SpecError as error:
        if requested or resolution is None:
            raise
        raise _too_small(f"search.space: {name}", data, error) from None


def _too_small(subject: str, data: ImageProperties, error: SpecError) -> InputError:
    """The error for images that are smaller than what a network divides the resolution by."""
    return InputError(
        f"{subject} cannot be used for images of {data.image_size} px ({error}); set "
        "data.upsample: true to enlarge the images, or choose another one"
    )


def describe_resolution(
    config: Config, data: ImageProperties, resolution: int, stages: Sequence[str]
) -> str:
    """What small images change of the resolution of networks and of the scaling, or "".

    Args:
        config: The configuration.
        data: The images.
        resolution: Of the baseline or of the search space for these images, in px.
        stages: The stages of the run.
    """
    limit = max_resolution(config, data)
    if config.search.resolution:
        usual, name = config.search.resolution, ""
    elif config.scaling.baseline is not None:
        name = config.scaling.baseline
        usual = load_baseline(name, field="scaling.baseline").resolution
    else:
        name = search_space_name(config.search)
        usual = max(load_space(name, field="search.space").resolutions)
    parts = []
    if usual > resolution:
        parts.append(f"networks have {resolution} px instead of the {usual} px of {name}")
    scales = "scale" in stages and config.scaling.coefficients is None
    is_limited_by_images = resolution == limit
    if (
        scales
        and is_limited_by_images
        and scales_without_resolution(config.scaling, resolution, max_resolution=limit)
    ):
        parts.append("scaling changes depth and width only (gamma is 1)")
    if not parts:
        return ""
    smaller = limit * 3 // 4 // _RESOLUTION_STEP * _RESOLUTION_STEP
    remedy = "--upsample (data.upsample: true)"
    if smaller >= _MIN_RESOLUTION and len(parts) == 1 and scales:
        remedy = f"--resolution {smaller:g} (search.resolution) or {remedy}"
    return (
        f"note: the images have {limit:g} px, so {' and '.join(parts)}; use {remedy} to change that"
    )


def baseline_for_data(config: Config, data: ImageProperties | None) -> ScalableNetwork:
    """Adapt the user's baseline (`scaling.baseline`) to the data.

    Args:
        config: The configuration. `search.resolution` replaces the resolution of the baseline.
        data: The images, or None to keep the channels and classes of the baseline.
    """
    spec = load_baseline(str(config.scaling.baseline), field="scaling.baseline")
    requested = config.search.resolution
    resolution = requested or int(min(spec.resolution, max_resolution(config, data)))
    try:
        return adapt_spec(spec, data, resolution=resolution)
    except SpecError as error:
        if requested or data is None or resolution == spec.resolution:
            raise
        raise _too_small(f"scaling.baseline: {config.scaling.baseline}", data, error) from None


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


def run_baseline(config: Config, data: ImageProperties | None, run: RunDir) -> ScalableNetwork:
    """The baseline that the run has recorded, or else the user's, adapted to the data."""
    return read_baseline(run) if run.baseline.exists() else baseline_for_data(config, data)


def read_baseline(run: RunDir) -> ScalableNetwork:
    """The recorded baseline of a run, which is the result of its search or the user's network."""
    return BaselineFile.read(run.baseline).spec
