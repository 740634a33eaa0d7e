"""Estimate of the training time of many networks on a device, from timings of a few of them.

The time of a step is fitted by its FLOPs, its activations (which stand for memory traffic), the
parameters that the optimizer updates, and a constant. All coefficients are at least 0. The fit
minimizes relative errors, so a small network counts as much as a large one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import nnls

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network
from phinas.training.timing.step_timing import StepTiming

FUNCTION = "phinas.training.timing.step_timing:run_timing_job"
MAX_TIMED_NETWORKS = 6
# For timing all of them. A network that would exceed it is left out, except the first.
MAX_TIMING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class TimeModel:
    """Seconds of trainings on one device.

    Attributes:
        step_coefficients: Seconds of a train step for each FLOP and for each activation of its
            images, for each parameter, and for the step.
        eval_coefficients: The same for the evaluation of a batch.
        load_seconds: Seconds for loading one image before a training.
        start_seconds: Seconds for the start of a training, images aside.
    """

    step_coefficients: tuple[float, float, float, float]
    eval_coefficients: tuple[float, float, float, float]
    load_seconds: float
    start_seconds: float

    @classmethod
    def fit(cls, timings: Sequence[tuple[Network, StepTiming]]) -> Self:
        """Fit the coefficients to timings of at least one network."""
        rows = [timing for _, timing in timings]
        features = np.array([_features(network, timing.batch) for network, timing in timings])
        # A larger batch loads more images, which separates the time of loading from the rest.
        images = np.array([row.setup_images for row in rows], float)
        loading = np.stack([images, np.ones(len(rows))], axis=1)
        load, start = nnls(loading, np.array([row.setup_seconds for row in rows]))[0]
        return cls(
            _fit_relative(features, np.array([row.step_seconds for row in rows])),
            _fit_relative(features, np.array([row.eval_seconds for row in rows])),
            float(load),
            float(start),
        )

    def step_seconds(self, network: Network, batch: int) -> float:
        """Seconds of a train step."""
        return float(np.dot(self.step_coefficients, _features(network, batch)))

    def epoch_seconds(
        self, network: Network, recipe: Recipe, *, train_images: int, val_images: int
    ) -> float:
        """Seconds of an epoch and of the evaluation after it.

        Args:
            network: The network.
            recipe: Has the batch size.
            train_images: Number of training images.
            val_images: Number of validation images.
        """
        batch = recipe.batch_size_for(train_images)
        train = self.step_seconds(network, batch) * (train_images // batch)
        per_batch = float(np.dot(self.eval_coefficients, _features(network, batch)))
        return train + per_batch * val_images / batch

    def setup_seconds(self, images: int) -> float:
        """Seconds before the first epoch of a training, with this many images."""
        return self.load_seconds * images + self.start_seconds


@dataclass(frozen=True)
class TimingSettings:
    """How networks are timed.

    Attributes:
        train_images: Number of training images.
        image_size: Height and width at which the images are stored, in px.
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
        threads: CPU threads of one training.
        deterministic: Use deterministic algorithms on a GPU.
        max_seconds: For timing all networks, the start of workers aside. One that would exceed it
            is left out.
    """

    train_images: int
    image_size: int
    device: str
    threads: int
    deterministic: bool = False
    max_seconds: float = MAX_TIMING_SECONDS

    def make_job(self, network: Network, recipe: Recipe, *, seconds: float) -> Job:
        """Make the job that times a network within some seconds."""
        payload = {
            "network": network.to_dict(),
            "recipe": recipe.model_dump(),
            "max_batch": self.train_images,
            "seconds": seconds,
            "image_size": self.image_size,
            "device": self.device,
            "threads": self.threads,
            "deterministic": self.deterministic,
        }
        return Job(network.network_id, FUNCTION, payload)


def fit_time_model(
    trainings: Sequence[tuple[Network, Recipe]],
    settings: TimingSettings,
    executor: Executor,
    *,
    on_progress: Callable[[int, int, str], None],
) -> TimeModel:
    """Time some of the networks, from the smallest to the largest, and fit a model to them.

    All workers of the executor time networks at the same time, as trainings run at the same time.

    Args:
        trainings: Networks with the recipes of their trainings, at least one.
        settings: How they are timed.
        executor: Runs the timing jobs.
        on_progress: Called with (done, total, text) after each timed network.

    Raises:
        InputError: No network could be timed.
    """
    selected = {item[0].network_id: item for item in select_spread(trainings)}
    waiting, num_running, reasons = list(selected.values()), 0, []
    timings: list[tuple[Network, StepTiming]] = []
    # Without the time in which workers start.
    remaining = settings.max_seconds * executor.max_workers
    on_progress(0, len(selected), "")
    while waiting or num_running:
        while waiting and num_running < executor.max_workers:
            network, recipe = waiting.pop(0)
            if timings and _shortest_seconds(network, *timings[-1]) > remaining:
                waiting.clear()
                break
            seconds = remaining / (len(waiting) + num_running + 1)
            executor.submit(settings.make_job(network, recipe, seconds=seconds))
            num_running += 1
        if num_running:
            result = executor.next_result()
            num_running -= 1
            on_progress(len(selected) - len(waiting) - num_running, len(selected), "")
            if result.value is None:
                reasons.append(result.reason)
                continue
            remaining -= result.value["seconds"]
            network = selected[result.key][0]
            timings += [(network, StepTiming(**row)) for row in result.value["timings"]]
    if not timings:
        raise InputError(f"the trainings cannot be timed: {reasons[0]}")
    return TimeModel.fit(timings)


def select_spread(
    trainings: Sequence[tuple[Network, Recipe]],
) -> list[tuple[Network, Recipe]]:
    """Networks of spread FLOPs, each once, in ascending order with the smallest and the largest."""
    distinct = {network.network_id: (network, recipe) for network, recipe in trainings}
    ordered = sorted(distinct.values(), key=lambda item: (item[0].cost().flops, item[0].network_id))
    count = min(MAX_TIMED_NETWORKS, len(ordered))
    positions = np.linspace(0, len(ordered) - 1, count).round().astype(int)
    return [ordered[position] for position in positions]


def _shortest_seconds(network: Network, timed: Network, timing: StepTiming) -> float:
    """Estimate the least time that the timing of a network takes, from that of another one."""
    ratio = network.cost().flops / timed.cost().flops
    # Three steps and two evaluations of two images.
    return ratio * 4 * 2 * timing.step_seconds / timing.batch


def _features(network: Network, batch: int) -> tuple[float, float, float, float]:
    cost = network.cost()
    return float(batch * cost.flops), float(batch * cost.activations), float(cost.params), 1.0


def _fit_relative(features: np.ndarray, seconds: np.ndarray) -> tuple[float, float, float, float]:
    """Coefficients of at least 0 that minimize the sum of squared relative errors."""
    rows = features / seconds[:, None]
    scale = np.linalg.norm(rows, axis=0)
    solution = nnls(rows / scale, np.ones(len(seconds)))[0] / scale
    flops, activations, params, constant = solution.tolist()
    return flops, activations, params, constant
