"""Races of `phinas scale` on a known accuracy, for `benchmarks/coefficient_rules.py`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from accuracy_surfaces import Surface

from phinas.experiment.schema.config import ScalingSection
from phinas.experiment.schema.recipe import Recipe
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.race.flops_adjustment import default_slope
from phinas.scaling_search.race.race import Race, Results, TrainingRun
from phinas.scaling_search.race.racing import next_runs
from phinas.scaling_search.race.search import make_race
from phinas.scaling_search.race.synthetic_accuracy import scaling_factors
from phinas.space.presets import preset
from phinas.space.scaling import DepthRounding
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec

Floats = npt.NDArray[np.float64]
_POINT = 0.01
_SEED_EFFECT, _RUGGEDNESS = 0.3, 0.1  # points
_SHORT_LOSS, _SHORT_SLOPE, _SHORT_DRIFT = 8.0, 0.8, 0.2  # of a training with a fifth of the epochs


class Setting(NamedTuple):
    """A baseline and the networks that race.

    Attributes:
        baseline: In its simplest form.
        section: The options of the scaling search.
        members: At most 12.
        race: Its settings.
    """

    baseline: ArchSpec
    section: ScalingSection
    members: list[GridMember]
    race: Race


@cache
def make_setting(
    baseline_name: str, grid_phi: float, rounding: DepthRounding = "balanced"
) -> Setting:
    baseline = BASELINES[baseline_name]()
    section = ScalingSection(grid_phi=grid_phi, rounding=rounding, recipe=Recipe(epochs=10))
    members = farthest_point_sample(make_grid(baseline, section), section.max_grid_members)
    return Setting(
        baseline, section, members, make_race(members, baseline, section, can_pause=False)
    )


def _small_images(**changes: Any) -> ArchSpec:
    base = load_space("small_images").base
    return replace(base, resolution=32, **changes).canonicalize()


def _one_block() -> ArchSpec:
    stages = load_space("small_images").base.stages
    return _small_images(stages=tuple(replace(stage, depth=1) for stage in stages))


BASELINES: Mapping[str, Callable[[], ArchSpec]] = {
    "EfficientNet-B0, 224 px": lambda: preset("efficientnet_b0").canonicalize(),
    "small images, 32 px": _small_images,
    "one block a stage, 32 px": _one_block,
}


def run_race(setting: Setting, surface: Surface, noise: float, seed: int) -> tuple[Race, Results]:
    """The results of one simulated race.

    Args:
        noise: Standard deviation of one training in points.
    """
    generator = np.random.default_rng(seed)
    num_members, num_seeds = len(setting.members), setting.race.num_seeds
    truth = member_accuracies(setting, surface)
    truth = truth + _RUGGEDNESS * generator.standard_normal(num_members)
    short = truth.mean() - _SHORT_LOSS + _SHORT_SLOPE * (truth - truth.mean())
    short = short + _SHORT_DRIFT * generator.standard_normal(num_members)
    noises = noise * generator.standard_normal((2, num_seeds, num_members))
    noises += _SEED_EFFECT * generator.standard_normal((2, num_seeds, 1))

    def score(run: TrainingRun) -> float:
        is_full = run.epochs == setting.race.epochs
        expected = truth if is_full else short
        return _POINT * float(expected[run.member] + noises[int(is_full), run.seed, run.member])

    race, results = setting.race, dict[TrainingRun, float | None]()
    while rung := next_runs(race, results):
        results |= {run: score(run) for run in rung}
        if race.slope == 0:
            race = replace(
                race,
                slope=default_slope(float(np.mean([value or 0 for value in results.values()]))),
            )
    return race, results


def member_accuracies(setting: Setting, surface: Surface) -> Floats:
    """True accuracies of the members in points, at their own FLOPs."""
    multiples = np.array(
        [scaling_factors(member.spec, setting.baseline) for member in setting.members]
    ) ** (1, 2, 2)
    return np.asarray(surface(*multiples.T))
