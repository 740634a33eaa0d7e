"""An ONNX file with 8-bit weights and activations, by onnxruntime's static quantization.

Convolutions and the classifier become integer operations, with one scale for each output channel of
their weights. The ranges of the activations are those of the calibration images. Everything else,
also a preprocessing inside the graph, keeps its precision.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phinas.space.interchange.onnx_export import INPUT

if TYPE_CHECKING:
    import onnx

_LAYERS = ("Conv", "Gemm")
# The range of a layer's output is taken after its ReLU or ReLU6. Measured with EfficientNet-Lite0
# (ReLU6) on 500 test images of CIFAR-10 at 96 px: 69.4% instead of 54.8%; float32 has 70.6%.
_ACTIVATIONS = ("Relu", "Clip")


def quantize_onnx(source: Path, batches: Sequence[np.ndarray]) -> "onnx.ModelProto":
    """Quantize an ONNX file.

    Args:
        source: The float32 file, as `write_onnx` wrote it.
        batches: Calibration images, each batch as the input of the file.

    Returns:
        The int8 model.

    Raises:
        ImportError: The extra `onnx` is not installed.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """The calibration images as onnxruntime reads them."""

        def __init__(self) -> None:
            self._batches: Iterator[np.ndarray] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory(prefix="phinas-int8-") as folder:
        path = Path(folder, "int8.onnx")
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it advises what the exporter has done
        try:
            quantize_static(
                str(source),
                str(path),
                Batches(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*_LAYERS, *_ACTIVATIONS],
                nodes_to_exclude=_other_activations(onnx.load(source)),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logging.getLogger().setLevel(level)
        return onnx.load(path)


def _other_activations(model: "onnx.ModelProto") -> list[str]:
    """The names of the activations that follow no layer, such as those of a preprocessing."""
    layer_outputs = {
        output for node in model.graph.node if node.op_type in _LAYERS for output in node.output
    }
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _ACTIVATIONS and node.input[0] not in layer_outputs
    ]
