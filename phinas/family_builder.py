"""Build the family of a run from phi or from budgets of FLOPs, parameters or latency."""

from collections.abc import Callable

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.schema.config import ScalingSection
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import BudgetFit, fit_budgets
from phinas.scaling_search.family.depth_growth import limit_depth_growth
from phinas.scaling_search.family.family import make_budget_family, make_family
from phinas.scaling_search.family.latency_budgets import fit_latency_budgets
from phinas.space.network import Network, ScalableNetwork
from phinas.training.timing.latency import LatencyTimer

_LATENCIES_KEY = "family_latencies"


def build_family(
    baseline: ScalableNetwork,
    coefficients: Coefficients,
    section: ScalingSection,
    *,
    latency: Callable[[Network], float] | None = None,
) -> list[FamilyMember]:
    """Build the members of a family.

    Args:
        baseline: The network to scale.
        coefficients: The compound coefficients.
        section: The configuration, which has budgets or values of phi.
        latency: Returns the latency of a network in ms. Without it `section.phi` is used instead of
            latency budgets.

    Raises:
        InputError: No phi meets a budget.
    """
    fits = _fit_budgets(baseline, coefficients, section, latency)
    if fits is None:
        return make_family(baseline, coefficients, section.phi)
    return make_budget_family(baseline, fits)


def limit_family_depth(
    baseline: ScalableNetwork,
    coefficients: Coefficients,
    section: ScalingSection,
    *,
    latency: Callable[[Network], float] | None = None,
) -> Coefficients:
    """The coefficients of a race with an alpha that suits the whole family: no stage more than
    doubles its depth from one member to the next.

    Args:
        baseline: The network to scale.
        coefficients: The compound coefficients.
        section: The configuration, which has budgets or values of phi.
        latency: As for `build_family`.

    Raises:
        InputError: No phi meets a budget.
    """

    def find_ladder(candidate: Coefficients) -> list[float]:
        fits = _fit_budgets(baseline, candidate, section, latency)
        return section.phi if fits is None else [fit.phi for fit in fits]

    return limit_depth_growth(baseline, coefficients, find_ladder)


def limit_depth_of_race(
    baseline: ScalableNetwork,
    record: CoefficientsFile,
    section: ScalingSection,
    *,
    latency: Callable[[Network], float] | None = None,
) -> CoefficientsFile:
    """The record of a race's coefficients with those of `limit_family_depth`, if they differ.

    Args:
        baseline: The network to scale.
        record: The coefficients of the race.
        section: The configuration, which has budgets or values of phi.
        latency: As for `build_family`.

    Raises:
        InputError: No phi meets a budget.
    """
    coefficients = Coefficients.from_file(record)
    limited = limit_family_depth(baseline, coefficients, section, latency=latency)
    if limited == coefficients:
        return record
    return record.model_copy(
        update={
            "alpha": limited.alpha,
            "beta": limited.beta,
            "gamma": limited.gamma,
            "before_depth_limit": (record.alpha, record.beta, record.gamma),
        }
    )


def _fit_budgets(
    baseline: ScalableNetwork,
    coefficients: Coefficients,
    section: ScalingSection,
    latency: Callable[[Network], float] | None,
) -> list[BudgetFit[ScalableNetwork]] | None:
    """The network of each budget; None for a family by values of phi."""
    if section.flops:
        return fit_budgets(baseline, coefficients, "flops", section.flops)
    if section.params:
        return fit_budgets(baseline, coefficients, "params", section.params)
    if section.latency_ms and latency is not None:
        return fit_latency_budgets(baseline, coefficients, section.latency_ms, latency)
    return None


def cached_latency(
    trial_store: TrialStore, latency_timer: LatencyTimer, executor: Executor
) -> Callable[[Network], float]:
    """Make a function that measures the latency of each network only once.

    Each latency is recorded in the study, so a resumed run builds the same family.

    Args:
        trial_store: The study that records the latencies.
        latency_timer: Makes the timing jobs.
        executor: Runs the timing jobs.

    Returns:
        A function that returns the latency of a network in ms. It raises NoResultError if the
        network could not be timed.
    """

    def latency(network: Network) -> float:
        latencies = trial_store.study_attrs.get(_LATENCIES_KEY, {})
        if network.network_id not in latencies:
            executor.submit(latency_timer.make_job(network))
            result = executor.next_result()
            if result.value is None:
                raise NoResultError(
                    f"scaling.latency_ms: network {network.network_id} could not be timed "
                    f"({result.reason})"
                )
            latencies = latencies | {network.network_id: result.value["latency_ms"]}
            trial_store.set_study_attr(_LATENCIES_KEY, latencies)
        return float(latencies[network.network_id])

    return latency
