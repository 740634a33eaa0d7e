"""The check of the learning rate of the stages of a run: it is recorded, printed and applied.

A recorded check is kept, so that a resumed run trains with the same rate. It is made again only if
the recipe has changed, or the networks before the first training of the stage. Its trainings are
recorded too, so an interrupted check continues.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from phinas.experiment.artifacts.learning_rates import CheckedStage, LearningRatesFile
from phinas.experiment.executors import Job
from phinas.experiment.schema.config import (
    Recipe,
    ScalingSection,
    SearchSection,
    ValidationSection,
)
from phinas.reports.sentences.learning_rates import describe_learning_rates, format_rate
from phinas.run_context import RunContext
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.space.network import Network, ScalableNetwork
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.learning_rate_check import (
    check_learning_rates,
    check_title,
    recipe_key,
    select_networks,
)

if TYPE_CHECKING:
    from phinas.experiment.artifacts.family_file import FamilyMember
    from phinas.nas.search import SearchResult
    from phinas.scaling_search.validation.controls import Control

_RECIPE_KEYS: dict[CheckedStage, str] = {
    "finalists": "search.finalist_recipe",
    "scaling": "scaling.recipe",
    "validation": "validation.recipe",
}
_GRID_NAMES = (
    "the network in the center of the grid",
    "the deepest network of the grid",
    "the widest network of the grid",
)


def check_finalists(
    context: RunContext,
    result: "SearchResult",
    space: SearchSpace,
    *,
    is_scalable: Callable[[ScalableNetwork], bool] | None,
) -> SearchSection:
    """The configuration of the search, with the learning rate of the finalists checked.

    The first finalist is checked, and the deepest and the widest network of the others and the
    reference.

    Args:
        context: The run.
        result: The result of the search.
        space: Its space, adapted to the images.
        is_scalable: As for `phinas.nas.selection.baseline.select_baseline`.
    """
    from phinas.nas.selection.baseline import choose_finalists
    from phinas.nas.selection.reference_network import ReferenceNetwork, find_reference

    section = context.config.search

    def find_networks() -> dict[str, ScalableNetwork]:
        chosen = choose_finalists(
            result, section, space, seed=context.config.run.seed, is_scalable=is_scalable
        )
        networks = {
            f"trial {finalist.trial.number}": finalist.trial.spec for finalist in chosen.finalists
        }
        reference = find_reference(result, section, space)
        if isinstance(reference, ReferenceNetwork):
            networks[reference.name] = reference.spec
        return _select_named(chosen.finalists[0].trial.spec, networks)

    recipe = _check_recipe(context, "finalists", section.finalist_recipe, find_networks)
    return section.model_copy(update={"finalist_recipe": recipe})


def check_grid(
    context: RunContext, baseline: ScalableNetwork, section: ScalingSection
) -> ScalingSection:
    """The configuration of the scaling search, with its learning rate checked.

    The most balanced network of the grid is checked, and the deepest and the widest one.

    Args:
        context: The run.
        baseline: The network to scale.
        section: The configuration of the scaling search for these images.
    """

    def find_networks() -> dict[str, ScalableNetwork]:
        grid = make_grid(baseline, section, max_resolution=context.max_resolution)
        members = farthest_point_sample(grid, section.max_grid_members)
        (center,) = farthest_point_sample(grid, 1)
        selected = select_networks(center.spec, [member.spec for member in members])
        return dict(zip(_GRID_NAMES, selected, strict=False))

    recipe = _check_recipe(context, "scaling", section.recipe, find_networks)
    return section.model_copy(update={"recipe": recipe})


def check_validation(
    context: RunContext, members: Sequence["FamilyMember"], controls: Sequence["Control"]
) -> ValidationSection:
    """The configuration of the validation, with its learning rate checked.

    The largest member is checked, and the deepest and the widest network of the other members and
    the controls.

    Args:
        context: The run.
        members: The members that are trained.
        controls: The controls.
    """
    section = context.config.validation
    if not members:
        return section

    def find_networks() -> dict[str, ScalableNetwork]:
        networks = {member.name.upper(): member.spec for member in members}
        networks |= {
            f"the control {control.definition.name}": control.spec
            for control in controls
            if control.spec is not None and control.skip is None
        }
        return _select_named(max(members, key=lambda member: member.flops).spec, networks)

    recipe = _check_recipe(context, "validation", section.recipe, find_networks)
    return section.model_copy(update={"recipe": recipe})


def _select_named(
    center: ScalableNetwork, networks: Mapping[str, ScalableNetwork]
) -> dict[str, ScalableNetwork]:
    """The networks to check, by the first of their names."""
    names = {network.network_id: name for name, network in reversed(list(networks.items()))}
    selected = select_networks(center, list(networks.values()))
    return {names[network.network_id]: network for network in selected}


def _check_recipe(
    context: RunContext,
    stage: CheckedStage,
    recipe: Recipe,
    find_networks: Callable[[], Mapping[str, ScalableNetwork]],
) -> Recipe:
    """The recipe of a stage with its learning rate checked, if it is to be checked."""
    if not recipe.check_rates:
        return recipe
    check = _recorded_check(context, stage, recipe, find_networks)
    if check is None:
        check = _run_check(context, stage, recipe, find_networks())
    return recipe.with_learning_rate(check.learning_rate)


def _recorded_check(
    context: RunContext,
    stage: CheckedStage,
    recipe: Recipe,
    find_networks: Callable[[], Mapping[str, ScalableNetwork]],
) -> LearningRatesFile | None:
    """The recorded check of a stage; None if there is none, or if it has to be made again."""
    path = context.run.learning_rates(stage)
    if not path.exists():
        return None
    check = LearningRatesFile.read(path)
    if check.recipe_key != recipe_key(recipe):
        return None
    if context.storage.records(stage):
        return check
    checked = [row.network_id for row in check.networks]
    return check if checked == [row.network_id for row in find_networks().values()] else None


def _run_check(
    context: RunContext,
    stage: CheckedStage,
    recipe: Recipe,
    networks: Mapping[str, ScalableNetwork],
) -> LearningRatesFile:
    def make_job(network: Network, short_recipe: Recipe, seed: int) -> Job:
        return context.job_factory.make_job(network, short_recipe, seed)

    title = check_title(stage)
    with context.display.stage(title, unit="trainings", text_is_result=False) as on_progress:
        check = check_learning_rates(
            networks,
            recipe,
            stage=stage,
            seed=context.config.run.seed,
            make_job=make_job,
            trial_store=context.storage.open_study("learning_rates"),
            executor=context.executor,
            on_progress=on_progress,
        )
    check.write(context.run.learning_rates(stage))
    context.display.print(describe_result(check))
    return check


def describe_result(check: LearningRatesFile) -> str:
    """The result of a check in one line. It is a warning if another rate suits some networks."""
    result = f"{check_title(check.stage)}: {' '.join(describe_learning_rates(check))}"
    if not check.disagreeing:
        return result
    rates = {format_rate(gain.learning_rate): None for _, gain in check.disagreeing}
    return (
        f"warning: {result} To see whether the result depends on it, repeat the stage in a new run "
        f"with {_RECIPE_KEYS[check.stage]}.learning_rate: {' or '.join(rates)}."
    )
