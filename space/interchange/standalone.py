"""Stand-alone export: a network as one readable Python file and a weights file, which need only
torch.

The file's text is `templates/standalone.py.jinja`. Its block classes and its table of stages are
derived from the lowered layers (`block_classes`), so nothing here knows a block's arithmetic. The
written file is run in isolation before it gets its name.
"""

import copy
import hashlib
import itertools
import json
import keyword
import subprocess
import sys
import tempfile
from pathlib import Path

import jinja2
import torch
from safetensors.torch import save
from torch import Tensor, nn

from phinas.space.cost import stage_costs
from phinas.space.interchange.block_classes import BlockClass, conv_arguments
from phinas.space.interchange.onnx_export import TOLERANCE, ExportError
from phinas.space.layers import Block, lower
from phinas.space.spec import ArchSpec

_TIMEOUT_S = 1800  # enough for the check of the largest network on a slow machine


def write_standalone(model: nn.Module, spec: ArchSpec, path: Path) -> float:
    """Write a network as a Python file, and its weights as float32 to a .safetensors file.

    Both files are written or neither is. If the machine stops between the two renamings, `load()`
    of the file reports that the weights do not match.

    Args:
        model: a module of `spec`.
        spec: the network.
        path: the Python file, ending in .py.

    Returns:
        The largest difference from the model's logits in eval mode when the file is run in
        isolation, relative to the largest logit.

    Raises:
        ExportError: the difference exceeds 1e-4, or the file name is not legal.
    """
    weights = path.with_suffix(".safetensors")
    _check_names(path, weights)
    weight_bytes = _serialize_weights(model, spec)
    text = render(spec, name=path.stem, sha256=hashlib.sha256(weight_bytes).hexdigest())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as temp_folder:
        new_path, new_weights = Path(temp_folder, path.name), Path(temp_folder, weights.name)
        new_path.write_text(text, encoding="utf-8")
        new_weights.write_bytes(weight_bytes)
        difference = _run_check(new_path)
        new_weights.replace(weights)
        new_path.replace(path)
    return difference


def _check_names(path: Path, weights: Path) -> None:
    name = path.stem
    if path.suffix != ".py" or not name.isidentifier() or keyword.iskeyword(name):
        raise ExportError(
            f"{path}: is not a name that Python can import; use letters, digits and _, and the "
            "suffix .py"
        )
    if name == "torch" or name in sys.stdlib_module_names:
        raise ExportError(
            f"{path}: would shadow the module {name!r}, which it imports; use another name"
        )
    if path.is_dir() or weights.is_dir():
        raise ExportError(f"{path}: this or {weights.name} is a directory; use another name")
    if weights.exists() and not path.exists():
        raise ExportError(
            f"{weights}: exists without {path.name}, so it is not an earlier export; use another "
            "name"
        )


def _serialize_weights(model: nn.Module, spec: ArchSpec) -> bytes:
    """The weights file. Its header also has the spec, and the logits that the file's `check()`
    expects.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    with torch.inference_mode():
        logits = model(_check_images(spec))
    if not logits.isfinite().all():
        raise ExportError(
            "model: its logits are not finite, so the export cannot be checked; train the model "
            "again"
        )
    metadata = {
        "format": "pt",
        "phinas.network_id": spec.network_id,
        "phinas.spec": json.dumps(spec.to_dict()),
        "phinas.check_logits": json.dumps(logits.tolist()),
    }
    return save(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        metadata=metadata,
    )


def _check_images(spec: ArchSpec) -> Tensor:
    """The images of the file's `check()`, from a formula, so that every version of torch has the
    same.
    """
    index = torch.arange(2 * spec.channels * spec.resolution**2, device="cpu")
    images = torch.sin((index * index % 997).double()).float()
    return images.reshape(2, spec.channels, spec.resolution, spec.resolution)


def _run_check(path: Path) -> float:
    """The difference that the file reports when it checks itself, isolated from phinas and the
    user's directory.
    """
    command = [sys.executable, "-I", "-B", str(path)]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{path.name}: its check took over {_TIMEOUT_S} s; export on a faster machine"
        ) from None
    if result.returncode:
        error_lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ExportError(f"{path.name}: its outputs differ from the model's: {error_lines[-1]}")
    return float(result.stdout.split()[-1])


def render(spec: ArchSpec, *, name: str, sha256: str) -> str:
    """The text of `name`.py, for a network of `spec` whose weights file has that sha256."""
    network = lower(spec)
    block_kinds = [stage.block for stage in spec.stages]
    blocks: dict[str, list[Block]] = {}
    for kind, stage in zip(block_kinds, network.stages, strict=True):
        if stage:
            blocks.setdefault(kind, []).extend(stage)
    classes = {kind: BlockClass(kind, equal_blocks) for kind, equal_blocks in blocks.items()}
    stages = []
    for kind, stage, row in zip(block_kinds, network.stages, stage_costs(spec)[1:], strict=False):
        calls = [
            f"({len(list(equal_blocks))}, {classes[kind].call_expression(block)})"
            for block, equal_blocks in itertools.groupby(stage)
        ]
        stages.append({"name": row.name, "resolution": row.resolution, "rows": calls})
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phinas.space.interchange", "templates"),
        # Python needs no escaping: a spec has numbers and known words only.
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("standalone.py.jinja").render(
        spec=spec,
        cost=spec.cost(),
        name=name,
        sha256=sha256,
        tolerance=TOLERANCE,
        torch_version=torch.__version__,
        stem=conv_arguments(network.stem),
        stem_pool=network.stem_pool,
        head=conv_arguments(network.head) if network.head else "",
        uses_same_padding=spec.padding == "same",
        uses_drop_path=spec.drop_path > 0
        and any(block_class.has_shortcut for block_class in classes.values()),
        classes=classes.values(),
        stages=stages,
    )
