"""Weights in the naming of timm or torchvision, with the Python lines that make the model."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from phinas.deployment.real_images import photo_inputs
from phinas.experiment.run_dir import write_json
from phinas.space.interchange.constructors import find_constructor
from phinas.space.interchange.onnx_export import TOLERANCE, ExportError, relative_difference
from phinas.space.interchange.partial_files import partial_files
from phinas.space.interchange.state_dict_maps import to_library_state_dict
from phinas.space.library_lookup import is_installed
from phinas.space.spec import ArchSpec
from phinas.training.engine.weights_io import save_state_dict

_TIMEOUT_S = 600
# Runs the written lines, in the directory of the file, as a user would.
_CHECK = """
import sys
from phinas.space.interchange.torchvision_import import import_with_torchvision
import_with_torchvision({tool!r})
import torch
from safetensors.torch import load_file, save_file
images = load_file(sys.argv[1])["images"]
{lines}
with torch.inference_mode():
    save_file({{"logits": model.eval()(images)}}, sys.argv[1])
"""


def write_state_dict(
    model: nn.Module, spec: ArchSpec, path: Path, *, tool: str
) -> tuple[Path, float | None]:
    """Write the weights in the naming of a library, and next to them a JSON file with the Python
    lines that make the model.

    Args:
        model: The network with its weights, in eval mode.
        spec: The network.
        path: The safetensors file.
        tool: "timm" or "torchvision".

    Returns:
        The JSON file, and the largest relative difference of the library's outputs from the
        network's on photos; None where the library is not installed.

    Raises:
        SpecError: The library has no class for the network.
        ExportError: The outputs differ.
    """
    constructor = find_constructor(spec, tool)
    loading = (
        "from safetensors.torch import load_file",
        "state = model.state_dict()",
        f"state.update(load_file({path.name!r}))",
        "model.load_state_dict(state)",
    )
    lines = [*constructor.lines, *loading]
    state = to_library_state_dict(model.state_dict(), spec, tool)
    with partial_files(path) as folder:
        new_path = folder / path.name
        save_state_dict(state, spec, new_path)
        difference = _compare(model, spec, lines, tool=tool, folder=folder)
        new_path.replace(path)
    instructions = path.with_suffix(f".{tool}.json")
    content = {
        "tool": tool,
        "network_id": spec.network_id,
        "spec": spec.to_dict(),
        "arguments": constructor.arguments,
        "python": lines,
    }
    write_json(instructions, content)
    return instructions, difference


def _compare(
    model: nn.Module, spec: ArchSpec, lines: list[str], *, tool: str, folder: Path
) -> float | None:
    """The largest relative difference of the outputs, in a process that imports the library."""
    if not is_installed(tool):
        return None
    images = photo_inputs(spec.channels, spec.resolution)
    exchange = folder / "check.safetensors"
    save_file({"images": images}, exchange)
    code = _CHECK.format(tool=tool, lines="\n".join(lines))
    result = subprocess.run(
        [sys.executable, "-B", "-c", code, exchange.name],
        cwd=folder,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(
            f"{tool} could not make the model of the exported weights ({reason}); install a "
            f"version of {tool} that phinas was tested with (constraints.txt)"
        )
    with torch.inference_mode():
        expected = model(images)
    difference = relative_difference(load_file(exchange)["logits"], expected)
    if difference > TOLERANCE:
        raise ExportError(
            f"the outputs of {tool}'s model differ by {difference:.1e} of the largest, more than "
            f"{TOLERANCE:g}"
        )
    return difference
