"""`phinas export`: a network of a spec file, with its weights, for other tools."""

from pathlib import Path
from typing import Any

from experiment.errors import InputError
from space.search_space import load_spec


def export(spec: str, *, out: str | Path, weights: str | Path | None = None) -> dict[str, Any]:
    """Write the network of `spec` as ONNX to `out`; `weights` is a safetensors file of it (none: freshly initialised).

    Returns the path and the largest relative difference that onnxruntime shows. Raises InputError, also without the extra.
    """
    import torch

    from space.blocks import build
    from space.interchange import write_onnx
    from training.checkpoint import load_weights

    network = load_spec(spec)
    path = Path(out).expanduser()
    if path.suffix != ".onnx":
        raise InputError(f"--out: {str(path)!r} does not end in .onnx, the one format that is written")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(network)
    if weights is not None:
        load_weights(model, Path(weights).expanduser())
    try:
        difference = write_onnx(model, network, path)
    except ImportError as error:
        raise InputError(f"export needs {error.name or 'more packages'}; pip install 'phinas[onnx]'") from None
    return {"path": str(path), "spec_id": network.spec_id, "largest_relative_difference": difference}
