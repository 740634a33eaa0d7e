"""The images to classify, and their labels where folders have the names of classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.space.loading import path_exists
from phinas.training.data.folder_listing import SkippedFiles, walk
from phinas.training.data.source_dataset import printable


@dataclass(frozen=True)
class ImagePath:
    """An image to classify.

    Attributes:
        path: The file.
        label: The index of its class. None where no folder says it.
    """

    path: Path
    label: int | None


def require_paths(paths: Sequence[str | Path]) -> None:
    """Check the paths of images, before anything is loaded.

    Raises:
        InputError: There are none, or one does not exist.
    """
    if not paths:
        raise InputError("images: are missing; name image files or folders of them")
    for path in paths:
        if not path_exists(Path(path).expanduser()):
            raise InputError(f"images: {str(path)!r} does not exist; check the path")


def list_images(
    paths: Iterable[str | Path], classes: Sequence[str]
) -> tuple[list[ImagePath], tuple[str, ...]]:
    """List the images of files and folders, in sorted order within a folder.

    The label of an image in a folder is the outermost folder around it that has the name of a
    class; the given folder itself counts last.

    Args:
        paths: Files and folders.
        classes: Names of the classes.

    Returns:
        The images, and one line about files that were skipped, or none.

    Raises:
        InputError: There are no images, or a folder cannot be read.
    """
    labels = {name: index for index, name in enumerate(classes)}
    images: dict[Path, ImagePath] = {}
    skipped = SkippedFiles()
    requested = [Path(path).expanduser() for path in paths]
    for path in requested:
        if not path.is_dir():
            images.setdefault(path, ImagePath(path, None))
            continue
        try:
            for file in walk(path, set(), skipped):
                folders = (*file.relative_to(path).parts[:-1], path.resolve().name)
                names = (labels.get(printable(folder)) for folder in folders)
                label = next((index for index in names if index is not None), None)
                images[file] = ImagePath(file, label)
        except OSError as error:
            raise InputError(
                f"{error.filename or path}: cannot be read ({error.strerror}); check its "
                "permissions"
            ) from None
    if not images:
        listed = ", ".join(map(str, requested))
        raise InputError(f"images: there are none in {listed}; name image files or folders of them")
    return list(images.values()), skipped.describe()
