"""Which settings reduce the duration of a run most: each is changed alone and forecast."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config, flatten_section, merge_config
from phinas.planning.cost_forecast import CostForecast
from phinas.space.spec import SpecError
from phinas.terminal.text_table import format_minutes

_MAX_SHOWN = 5
_MIN_SAVED_FRACTION = 0.05
_RESOLUTION_STEP = 4  # px
# Values that a plan suggests are not below these.
_MINIMUMS = {
    "search.trials": 10,
    "search.recipe.epochs": 2,
    "search.finalist_recipe.epochs": 5,
    "search.finalists": 2,
    "search.finalist_seeds": 1,
    "scaling.recipe.epochs": 5,
    "scaling.max_grid_members": 4,
    "validation.recipe.epochs": 5,
    "validation.seeds": 1,
    "validation.max_flops_multiple": 2,
}
_MIN_IMAGES_PER_CLASS = 20
_MIN_RESOLUTION = 8


@dataclass(frozen=True)
class CostReduction:
    """A setting that makes a run shorter.

    Attributes:
        key: The dotted key.
        value: Its value now.
        reduced_value: A smaller value.
        hours: Duration of the run now.
        reduced_hours: Duration with the smaller value.
    """

    key: str
    value: float
    reduced_value: float
    hours: float
    reduced_hours: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.key} {self.value:g} -> {self.reduced_value:g}: "
            f"{format_minutes(60 * self.hours)} -> {format_minutes(60 * self.reduced_hours)}"
        )


def find_reductions(config: Config, forecast: CostForecast) -> tuple[CostReduction, ...]:
    """The settings that save most when each is about halved alone, the largest saving first.

    Settings that save less than 5% or that the configuration does not allow are left out.
    """
    hours = forecast.hours(config)
    reductions = []
    for key, value, reduced_value in _candidates(config, forecast):
        try:
            changed = merge_config(config.model_dump(), {key: reduced_value}, source=key)
            reduced_hours = forecast.hours(changed)
        except (InputError, SpecError):
            continue
        if reduced_hours < (1 - _MIN_SAVED_FRACTION) * hours:
            reductions.append(CostReduction(key, value, reduced_value, hours, reduced_hours))
    reductions.sort(key=lambda reduction: reduction.reduced_hours)
    return tuple(reductions[:_MAX_SHOWN])


def _candidates(config: Config, forecast: CostForecast) -> Iterator[tuple[str, float, float]]:
    """Keys with their values and smaller values."""
    values = flatten_section(config)
    for key, minimum in _MINIMUMS.items():
        value = values[key]
        reduced = max(minimum, value / 2 if isinstance(value, float) else value // 2)
        if reduced < value:
            yield key, value, reduced
    train, _ = forecast.count_images(config)
    images = max(train // 2, _MIN_IMAGES_PER_CLASS * len(forecast.images.classes))
    if images < train:
        yield "data.max_train_images", train, images
    resolution = forecast.networks(config).base.resolution
    reduced_resolution = resolution * 3 // 4 // _RESOLUTION_STEP * _RESOLUTION_STEP
    if reduced_resolution >= _MIN_RESOLUTION:
        yield "search.resolution", resolution, reduced_resolution
