"""The check of learning rates: whether one rate suits all networks of a stage.

A stage compares networks by trainings with one recipe. If the learning rate suits some of them
better than others, the comparison is partly one of recipes. So some networks are trained briefly
with several rates before the stage.

All networks keep one rate, because a rate of its own for each network would need many trainings to
be better than noise. It is that of the recipe unless another one is significantly better on
average (`phinas.experiment.statistics.rate_comparison`). What remains, networks that another rate
suits significantly better, is reported.

The trainings are complete ones with fewer epochs, so that the schedule ends as in the stage. They
are scored on the validation split, also for a stage that measures on the test split.
"""

from collections.abc import Callable, Mapping, Sequence

from phinas.experiment.artifacts.learning_rates import (
    CheckedRate,
    CheckedStage,
    LearningRatesFile,
    RateCheckedNetwork,
    RateGainRecord,
)
from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, job_key, run_jobs
from phinas.experiment.schema.recipe import (
    CHECKED_RATE_FACTORS,
    RATE_CHECK_NETWORKS,
    RATE_CHECK_SEEDS,
    Recipe,
)
from phinas.experiment.seeds import derive_seed
from phinas.experiment.statistics.rate_comparison import RateComparison, compare_rates
from phinas.experiment.storage.trial_store import TrialStore
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import Network, ScalableNetwork
from phinas.space.spec import ArchSpec


def select_networks(
    center: ScalableNetwork, others: Sequence[ScalableNetwork]
) -> list[ScalableNetwork]:
    """The networks to check: a typical one, and the deepest and the widest of the others.

    Args:
        center: The typical network.
        others: All networks of the stage, which may include `center`.

    Returns:
        Different networks, fewer where there are not enough.
    """
    selected = {center.network_id: center}
    for measure in (_depth_and_narrowness, _width_and_shallowness):
        candidates = [network for network in others if network.network_id not in selected]
        if candidates:
            network = max(candidates, key=measure)
            selected[network.network_id] = network
    return list(selected.values())


def _depth_and_narrowness(network: ScalableNetwork) -> tuple[float, float]:
    return _total_depth(network), -_mean_width(network)


def _width_and_shallowness(network: ScalableNetwork) -> tuple[float, float]:
    return _mean_width(network), -_total_depth(network)


def _total_depth(network: ScalableNetwork) -> float:
    """The number of blocks, or the factor of the depth of a network that a function builds."""
    if isinstance(network, ArchSpec):
        return sum(stage.depth for stage in network.stages)
    assert isinstance(network, BuiltNetwork)
    return network.depth


def _mean_width(network: ScalableNetwork) -> float:
    """The same for width."""
    if isinstance(network, BuiltNetwork):
        return network.width
    assert isinstance(network, ArchSpec)
    return sum(stage.width for stage in network.stages) / len(network.stages)


def check_title(stage: CheckedStage) -> str:
    """The check of a stage in a plan and in the progress of a run."""
    return f"learning rates ({stage})"


def count_check_trainings(num_networks: int) -> int:
    """The number of trainings of a check with this many networks."""
    return min(num_networks, RATE_CHECK_NETWORKS) * len(CHECKED_RATE_FACTORS) * RATE_CHECK_SEEDS


def check_recipe(recipe: Recipe, factor: float = 1.0) -> Recipe:
    """The recipe of a training of the check, with this multiple of the learning rate."""
    return recipe.with_learning_rate(factor * recipe.learning_rate).model_copy(
        update={"epochs": recipe.rate_check_epochs}
    )


def recipe_key(recipe: Recipe) -> str:
    """A hash of a recipe, by which a recorded check is recognized."""
    return job_key("recipe", recipe.model_dump())


def check_learning_rates(
    networks: Mapping[str, Network],
    recipe: Recipe,
    *,
    stage: CheckedStage,
    seed: int,
    make_job: Callable[[Network, Recipe, int], Job],
    trial_store: TrialStore,
    executor: Executor,
    on_progress: Callable[[int, int, str], None],
) -> LearningRatesFile:
    """Train networks with several learning rates, and select the rate of a stage.

    Args:
        networks: The networks by their names in sentences.
        recipe: The recipe of the stage.
        stage: The stage.
        seed: Seed of the run.
        make_job: Makes a training that is scored on the validation split.
        trial_store: The record. Recorded trainings are not run again.
        executor: Runs the trainings.
        on_progress: Called with (done, total, text) after each training.
    """
    recipes = [check_recipe(recipe, factor) for factor in CHECKED_RATE_FACTORS]
    seeds = [derive_seed(seed, f"learning rates {stage}", i) for i in range(RATE_CHECK_SEEDS)]
    tasks = {
        (name, short.learning_rate, training_seed): Task(
            make_job(network, short, training_seed),
            {
                "stage": stage,
                "name": name,
                "network_id": network.network_id,
                "flops": network.cost().flops,
                "learning_rate": short.learning_rate,
                "seed": training_seed,
            },
        )
        for training_seed in seeds
        for short in recipes
        for name, network in networks.items()
    }

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        attributes = task.user_attrs
        on_progress(
            done,
            total,
            f"latest: {attributes['name']} at {attributes['learning_rate']:g}, {outcome}",
        )

    outcomes = run_jobs(list(tasks.values()), trial_store, executor, on_progress=announce)
    measurements = {place: outcomes[task.job.key].measurement for place, task in tasks.items()}
    rates = {
        name: tuple(
            CheckedRate(
                learning_rate=short.learning_rate,
                scores=tuple(
                    measurement.score if measurement else None
                    for measurement in (
                        measurements[name, short.learning_rate, training_seed]
                        for training_seed in seeds
                    )
                ),
            )
            for short in recipes
        )
        for name in networks
    }
    comparison = compare_rates(_complete_scores(rates), recipe_rate=recipe.learning_rate)
    metrics = [measurement.metric for measurement in measurements.values() if measurement]
    return LearningRatesFile(
        stage=stage,
        metric=metrics[0] if metrics else "",
        recipe_key=recipe_key(recipe),
        recipe_rate=recipe.learning_rate,
        epochs=recipe.rate_check_epochs,
        recipe_epochs=recipe.epochs,
        learning_rate=comparison.rate if comparison else recipe.learning_rate,
        over_recipe=RateGainRecord.of(comparison.over_recipe) if comparison else None,
        noise_std=comparison.noise_std if comparison else None,
        networks=_network_records(networks, rates, comparison),
    )


def _complete_scores(
    rates: Mapping[str, Sequence[CheckedRate]],
) -> dict[str, dict[float, list[float]]]:
    """The scores of the rates without a failed training. A network without any is left out."""
    scores = {
        name: {
            row.learning_rate: [score for score in row.scores if score is not None]
            for row in rows
            if None not in row.scores
        }
        for name, rows in rates.items()
    }
    return {name: by_rate for name, by_rate in scores.items() if by_rate}


def _network_records(
    networks: Mapping[str, Network],
    rates: Mapping[str, tuple[CheckedRate, ...]],
    comparison: RateComparison | None,
) -> tuple[RateCheckedNetwork, ...]:
    gains = comparison.by_network if comparison else {}
    return tuple(
        RateCheckedNetwork(
            name=name,
            network_id=network.network_id,
            flops=network.cost().flops,
            rates=rates[name],
            best_other=RateGainRecord.of(gains.get(name)),
        )
        for name, network in networks.items()
    )
