"""Where one training lives (`phinas fit`): every path of its directory is a property of FitDir.

`fit.yaml` makes the directory one, once images and weights were found to be right;
`measurement.json` is written last and says that it is finished.
"""

from pathlib import Path

from phinas.experiment.run_dir import LockedDirectory


class FitDir(LockedDirectory):
    """The paths of one fit."""

    KIND_NAME = "fit"
    MARKER_FILE = "fit.yaml"
    OWN_FILES = (".lock", "holder.json", "data")

    @property
    def record_file(self) -> Path:
        """What was asked, all of it resolved, and the network that it came to."""
        return self / self.MARKER_FILE

    @property
    def data(self) -> Path:
        """Prepared images: `train_val` (training and validation) and `test` lie apart."""
        return self / "data"

    @property
    def checkpoint(self) -> Path:
        """The state of the training while it is under way."""
        return self / "checkpoints" / "training.checkpoint"

    @property
    def weights(self) -> Path:
        return self / "weights.safetensors"

    @property
    def spec(self) -> Path:
        """The network, and what an image must go through before it."""
        return self / "spec.yaml"

    @property
    def curve(self) -> Path:
        """Validation scores, one row an epoch."""
        return self / "curve.csv"

    @property
    def per_class_accuracy(self) -> Path:
        """Accuracy on the test split, one row a class."""
        return self / "per_class_accuracy.csv"

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
