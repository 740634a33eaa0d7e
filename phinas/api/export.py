"""`phinas export`: a network, with its weights, for other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.errors import InputError
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from torch import nn

# The formats, and the ending of their files.
FORMATS = {"onnx": ".onnx", "torch": ".py", "timm": ".safetensors", "torchvision": ".safetensors"}
_FORMAT_BY_SUFFIX = {".onnx": "onnx", ".py": "torch"}


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        path: The file that was written.
        network_id: The identifier of the network.
        to: The format, one of FORMATS.
        instructions: For timm and torchvision a JSON file with the Python lines that make the
            model; None for the other formats.
        largest_relative_difference: The largest difference of the outputs from the network's, over
            the largest output, where the written file was run; None where it was not.
    """

    path: Path
    network_id: str
    to: str
    instructions: Path | None = None
    largest_relative_difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": str(self.path),
            "network_id": self.network_id,
            "to": self.to,
            "instructions": None if self.instructions is None else str(self.instructions),
            "largest_relative_difference": self.largest_relative_difference,
        }


def export(
    spec: str, *, out: str | Path, to: str | None = None, weights: str | Path | None = None
) -> ExportResult:
    """Write a network for other tools.

    Args:
        spec: A preset such as "efficientnet_b0", a spec file, "timm:NAME" or "torchvision:NAME".
        out: The file to write: NAME.onnx, NAME.py or NAME.safetensors.
        to: "onnx" (needs phinas[onnx]); "torch", one Python file that does not import phinas, with
            the weights next to it; "timm" or "torchvision", weights in the naming of that library,
            and a JSON file that says how to make the model. None: by the ending of `out`.
        weights: A safetensors file in phinas, timm or torchvision naming, or
            "hf:OWNER/NAME[@REVISION][:FILE]". None: random weights.

    Returns:
        The paths that were written. The outputs of onnx and torch files are compared with the
        network's.

    Raises:
        InputError: An argument is wrong, the weights do not fit, or a package is missing.
        SpecError: The network is unknown, or the library has no class for it.

    Example:
        >>> phinas.export("runs/b0/spec.yaml", weights="runs/b0/weights.safetensors", out="b0.onnx")
    """
    import torch

    from phinas.training.data.sources.hf_hub import resolve_weights_path
    from phinas.training.engine.weights_io import load_weights

    network = load_spec(spec)
    path = Path(out).expanduser()
    to = _choose_format(to, path)
    source = None if weights is None else resolve_weights_path(str(weights))
    _require_other_file(path, source, to=to)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network.build()
    if source is not None:
        load_weights(model, source, spec=network)
    if to in ("timm", "torchvision"):
        instructions = _write_state_dict(model, network, path, tool=to)
        return ExportResult(path, network.network_id, to, instructions=instructions)
    difference = _write_and_compare(model, network, path, to=to)
    return ExportResult(path, network.network_id, to, largest_relative_difference=difference)


def _choose_format(to: str | None, path: Path) -> str:
    if to is not None and to not in FORMATS:
        raise InputError(f"--to: {to!r} is not one of {', '.join(FORMATS)}")
    to = to or _FORMAT_BY_SUFFIX.get(path.suffix)
    if to is None:
        raise InputError(
            f"--out: {str(path)!r} does not determine the format; write NAME.onnx, NAME.py, or "
            "NAME.safetensors with --to timm or --to torchvision"
        )
    if path.suffix != FORMATS[to]:
        raise InputError(
            f"--out: {str(path)!r} does not end in {FORMATS[to]}, which --to {to} needs; change "
            "one of them"
        )
    return to


def _require_other_file(path: Path, source: Path | None, *, to: str) -> None:
    """Raises InputError where the export would overwrite the file of its weights."""
    output_paths = {path.resolve()}
    if to == "torch":
        output_paths.add(path.with_suffix(".safetensors").resolve())
    if source is not None and source.resolve() in output_paths:
        raise InputError(
            f"--out: {str(path)!r} would overwrite the file of --weights; use another name"
        )


def _write_and_compare(model: "nn.Module", network: ArchSpec, path: Path, *, to: str) -> float:
    """Write the network as ONNX or Python; the largest relative difference of its outputs."""
    from phinas.space.interchange.onnx_export import ExportError, write_onnx
    from phinas.space.interchange.standalone import write_standalone

    write = {"onnx": write_onnx, "torch": write_standalone}[to]
    try:
        return write(model, network, path)
    except ImportError as error:
        raise InputError(
            f"export needs {error.name or 'more packages'}; pip install 'phinas[onnx]'"
        ) from None
    except ExportError as error:
        raise InputError(str(error)) from None


def _write_state_dict(model: "nn.Module", network: ArchSpec, path: Path, *, tool: str) -> Path:
    """Write the weights in the naming of a library, and next to them a JSON file with the Python
    lines that make the model; returns the JSON file.
    """
    from phinas.experiment.run_dir import write_json
    from phinas.space.interchange.constructors import find_constructor
    from phinas.space.interchange.state_dict_maps import to_library_state_dict
    from phinas.training.engine.weights_io import save_state_dict

    constructor = find_constructor(network, tool)
    loading = (
        "from safetensors.torch import load_file",
        "state = model.state_dict()",
        f"state.update(load_file({path.name!r}))",
        "model.load_state_dict(state)",
    )
    instructions = path.with_suffix(f".{tool}.json")
    save_state_dict(to_library_state_dict(model.state_dict(), network, tool), network, path)
    content = {
        "tool": tool,
        "network_id": network.network_id,
        "spec": network.to_dict(),
        "arguments": constructor.arguments,
        "python": [*constructor.lines, *loading],
    }
    write_json(instructions, content)
    return instructions
