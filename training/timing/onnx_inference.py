"""Inferences in ONNX Runtime on the CPU, for latency measurements.

The network is exported with random weights and the shape of the timed images, so batch norm is
folded into the convolutions. For int8 it is quantized with one batch of random images: the ranges
of its activations are wrong for real images, but its time does not depend on them.
"""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.errors import NoResultError
from phinas.space.network import Network

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class OnnxInference:
    """One inference of a randomly initialized network in ONNX Runtime.

    Args:
        network: The network.
        batch: Images in one inference.
        int8: Whether weights and activations have 8 bits.

    Raises:
        NoResultError: The network could not be exported unchanged.
        ImportError: The extra `onnx` is not installed.
    """

    def __init__(self, network: Network, *, batch: int, int8: bool) -> None:
        model, images = _random_network(network, batch)
        self._model = _export(network, model, images, int8=int8)
        self._images = images.numpy()
        self.set_threads(1)

    def set_threads(self, threads: int) -> None:
        """Set the number of CPU threads, 1 at first."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        self._session: Any = onnxruntime.InferenceSession(
            self._model, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self) -> "np.ndarray":
        """Run the inference; the logits (batch, classes).

        Raises:
            MemoryError: The memory ran out.
        """
        from phinas.space.interchange.onnx_export import INPUT

        try:
            logits: np.ndarray = self._session.run(None, {INPUT: self._images})[0]
        except Exception as error:
            # onnxruntime has one error for all that happens while it runs
            if "allocate" in str(error).lower():
                raise MemoryError(str(error)) from None
            raise
        return logits


def _random_network(network: Network, batch: int) -> "tuple[nn.Module, Tensor]":
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network.build().eval()
    generator = torch.Generator().manual_seed(0)
    size = network.resolution
    return model, torch.randn(batch, network.channels, size, size, generator=generator)


def _export(network: Network, model: "nn.Module", images: "Tensor", *, int8: bool) -> bytes:
    """The ONNX model of a network for images of one shape."""
    import torch

    from phinas.space.interchange.onnx_export import ExportError, write_onnx
    from phinas.space.interchange.onnx_quantization import quantize_onnx

    # tracing for the export and inference mode exclude each other
    with (
        tempfile.TemporaryDirectory(prefix="phinas-latency-") as folder,
        torch.inference_mode(mode=False),
        torch.no_grad(),
    ):
        path = Path(folder, "network.onnx")
        try:
            write_onnx(
                model,
                images,
                path,
                check=_make_check(model(images), images),
                has_fixed_shape=True,
            )
        except (ExportError, torch.onnx.OnnxExporterError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise NoResultError(
                f"network {network.network_id} cannot be exported to ONNX ({reason})"
            ) from None
        if not int8:
            return path.read_bytes()
        quantized = quantize_onnx(path, [images.numpy()])
        # these shapes are those before the quantization
        del quantized.graph.value_info[:]
        return bytes(quantized.SerializeToString())


def _make_check(expected: "Tensor", images: "Tensor") -> Callable[[Path], float]:
    """A function that checks that a file has the logits of the network."""
    from phinas.space.interchange.onnx_export import (
        TOLERANCE,
        ExportError,
        OnnxNetwork,
        relative_difference,
    )

    def check(path: Path) -> float:
        difference = relative_difference(OnnxNetwork(path, threads=1)(images), expected)
        if not math.isfinite(difference) or difference > TOLERANCE:
            raise ExportError(
                f"its logits differ by {difference:.1e} of the largest, more than {TOLERANCE:g}"
            )
        return difference

    return check
