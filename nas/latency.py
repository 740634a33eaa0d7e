"""What is known of latencies in a search: each network is timed once, and what was found is
recorded with its trial.
"""

from typing import Any

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.trial_store import TrialStore
from phinas.nas.trial import LATENCY
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import LatencyTimer

# note of the study: a network that need not be a trial, such as the space's base
_MEASURED_NETWORK_NOTE = "base_latency"


class LatencyCache:
    """Times networks, of which the record does not know the latency yet."""

    def __init__(self, trial_store: TrialStore, latency_timer: LatencyTimer) -> None:
        self._trial_store = trial_store
        self._latency_timer = latency_timer
        self._latency_attributes = {
            row.user_attrs["spec_id"]: _select_latency_attributes(row.user_attrs)
            for row in trial_store.records()
            if LATENCY in row.user_attrs
        }
        if _MEASURED_NETWORK_NOTE in trial_store.study_attrs:
            self._latency_attributes[trial_store.study_attrs[_MEASURED_NETWORK_NOTE]["spec_id"]] = (
                _select_latency_attributes(trial_store.study_attrs[_MEASURED_NETWORK_NOTE])
            )

    def make_job(self, spec: ArchSpec) -> Job | None:
        """What times `spec`; None where its latency is known."""
        return (
            None if spec.spec_id in self._latency_attributes else self._latency_timer.make_job(spec)
        )

    def add(self, spec: ArchSpec, timing: dict[str, Any]) -> None:
        """What a timing gave. Raises InputError where it was on another device than those before:
        they do not compare.
        """
        previous = next(iter(self._latency_attributes.values()), timing)
        if previous["latency_hardware"] != timing["latency_hardware"]:
            raise InputError(
                "search.cost: latencies of this run were measured on "
                f"{previous['latency_hardware']} and "
                "are now on "
                f"{timing['latency_hardware']}, which does not compare; resume it there, or use a "
                "new "
                "--out"
            )
        self._latency_attributes[spec.spec_id] = _select_latency_attributes(timing)

    def trial_attributes(self, spec: ArchSpec) -> dict[str, Any]:
        """What is recorded with a trial of `spec`, the median last: a trial that has it has all of
        them.
        """
        attributes = self._latency_attributes[spec.spec_id]
        return {name: value for name, value in attributes.items() if name != LATENCY} | {
            LATENCY: attributes[LATENCY]
        }

    def latency_ms(self, spec: ArchSpec) -> float:
        return float(self._latency_attributes[spec.spec_id][LATENCY])

    def measure_now(self, spec: ArchSpec, executor: Executor) -> float:
        """The latency of one network that is no trial, timed now if it is not known; no job may be
        under way. Raises NoResultError where it can't be timed."""
        job = self.make_job(spec)
        if job is not None:
            executor.submit(job)
            result = executor.next_result()
            if result.value is None:
                raise NoResultError(
                    f"network {spec.spec_id}, which the others are held against, could not be "
                    f"timed: {result.reason}"
                )
            self.add(spec, result.value)
            self._trial_store.set_study_attr(
                _MEASURED_NETWORK_NOTE, {"spec_id": spec.spec_id} | self.trial_attributes(spec)
            )
        return self.latency_ms(spec)


def _select_latency_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name.startswith("latency_")}
