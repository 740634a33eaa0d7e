"""The family of a run, by phi or by budgets of FLOPs, parameters or latency."""

from collections.abc import Callable

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.schema.config import ScalingSection
from phinas.experiment.trial_store import TrialStore
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import fit_budgets
from phinas.scaling_search.family.family import FamilyMember, make_budget_family, make_family
from phinas.scaling_search.family.latency_budgets import fit_latency_budgets
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import LatencyTimer

_NOTE_KEY = "family_latencies"


def build_family(
    baseline: ArchSpec,
    coefficients: Coefficients,
    section: ScalingSection,
    *,
    latency: Callable[[ArchSpec], float] | None = None,
) -> list[FamilyMember]:
    """The members of a family as `section` asks for them.

    Args:
        latency: Measures a network in ms. Without it, latency budgets are replaced by
        `section.phi`.
    """
    if section.flops:
        return make_budget_family(
            baseline, fit_budgets(baseline, coefficients, "flops", section.flops)
        )
    if section.params:
        return make_budget_family(
            baseline, fit_budgets(baseline, coefficients, "params", section.params)
        )
    if section.latency_ms and latency is not None:
        return make_budget_family(
            baseline, fit_latency_budgets(baseline, coefficients, section.latency_ms, latency)
        )
    return make_family(baseline, coefficients, section.phi)


def cached_latency(
    trial_store: TrialStore, latency_timer: LatencyTimer, executor: Executor
) -> Callable[[ArchSpec], float]:
    """Returns a function that measures a network in ms once and records it, so that a resumed run
    makes the same family. It raises NoResultError where a network could not be timed.
    """

    def latency(spec: ArchSpec) -> float:
        latencies = trial_store.study_attrs.get(_NOTE_KEY, {})
        if spec.spec_id not in latencies:
            executor.submit(latency_timer.make_job(spec))
            result = executor.next_result()
            if result.value is None:
                raise NoResultError(
                    f"scaling.latency_ms: network {spec.spec_id} could not be timed: "
                    f"{result.reason}"
                )
            latencies = latencies | {spec.spec_id: result.value["latency_ms"]}
            trial_store.set_study_attr(_NOTE_KEY, latencies)
        return float(latencies[spec.spec_id])

    return latency
