"""`phinas.load_model`: a trained network in one call, ready for images."""

from pathlib import Path
from typing import TYPE_CHECKING

from phinas.deployment.trained_network import require_trained_network
from phinas.experiment.errors import InputError

if TYPE_CHECKING:
    from phinas.deployment.loaded_model import LoadedModel


def load_model(source: str | Path) -> "LoadedModel":
    """Load a trained network with its preprocessing and its classes.

    Args:
        source: The directory of a fit, RUN:NAME for a trained member of a run's family (such as
            "runs/photos:b1"), or an ONNX file that `phinas export` wrote from one of these.

    Returns:
        The model in eval mode on the CPU, the transform of its images, and its classes.

    Raises:
        InputError: There is no trained network of this name, or a file is damaged.

    Examples:
        >>> loaded = phinas.load_model("runs/b0")
        >>> logits = loaded.model(loaded.transform("cat.jpg")[None])
        >>> loaded.classes[logits.argmax()]
        'cat'
    """
    path = Path(source).expanduser()
    if path.suffix == ".onnx":
        if not path.is_file():
            raise InputError(f"model: {str(source)!r} does not exist; check the path")
        from phinas.deployment.loaded_model import load_onnx

        return load_onnx(path)
    files = require_trained_network(str(source), argument="model")
    # imports torch, which takes seconds
    from phinas.deployment.loaded_model import load_trained

    return load_trained(files)
