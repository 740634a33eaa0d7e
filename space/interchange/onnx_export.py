"""ONNX export through torch's exporter, checked by running the written file.

Needs the extra `onnx` (onnx, onnxscript, onnxruntime).
"""

import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from phinas.space.network import Network

TOLERANCE = 1e-4


class ExportError(ValueError):
    """A network could not be exported unchanged."""


def write_onnx(model: nn.Module, network: Network, path: Path) -> float:
    """Write a model in eval mode as ONNX.

    The input `images` has the shape (batch, channels, resolution, resolution) and is normalized;
    the batch size is dynamic. The output is `logits`.

    Args:
        model: a module of `network`; it is set to eval mode.
        network: the network.
        path: the file.

    Returns:
        The largest difference between the logits of onnxruntime and torch, relative to the largest
        logit, on random images in batches of one and three.

    Raises:
        ExportError: the difference exceeds 1e-4.
        ImportError: the extra is not installed.
    """
    import onnxruntime

    model.eval()
    generator = torch.Generator().manual_seed(0)
    shape = (3, network.channels, network.resolution, network.resolution)
    images = torch.randn(shape, generator=generator)
    with warnings.catch_warnings():
        # the exporter warns about its internals, and logs what it skips
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        onnx_program = torch.onnx.export(
            model,
            (images,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    if onnx_program is None:
        raise ExportError("torch's exporter returned no ONNX program")
    path.parent.mkdir(parents=True, exist_ok=True)
    temp_path = path.with_name(f"{path.name}.tmp")
    try:
        onnx_program.save(str(temp_path), external_data=False)
        session = onnxruntime.InferenceSession(str(temp_path), providers=["CPUExecutionProvider"])
        max_difference = 0.0
        for batch in (images[:1], images):
            with torch.inference_mode():
                expected = model(batch)
            logits = torch.from_numpy(session.run(None, {"images": batch.numpy()})[0])
            max_difference = max(
                max_difference,
                float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-6)),
            )
        if max_difference > TOLERANCE:
            raise ExportError(
                f"onnxruntime's logits differ by {max_difference:.1e} of the largest, more than "
                f"{TOLERANCE:g}"
            )
        temp_path.replace(path)
    finally:
        temp_path.unlink(missing_ok=True)
    return max_difference
