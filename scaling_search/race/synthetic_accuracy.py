"""A synthetic accuracy model: accuracy as a function of depth, width and resolution, instead of
trainings. The best network is known.

Error is a power law (Hestness et al., arXiv:1712.00409) of an effective capacity, the mean with
constant elasticity of substitution of what each dimension multiplies the FLOPs by, x = (depth,
width^2, resolution^2) over the baseline's:

    capacity = (sum_i weight_i * x_i^-complementarity)^(-1 / complementarity)
    error    = floor + (baseline_error - floor) * capacity^-power
               + training_gap * slowness * (epochs^-0.7 - 10^-0.7)

Each dimension alone has diminishing returns (arXiv:1905.11946, figure 3). Where complementarity > 0
the dimensions need each other and compound scaling wins (figure 4); at 0 they multiply and the
largest weight decides, so one dimension alone wins. Larger networks learn more slowly: slowness =
depth^0.08 * width^0.05 * a random factor of each network, so ranks at few epochs are not the final
ones. Every network deviates from the power law by an amount (ruggedness) that its spec determines.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from phinas.experiment.executors import Job
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.seeds import derive_seed
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import Network, ScalableNetwork, network_from_dict
from phinas.space.spec import ArchSpec

_LEARNING_EXPONENT, _REFERENCE_EPOCHS = 0.7, 10
_DEPTH_SLOWNESS, _WIDTH_SLOWNESS = 0.08, 0.05
_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SyntheticAccuracyModel:
    """The parameters of the synthetic accuracy model. Errors are fractions.

    Attributes:
        dimension_weights: Weights of depth, width and resolution, which add up to 1.
        complementarity: How much the dimensions need each other, at least 0.
        power: Exponent of the power law of error over capacity.
        baseline_error: Error of the baseline after 10 epochs.
        floor: Error that no capacity removes.
        training_gap: About the error after one epoch minus that after ten.
        slowness_std: Relative standard deviation of the slowness.
        ruggedness_std: Standard deviation of networks around the power law.
        noise_std: Standard deviation of the noise of one training.
        seed_effect_std: Standard deviation of the effect that a seed has on all networks.
        heavy_tails: Whether the noise has Student's t distribution with 3 degrees of freedom.
        model_seed: Seed of everything that is random.
    """

    dimension_weights: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    complementarity: float = 1.5
    power: float = 0.3
    baseline_error: float = 0.25
    floor: float = 0.05
    training_gap: float = 0.3
    slowness_std: float = 0.01
    ruggedness_std: float = 0.001
    noise_std: float = 0.0025
    seed_effect_std: float = 0.003
    heavy_tails: bool = False
    model_seed: int = 0

    def __post_init__(self) -> None:
        if min(self.dimension_weights) < 0 or abs(sum(self.dimension_weights) - 1) > 1e-9:
            raise ValueError(
                f"dimension_weights: {self.dimension_weights} are not three weights that add up "
                "to 1"
            )
        if self.complementarity < 0:
            raise ValueError(f"complementarity: {self.complementarity} is below 0")

    def expected_accuracy(
        self, spec: ScalableNetwork, baseline: ScalableNetwork, epochs: int
    ) -> float:
        """Accuracy after `epochs` (with their own full schedule), without noise."""
        depth, width, resolution = scaling_factors(spec, baseline)
        name = spec.network_id
        capacity = self._capacity((depth, width**2, resolution**2))
        error = self.floor + (self.baseline_error - self.floor) * capacity**-self.power
        slowness = (
            depth**_DEPTH_SLOWNESS
            * width**_WIDTH_SLOWNESS
            * (1 + self.slowness_std * _sample_normal("slow", self.model_seed, name))
        )
        error += (
            self.training_gap
            * slowness
            * (epochs**-_LEARNING_EXPONENT - _REFERENCE_EPOCHS**-_LEARNING_EXPONENT)
        )
        return _clip_to_fraction(
            1 - error + self.ruggedness_std * _sample_normal("rugged", self.model_seed, name)
        )

    def _capacity(self, flops_multiples: Sequence[float]) -> float:
        if self.complementarity < 1e-9:
            return math.prod(
                x**weight for x, weight in zip(flops_multiples, self.dimension_weights, strict=True)
            )
        mean = sum(
            weight * x**-self.complementarity
            for x, weight in zip(flops_multiples, self.dimension_weights, strict=True)
        )
        return mean ** (-1 / self.complementarity)

    def sample_accuracy(
        self, spec: ScalableNetwork, baseline: ScalableNetwork, epochs: int, seed: int
    ) -> float:
        """The accuracy of one training."""
        return _clip_to_fraction(
            self.expected_accuracy(spec, baseline, epochs)
            + self.sample_noise(spec.network_id, epochs, seed)
        )

    def sample_noise(self, network_id: str, epochs: int, seed: int) -> float:
        """The noise of one training: its own, and the effect of the seed on all networks (another
        one for other epochs).
        """
        network_noise = _sample_normal(
            "noise", self.model_seed, network_id, epochs, seed, heavy_tails=self.heavy_tails
        )
        return self.noise_std * network_noise + self.seed_effect_std * _sample_normal(
            "seed", self.model_seed, epochs, seed
        )

    def best_index(
        self, specs: Sequence[ScalableNetwork], baseline: ScalableNetwork, epochs: int
    ) -> int:
        """The position of the network with the highest expected accuracy."""
        return max(
            range(len(specs)),
            key=lambda index: self.expected_accuracy(specs[index], baseline, epochs),
        )

    def make_job(self, spec: Network, baseline: Network, epochs: int, seed: int) -> Job:
        """A job of plain data that replaces a training."""
        model = asdict(self) | {"dimension_weights": list(self.dimension_weights)}
        payload = {
            "model": model,
            "spec": spec.to_dict(),
            "baseline": baseline.to_dict(),
            "epochs": epochs,
            "seed": seed,
        }
        function = "phinas.scaling_search.race.synthetic_accuracy:evaluate_network"
        return Job(job_key(function, payload), function, payload, _LIMIT_SECONDS)


def scaling_factors(spec: ScalableNetwork, baseline: ScalableNetwork) -> tuple[float, float, float]:
    """The factors of depth (number of blocks), width (geometric mean over the stages) and
    resolution from the baseline to a network that was scaled from it. Those of a network that a
    user's function builds are before its rounding.
    """
    if isinstance(spec, BuiltNetwork) and isinstance(baseline, BuiltNetwork):
        return (
            spec.depth / baseline.depth,
            spec.width / baseline.width,
            spec.resolution / baseline.resolution,
        )
    assert isinstance(spec, ArchSpec)
    assert isinstance(baseline, ArchSpec)
    if len(spec.stages) != len(baseline.stages):
        raise ValueError(
            "stages: the network has another number of stages than the baseline, so it was not "
            "scaled from it"
        )
    depth = sum(stage.depth for stage in spec.stages) / sum(
        stage.depth for stage in baseline.stages
    )
    logs = [
        math.log(stage.width / baseline_stage.width)
        for stage, baseline_stage in zip(spec.stages, baseline.stages, strict=True)
    ]
    return depth, math.exp(sum(logs) / len(logs)), spec.resolution / baseline.resolution


def evaluate_network(
    *,
    model: Mapping[str, Any],
    spec: dict[str, Any],
    baseline: dict[str, Any],
    epochs: int,
    seed: int,
) -> dict[str, Any]:
    """The job: a Measurement as a dict."""
    accuracy_model = SyntheticAccuracyModel(
        **{**model, "dimension_weights": tuple(model["dimension_weights"])}
    )
    accuracy = accuracy_model.sample_accuracy(
        network_from_dict(spec), network_from_dict(baseline), epochs, seed
    )
    return Measurement(accuracy, split="synthetic", seed=seed, epochs=epochs).to_dict()


def _sample_normal(name: str, *parts: object, heavy_tails: bool = False) -> float:
    """A standard normal number that depends on the arguments only.

    Args:
        heavy_tails: Student's t with 3 degrees of freedom instead, scaled to variance 1.
    """
    generator = np.random.default_rng(derive_seed(0, "/".join(["law", name, *map(str, parts)])))
    return (
        float(generator.standard_t(3) / math.sqrt(3)) if heavy_tails else float(generator.normal())
    )


def _clip_to_fraction(value: float) -> float:
    return min(max(value, 0.0), 1.0)
