"""Stand-alone export: a network as one readable Python file and a weights file, which need only
torch, and Pillow for `preprocess`.

The file's text is `templates/standalone.py.jinja`. Its block classes and its table of stages are
derived from the lowered layers (`block_classes`), so nothing here knows a block's arithmetic. The
written file is run in isolation before it gets its name.
"""

import copy
import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import torch
from safetensors.torch import save
from torch import Tensor, nn

from phinas.space.cost import stage_costs
from phinas.space.interchange.block_classes import BlockClass, conv_arguments
from phinas.space.interchange.input_graph import InputSteps
from phinas.space.interchange.onnx_export import TOLERANCE, ExportError, relative_difference
from phinas.space.interchange.partial_files import partial_files
from phinas.space.layers import Block, lower
from phinas.space.spec import ArchSpec

_TIMEOUT_S = 1800  # enough for the check of the largest network on a slow machine


@dataclass(frozen=True)
class StandaloneInput:
    """How an image becomes the input of the network, for `preprocess` of the file.

    Attributes:
        steps: The preprocessing.
        sentences: The same as sentences.
        classes: Names of the classes, in the order of the logits.
        check_images: Image files on which the written file is checked.
        check_logits: The logits of the network for them.
    """

    steps: InputSteps
    sentences: tuple[str, ...]
    classes: tuple[str, ...]
    check_images: tuple[Path, ...]
    check_logits: Tensor


def write_standalone(
    model: nn.Module, spec: ArchSpec, path: Path, *, inputs: StandaloneInput | None = None
) -> float:
    """Write a network as a Python file, and its weights as float32 to a .safetensors file.

    Both files are written or neither is. If the machine stops between the two renamings, `load()`
    of the file reports that the weights do not match.

    Args:
        model: a module of `spec`.
        spec: the network.
        path: the Python file, ending in .py, whose name Python can import.
        inputs: the preprocessing and the classes. None: the file has neither.

    Returns:
        The largest difference from the model's logits in eval mode when the file is run in
        isolation, relative to the largest logit.

    Raises:
        ExportError: the difference exceeds 1e-4.
    """
    weights = path.with_suffix(".safetensors")
    weight_bytes = _serialize_weights(model, spec)
    sha256 = hashlib.sha256(weight_bytes).hexdigest()
    text = render(spec, name=path.stem, sha256=sha256, inputs=inputs)
    with partial_files(path) as folder:
        new_path, new_weights = folder / path.name, folder / weights.name
        new_path.write_text(text, encoding="utf-8")
        new_weights.write_bytes(weight_bytes)
        difference = _run_check(new_path)
        if inputs is not None:
            difference = max(difference, _run_image_check(new_path, inputs))
        new_weights.replace(weights)
        new_path.replace(path)
    return difference


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
    """The difference that the file reports when it checks itself."""
    output = _run_isolated(path.name, [str(path)])
    return float(output.split()[-1])


# Classifies image files with a stand-alone file, as its user does.
_CLASSIFY = """
import json, runpy, sys, torch
module = runpy.run_path(sys.argv[1])
images = torch.stack([module["preprocess"](path) for path in sys.argv[2:]])
with torch.inference_mode():
    print(json.dumps(module["load"]()(images).tolist()))
"""


def _run_image_check(path: Path, inputs: StandaloneInput) -> float:
    """The largest relative difference from the network's logits for image files.

    Raises:
        ExportError: It exceeds 1e-4, or the file fails.
    """
    output = _run_isolated(path.name, ["-c", _CLASSIFY, str(path), *map(str, inputs.check_images)])
    difference = relative_difference(torch.tensor(json.loads(output)), inputs.check_logits)
    if difference > TOLERANCE:
        raise ExportError(
            f"{path.name}: its outputs for image files differ by {difference:.1e} of the largest, "
            f"more than {TOLERANCE:g}"
        )
    return difference


def _run_isolated(name: str, arguments: Sequence[str]) -> str:
    """Run Python isolated from phinas and the user's directory, and return what it prints.

    Args:
        name: The stand-alone file, for error messages.
        arguments: The arguments of Python.

    Raises:
        ExportError: It fails or takes too long.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-I", "-B", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{name}: its check took over {_TIMEOUT_S} s; export on a faster machine"
        ) from None
    if result.returncode:
        error_lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ExportError(f"{name}: its outputs differ from the model's: {error_lines[-1]}")
    return result.stdout


def render(spec: ArchSpec, *, name: str, sha256: str, inputs: StandaloneInput | None = None) -> str:
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
        # Python needs no escaping: a spec has numbers and known words, and texts go through repr.
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["repr"] = repr
    return environment.get_template("standalone.py.jinja").render(
        spec=spec,
        inputs=inputs,
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
