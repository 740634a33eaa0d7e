"""The trainings that a run is going to do, with typical networks of each stage.

Networks and epochs are counted exactly where they are known. The baseline of a search is not, so
the base of the search space stands for it. Finding the networks takes a second, counting trainings
nothing, so that many numbers of trials and epochs can be compared.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phinas.adapt_to_data import (
    ImageProperties,
    baseline_for_data,
    describe_resolution,
    max_resolution,
    space_for_data,
)
from phinas.experiment.artifacts.learning_rates import CheckedStage
from phinas.experiment.schema.config import PROXY_CHECK_NETWORKS, Config, Recipe
from phinas.experiment.seeds import derive_seed
from phinas.family_feasibility import check_family_feasibility, possible_baselines
from phinas.grid_feasibility import check_grid_feasibility
from phinas.nas.cost_constraint import MAX_ENUMERABLE
from phinas.nas.search import make_cost_constraint
from phinas.nas.selection.reference_network import ReferenceNetwork, resolve_reference
from phinas.planning.possible_validations import possible_validations
from phinas.scaling_evaluator import can_pause_trainings
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.race.search import make_race
from phinas.space.network import Network, ScalableNetwork
from phinas.space.search_spaces.cardinality import count_networks
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.learning_rate_check import (
    check_recipe,
    check_title,
    count_check_trainings,
    select_networks,
)

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
        possible: The smallest and the largest number of trainings, where it depends on what the
            run finds; None where it is known.
    """

    stage: str
    trainings: int
    epochs: int
    networks: Sequence[Network]
    recipe: Recipe
    possible: tuple[int, int] | None = None

    @classmethod
    def of_equal_length(
        cls, stage: str, trainings: int, networks: Sequence[Network], recipe: Recipe
    ) -> "ExpectedTrainings":
        """Trainings of one recipe, none of which is stopped early."""
        return cls(stage, trainings, trainings * recipe.epochs, networks, recipe)


@dataclass(frozen=True)
class TypicalNetworks:
    """Networks like those that a run will train. A stage that trains none has none.

    Attributes:
        base: The baseline, or the base of the search space.
        search: Networks of the search.
        max_trials: Number of networks in the search space, where it is small.
        reference: The published network for comparison.
        scaled: The network that the scaling search scales.
        grid: The members of its grid, of which scaling.max_grid_members are trained.
        validation: The members of the family and the controls that are trained.
        other_grids: Networks whose grids are the smallest and the largest that a search may lead
            to, with these grids.
        validation_range: The smallest and the largest number of networks of the validation.
        notes: What these images change, and why a run may stop after the search; see
            `GridFeasibility.note` and `FamilyFeasibility.notes`.
    """

    base: ScalableNetwork
    search: Sequence[ScalableNetwork] = ()
    max_trials: int | None = None
    reference: ScalableNetwork | None = None
    scaled: ScalableNetwork | None = None
    grid: Sequence[GridMember] = ()
    validation: Sequence[ScalableNetwork] = ()
    other_grids: tuple[tuple[ScalableNetwork, Sequence[GridMember]], ...] = ()
    validation_range: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


def find_typical_networks(
    config: Config, data: ImageProperties, stages: Sequence[str]
) -> TypicalNetworks:
    """Find networks like those that these stages will train.

    They do not depend on the numbers of trials, epochs and seeds.

    Raises:
        InputError: A stage would be refused for these images.
    """
    scales = "scale" in stages and trains_grid(config)
    limit = max_resolution(config, data)
    if config.scaling.baseline is not None:
        base = baseline_for_data(config, data)
        networks = TypicalNetworks(base, scaled=base if scales else None)
    else:
        networks = _search_networks(
            config, space_for_data(config, data), stages, max_resolution=limit if scales else None
        )
    note = describe_resolution(config, data, networks.base.resolution, stages)
    if note:
        networks = replace(networks, notes=(note, *networks.notes))
    grid: Sequence[GridMember] = ()
    if scales and networks.scaled is not None:
        grid = make_grid(networks.scaled, config.scaling, max_resolution=limit)
    if not {"scale", "validate"} & set(stages):
        return replace(networks, grid=grid)
    family = check_family_feasibility(possible_baselines(config, data), config, data)
    networks = replace(networks, grid=grid, notes=(*networks.notes, *family.notes))
    if "validate" not in stages:
        return networks
    grids = [(networks.scaled, grid), *networks.other_grids] if networks.scaled else []
    possible = possible_validations(config, family, grids=grids, data=data)
    return replace(
        networks,
        validation=possible[len(possible) // 2],
        validation_range=(len(possible[0]), len(possible[-1])),
    )


def _search_networks(
    config: Config, space: SearchSpace, stages: Sequence[str], *, max_resolution: float | None
) -> TypicalNetworks:
    """The networks of the search, and one that can be scaled.

    Args:
        config: The configuration.
        space: The search space for the images.
        stages: The stages of the run.
        max_resolution: The highest resolution in px of networks of the grid, or None where there is
            no grid.
    """
    base, section = space.base, config.search
    networks = TypicalNetworks(base)
    if "search" in stages and section.evaluator == "proxy":
        generator = random.Random(derive_seed(config.run.seed, "plan"))
        sample = [space.decode(space.sample(generator)) for _ in range(_SAMPLE_SIZE)]
        reference = resolve_reference(
            section,
            make_cost_constraint(section),
            base,
            max_trial_flops=max(spec.cost().flops for spec in sample),
        )
        networks = replace(
            networks,
            search=sample,
            max_trials=None if space.size > MAX_ENUMERABLE else count_networks(space),
            reference=reference.spec if isinstance(reference, ReferenceNetwork) else None,
        )
    if max_resolution is None:
        return networks
    feasibility = check_grid_feasibility(space, config, max_resolution=max_resolution)
    notes = (feasibility.note,) if feasibility.note and "search" in stages else ()
    extremes = feasibility.smallest, feasibility.largest
    return replace(networks, scaled=feasibility.typical, other_grids=extremes, notes=notes)


def count_trainings(config: Config, networks: TypicalNetworks) -> list[ExpectedTrainings]:
    """The trainings of a run, in the order of its stages.

    Args:
        config: The configuration. It may have other numbers of trials, epochs and seeds than the
            one that the networks were found for.
        networks: The typical networks.
    """
    expected = _count_search(config, networks) if networks.search else []
    if networks.scaled is not None:
        section = config.scaling
        members = farthest_point_sample(list(networks.grid), section.max_grid_members)
        (center,) = farthest_point_sample(list(networks.grid), 1)
        expected += _count_rate_check(
            "scaling", section.recipe, center.spec, [member.spec for member in members]
        )
        can_pause = can_pause_trainings(config)
        race = make_race(members, networks.scaled, section, can_pause=can_pause)
        others = [
            make_race(
                list(grid)[: section.max_grid_members], network, section, can_pause=can_pause
            ).max_trainings
            for network, grid in networks.other_grids
        ]
        expected.append(
            ExpectedTrainings(
                "scaling",
                race.max_trainings,
                race.max_epochs,
                [member.spec for member in members],
                section.recipe,
                possible=(min([race.max_trainings, *others]), max([race.max_trainings, *others])),
            )
        )
    if networks.validation:
        seeds, recipe = config.validation.seeds, config.validation.recipe
        largest = max(networks.validation, key=lambda network: network.cost().flops)
        expected += _count_rate_check("validation", recipe, largest, networks.validation)
        fewest, most = networks.validation_range
        trainings = len(networks.validation) * seeds
        row = ExpectedTrainings.of_equal_length(
            "validation", trainings, networks.validation, recipe
        )
        expected.append(replace(row, possible=(fewest * seeds, most * seeds)))
    return expected


def _count_search(config: Config, networks: TypicalNetworks) -> list[ExpectedTrainings]:
    """Trials, the checks, finalists, and the reference network where there is one."""
    section = config.search
    trials = min(section.trials, networks.max_trials or section.trials)
    finalists = min(section.finalists, trials) * section.finalist_seeds
    expected = [
        ExpectedTrainings.of_equal_length("search", trials, networks.search, section.recipe)
    ]
    if section.repeated_networks and trials >= PROXY_CHECK_NETWORKS:
        expected.append(
            ExpectedTrainings.of_equal_length(
                "proxy check", section.repeated_networks, networks.search, section.recipe
            )
        )
    references = [] if networks.reference is None else [networks.reference]
    expected += _count_rate_check(
        "finalists",
        section.finalist_recipe,
        networks.base,
        [*networks.search[: min(section.finalists, trials) - 1], *references],
    )
    expected.append(
        ExpectedTrainings.of_equal_length(
            "finalists", finalists, networks.search, section.finalist_recipe
        )
    )
    if networks.reference is not None:
        # one of them is as short as a trial
        trainings = section.finalist_seeds + 1
        expected.append(
            ExpectedTrainings.of_equal_length(
                "reference", trainings, [networks.reference], section.finalist_recipe
            )
        )
    return expected


def _count_rate_check(
    stage: CheckedStage, recipe: Recipe, center: ScalableNetwork, others: Sequence[ScalableNetwork]
) -> list[ExpectedTrainings]:
    """The check of the learning rate of a stage. Empty where there is none."""
    if not recipe.check_rates:
        return []
    networks = select_networks(center, others)
    trainings = count_check_trainings(len(networks))
    return [
        ExpectedTrainings.of_equal_length(
            check_title(stage), trainings, networks, check_recipe(recipe)
        )
    ]


def trains_grid(config: Config) -> bool:
    """Whether the scaling search trains networks."""
    return config.scaling.coefficients is None and config.scaling.evaluator == "proxy"
