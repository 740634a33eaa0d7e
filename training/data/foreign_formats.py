"""What files are that phinas does not read, and what to do with them.

Data sets come in many formats. A refusal that knows the format can say how to convert it, which
"unknown type" does not. Nothing here opens a file of such a format: some of them run code.
"""

import re
from collections.abc import Sequence
from pathlib import Path

_TO_NPZ = "write the arrays with np.savez(path, images=x, labels=y) and name that file"
_UNPACK = "unpack it and name the folder"
_TO_PARQUET = "write it with dataset.to_parquet(path) and name that file"
_TO_FOLDERS = "write the images into one folder for each class"
# Suffix, in lower case, to what the file is and the remedy.
_FILES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        (".rar", ".7z", ".zst", ".lz4", ".lzma"), ("an archive that is not supported", _UNPACK)
    ),
    ".mat": ("a MATLAB file", f"read it with scipy.io.loadmat, and {_TO_NPZ}"),
    **dict.fromkeys(
        (".h5", ".hdf5", ".he5"), ("an HDF5 file", f"read it with h5py, and {_TO_NPZ}")
    ),
    ".npy": ("a single NumPy array", f"load it and the labels with np.load, and {_TO_NPZ}"),
    **dict.fromkeys(
        (".pkl", ".pickle", ".p"),
        ("a pickle, which may run code when it is read", f"if you trust it, {_TO_NPZ}"),
    ),
    **dict.fromkeys(
        (".pt", ".pth", ".ckpt"),
        ("a PyTorch file, which may run code when it is read", f"if you trust it, {_TO_NPZ}"),
    ),
    **dict.fromkeys((".tfrecord", ".tfrecords", ".record"), ("a TFRecord file", _TO_FOLDERS)),
    ".arrow": ("an Arrow file of datasets.save_to_disk", _TO_PARQUET),
    ".feather": ("a Feather file", "write it as Parquet"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), ("a spreadsheet", "save it as CSV in UTF-8")),
    ".json": ("a JSON file", "write a CSV file with the columns image and label"),
    ".txt": ("a text file", "write a CSV file with the columns image and label"),
    ".cls": ("a label of a WebDataset", _TO_FOLDERS),
    **dict.fromkeys(
        (".mp4", ".avi", ".mov", ".mkv", ".webm"), ("a video", f"extract images, and {_TO_FOLDERS}")
    ),
    **dict.fromkeys(
        (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".heic"),
        ("a single image", "name a folder with one folder of images for each class"),
    ),
}
_TORCHVISION = "use torchvision:{name}, or torchvision:{name}:ROOT with the folder around it"
# Names of the files of well-known data sets, in lower case.
_DATASETS: tuple[tuple[str, str, str], ...] = (
    (
        r"(train|t10k|emnist.*)-(images|labels)[-.]idx\d-ubyte(\.gz)?",
        "a file of MNIST or of a data set in its format",
        _TORCHVISION.format(name="MNIST"),
    ),
    (
        r"(data_batch_\d|test_batch|batches\.meta)(\.bin|\.txt|\.html|\.mat)?",
        "a file of CIFAR-10",
        _TORCHVISION.format(name="CIFAR10"),
    ),
    (
        r"(train|test)_32x32\.mat",
        "a file of SVHN",
        _TORCHVISION.format(name="SVHN"),
    ),
)
# The beginning of a file, or of what follows its length, to the format.
_CONTENTS: tuple[tuple[bytes, str, str], ...] = (
    (
        rb"version https://git-lfs",
        "is a Git LFS pointer instead of the file itself",
        "download it with git lfs pull",
    ),
    (
        rb"(?i)\s*(<!doctype html|<html)",
        "is an HTML page instead of the file itself",
        "download it again",
    ),
    (
        rb"(?s)....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)",
        "is a HEIC photo, which is not supported",
        "convert it to JPEG or PNG",
    ),
    (
        rb"(?s)....ftyp|RIFF....AVI |\x1aE\xdf\xa3",
        "is a video",
        "extract images from it",
    ),
    (
        rb"(?s)\s*(<\?xml.*)?<svg",
        "is a drawing (SVG), which has no pixels",
        "convert it to PNG",
    ),
    (rb"\x93NUMPY", "is a NumPy array", _TO_NPZ),
    (rb"(?s).{128}DICM", "is a DICOM image, which is not supported", "convert it to PNG"),
    (rb"8BPS", "is a Photoshop file, which is not supported", "convert it to PNG"),
    (rb"%!PS|%PDF", "is a PDF or PostScript document", "convert it to PNG"),
    (rb"(II\*\0....CR|FUJIFILMCCD-RAW)", "is a raw photo, which is not supported", "develop it"),
)


def describe_file(name: str) -> tuple[str, str] | None:
    """What a file of this name is, and what to do with it. None where that is unknown."""
    lowered = name.lower()
    for pattern, kind, remedy in _DATASETS:
        if re.fullmatch(pattern, lowered):
            return kind, remedy
    return _FILES.get(Path(lowered).suffix)


def describe_files(files: Sequence[Path]) -> tuple[str, str] | None:
    """The problem and the remedy of a folder with these files. None where no format is known.

    The problem begins with a verb. Images and texts are no such format.
    """
    names = sorted(file.name for file in files)
    for name in names:
        suffix = Path(name).suffix.lower()
        known = describe_file(name)
        if known is not None and known[0] != "a single image" and suffix not in (".json", ".txt"):
            return f"has {name}, which is {known[0]}", known[1]
    return None


def describe_content(content: bytes) -> tuple[str, str] | None:
    """What the content of a file is that is not what its name says, and the remedy.

    Args:
        content: The first bytes of the file, at least 200 of a longer one.

    Returns:
        The problem, which begins with a verb, and the remedy. None where the format is unknown.
    """
    for pattern, problem, remedy in _CONTENTS:
        if re.match(pattern, content[:1000]):
            return problem, remedy
    return None
