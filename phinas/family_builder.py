"""The family of a run: by the ladder of phi, or by budgets."""

from collections.abc import Callable

from phinas.experiment.errors import NothingFound
from phinas.experiment.executors import Executor
from phinas.experiment.schema.config import ScalingSection
from phinas.experiment.trial_store import Ledger
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import fit_budgets
from phinas.scaling_search.family.family import FamilyMember, family_of_budgets, make_family
from phinas.scaling_search.family.latency_budgets import fit_latencies
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import Stopwatch

_NOTE = "family_latencies"


def make_ladder(
    baseline: ArchSpec,
    coefficients: Coefficients,
    section: ScalingSection,
    *,
    latency: Callable[[ArchSpec], float] | None = None,
) -> list[FamilyMember]:
    """latency: the milliseconds of a network; without it the usual ladder stands in for budgets of
    them.
    """
    if section.flops:
        return family_of_budgets(
            baseline, fit_budgets(baseline, coefficients, "flops", section.flops)
        )
    if section.params:
        return family_of_budgets(
            baseline, fit_budgets(baseline, coefficients, "params", section.params)
        )
    if section.latency_ms and latency is not None:
        return family_of_budgets(
            baseline, fit_latencies(baseline, coefficients, section.latency_ms, latency)
        )
    return make_family(baseline, coefficients, section.phi)


def recorded_latency(
    ledger: Ledger, stopwatch: Stopwatch, executor: Executor
) -> Callable[[ArchSpec], float]:
    """Times a network once and notes it: a resumed run makes the same family. Raises NothingFound
    where it can't be timed.
    """

    def latency(spec: ArchSpec) -> float:
        known = ledger.notes.get(_NOTE, {})
        if spec.spec_id not in known:
            executor.submit(stopwatch.job(spec))
            result = executor.next_result()
            if result.value is None:
                raise NothingFound(
                    f"scaling.latency_ms: network {spec.spec_id} could not be timed: "
                    f"{result.reason}"
                )
            known = known | {spec.spec_id: result.value["latency_ms"]}
            ledger.note(_NOTE, known)
        return float(known[spec.spec_id])

    return latency
