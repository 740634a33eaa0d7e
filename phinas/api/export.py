"""`phinas export`: a network, with its weights, for other tools."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.deployment.export_paths import FORMATS, choose_format, require_legal_paths
from phinas.deployment.trained_network import TrainedNetworkFiles, find_trained_network
from phinas.experiment.errors import InputError
from phinas.network_source import load_network, split_run_name
from phinas.space.library_lookup import is_installed
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.experiment.artifacts.onnx_metadata import OnnxAccuracy
    from phinas.experiment.artifacts.trained_weights import TrainedWeights

__all__ = ["FORMATS", "ExportResult", "export"]


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        path: The file that was written.
        network_id: The identifier of the network.
        to: The format, one of FORMATS.
        instructions: For timm and torchvision a JSON file with the Python lines that make the
            model; None for the other formats.
        largest_relative_difference: The largest difference of the outputs from the network's, over
            the largest output, on real images (8 validation images and 2 photos, or the photos
            alone); with preprocessing from the pixels on. None for int8, and for timm and
            torchvision where that library is not installed.
        test_accuracy: For ONNX the accuracy on the test split: for float32 that of the training,
            for int8 before and after, measured. None where it is unknown.
        preprocessing_known: Whether the file has the preprocessing and the classes.
        trained_weights: The training that the weights are from, and its score; None where the
            weights are random or the user's.
    """

    path: Path
    network_id: str
    to: str
    instructions: Path | None = None
    largest_relative_difference: float | None = None
    test_accuracy: "OnnxAccuracy | None" = None
    preprocessing_known: bool = False
    trained_weights: "TrainedWeights | None" = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": str(self.path),
            "network_id": self.network_id,
            "to": self.to,
            "instructions": None if self.instructions is None else str(self.instructions),
            "largest_relative_difference": self.largest_relative_difference,
            "test_accuracy": None if self.test_accuracy is None else self.test_accuracy.to_dict(),
            "preprocessing_known": self.preprocessing_known,
            "trained_weights": self.trained_weights.to_dict() if self.trained_weights else None,
        }


def export(
    spec: str,
    *,
    out: str | Path,
    to: str | None = None,
    weights: str | Path | None = None,
    with_preprocessing: bool = False,
    int8: bool = False,
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> ExportResult:
    """Write a network for other tools.

    Args:
        spec: The directory of a fit, or "RUN:NAME" for a network of a run, such as
            "runs/photos:b1": their weights, classes and preprocessing are exported too. Or a
            preset such as "efficientnet_b0", a spec file, "timm:NAME" or "torchvision:NAME".
        out: The file to write: NAME.onnx, NAME.py or NAME.safetensors.
        to: "onnx" (needs phinas[onnx]); "torch", one Python file that does not import phinas, with
            the weights next to it; "timm" or "torchvision", weights in the naming of that library,
            and a JSON file that says how to make the model. None: by the ending of `out`.
        weights: A safetensors or PyTorch file in phinas, timm, torchvision or EfficientNet-PyTorch
            naming, or `hf:OWNER/NAME[@REVISION][:FILE]`. None: those of the fit or of the family
            member, or else random weights.
        with_preprocessing: Put the preprocessing into the ONNX graph. Its input is then uint8
            (batch, height, width, channels) of any size, as numpy makes it from a PIL image.
        int8: Write an ONNX file with 8-bit weights and activations. The training images calibrate
            it, and its accuracy on the test split is measured.
        on_progress: Called with the number of finished steps, of all, and the step.

    Returns:
        The paths that were written. The outputs are compared with the network's on real images.

    Raises:
        InputError: An argument is wrong, the weights do not fit, or a package is missing.
        SpecError: The network is unknown, or the library has no class for it.
        NoResultError: The outputs of the file differ from the network's.

    Examples:
        >>> phinas.export("runs/b0", out="b0.onnx")
    """
    # all checks before torch is imported, which takes seconds
    path = Path(out).expanduser()
    to = choose_format(to, path)
    weights_name = None if weights is None else str(weights)
    require_legal_paths(path, to=to, weights=None if weights is None else Path(weights))
    _require_onnx(to, with_preprocessing=with_preprocessing, int8=int8)
    trained = _find_trained(spec, weights_name)
    if trained is None:
        _require_no_preprocessing(spec, with_preprocessing=with_preprocessing, int8=int8)
    if int8 and (trained is None or trained.data is None):
        raise InputError(
            f"--int8: the training images of {spec}, which calibrate it, are not there any more; "
            "restore the folder data of the fit or run, or leave --int8 out"
        )
    network = load_network(spec) if trained is None else trained.spec
    if not isinstance(network, ArchSpec):
        _require_onnx_of_builder(spec, to, weights_name)
    if weights_name is None and trained is not None:
        require_legal_paths(path, to=to, weights=trained.weights)

    from phinas.deployment.export_network import NetworkToExport, write_network
    from phinas.training.weights.pretrained import read_pretrained

    if weights_name is not None:
        trained = None if trained is None else replace(trained, origin=None)
        assert isinstance(network, ArchSpec)
        # the padding and batch norm that they were trained with
        network = read_pretrained(weights_name, spec_name=spec).adapt_spec(network)
    exported = write_network(
        NetworkToExport(network, trained, weights_name),
        path,
        to=to,
        with_preprocessing=with_preprocessing,
        int8=int8,
        on_progress=on_progress,
    )
    return ExportResult(
        path,
        network.network_id,
        to,
        instructions=exported.instructions,
        largest_relative_difference=exported.largest_relative_difference,
        test_accuracy=exported.test_accuracy,
        preprocessing_known=trained is not None and to in ("onnx", "torch"),
        trained_weights=trained.origin if trained is not None else None,
    )


def _require_onnx(to: str, *, with_preprocessing: bool, int8: bool) -> None:
    """Check that the options fit the format, and that the packages are installed.

    Raises:
        InputError: They do not, or are not.
    """
    flags = {"--with-preprocessing": with_preprocessing, "--int8": int8}
    if to != "onnx":
        for flag, is_set in flags.items():
            if is_set:
                raise InputError(f"{flag}: is for ONNX files and --to is {to}; leave it out")
        return
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if not is_installed(name)]
    if missing:
        raise InputError(f"export needs {missing[0]}; pip install 'phinas[onnx]'")


def _require_onnx_of_builder(spec: str, to: str, weights: str | None) -> None:
    """Raises InputError for what needs to know the blocks of a network."""
    for flag, is_set in (("--to", to != "onnx"), ("--weights", weights is not None)):
        if is_set:
            raise InputError(
                f"{flag}: {spec} is made by a model builder, whose layers have the names that it "
                "gives them; leave it out, and name an .onnx file with --out"
            )


def _find_trained(spec: str, weights: str | None) -> TrainedNetworkFiles | None:
    """The trained network; None where the network has no weights, classes and preprocessing."""
    try:
        return find_trained_network(spec)
    except InputError:
        # a member of a family that is not trained yet, for which the user has weights
        if weights is not None and split_run_name(spec) is not None:
            return None
        raise


def _require_no_preprocessing(spec: str, *, with_preprocessing: bool, int8: bool) -> None:
    for flag, is_set in (("--with-preprocessing", with_preprocessing), ("--int8", int8)):
        if is_set:
            raise InputError(
                f"{flag}: the images of {spec} are unknown; name the directory of a fit, or "
                "RUN:NAME for a trained member of a run's family"
            )
