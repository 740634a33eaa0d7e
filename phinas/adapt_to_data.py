"""Adapt the search space and the baseline to the channels, classes and resolution of the data.

`phinas plan` and `phinas run` both call this module, so they accept the same configurations.
"""

import math
from typing import TYPE_CHECKING

from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, SearchSection
from phinas.space.loading import load_spec
from phinas.space.network import NetworkT
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData


def max_resolution(config: Config, data: "PreparedData | None") -> float:
    """The highest resolution of networks in px.

    It is the image size. Without images, or where upsampling is allowed, it is infinite.
    """
    return (
        math.inf if data is None or config.data is None or config.data.upsample else data.image_size
    )


def search_space_name(section: SearchSection) -> str:
    """The name of the configured search space, or else of the evaluator's default."""
    from phinas.nas.evaluators import default_space

    return section.space or default_space(section.evaluator) or "small_images"


def space_for_data(config: Config, data: "PreparedData | None") -> SearchSpace:
    """Adapt the configured search space to the channels and classes of the data.

    Args:
        config: The configuration. `search.resolution` replaces the resolution of the space.
        data: The images, or None to keep the channels and classes of the space.

    Raises:
        InputError: The space is wrong, or a resolution exceeds the image size.
    """
    space = load_space(search_space_name(config.search))
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
            f"search.resolution: {max(space.resolutions)} px exceeds the image size "
            f"{data.image_size} px; lower it, or use --upsample (data.upsample: true) to enlarge "
            "the images"
        )
    return space


def baseline_for_data(config: Config, data: "PreparedData | None") -> ArchSpec:
    """Adapt the user's baseline (`scaling.baseline`) to the data.

    Args:
        config: The configuration. `search.resolution` replaces the resolution of the baseline.
        data: The images, or None to keep the channels and classes of the baseline.
    """
    spec = load_spec(str(config.scaling.baseline))
    return adapt_spec(
        spec,
        data,
        resolution=config.search.resolution
        or int(min(spec.resolution, max_resolution(config, data))),
    )


def adapt_spec(network: NetworkT, data: "PreparedData | None", *, resolution: int) -> NetworkT:
    """Change the resolution of a network, and its channels and classes to those of the data.

    Args:
        network: The network.
        data: The images, or None to keep the channels and classes.
        resolution: The new resolution in px.
    """
    if data is None:
        return network.adapt(resolution=resolution)
    return network.adapt(channels=data.channels, classes=len(data.classes), resolution=resolution)


def run_baseline(config: Config, data: "PreparedData | None", run: RunDir) -> ArchSpec:
    """The baseline that the run has recorded, or else the user's, adapted to the data."""
    return read_baseline(run) if run.baseline.exists() else baseline_for_data(config, data)


def read_baseline(run: RunDir) -> ArchSpec:
    """The recorded baseline of a run, which is the result of its search or the user's network."""
    return BaselineFile.read(run.baseline).spec
