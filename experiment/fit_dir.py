"""Where one training lives (`phinas fit`): every path of its directory is a property of FitDir.

`fit.yaml` makes the directory one, once images and weights were found to be right;
`measurement.json` is written last and says that it is finished.
"""

from pathlib import Path

from phinas.experiment.run_dir import WorkDir


class FitDir(WorkDir):
    """The paths of one fit."""

    KIND = "fit"
    RECORD = "fit.yaml"
    OWN = (".lock", "holder.json", "data")

    @property
    def record(self) -> Path:
        """What was asked, all of it resolved, and the network that it came to."""
        return self / self.RECORD

    @property
    def data(self) -> Path:
        """Prepared images: `steer` (training and validation) and `test` lie apart."""
        return self / "data"

    @property
    def snapshot(self) -> Path:
        """The state of the training while it is under way."""
        return self / "snapshots" / "training.checkpoint"

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
    def by_class(self) -> Path:
        """Accuracy on the test split, one row a class."""
        return self / "by_class.csv"

    @property
    def onnx(self) -> Path:
        return self / "model.onnx"

    @property
    def card(self) -> Path:
        return self / "README.md"

    @property
    def measurement(self) -> Path:
        return self / "measurement.json"

    @property
    def finished(self) -> bool:
        return self.measurement.is_file()
