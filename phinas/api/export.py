"""`phinas export`: a network of a spec file, with its weights, for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.errors import InputError
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.space.blocks import ConvNet

# What can be written, and how its file ends.
FORMATS = {"onnx": ".onnx", "torch": ".py", "timm": ".safetensors", "torchvision": ".safetensors"}


def export(
    spec: str, *, out: str | Path, to: str | None = None, weights: str | Path | None = None
) -> dict[str, Any]:
    """Write the network of `spec` to `out`.

    to: "onnx"; "torch", one Python file with its weights beside it; "timm" or "torchvision", a
    safetensors file in the names of that library's class, and beside it how to call the class
    (NAME.timm.json). None: as the ending of `out` says.
    weights: a safetensors file of the network in our names, timm's or torchvision's, or
    hf:OWNER/NAME[@REVISION][:FILE]; None: freshly initialized.

    Returns the path, and the largest relative difference that running what was written shows where
    it was run. Raises InputError, also without the extra, and SpecError where a library can't say
    the network.
    """
    import torch

    from phinas.space.blocks import build
    from phinas.space.interchange.onnx_export import ExportError, write_onnx
    from phinas.space.interchange.standalone import write_standalone
    from phinas.training.data.sources.hf_hub import resolve_weights_path
    from phinas.training.engine.weights_io import load_weights

    network = load_spec(spec)
    path = Path(out).expanduser()
    to = _format(to, path)
    source = None if weights is None else resolve_weights_path(str(weights))
    output_paths = (
        {path.resolve(), path.with_suffix(".safetensors").resolve()}
        if to == "torch"
        else {path.resolve()}
    )
    if source is not None and source.resolve() in output_paths:
        raise InputError(
            f"--out: {str(path)!r} would write over the file of --weights; use another name"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(network)
    if source is not None:
        load_weights(model, source, spec=network)
    result = {
        "path": str(path),
        "spec_id": network.spec_id,
        "to": to,
        "recipe": None,
        "largest_relative_difference": None,
    }
    try:
        if to == "onnx":
            return result | {"largest_relative_difference": write_onnx(model, network, path)}
        if to == "torch":
            return result | {"largest_relative_difference": write_standalone(model, network, path)}
    except ImportError as error:
        raise InputError(
            f"export needs {error.name or 'more packages'}; pip install 'phinas[onnx]'"
        ) from None
    except ExportError as error:
        raise InputError(str(error)) from None
    return result | {"recipe": str(_write_state_dict(model, network, path, tool=to))}


def _format(to: str | None, path: Path) -> str:
    if to is not None and to not in FORMATS:
        raise InputError(f"--to: {to!r} is not one of {', '.join(FORMATS)}")
    if to is None:
        to = {".onnx": "onnx", ".py": "torch"}.get(path.suffix)
    if to is None:
        suggestion = "name it so, or give --to timm or --to torchvision for a file .safetensors"
        raise InputError(f"--out: {str(path)!r} does not end in .onnx or .py; {suggestion}")
    if path.suffix != FORMATS[to]:
        raise InputError(
            f"--out: {str(path)!r} does not end in {FORMATS[to]}, as what --to {to} writes does"
        )
    return to


def _write_state_dict(model: "ConvNet", network: ArchSpec, path: Path, *, tool: str) -> Path:
    """Write the weights in `tool`'s names, and beside them how to call the class that takes them;
    returns where that is.
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
    recipe = path.with_suffix(f".{tool}.json")
    save_state_dict(to_library_state_dict(model.state_dict(), network, tool), network, path)
    instructions = {
        "spec": network.to_dict(),
        "arguments": constructor.arguments,
        "python": [*constructor.lines, *loading],
    }
    write_json(recipe, {"tool": tool, "spec_id": network.spec_id} | instructions)
    return recipe
