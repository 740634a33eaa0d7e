"""The search space and the baseline, adapted to the images: channels, classes and resolution.

`phinas plan` and the run itself both call this, so a plan is refused where the run would be.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, SearchSection
from phinas.space.loading import load_spec
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData


def max_resolution(config: Config, data: "PreparedData | None") -> float:
    """The largest resolution in px for networks: that of the images, or any where upsampling is
    allowed or there are no images.
    """
    return (
        math.inf if data is None or config.data is None or config.data.upsample else data.image_size
    )


def search_space_name(section: SearchSection) -> str:
    """The configured search space, or else the default one of the evaluator."""
    from phinas.nas.evaluators import EVALUATOR_SPACES

    return section.space or EVALUATOR_SPACES.get(
        section.evaluator.partition(":")[0], "small_images"
    )


def space_for_data(config: Config, data: "PreparedData | None") -> SearchSpace:
    """The configured search space for these images, or unchanged where there are none.

    Raises:
        InputError: Its networks need a larger resolution than the images have.
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
            f"search.resolution: candidates see {max(space.resolutions)} pixels of a side and the "
            "images have "
            f"{data.image_size}; set it lower, or data.upsample: true to enlarge images"
        )
    return space


def baseline_for_data(config: Config, data: "PreparedData | None") -> ArchSpec:
    """The user's baseline (`scaling.baseline`) for the channels, classes and resolution of these
    images, or unchanged where there are none.
    """
    spec = load_spec(str(config.scaling.baseline))
    return adapt_spec(
        spec,
        data,
        resolution=config.search.resolution
        or int(min(spec.resolution, max_resolution(config, data))),
    )


def adapt_spec(spec: ArchSpec, data: "PreparedData | None", *, resolution: int) -> ArchSpec:
    """`spec` at another resolution in px, with the channels and classes of the data."""
    if data is None:
        return replace(spec, resolution=resolution)
    return replace(spec, channels=data.channels, classes=len(data.classes), resolution=resolution)


def run_baseline(config: Config, data: "PreparedData | None", run: RunDir) -> ArchSpec:
    """The user's baseline as the run recorded it, if it has started already."""
    return read_baseline(run) if run.baseline.exists() else baseline_for_data(config, data)


def read_baseline(run: RunDir) -> ArchSpec:
    """The baseline of a run: found by its search, or the user's."""
    return ArchSpec.from_dict(read_yaml(run.baseline)["spec"])
