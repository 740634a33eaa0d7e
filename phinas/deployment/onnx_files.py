"""ONNX files in float32 and int8, each run on real images before it gets its name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from phinas.deployment.real_images import (
    as_pil,
    evenly_spaced,
    image_batches,
    photo_inputs,
)
from phinas.deployment.trained_network import TrainedNetworkFiles
from phinas.experiment.artifacts.onnx_metadata import (
    NORMALIZED_INPUT,
    PIXEL_INPUT,
    OnnxAccuracy,
    OnnxMetadata,
)
from phinas.experiment.measurement_arrays import decode_correct
from phinas.space.interchange.onnx_export import (
    TOLERANCE,
    ExportError,
    OnnxNetwork,
    relative_difference,
    save_checked,
    write_onnx,
)
from phinas.space.interchange.onnx_quantization import quantize_onnx
from phinas.space.interchange.partial_files import partial_files
from phinas.space.network import Network
from phinas.training.data.image_transform import ImageTransform
from phinas.training.data.prepared_dataset import read_prepared
from phinas.training.engine.evaluate import evaluate_test_split

# Of logits where the graph resizes the images itself: single pixels may differ by one level.
_PIXEL_TOLERANCE = 2e-2
_NUM_CALIBRATION_IMAGES = 512
_BATCH = 32  # images that onnxruntime gets at a time
_SCALE = 1 / 255  # makes `evaluate_test_split` normalize pixels to 0 to 255

ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True)
class OnnxSettings:
    """What an ONNX file is.

    Attributes:
        with_preprocessing: Whether the preprocessing is a part of the graph.
        int8: Whether weights and activations have 8 bits.
    """

    with_preprocessing: bool
    int8: bool


def write_onnx_file(
    model: nn.Module,
    spec: Network,
    trained: TrainedNetworkFiles | None,
    path: Path,
    *,
    settings: OnnxSettings,
    on_progress: ProgressCallback,
) -> tuple[float | None, OnnxAccuracy | None]:
    """Write a network as ONNX.

    Args:
        model: The network with its weights, in eval mode.
        spec: The network.
        trained: Its classes, preprocessing and images. Needed for both settings.
        path: The file.
        settings: What is written.
        on_progress: Called with the number of finished steps, of all, and the step.

    Returns:
        For float32 the largest relative difference of the logits from the network's, on real
        images; None for int8. The accuracy on the test split, of int8 before and after.

    Raises:
        ExportError: The logits differ, or are not finite.
    """
    writer = _Writer(model, spec, trained, settings.with_preprocessing)
    if not settings.int8 or trained is None:
        difference = writer.write_float32(path, on_step=lambda n, text: on_progress(n, 2, text))
        on_progress(2, 2, "")
        return difference, writer.training_accuracy
    with partial_files(path) as folder:
        float32_path = folder / "float32.onnx"
        writer.write_float32(float32_path, on_step=lambda n, text: on_progress(n, 4, text))
        on_progress(2, 4, "accuracy of float32")
        is_correct = writer.classify_test_images(float32_path)
        on_progress(3, 4, "calibration and accuracy of int8")
        accuracy = writer.write_int8(float32_path, path, is_correct=is_correct)
        on_progress(4, 4, "")
    return None, accuracy


class _Writer:
    """Writes the ONNX files of one network."""

    def __init__(
        self,
        model: nn.Module,
        spec: Network,
        trained: TrainedNetworkFiles | None,
        with_preprocessing: bool,
    ) -> None:
        self._model, self._spec, self._trained = model, spec, trained
        self._preprocessing = None if trained is None else trained.preprocessing
        self._takes_pixels = with_preprocessing and trained is not None

    @property
    def _trained_files(self) -> TrainedNetworkFiles:
        """The trained network, which int8 needs."""
        if self._trained is None:
            raise ValueError("the network has no images")
        return self._trained

    def write_float32(self, path: Path, *, on_step: Callable[[int, str], None]) -> float:
        """Write the float32 file; the largest relative difference of its logits.

        Args:
            path: The file.
            on_step: Called at the beginning of each of 2 steps, with its index and name.
        """

        def check(unchecked_path: Path) -> float:
            on_step(1, "comparison with the network on real images")
            return self._compare(unchecked_path, batches)

        on_step(0, "conversion to ONNX")
        batches = self._check_batches()
        example = batches[0][0]
        return write_onnx(
            self._model,
            # torch's exporter takes a batch of one for a constant
            example if len(example) > 1 else torch.cat([example, example]),
            path,
            check=check,
            steps=self._preprocessing if self._takes_pixels else None,
            metadata=self._metadata("float32", self.training_accuracy).to_properties(),
        )

    @property
    def training_accuracy(self) -> OnnxAccuracy | None:
        """The accuracy that the training measured on the test split; None where it is unknown."""
        origin = None if self._trained is None else self._trained.origin
        if origin is None or origin.metric != "accuracy":
            return None
        return OnnxAccuracy(float32=origin.score, images=origin.images)

    def _metadata(self, precision: str, accuracy: OnnxAccuracy | None) -> OnnxMetadata:
        return OnnxMetadata(
            network_id=self._spec.network_id,
            input=PIXEL_INPUT if self._takes_pixels else NORMALIZED_INPUT,
            precision="int8" if precision == "int8" else "float32",
            classes=None if self._trained is None else self._trained.classes,
            preprocessing=self._preprocessing,
            trained_weights=None if self._trained is None else self._trained.origin,
            test_accuracy=accuracy,
        )

    def _check_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Inputs of the file, and the logits of the network for the same images."""
        inputs: list[tuple[Tensor, Tensor]]
        if self._trained is None:
            images = photo_inputs(self._spec.channels, self._spec.resolution)
            inputs = [(images, images)]
        else:
            preprocessing = self._trained.preprocessing
            transform = ImageTransform(preprocessing)
            inputs = []
            for batch in image_batches(preprocessing, self._trained.data):
                images = torch.stack([transform(image) for image in as_pil(batch)])
                inputs.append((torch.from_numpy(batch) if self._takes_pixels else images, images))
        if not self._takes_pixels:
            # another batch size, height and width
            images = inputs[0][0]
            height, width = images.shape[2:]
            wide = nn.functional.interpolate(images[:1], (height + height // 2, 2 * width))
            inputs.append((wide, wide))
        with torch.inference_mode():
            return [(input_images, self._model(images)) for input_images, images in inputs]

    def _compare(self, path: Path, batches: list[tuple[Tensor, Tensor]]) -> float:
        network = OnnxNetwork(path)
        tolerance = _PIXEL_TOLERANCE if self._takes_pixels else TOLERANCE
        largest = max(
            relative_difference(network(images), expected) for images, expected in batches
        )
        if largest > tolerance:
            raise ExportError(
                f"onnxruntime's logits differ by {largest:.1e} of the largest on real images, more "
                f"than {tolerance:g}"
            )
        return largest

    def write_int8(self, float32_path: Path, path: Path, *, is_correct: np.ndarray) -> OnnxAccuracy:
        """Write the int8 version of a file, and measure its accuracy.

        Args:
            float32_path: The float32 file.
            path: The int8 file.
            is_correct: Whether float32 classifies each test image correctly.
        """
        model = quantize_onnx(float32_path, self._calibration_batches())
        unmeasured = float32_path.with_name("int8.onnx")
        unmeasured.write_bytes(model.SerializeToString())
        is_correct_int8 = self.classify_test_images(unmeasured)
        accuracy = OnnxAccuracy(
            float32=float(is_correct.mean()),
            int8=float(is_correct_int8.mean()),
            images=len(is_correct),
            lost=int((is_correct & ~is_correct_int8).sum()),
            gained=int((~is_correct & is_correct_int8).sum()),
        )
        batches = self._check_batches()
        save_checked(
            model,
            path,
            check=lambda temporary: _require_finite(temporary, batches),
            metadata=self._metadata("int8", accuracy).to_properties(),
        )
        return accuracy

    def _calibration_batches(self) -> list[np.ndarray]:
        data = self._trained_files.data_directory
        images, _, _, _ = read_prepared(data, verify_sha256=False).train_val_arrays()
        indices = evenly_spaced(len(images), _NUM_CALIBRATION_IMAGES)
        transform = ImageTransform(
            self._trained_files.preprocessing, normalizes=not self._takes_pixels
        )
        return [
            transform.make_batch(np.array(images[indices[start : start + _BATCH]])).numpy()
            for start in range(0, len(indices), _BATCH)
        ]

    def classify_test_images(self, path: Path) -> np.ndarray:
        """Whether a file classifies each image of the test split correctly."""
        preprocessing = self._trained_files.preprocessing
        data = read_prepared(self._trained_files.data_directory)
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        resolution = preprocessing.resolution
        if self._takes_pixels:
            mean, std = torch.zeros_like(mean), torch.full_like(std, _SCALE)
            resolution = preprocessing.image_size
        evaluation = evaluate_test_split(
            _SmallBatches(OnnxNetwork(path), takes_pixels=self._takes_pixels),
            data,
            resolution=resolution,
            mean=mean.view(1, -1, 1, 1),
            std=std.view(1, -1, 1, 1),
        )
        return decode_correct(evaluation.correct, evaluation.images)


def _require_finite(path: Path, batches: list[tuple[Tensor, Tensor]]) -> float:
    """The largest relative difference of the logits of an int8 file.

    Raises:
        ExportError: It is not finite.
    """
    network = OnnxNetwork(path)
    largest = max(relative_difference(network(images), expected) for images, expected in batches)
    if not math.isfinite(largest):
        raise ExportError("the logits of the int8 file are not finite on real images")
    return largest


class _SmallBatches(nn.Module):
    """A network that gets a few images at a time, for onnxruntime needs memory for all at once.

    Args:
        network: The network.
        takes_pixels: Whether it takes uint8 (N, height, width, channels). Then the input has the
            values 0 to 255 as float32 (N, channels, height, width).
    """

    def __init__(self, network: nn.Module, *, takes_pixels: bool) -> None:
        super().__init__()
        self._network, self._takes_pixels = network, takes_pixels

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits."""
        if self._takes_pixels:
            images = images.round().to(torch.uint8).permute(0, 2, 3, 1)
        parts = torch.split(images.contiguous(), _BATCH)
        return torch.cat([self._network(part) for part in parts])
