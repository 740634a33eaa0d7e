"""The trainings that a run is going to do, with typical networks of each stage.

Networks and epochs are counted exactly where they are known. The baseline of a search is not, so
the base of the search space stands for it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phinas.adapt_to_data import baseline_for_data, max_resolution, space_for_data
from phinas.experiment.schema.config import Config, Recipe, SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.family_builder import build_family
from phinas.nas.cost_constraint import MAX_ENUMERABLE
from phinas.nas.search import make_cost_constraint
from phinas.nas.selection.reference_network import ReferenceNetwork, resolve_reference
from phinas.scaling_search.coefficients import PAPER
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.resolutions import check_resolution_range
from phinas.scaling_search.race.search import make_race
from phinas.scaling_search.race.user_coefficients import load_user_coefficients
from phinas.scaling_search.validation.controls import Control, make_controls, read_controls
from phinas.scaling_search.validation.validate import members_to_train
from phinas.space.network import Network
from phinas.space.search_spaces.cardinality import count_networks
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData

_SAMPLE_SIZE = 6


@dataclass(frozen=True)
class ExpectedTrainings:
    """The trainings of one stage.

    Attributes:
        stage: The name of the stage.
        trainings: How many there are.
        epochs: Epochs of all together. Those of the scaling search are not all of one length.
        networks: Typical networks.
        recipe: The recipe, whose epochs are those of a full training.
    """

    stage: str
    trainings: int
    epochs: int
    networks: Sequence[Network]
    recipe: Recipe

    @classmethod
    def of_equal_length(
        cls, stage: str, trainings: int, networks: Sequence[Network], recipe: Recipe
    ) -> "ExpectedTrainings":
        """Trainings of one recipe, none of which is stopped early."""
        return cls(stage, trainings, trainings * recipe.epochs, networks, recipe)


def expect_trainings(
    config: Config, data: "PreparedData", stages: Sequence[str]
) -> list[ExpectedTrainings]:
    """The trainings of these stages, in order.

    Raises:
        InputError: A stage would be refused for these images.
    """
    expected = []
    if config.scaling.baseline is not None:
        base = baseline_for_data(config, data)
    else:
        space = space_for_data(config, data)
        base = space.base
        if "search" in stages and config.search.evaluator == "proxy":
            expected += _search_trainings(config, space)
    resolution_limit = max_resolution(config, data)
    if "scale" in stages and trains_grid(config):
        expected.append(_scaling_trainings(config, base, resolution_limit))
    if "validate" in stages:
        networks = _validation_networks(config, base, resolution_limit)
        trainings = len(networks) * config.validation.seeds
        recipe = config.validation.recipe
        expected.append(
            ExpectedTrainings.of_equal_length("validation", trainings, networks, recipe)
        )
    return expected


def trains_grid(config: Config) -> bool:
    """Whether the scaling search trains networks."""
    return config.scaling.coefficients is None and config.scaling.evaluator == "proxy"


def _search_trainings(config: Config, space: SearchSpace) -> list[ExpectedTrainings]:
    """Trials, finalists, and the reference network where there is one."""
    section = config.search
    generator = random.Random(derive_seed(config.run.seed, "plan"))
    sample = [space.decode(space.sample(generator)) for _ in range(_SAMPLE_SIZE)]
    trials = _count_trials(section, space)
    finalists = min(section.finalists, trials) * section.finalist_seeds
    expected = [
        ExpectedTrainings.of_equal_length("search", trials, sample, section.recipe),
        ExpectedTrainings.of_equal_length("finalists", finalists, sample, section.finalist_recipe),
    ]
    reference = resolve_reference(
        section,
        make_cost_constraint(section),
        space.base,
        max_trial_flops=max(spec.cost().flops for spec in sample),
    )
    if isinstance(reference, ReferenceNetwork):
        # one of them is as short as a trial
        trainings = section.finalist_seeds + 1
        expected.append(
            ExpectedTrainings.of_equal_length(
                "reference", trainings, [reference.spec], section.finalist_recipe
            )
        )
    return expected


def _count_trials(section: SearchSection, space: SearchSpace) -> int:
    """The trials of the search; a small space may have fewer networks than are requested."""
    if space.size > MAX_ENUMERABLE:
        return section.trials
    return min(section.trials, count_networks(space))


def _scaling_trainings(
    config: Config, base: ArchSpec, resolution_limit: float
) -> ExpectedTrainings:
    """The race of the scaling search, if no member is eliminated early."""
    section = config.scaling
    check_resolution_range(base.resolution, section, max_resolution=resolution_limit)
    grid = make_grid(base, section, max_resolution=resolution_limit)
    members = farthest_point_sample(grid, section.max_grid_members)
    race = make_race(members, base, section)
    networks = [member.spec for member in members]
    return ExpectedTrainings(
        "scaling", race.max_trainings, race.max_epochs, networks, section.recipe
    )


def _validation_networks(config: Config, base: ArchSpec, resolution_limit: float) -> list[ArchSpec]:
    """The members and controls that are trained.

    Where the coefficients are still to be found, those of the paper stand for them.
    """
    searches_coefficients = config.scaling.coefficients is None
    coefficients = PAPER if searches_coefficients else load_user_coefficients(config.scaling)
    members = members_to_train(
        build_family(base, coefficients, config.scaling),
        config.validation,
        max_resolution=resolution_limit,
    )
    controls = make_controls(
        read_controls(config.validation.controls),
        base,
        members,
        rounding=coefficients,
        max_resolution=resolution_limit,
    )

    def is_trained(control: Control) -> bool:
        # the control `paper` will be another network than the members made of its coefficients
        stands_for_itself = control.is_same_network and control.definition.name == "paper"
        return control.skip is None or (stands_for_itself and searches_coefficients)

    trained = [control.spec for control in controls if control.spec and is_trained(control)]
    return [*(member.spec for member in members), *trained]
