"""A stated law of accuracy in depth, width and resolution, in place of trainings: here it is
known what is best.

Error is a power law (Hestness et al., arXiv:1712.00409) of an effective capacity, the mean with
constant elasticity of what each dimension multiplies the FLOPs by, x = (depth, width^2,
resolution^2) over the baseline's:

    capacity = (sum_i share_i * x_i^-balance)^(-1 / balance)
    error    = floor + (error_1 - floor) * capacity^-power + training * slowness * (epochs^-0.7 - 10^-0.7)

Each dimension alone has diminishing returns (arXiv:1905.11946, figure 3). Where balance > 0 the
dimensions need each other and compound scaling wins (figure 4); at 0 they multiply and the
greatest share takes all, so one dimension alone wins. Larger
networks learn more slowly: slowness = depth^0.08 * width^0.05 * its own luck, so ranks at few
epochs are not the last ones. Every network departs from the law by an amount of its own
(ruggedness), fixed by its spec.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from phinas.experiment.executors import Job
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.seeds import seed_of
from phinas.space.spec import ArchSpec

_CURVE, _CURVE_FROM = 0.7, 10
_SLOW_DEPTH, _SLOW_WIDTH = 0.08, 0.05
_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Law:
    """shares: of depth, width, resolution, adding up to 1; error_1: of the baseline after 10
    epochs, a fraction;
    training: what one epoch leaves above ten, about; scatter: relative, of the slowness;
    ruggedness, noise (of one training), seed_effect (of a seed, on all networks): standard
    deviations; tails: noise of Student's t with 3 degrees of freedom;
    world: which luck the networks have."""

    shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    balance: float = 1.5
    power: float = 0.3
    error_1: float = 0.25
    floor: float = 0.05
    training: float = 0.3
    scatter: float = 0.01
    ruggedness: float = 0.001
    noise: float = 0.0025
    seed_effect: float = 0.003
    tails: bool = False
    world: int = 0

    def __post_init__(self) -> None:
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares: {self.shares} are not three shares that add up to 1")
        if self.balance < 0:
            raise ValueError(f"balance: {self.balance} is below 0")

    def expected(self, spec: ArchSpec, baseline: ArchSpec, epochs: int) -> float:
        """Accuracy after `epochs` (with their own full schedule), without noise."""
        depth, width, resolution = factors(spec, baseline)
        name = spec.spec_id
        capacity = self._capacity((depth, width**2, resolution**2))
        error = self.floor + (self.error_1 - self.floor) * capacity**-self.power
        slowness = (
            depth**_SLOW_DEPTH
            * width**_SLOW_WIDTH
            * (1 + self.scatter * _luck("slow", self.world, name))
        )
        error += self.training * slowness * (epochs**-_CURVE - _CURVE_FROM**-_CURVE)
        return _fraction(1 - error + self.ruggedness * _luck("rugged", self.world, name))

    def _capacity(self, multiples: Sequence[float]) -> float:
        if self.balance < 1e-9:
            return math.prod(x**share for x, share in zip(multiples, self.shares, strict=True))
        mean = sum(
            share * x**-self.balance for x, share in zip(multiples, self.shares, strict=True)
        )
        return mean ** (-1 / self.balance)

    def accuracy(self, spec: ArchSpec, baseline: ArchSpec, epochs: int, seed: int) -> float:
        """What one training would show."""
        return _fraction(
            self.expected(spec, baseline, epochs) + self.luck(spec.spec_id, epochs, seed)
        )

    def luck(self, spec_id: str, epochs: int, seed: int) -> float:
        """Of one training: its own, and what the seed brings to all networks (another amount for
        other epochs).
        """
        own = _luck("noise", self.world, spec_id, epochs, seed, tails=self.tails)
        return self.noise * own + self.seed_effect * _luck("seed", self.world, epochs, seed)

    def best(self, specs: Sequence[ArchSpec], baseline: ArchSpec, epochs: int) -> int:
        """The position of the one that is best in truth."""
        return max(
            range(len(specs)), key=lambda index: self.expected(specs[index], baseline, epochs)
        )

    def job(self, spec: ArchSpec, baseline: ArchSpec, epochs: int, seed: int) -> Job:
        """A job of plain data that stands in for a training."""
        law = asdict(self) | {"shares": list(self.shares)}
        payload = {
            "law": law,
            "spec": spec.to_dict(),
            "baseline": baseline.to_dict(),
            "epochs": epochs,
            "seed": seed,
        }
        function = "phinas.scaling_search.race.synthetic_accuracy:measure"
        return Job(job_key(function, payload), function, payload, _LIMIT_SECONDS)


def factors(spec: ArchSpec, baseline: ArchSpec) -> tuple[float, float, float]:
    """Total depth, mean width of the stages (of their logarithms) and resolution over the
    baseline's.
    """
    if len(spec.stages) != len(baseline.stages):
        raise ValueError(
            "stages: the network has not as many as the baseline, so it is no scaling of it"
        )
    depth = sum(stage.depth for stage in spec.stages) / sum(
        stage.depth for stage in baseline.stages
    )
    logs = [
        math.log(ours.width / theirs.width)
        for ours, theirs in zip(spec.stages, baseline.stages, strict=True)
    ]
    return depth, math.exp(sum(logs) / len(logs)), spec.resolution / baseline.resolution


def measure(
    *,
    law: Mapping[str, Any],
    spec: dict[str, Any],
    baseline: dict[str, Any],
    epochs: int,
    seed: int,
) -> dict[str, Any]:
    """The job: a Measurement as a dict."""
    stated = Law(**{**law, "shares": tuple(law["shares"])})
    accuracy = stated.accuracy(ArchSpec.from_dict(spec), ArchSpec.from_dict(baseline), epochs, seed)
    return Measurement(accuracy, split="law", seed=seed, epochs=epochs).to_dict()


def _luck(purpose: str, *of: object, tails: bool = False) -> float:
    """A standard normal number that depends on nothing else; tails: Student's t, 3 degrees of
    freedom, scaled to variance 1.
    """
    generator = np.random.default_rng(seed_of(0, "/".join(["law", purpose, *map(str, of)])))
    return float(generator.standard_t(3) / math.sqrt(3)) if tails else float(generator.normal())


def _fraction(value: float) -> float:
    return min(max(value, 0.0), 1.0)
