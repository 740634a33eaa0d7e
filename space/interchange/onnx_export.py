"""ONNX export through torch's exporter. A file gets its name only after a check has run it.

Needs the extra `onnx` (onnx, onnxscript, onnxruntime).
"""

import copy
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from phinas.space.interchange.input_graph import InputGraph, InputSteps
from phinas.space.interchange.partial_files import partial_files
from phinas.space.library_lookup import is_installed
from phinas.space.pytorch.conv_net import SameConv2d, SameMaxPool2d

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-4  # of logits, relative to the largest
INPUT = "images"
OUTPUT = "logits"
_MAX_SIZE = 1 << 16  # of an image in px, for torch's exporter

# Takes the path of a written file, and raises ExportError where its logits are wrong.
OnnxCheck = Callable[[Path], float]


class ExportError(ValueError):
    """A network could not be exported unchanged."""


def write_onnx(
    model: nn.Module,
    images: Tensor,
    path: Path,
    *,
    check: OnnxCheck,
    steps: InputSteps | None = None,
    metadata: Mapping[str, str] | None = None,
    has_fixed_shape: bool = False,
) -> float:
    """Write a network as ONNX, in eval mode. Batch size, height and width are dynamic.

    The input is `images` and the output is `logits` (batch, classes).

    Args:
        model: The network; it is set to eval mode.
        images: Example input: float32 (batch, channels, height, width), normalized; with `steps`
            uint8 (batch, height, width, channels). Two images or more, except with
            `has_fixed_shape`.
        path: The file.
        check: Is called with the written file before it gets its name.
        steps: The preprocessing that becomes a part of the graph. None: the graph begins with the
            network.
        metadata: Properties of the file.
        has_fixed_shape: Make a file for images of the shape of `images` only. That is faster.

    Returns:
        The result of `check`.

    Raises:
        ExportError: `check` failed, or torch's exporter did.
        ImportError: The extra is not installed.
    """
    _require_onnxruntime()  # the checks need it, so it is missed before the export
    model.eval()
    network = _with_constant_padding(model)
    graph = network if steps is None else InputGraph(network, steps).eval()
    height_axis = 2 if steps is None else 1
    smallest = min(images.shape[height_axis : height_axis + 2])
    dimensions = {
        0: torch.export.Dim("batch"),
        height_axis: torch.export.Dim("height", min=min(2, smallest), max=_MAX_SIZE),
        height_axis + 1: torch.export.Dim("width", min=min(2, smallest), max=_MAX_SIZE),
    }
    with warnings.catch_warnings():
        # the exporter warns about its internals, and logs what it skips
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            onnx_program = torch.onnx.export(
                graph,
                (images,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=None if has_fixed_shape else (dimensions,),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ExportError(f"torch's exporter cannot export this network ({reason})") from error
    if onnx_program is None:
        raise ExportError("torch's exporter returned no ONNX program")
    onnx_model = onnx_program.model_proto
    if any(isinstance(module, SameConv2d | SameMaxPool2d) for module in model.modules()):
        _pad_like_tensorflow(onnx_model)
    return save_checked(onnx_model, path, check=check, metadata=metadata or {})


def _with_constant_padding(model: nn.Module) -> nn.Module:
    """A copy with constant padding in place of TensorFlow's, which depends on the image size.

    torch's exporter takes minutes for the formulas of all sizes. The outputs have the same sizes,
    and `_pad_like_tensorflow` restores the padding in the ONNX graph, which has a word for it.
    """
    network = copy.deepcopy(model)
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, SameMaxPool2d):
                setattr(parent, name, nn.MaxPool2d(3, 2, padding=1))
            elif isinstance(module, SameConv2d) and module.kernel_size[0] % 2:
                plain = nn.Conv2d(
                    module.in_channels,
                    module.out_channels,
                    module.kernel_size[0],
                    stride=module.stride[0],
                    padding=module.kernel_size[0] // 2,
                    groups=module.groups,
                    bias=module.bias is not None,
                )
                plain.load_state_dict(module.state_dict())
                setattr(parent, name, plain.eval())
    return network


def _pad_like_tensorflow(model: "onnx.ModelProto") -> None:
    """Give all convolutions and poolings that pad the padding SAME_UPPER, which is TensorFlow's."""
    import onnx

    for node in model.graph.node:
        if node.op_type not in ("Conv", "MaxPool"):
            continue
        pads = [attribute for attribute in node.attribute if attribute.name == "pads"]
        if any(any(attribute.ints) for attribute in pads):
            others = [
                attribute
                for attribute in node.attribute
                if attribute.name not in ("pads", "auto_pad")
            ]
            del node.attribute[:]
            node.attribute.extend(others)
            node.attribute.append(onnx.helper.make_attribute("auto_pad", "SAME_UPPER"))


def save_checked(
    model: "onnx.ModelProto", path: Path, *, check: OnnxCheck, metadata: Mapping[str, str]
) -> float:
    """Write an ONNX model to a temporary file, check it, and give it its name.

    Args:
        model: The model, whose metadata and inferred shapes are replaced. The exporter's notes on
            its parts are removed: their stack traces have paths of this machine.
        path: The file.
        check: Is called with the temporary file.
        metadata: Properties of the file.

    Returns:
        The result of `check`.

    Raises:
        ExportError: `check` failed.
    """
    import onnx

    # Tools that change weights (quantization) trust these shapes, which are wrong after that.
    del model.graph.value_info[:]
    _remove_notes(model.graph)
    onnx.helper.set_model_props(model, dict(metadata))
    with partial_files(path) as folder:
        new_path = folder / path.name
        new_path.write_bytes(model.SerializeToString())
        result = check(new_path)
        new_path.replace(path)
    return result


def _remove_notes(graph: "onnx.GraphProto") -> None:
    """Remove the metadata and the comments of a graph, its nodes and its tensors."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):  # the body of an If or a Loop
                _remove_notes(attribute.g)


def _require_onnxruntime() -> None:
    """Raises ImportError if onnxruntime is not installed."""
    if not is_installed("onnxruntime"):
        raise ModuleNotFoundError("onnxruntime is not installed", name="onnxruntime")


class OnnxNetwork(nn.Module):
    """An ONNX file as a module: images on the CPU to logits, in onnxruntime.

    Args:
        path: The file.
        threads: CPU threads. 0: onnxruntime's choice.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        _require_onnxruntime()
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    @property
    def metadata(self) -> dict[str, str]:
        """The properties of the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            images: As the file has them, see `write_onnx`.
        """
        return torch.from_numpy(self._session.run(None, {self._input: images.numpy()})[0])


def relative_difference(logits: Tensor, expected: Tensor) -> float:
    """The largest difference of logits, relative to the largest expected one; NaN is infinite."""
    difference = (logits - expected).abs().max() / expected.abs().max().clamp_min(1e-6)
    return float(difference.nan_to_num(torch.inf))
