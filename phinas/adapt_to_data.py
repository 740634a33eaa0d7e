"""What a configuration means once the images are read: how large they may be shown, and which
networks fit them.

`phinas plan` and the run itself both ask here, so a plan is refused where the run would be.
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


def largest_side(config: Config, data: "PreparedData | None") -> float:
    """Pixels of a side that networks may see: those of the images, or any where the user allows
    enlarging or there are none.
    """
    return math.inf if data is None or config.data is None or config.data.upsample else data.side


def space_name(section: SearchSection) -> str:
    """The space that is named, or else the one that the evaluator brings."""
    from phinas.nas.evaluators import OWN_SPACES

    return section.space or OWN_SPACES.get(section.evaluator.partition(":")[0], "small_images")


def fitted_space(config: Config, data: "PreparedData | None") -> SearchSpace:
    """The configured space for these images, or as it is where there are none. Raises InputError
    where its networks need more pixels than there are."""
    space = load_space(space_name(config.search))
    if data is None:
        base = space.base
        return space.fitted(
            channels=base.channels, classes=base.classes, resolution=config.search.resolution
        )
    space = space.fitted(
        channels=data.channels, classes=len(data.classes), resolution=config.search.resolution
    )
    if max(space.resolutions) > largest_side(config, data):
        raise InputError(
            f"search.resolution: candidates see {max(space.resolutions)} pixels of a side and the "
            "images have "
            f"{data.side}; set it lower, or data.upsample: true to enlarge images"
        )
    return space


def fitted_baseline(config: Config, data: "PreparedData | None") -> ArchSpec:
    """The baseline that the user brings (`scaling.baseline`), for the channels, classes and size of
    these images, or as it is where there are none."""
    given = load_spec(str(config.scaling.baseline))
    return sized(
        given,
        data,
        side=config.search.resolution or int(min(given.resolution, largest_side(config, data))),
    )


def sized(spec: ArchSpec, data: "PreparedData | None", *, side: int) -> ArchSpec:
    """`spec` for images of so many pixels of a side, and the channels and classes of these."""
    if data is None:
        return replace(spec, resolution=side)
    return replace(spec, channels=data.channels, classes=len(data.classes), resolution=side)


def given_baseline(config: Config, data: "PreparedData | None", run: RunDir) -> ArchSpec:
    """The same, as it was when the run began."""
    return read_baseline(run) if run.baseline.exists() else fitted_baseline(config, data)


def read_baseline(run: RunDir) -> ArchSpec:
    """What the search found, or was given."""
    return ArchSpec.from_dict(read_yaml(run.baseline)["spec"])
