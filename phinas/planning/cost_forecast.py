"""Forecast of what the stages of a run cost, for one configuration or for many that are compared.

The networks are timed once (`TimeModel`). Then the duration of any number of trials, epochs, seeds
and images follows without another timing.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from phinas.adapt_to_data import ImageProperties, largest_resolution
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config, Recipe
from phinas.planning.expected_trainings import (
    ExpectedTrainings,
    TypicalNetworks,
    count_trainings,
    find_typical_networks,
)
from phinas.planning.planned_images import PlannedImages, read_planned_images
from phinas.run_context import resolve_threads, resolve_workers
from phinas.space.network import Network

if TYPE_CHECKING:
    from phinas.terminal.progress import Display, ProgressCallback

# The start of workers, preparing the images and the report: 26 s in the quick start on two cores.
RUN_OVERHEAD_HOURS = 0.5 / 60
# A network is timed by several workers at most, which is enough to see how they slow each other.
_MAX_TIMING_WORKERS = 4
# Keys of which typical networks do not depend.
_COUNTS = {
    "search": {
        *("trials", "recipe", "repeated_networks"),
        *("finalists", "finalist_seeds", "finalist_recipe"),
    },
    "scaling": {"seeds", "recipe", "max_budget_fraction", "max_grid_members"},
    "validation": {"seeds", "recipe"},
    "data": {"max_train_images", "max_validation_images"},
    "run": {"time_budget"},
}
# Stages of a plan that the display of a run shows as a part of another one.
_DISPLAYED_STAGES = {"proxy check": "search", "reference": "finalists"}


class TrainingTimes(Protocol):
    """Durations of trainings: a `TimeModel`, or another source in tests."""

    def epoch_seconds(
        self, network: Network, recipe: Recipe, *, train_images: int, val_images: int
    ) -> float:
        """Seconds of an epoch and of the evaluation after it."""

    def setup_seconds(self, images: int) -> float:
        """Seconds before the first epoch of a training, with this many images."""


@dataclass(frozen=True)
class StagePlan:
    """What one stage costs.

    Attributes:
        stage: The name of the stage.
        trainings: Number of trainings.
        epochs: Epochs of all trainings together.
        flops: Multiply-adds of all trainings together.
        hours: Duration on this device.
        possible: The smallest and the largest number of trainings, where it depends on what the
            run finds; None where it is known.
    """

    stage: str
    trainings: int
    epochs: int
    flops: float
    hours: float
    possible: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class CostForecast:
    """Costs of the stages of a run, for configurations of the same images.

    Args:
        images: The images.
        stages: The stages of the run.
        times: Durations of trainings. None until `time_networks` is called.
        max_workers: Number of trainings at the same time.
    """

    def __init__(
        self,
        images: PlannedImages,
        stages: Sequence[str],
        *,
        times: TrainingTimes | None = None,
        max_workers: int = 1,
    ) -> None:
        self.images, self.stages = images, tuple(stages)
        self._times, self._max_workers = times, max_workers
        self._networks: dict[str, TypicalNetworks] = {}

    def time_networks(self, config: Config, on_progress: "ProgressCallback") -> None:
        """Time some of the networks of a run on this device, as many at a time as the run does.

        Raises:
            InputError: The machine does not have the device, or no network can be timed.
        """
        from phinas.experiment.executors import make_executor
        from phinas.training.timing.time_estimate import TimingSettings, fit_time_model

        section, self._max_workers = config.run, resolve_workers(config.run)
        settings = TimingSettings(
            train_images=self.images.train,
            image_size=self.images.image_size,
            device=section.device,
            threads=resolve_threads(section, max_workers=self._max_workers),
            deterministic=section.deterministic,
        )
        trainings = [
            (network, expected.recipe)
            for expected in self.expected_trainings(config)
            for network in expected.networks
        ]
        if not trainings:
            return
        workers = min(self._max_workers, _MAX_TIMING_WORKERS)
        name = section.executor if workers > 1 or section.executor == "ray" else "inline"
        executor = make_executor(name, workers, max_retries=0, retry_on=())
        try:
            self._times = fit_time_model(trainings, settings, executor, on_progress=on_progress)
        finally:
            executor.close()

    def expected_trainings(self, config: Config) -> list[ExpectedTrainings]:
        """The trainings of a run with a configuration.

        Raises:
            InputError: A stage would be refused for these images.
        """
        return count_trainings(config, self.networks(config))

    def networks(self, config: Config) -> TypicalNetworks:
        """Networks like those that a run with a configuration trains.

        Raises:
            InputError: A stage would be refused for these images.
        """
        key = config.model_dump_json(exclude=_COUNTS)
        if key not in self._networks:
            self._networks[key] = find_typical_networks(config, self.images, self.stages)
        return self._networks[key]

    def plan_stages(self, config: Config) -> tuple[StagePlan, ...]:
        """The cost of each stage that trains networks.

        Args:
            config: A configuration with at most the images of this forecast.

        Raises:
            InputError: A stage would be refused for these images.
        """
        return tuple(
            self._plan_stage(expected, config) for expected in self.expected_trainings(config)
        )

    def hours(self, config: Config) -> float:
        """The duration of the run: all trainings, the start and the report."""
        return sum(row.hours for row in self.plan_stages(config)) + RUN_OVERHEAD_HOURS

    def count_images(self, config: Config) -> tuple[int, int]:
        """The number of training and of validation images with a configuration."""
        section = config.data
        limits = (
            (None, None)
            if section is None
            else (section.max_train_images, section.max_validation_images)
        )
        train, validation = (
            available if limit is None else min(limit, available)
            for limit, available in zip(
                limits, (self.images.train, self.images.validation), strict=True
            )
        )
        return train, validation

    def _plan_stage(self, expected: ExpectedTrainings, config: Config) -> StagePlan:
        train, validation = self.count_images(config)
        networks, recipe = expected.networks, expected.recipe
        assert self._times is not None, "time_networks must be called first"
        epoch_seconds = sum(
            self._times.epoch_seconds(network, recipe, train_images=train, val_images=validation)
            for network in networks
        ) / len(networks)
        seconds = epoch_seconds * expected.epochs + expected.trainings * self._times.setup_seconds(
            train + validation
        )
        # The last trainings leave some workers without work.
        rounds = math.ceil(expected.trainings / self._max_workers)
        return StagePlan(
            stage=expected.stage,
            trainings=expected.trainings,
            epochs=expected.epochs,
            flops=count_flops(expected, train, validation),
            hours=seconds / expected.trainings * rounds / 3600,
            possible=expected.possible,
        )


def make_forecast(config: Config, stages: Sequence[str], display: "Display") -> CostForecast:
    """Read what is needed of the images, and time some networks. It takes at most half a minute.

    Args:
        config: The configuration of the run.
        stages: The stages of the run.
        display: Shows the progress.

    Raises:
        InputError: The run would be refused for these images, or has none.
    """
    if config.data is None:
        raise InputError("data.source: is missing; a plan estimates trainings, which need images")
    with display.stage("images", unit="images") as on_progress:
        images = read_planned_images(
            config.data,
            seed=config.run.seed,
            max_size=largest_resolution(config),
            on_progress=on_progress,
        )
    forecast = CostForecast(images, stages)
    forecast.networks(config)  # raises InputError before the timing
    with display.stage("timing", unit="networks") as on_progress:
        forecast.time_networks(config, on_progress)
    return forecast


def expected_work(
    config: Config, images: ImageProperties, counts: tuple[int, int], stages: Sequence[str]
) -> dict[str, float]:
    """The FLOPs of each stage as the display names it, for the remaining time of a run.

    Args:
        config: The configuration of the run.
        images: The images.
        counts: The number of training and of validation images.
        stages: The stages of the run.

    Returns:
        Nothing where a stage would be refused, because then another one fails anyway.
    """
    try:
        expected = count_trainings(config, find_typical_networks(config, images, stages))
    except InputError:
        return {}
    work: dict[str, float] = {}
    for row in expected:
        title = _DISPLAYED_STAGES.get(row.stage, row.stage)
        work[title] = work.get(title, 0.0) + count_flops(row, *counts)
    return work


def count_flops(expected: ExpectedTrainings, train: int, validation: int) -> float:
    """The multiply-adds of the trainings of a stage.

    Backward costs about twice forward. An epoch ends with a forward pass over the validation
    images.

    Args:
        expected: The trainings.
        train: Number of training images.
        validation: Number of validation images.
    """
    networks = expected.networks
    mean_flops = sum(network.cost().flops for network in networks) / len(networks)
    return expected.epochs * mean_flops * (3 * train + validation)
