"""Error of the time model of `phinas plan`: predicted against measured train steps.

Some networks of each search space are timed as a plan does, with one thread. The steps of the
others are then predicted and measured, in CPU time, so that other processes matter less.

    python benchmarks/plan_error.py
"""

import random
import statistics
import time
from types import SimpleNamespace

import click
import torch

from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network
from phinas.space.search_spaces.loading import load_space
from phinas.training.request import TrainingRequest, TrainingSettings
from phinas.training.timing import step_timing
from phinas.training.timing.step_timing import StepTiming, time_steps
from phinas.training.timing.time_estimate import TimeModel, select_spread

SPACES = {
    "tiny": ({"channels": 1, "classes": 10, "resolution": 12}, 64),
    "small_images": ({"channels": 3, "classes": 10, "resolution": 24}, 128),
    "mnasnet": ({"channels": 3, "classes": 40, "resolution": 56}, 64),
}
NUM_NETWORKS = 14
LIMIT_SECONDS = 60.0  # for timing a network, so that all are timed with their whole batch


def measure(network: Network, recipe: Recipe) -> list[StepTiming]:
    """Time a network with a small and with its whole batch."""
    settings = TrainingSettings(0.125, horizontal_flip=True, device="cpu")
    request = TrainingRequest(network, recipe, 0, settings)
    return time_steps(request, seconds=LIMIT_SECONDS, image_size=network.resolution)


def main() -> None:
    """Print the ratios of predicted to measured seconds of each space."""
    torch.set_num_threads(1)
    step_timing.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    for name, (images, batch) in SPACES.items():
        space, generator = load_space(name).adapt_to(**images), random.Random(5)
        networks = [space.decode(space.sample(generator)) for _ in range(NUM_NETWORKS)]
        recipe = Recipe(batch_size=batch)
        timed = [network for network, _ in select_spread([(row, recipe) for row in networks])]
        model = TimeModel.fit([(row, timing) for row in timed for timing in measure(row, recipe)])
        ratios = sorted(
            model.step_seconds(network, batch) / measure(network, recipe)[-1].step_seconds
            for network in networks
            if network not in timed
        )
        error = statistics.median(abs(ratio - 1) for ratio in ratios)
        click.echo(
            f"{name}: median error {error:.0%}, ratios {' '.join(f'{x:.2f}' for x in ratios)}"
        )


if __name__ == "__main__":
    main()
