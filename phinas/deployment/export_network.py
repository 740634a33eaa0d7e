"""Write a network in a format of other tools, and compare the file with it on real images."""

import errno
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from phinas.deployment.library_files import write_state_dict
from phinas.deployment.onnx_files import OnnxSettings, write_onnx_file
from phinas.deployment.real_images import as_pil, image_batches
from phinas.deployment.trained_network import TrainedNetworkFiles
from phinas.experiment.artifacts.onnx_metadata import OnnxAccuracy
from phinas.experiment.errors import InputError, NoResultError
from phinas.space.interchange.onnx_export import ExportError
from phinas.space.interchange.standalone import StandaloneInput, write_standalone
from phinas.space.network import ScalableNetwork
from phinas.space.spec import ArchSpec
from phinas.training.data.image_transform import ImageTransform
from phinas.training.engine.weights_io import load_weights
from phinas.training.weights.hub_weights import resolve_weights_path

# no space, too large a file, and no quota, which Windows does not have
_FULL_DISK = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class NetworkToExport:
    """A network, and what is known of it.

    Attributes:
        spec: The network.
        trained: Its weights, classes and preprocessing; None where it is not trained by phinas.
        weights: The weights that the user named; None: those of `trained`, or random ones.
    """

    spec: ScalableNetwork
    trained: TrainedNetworkFiles | None
    weights: str | None

    def build(self) -> nn.Module:
        """The module with its weights, in eval mode.

        Raises:
            InputError: The weights are damaged, or of another network.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.spec.build()
        if self.weights is not None:
            spec = _require_stages(self.spec)
            load_weights(model, resolve_weights_path(self.weights), spec=spec)
        elif self.trained is not None:
            load_weights(model, self.trained.weights)
        return model.eval()


@dataclass(frozen=True)
class Exported:
    """What was written. The attributes are those of `phinas.ExportResult`."""

    instructions: Path | None = None
    largest_relative_difference: float | None = None
    test_accuracy: OnnxAccuracy | None = None


def write_network(
    network: NetworkToExport,
    path: Path,
    *,
    to: str,
    with_preprocessing: bool,
    int8: bool,
    on_progress: Callable[[int, int, str], None],
) -> Exported:
    """Write a network.

    Args:
        network: The network.
        path: The file.
        to: The format.
        with_preprocessing: For ONNX whether the preprocessing becomes a part of the graph.
        int8: For ONNX whether weights and activations get 8 bits.
        on_progress: Called with the number of finished steps, of all, and the step.

    Raises:
        InputError: The weights do not fit, or a package is missing.
        NoResultError: The outputs of the file differ from the network's.
    """
    on_progress(0, 1, "weights")
    model = network.build()
    if to != "onnx":
        on_progress(0, 1, "the file, and its comparison with the network on real images")
    try:
        if to in ("timm", "torchvision"):
            return Exported(*write_state_dict(model, _require_stages(network.spec), path, tool=to))
        if to == "torch":
            return Exported(largest_relative_difference=_write_standalone(model, network, path))
        difference, accuracy = write_onnx_file(
            model,
            network.spec,
            network.trained,
            path,
            settings=OnnxSettings(with_preprocessing, int8),
            on_progress=on_progress,
        )
        return Exported(largest_relative_difference=difference, test_accuracy=accuracy)
    except ImportError as error:
        raise InputError(
            f"export needs {error.name or 'more packages'}; pip install 'phinas[onnx]'"
        ) from None
    except ExportError as error:
        raise NoResultError(str(error)) from None
    except OSError as error:
        if error.errno not in _FULL_DISK:
            raise
        raise NoResultError(
            f"{path}: could not be written ({error.strerror}), and nothing was left behind; free "
            "disk space, or name a path on another disk"
        ) from None


def _require_stages(network: ScalableNetwork) -> ArchSpec:
    """Raises InputError for a network whose blocks are unknown."""
    if not isinstance(network, ArchSpec):
        raise InputError("--to: a network of a model builder can be exported to onnx only")
    return network


def _write_standalone(model: nn.Module, network: NetworkToExport, path: Path) -> float:
    """Write a Python file; the largest relative difference, on images where it can read them."""
    trained, spec = network.trained, _require_stages(network.spec)
    if trained is None:
        return write_standalone(model, spec, path)
    images = [
        image
        for batch in image_batches(trained.preprocessing, trained.data)
        for image in as_pil(batch)
    ]
    transform = ImageTransform(trained.preprocessing)
    with torch.inference_mode():
        expected = model(torch.stack([transform(image) for image in images]))
    with tempfile.TemporaryDirectory(prefix="phinas-export-") as folder:
        paths = [Path(folder, f"{index}.png") for index in range(len(images))]
        for image, image_path in zip(images, paths, strict=True):
            image.save(image_path)
        return write_standalone(
            model,
            spec,
            path,
            inputs=StandaloneInput(
                trained.preprocessing,
                trained.preprocessing.steps(),
                trained.classes,
                check_images=tuple(paths),
                check_logits=expected,
            ),
        )
