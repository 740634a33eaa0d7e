"""The latencies of a search. Each network is timed once, and the timing is recorded."""

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.trial import LatencyTiming, TrialAttributes
from phinas.space.network import Network
from phinas.training.timing.latency import LatencyTimer

# Study attribute: the timing of a network that is not a trial, such as the base network.
_MEASURED_NETWORK = "base_latency"


class LatencyCache:
    """The timings of the networks of a search, and the jobs that time the others.

    Args:
        trial_store: The record of the search.
        latency_timer: Describes the timing jobs.
    """

    def __init__(self, trial_store: TrialStore, latency_timer: LatencyTimer) -> None:
        self._trial_store = trial_store
        self._latency_timer = latency_timer
        all_attributes = [
            TrialAttributes.from_record(record)
            for record in trial_store.records()
            if TrialAttributes.are_recorded(record)
        ]
        self._timings: dict[str, LatencyTiming] = {
            attributes.network_id: attributes.latency
            for attributes in all_attributes
            if attributes.latency is not None
        }
        measured_network = trial_store.study_attrs.get(_MEASURED_NETWORK)
        if measured_network is not None:
            timing = LatencyTiming.from_dict(measured_network)
            self._timings[measured_network["network_id"]] = timing

    def make_job(self, network: Network) -> Job | None:
        """The job that times a network. None if its timing is recorded."""
        if network.network_id in self._timings:
            return None
        return self._latency_timer.make_job(network)

    def add(self, network: Network, timing: LatencyTiming) -> None:
        """Add the result of a timing.

        Raises:
            InputError: The timing is from other hardware than the recorded ones, so they cannot be
                compared.
        """
        previous = next(iter(self._timings.values()), timing)
        if previous.latency_hardware != timing.latency_hardware:
            raise InputError(
                "search.cost: latencies of this run were measured on "
                f"{previous.latency_hardware} and are now measured on {timing.latency_hardware}, "
                "so they cannot be compared; resume the run on the first device, or use a new "
                "--out"
            )
        self._timings[network.network_id] = timing

    def timing(self, network: Network) -> LatencyTiming:
        """The timing of a network that has been timed."""
        return self._timings[network.network_id]

    def measure_now(self, network: Network, executor: Executor) -> float:
        """Time a network that is not a trial and record its timing, unless it is recorded.

        Args:
            network: The network.
            executor: Runs the timing. No other job may be running.

        Returns:
            The latency in ms.

        Raises:
            NoResultError: The network could not be timed.
        """
        job = self.make_job(network)
        if job is not None:
            executor.submit(job)
            result = executor.next_result()
            if result.value is None:
                raise NoResultError(
                    f"network {network.network_id} could not be timed: {result.reason}"
                )
            self.add(network, LatencyTiming.from_dict(result.value))
            self._trial_store.set_study_attr(
                _MEASURED_NETWORK,
                {"network_id": network.network_id} | self.timing(network).to_dict(),
            )
        return self.timing(network).latency_ms
