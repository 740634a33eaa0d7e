"""Networks out as ONNX, through torch's exporter, checked by running what was written.

Needs the extra `onnx` (onnx, onnxscript, onnxruntime).
"""

import logging
import warnings
from pathlib import Path

import torch

from phinas.space.blocks import ConvNet
from phinas.space.spec import ArchSpec

TOLERANCE = 1e-4


class ExportError(ValueError):
    """A network could not be carried over unchanged."""


def write_onnx(model: ConvNet, spec: ArchSpec, path: Path) -> float:
    """Write `model`, in eval mode, as ONNX: `images` (batch, channels, resolution, resolution),
    normalized, to `logits`.

    The batch is free. Returns the largest difference from torch's logits that onnxruntime shows on
    random images in batches of one and three. Raises ExportError where it exceeds 1e-4 of the
    largest logit, ImportError without the extra.
    """
    import onnxruntime

    model.eval()
    generator = torch.Generator().manual_seed(0)
    shape = (3, spec.channels, spec.resolution, spec.resolution)
    images = torch.randn(shape, generator=generator)
    with warnings.catch_warnings():
        # the exporter warns of its own internals, and logs what it skips
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
        raise ExportError("torch's exporter gave no ONNX program")
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
