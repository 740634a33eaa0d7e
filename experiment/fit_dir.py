"""The directory of `phinas fit`: every path in it is a property of FitDir.

A directory is a fit if it contains `fit.yaml`, which is written after images and initial weights
were checked. `measurement.json` is written last and marks the fit as finished.
"""

from pathlib import Path

from phinas.experiment.run_dir import LockedDirectory


class FitDir(LockedDirectory):
    """The paths of one fit."""

    KIND_NAME = "fit"
    MARKER_FILE = "fit.yaml"
    STARTUP_FILES = (".lock", "holder.json", "data")

    @property
    def record_file(self) -> Path:
        """The resolved settings and the network."""
        return self / self.MARKER_FILE

    @property
    def data(self) -> Path:
        """Prepared images: `train_val` (training and validation) and `test` are separate."""
        return self / "data"

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint of the training; removed when it ends."""
        return self / "checkpoints" / "training.checkpoint"

    @property
    def weights(self) -> Path:
        return self / "weights.safetensors"

    @property
    def spec(self) -> Path:
        """The network, its classes and how an image becomes its input."""
        return self / "spec.yaml"

    @property
    def curve(self) -> Path:
        """Validation scores, one row for each epoch."""
        return self / "curve.csv"

    @property
    def per_class_accuracy(self) -> Path:
        """Accuracy on the test split, one row for each class."""
        return self / "per_class_accuracy.csv"

    @property
    def confusion(self) -> Path:
        """Number of test images by label and prediction, one row for each pair that occurs."""
        return self / "confusion.csv"

    @property
    def pretrained_reference(self) -> Path:
        """The fit of the published network that this one is compared with."""
        return self / "pretrained_reference"

    @property
    def onnx(self) -> Path:
        return self / "model.onnx"

    @property
    def model_card(self) -> Path:
        return self / "README.md"

    @property
    def measurement(self) -> Path:
        return self / "measurement.json"

    @property
    def is_finished(self) -> bool:
        return self.measurement.is_file()
