"""A trained network in memory, ready for images: what `phinas.load_model` returns."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from phinas.deployment.trained_network import TrainedNetworkFiles
from phinas.experiment.artifacts.onnx_metadata import PIXEL_INPUT, OnnxMetadata
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.artifacts.trained_weights import TrainedWeights
from phinas.experiment.errors import InputError
from phinas.space.interchange.onnx_export import OnnxNetwork
from phinas.training.data.image_transform import ImageTransform
from phinas.training.engine.weights_io import load_weights


@dataclass(frozen=True)
class LoadedModel:
    """A trained network with its preprocessing and its classes.

    Attributes:
        model: The network in eval mode: a plain torch module, or an ONNX file in onnxruntime. It
            takes a batch of what `transform` returns, and returns logits (batch, classes).
        transform: Makes the input of `model` from a PIL image or a file.
        classes: Names of the classes, in the order of the logits.
        network_id: The identifier of the network.
        origin: The training that the weights are from, and its score; None where it is unknown.
    """

    model: nn.Module
    transform: ImageTransform
    classes: tuple[str, ...]
    network_id: str
    origin: TrainedWeights | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """The steps of `transform`, with their sizes and statistics."""
        return self.transform.preprocessing

    @torch.inference_mode()
    def probabilities(self, inputs: Tensor) -> Tensor:
        """Compute the probabilities of the classes, float32 (batch, classes).

        Args:
            inputs: A batch of what `transform` returns.
        """
        return torch.softmax(self.model(inputs).float(), dim=1)


def load_trained(files: TrainedNetworkFiles) -> LoadedModel:
    """Load a trained network on the CPU.

    Raises:
        InputError: Its weights are damaged.
    """
    with torch.random.fork_rng(devices=[]):
        model = files.spec.build()
    load_weights(model, files.weights)
    return LoadedModel(
        model.eval(),
        ImageTransform(files.preprocessing),
        files.classes,
        files.spec.network_id,
        files.origin,
    )


def load_onnx(path: Path) -> LoadedModel:
    """Load an ONNX file that `phinas export` wrote from a trained network.

    Raises:
        InputError: onnxruntime is not installed, or the file is damaged or has no metadata.
    """
    try:
        model = OnnxNetwork(path)
    except ImportError as error:
        raise InputError(
            f"{path}: needs {error.name or 'onnxruntime'}; pip install 'phinas[onnx]'"
        ) from None
    except Exception as error:  # onnxruntime's exceptions have no common class but this
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: onnxruntime cannot read it ({reason}); export it again"
        ) from None
    metadata = OnnxMetadata.from_properties(model.metadata, source=str(path))
    if metadata.classes is None or metadata.preprocessing is None:
        raise InputError(
            f"{path}: its classes and its preprocessing are unknown, because it was exported from "
            "a network without them; export the directory of a fit, or RUN:NAME"
        )
    transform = ImageTransform(metadata.preprocessing, normalizes=metadata.input != PIXEL_INPUT)
    return LoadedModel(
        model.eval(), transform, metadata.classes, metadata.network_id, metadata.trained_weights
    )
