"""What is known of latencies in a search: each network is timed once, and what was found is
recorded with its trial.
"""

from typing import Any

from phinas.experiment.errors import InputError, NothingFound
from phinas.experiment.executors import Executor, Job
from phinas.experiment.trial_store import Ledger
from phinas.nas.trial import LATENCY
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import Stopwatch

# note of the study: a network that need not be a trial, such as the space's base
_APART = "base_latency"


class Latencies:
    """Times networks, of which the record does not know the latency yet."""

    def __init__(self, ledger: Ledger, stopwatch: Stopwatch) -> None:
        self._ledger = ledger
        self._stopwatch = stopwatch
        self._known = {
            row.attributes["spec_id"]: _facts(row.attributes)
            for row in ledger.rows()
            if LATENCY in row.attributes
        }
        if _APART in ledger.notes:
            self._known[ledger.notes[_APART]["spec_id"]] = _facts(ledger.notes[_APART])

    def job(self, spec: ArchSpec) -> Job | None:
        """What times `spec`; None where its latency is known."""
        return None if spec.spec_id in self._known else self._stopwatch.job(spec)

    def learn(self, spec: ArchSpec, found: dict[str, Any]) -> None:
        """What a timing gave. Raises InputError where it was on another device than those before:
        they do not compare.
        """
        before = next(iter(self._known.values()), found)
        if before["latency_on"] != found["latency_on"]:
            raise InputError(
                f"search.cost: latencies of this run were measured on {before['latency_on']} and "
                "are now on "
                f"{found['latency_on']}, which does not compare; resume it there, or use a new "
                "--out"
            )
        self._known[spec.spec_id] = _facts(found)

    def facts(self, spec: ArchSpec) -> dict[str, Any]:
        """What is recorded with a trial of `spec`, the median last: a trial that has it has all of
        them.
        """
        facts = self._known[spec.spec_id]
        return {name: fact for name, fact in facts.items() if name != LATENCY} | {
            LATENCY: facts[LATENCY]
        }

    def milliseconds(self, spec: ArchSpec) -> float:
        return float(self._known[spec.spec_id][LATENCY])

    def time_apart(self, spec: ArchSpec, executor: Executor) -> float:
        """The latency of one network that is no trial, timed now if it is not known; no job may be
        under way. Raises NothingFound where it can't be timed."""
        job = self.job(spec)
        if job is not None:
            executor.submit(job)
            result = executor.next_result()
            if result.value is None:
                raise NothingFound(
                    f"network {spec.spec_id}, which the others are held against, could not be "
                    f"timed: {result.reason}"
                )
            self.learn(spec, result.value)
            self._ledger.note(_APART, {"spec_id": spec.spec_id} | self.facts(spec))
        return self.milliseconds(spec)


def _facts(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in attributes.items() if name.startswith("latency_")}
