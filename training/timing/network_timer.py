"""Latencies of single networks in this process, with the number of CPU threads that is fastest.

`phinas latency` and `phinas choose` select the number of threads here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from phinas.experiment.cpu_threads import max_cpu_threads
from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.schema.run import RUNTIME_NAMES, LatencyRuntime
from phinas.space.network import Network
from phinas.training.timing.runtimes import InferenceBuilder, resolve_timing_device
from phinas.training.timing.torch_inference import inference_settings

if TYPE_CHECKING:
    import torch


def select_timing_threads(
    networks: Sequence[Network], device: "torch.device", builder: InferenceBuilder, *, batch: int
) -> int:
    """Return the number of CPU threads with which the first network that can run is fastest.

    On other devices than a CPU, and where no network can run, it is torch's current number.

    Args:
        networks: the networks.
        device: device of the inferences.
        builder: builds the inferences.
        batch: images in one inference.
    """
    import torch

    from phinas.training.timing.interleaved_timing import fits_memory

    if device.type != "cpu":
        return torch.get_num_threads()
    for network in networks:
        if fits_memory(network, device, batch):
            try:
                return builder.select_threads(network, batch=batch, max_threads=max_cpu_threads())
            except NoResultError:
                continue
    return torch.get_num_threads()


class NetworkTimer:
    """Times networks one after another with one image, equal ones once.

    The number of threads is selected with the first network that can run, and is then the same for
    all. torch's number of threads changes; `close` restores it.

    Args:
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
        runtime: runs the inferences.
    """

    def __init__(self, device: str, runtime: LatencyRuntime) -> None:
        self._device_name, self._runtime = device, runtime
        self._latencies_ms: dict[str, float] = {}
        self._threads: int | None = None
        self._hardware = ""

    @property
    def threads(self) -> int | None:
        """CPU threads of the inferences. None before a network was timed."""
        return self._threads

    @property
    def hardware(self) -> str:
        """The processor or GPU and the number of threads. Empty before a network was timed."""
        return self._hardware

    @property
    def num_timed(self) -> int:
        """Number of networks that were timed."""
        return len(self._latencies_ms)

    def measure_ms(self, network: Network) -> float:
        """Measure the median latency of a network in ms.

        Raises:
            InputError: this machine has no such device, or the runtime cannot use it.
            NoResultError: the network does not fit the memory, or the runtime cannot run it.
        """
        from phinas.training.engine.device import is_out_of_memory

        if network.network_id in self._latencies_ms:
            return self._latencies_ms[network.network_id]
        try:
            with inference_settings():
                milliseconds = self._time(network)
        except (InputError, NoResultError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise NoResultError("out of memory") from None
            if self._runtime == "torch":
                raise
            # onnxruntime and its quantization have no common class of errors
            reason = str(error).strip().partition("\n")[0]
            name = RUNTIME_NAMES[self._runtime]
            raise NoResultError(f"{name} cannot run it ({reason})") from None
        self._latencies_ms[network.network_id] = milliseconds
        return milliseconds

    def close(self) -> None:
        """Restore torch's number of threads."""
        if "_setup" in self.__dict__:
            import torch

            torch.set_num_threads(self._setup.threads_before)

    @cached_property
    def _setup(self) -> "_Setup":
        import torch

        device = resolve_timing_device(
            self._device_name, self._runtime, option="runtime", device_option="device"
        )
        return _Setup(device, InferenceBuilder(device, self._runtime), torch.get_num_threads())

    def _time(self, network: Network) -> float:
        import torch

        from phinas.training.timing.interleaved_timing import fits_memory
        from phinas.training.timing.latency import (
            describe_hardware,
            make_synchronizer,
            quartiles,
            time_repeatedly,
        )

        device, builder = self._setup.device, self._setup.builder
        if not fits_memory(network, device, 1):
            raise NoResultError("needs more memory than the machine has")
        if self._threads is None:
            # raises the error that `select_timing_threads` would pass over
            builder.build(network, batch=1, threads=1)
            self._threads = select_timing_threads([network], device, builder, batch=1)
            self._hardware = describe_hardware(device, self._threads)
        torch.set_num_threads(self._threads)
        milliseconds, _ = time_repeatedly(
            builder.build(network, batch=1, threads=self._threads),
            synchronize=make_synchronizer(device),
        )
        return quartiles(milliseconds)[1]


@dataclass(frozen=True)
class _Setup:
    """The device, and torch's number of threads before the timing."""

    device: "torch.device"
    builder: InferenceBuilder
    threads_before: int
