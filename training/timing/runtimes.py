"""The runtimes in which latencies are measured: eager PyTorch, and ONNX Runtime on the CPU."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from phinas.experiment.errors import InputError
from phinas.experiment.optional_library import import_library
from phinas.experiment.schema.run import LatencyRuntime
from phinas.space.network import Network
from phinas.training.timing.onnx_inference import OnnxInference
from phinas.training.timing.torch_inference import Precision, make_inference

if TYPE_CHECKING:
    import torch

_LIBRARIES = {
    "onnx": "ModelProto",
    "onnxscript": "script",
    "onnxruntime": "InferenceSession",
}


def require_runtime(
    runtime: LatencyRuntime, device: str, *, option: str, device_option: str
) -> None:
    """Check that this machine can time networks in a runtime.

    Args:
        runtime: The runtime.
        device: "auto", "cpu", "mps", "cuda" or "cuda:N". "auto" is the CPU in ONNX Runtime.
        option: The configuration key or option that has the runtime, for the error message.
        device_option: The same for the device.

    Raises:
        InputError: ONNX Runtime is not installed, or the device is not the CPU.
    """
    if runtime == "torch":
        return
    if device not in ("auto", "cpu"):
        raise InputError(
            f"{device_option}: {device} is not available for {option}: {runtime}, which runs on "
            f"the CPU only; set {device_option} to cpu, or {option} to torch"
        )
    for name, attribute in _LIBRARIES.items():
        import_library(name, attribute=attribute, needed_by=f"{option}: {runtime}", extra="onnx")


def resolve_timing_device(
    name: str,
    runtime: LatencyRuntime,
    *,
    option: str = "run.latency_runtime",
    device_option: str = "run.device",
) -> "torch.device":
    """Return the device with a name, for timing in a runtime.

    Args:
        name: "auto", "cpu", "mps", "cuda" or "cuda:N". "auto" is the CPU in ONNX Runtime.
        runtime: runs the inferences.
        option: the configuration key or option that has the runtime, for the error message.
        device_option: the same for the device.

    Raises:
        InputError: this machine has no such device, or the runtime cannot use it.
    """
    from phinas.training.engine.device import resolve_device

    require_runtime(runtime, name, option=option, device_option=device_option)
    return resolve_device(name if runtime == "torch" else "cpu", option=device_option)


class InferenceBuilder:
    """Builds functions that run one inference of a randomly initialized network.

    Args:
        device: device of the inferences; a CPU for ONNX Runtime.
        runtime: runs the inferences.
        precision: "fp32", or with torch "bf16" for autocast.
    """

    def __init__(
        self, device: "torch.device", runtime: LatencyRuntime, *, precision: Precision = "fp32"
    ) -> None:
        self._device, self._runtime, self._precision = device, runtime, precision
        # An export takes seconds, and the number of threads does not change it.
        self._last_onnx: tuple[str, int, OnnxInference] | None = None

    def build(self, network: Network, *, batch: int, threads: int) -> Callable[[], object]:
        """Return a function that runs one inference. Call it in inference mode.

        Args:
            network: the network.
            batch: images in one inference.
            threads: CPU threads of ONNX Runtime. For torch, set those of the process.

        Raises:
            NoResultError: the network cannot be exported to ONNX.
        """
        if self._runtime == "torch":
            return make_inference(network, self._device, batch=batch, precision=self._precision)
        inference = self._onnx_inference(network, batch)
        inference.set_threads(threads)
        return inference

    def select_threads(self, network: Network, *, batch: int, max_threads: int) -> int:
        """Return the number of CPU threads with which the inference of a network is fastest.

        Args:
            network: the network.
            batch: images in one inference.
            max_threads: largest number of threads.

        Raises:
            NoResultError: the network cannot be exported to ONNX.
        """
        import torch

        from phinas.training.timing.thread_tuning import select_threads

        infer = self.build(network, batch=batch, threads=1)
        set_threads = (
            infer.set_threads if isinstance(infer, OnnxInference) else torch.set_num_threads
        )
        with torch.inference_mode():
            return select_threads(infer, max_threads, set_threads=set_threads)

    def _onnx_inference(self, network: Network, batch: int) -> OnnxInference:
        if self._last_onnx is None or self._last_onnx[:2] != (network.network_id, batch):
            inference = OnnxInference(
                network, batch=batch, int8=self._runtime == "onnxruntime-int8"
            )
            self._last_onnx = (network.network_id, batch, inference)
        return self._last_onnx[2]
