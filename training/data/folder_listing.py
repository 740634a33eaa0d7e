"""The folders and files of a data set on disk, without what a computer puts beside them.

Junk folders hold thumbnails, deleted files and the like. They are skipped and counted. Every other
file counts as an image, except the formats that often accompany images. So an image in an
unsupported format is reported as a bad image, not skipped.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from phinas.training.data.labeling.split_names import split_of_name

# In lower case: Synology, QNAP, macOS, Windows, Linux.
_JUNK_FOLDERS = {
    "@eadir",
    "#recycle",
    "@recycle",
    "#snapshot",
    "@snapshot",
    "@__thumb",
    "__macosx",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "lost+found",
    "__pycache__",
}
_JUNK_FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"}
_OTHER_SUFFIXES = {
    *(".txt", ".json", ".csv", ".tsv", ".xml", ".md", ".ini", ".db", ".yaml", ".yml", ".log"),
    *(".html", ".htm", ".pdf", ".docx", ".xlsx", ".py", ".ipynb", ".url", ".lnk"),
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"),
    *(".h5", ".hdf5", ".keras", ".pb", ".pth", ".pt", ".ckpt", ".onnx", ".tflite", ".pkl"),
    *(".safetensors", ".parquet", ".npz", ".npy", ".mat", ".pickle", ".tfrecord", ".arrow"),
    *(".jsonl", ".cls", ".mp4", ".avi", ".mov", ".xls"),
}
_MAX_FOLDERS = 2000  # that are opened to find the folder that the user may have meant
_MAX_DEPTH = 3


@dataclass
class SkippedFiles:
    """Counts the files that are not read as images.

    Attributes:
        junk: Number of files in junk folders of each name, and of hidden files under "".
        others: Number of files of formats that are not images, by suffix.
        loose: Number of files beside class folders, which have no class.
    """

    junk: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    loose: int = 0

    def describe(self) -> tuple[str, ...]:
        """One line with the counts. Empty if no file was skipped."""
        parts = [
            f"{count:,} in {name} folders" if name else f"{count:,} hidden"
            for name, count in sorted(self.junk.items(), reverse=True)
        ]
        parts += [f"{count:,} {suffix}" for suffix, count in sorted(self.others.items())]
        parts += [f"{self.loose:,} beside the class folders"] if self.loose else []
        total = self.junk.total() + self.others.total() + self.loose
        files = (
            "1 file that is not an image" if total == 1 else f"{total:,} files that are not images"
        )
        return (f"skipped {files} of a class: {', '.join(parts)}",) if total else ()

    def skips(self, entry: "os.DirEntry[str]") -> bool:
        """Whether a file or folder is skipped. Counts it, and the files below it."""
        if is_junk(entry.name):
            if _is_folder(entry):
                count = sum(len(files) for _, _, files in os.walk(entry.path))
                self.junk[entry.name] += count
            else:
                self.junk[""] += 1
            return True
        suffix = Path(entry.name).suffix.lower()
        if suffix in _OTHER_SUFFIXES and not _is_folder(entry):
            self.others[suffix] += 1
            return True
        return False

    def remove(self, file: Path) -> None:
        """Do not count a file that is read after all, such as the table of the labels."""
        suffix = file.suffix.lower()
        if self.others[suffix] > 1:
            self.others[suffix] -= 1
        else:
            del self.others[suffix]

    def scan(self, folder: Path) -> None:
        """Count what is skipped in a folder itself, which holds class folders."""
        with os.scandir(folder) as entries:
            self.loose += sum(
                1 for entry in entries if not self.skips(entry) and not _is_folder(entry)
            )


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or made by a computer beside images."""
    return name.startswith(".") or name.lower() in _JUNK_FOLDERS | _JUNK_FILES


def subfolders(root: Path) -> list[Path]:
    """The folders in a folder, sorted, without junk."""
    with os.scandir(root) as entries:
        return sorted(
            root / entry.name for entry in entries if entry.is_dir() and not is_junk(entry.name)
        )


def count_files(root: Path) -> int:
    """The number of image files in a folder and below it."""
    return sum(1 for _ in walk(root, set(), SkippedFiles()))


def has_files(root: Path) -> bool:
    """Whether image files are in a folder itself."""
    with os.scandir(root) as entries:
        return any(
            not is_junk(entry.name)
            and Path(entry.name).suffix.lower() not in _OTHER_SUFFIXES
            and not _is_folder(entry)
            for entry in entries
        )


def unwrap(folder: Path) -> Path:
    """The folder inside folders that hold nothing but one folder, such as `train/train`.

    A folder is left only for one that has two or more folders, which may be classes or splits.
    """
    inner = folder
    while True:
        folders = subfolders(inner)
        if len(folders) > 1:
            return inner
        if len(folders) != 1 or has_files(inner):
            return folder
        inner = folders[0]


def find_class_folders(root: Path) -> tuple[Path, int] | None:
    """The folder below `root` that has the most folders with images, and their number.

    It is what the user may have meant instead of `root`. None if no folder has two.
    """
    best: tuple[Path, int] | None = None
    level, num_opened = subfolders(root), 0
    for _ in range(_MAX_DEPTH):
        deeper = []
        for folder in level:
            num_opened += 1
            if num_opened > _MAX_FOLDERS:
                return best
            inner = subfolders(folder)
            count = sum(1 for path in inner if has_files(path))
            if count >= 2 and (best is None or count > best[1]):
                best = (folder.parent if split_of_name(folder.name) == "train" else folder), count
            deeper += inner
        level = deeper
    return best


def identity(folder: Path) -> tuple[int, int]:
    """Device and inode, which are the same for all links to a folder."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def walk(folder: Path, visited: set[tuple[int, int]], skipped: SkippedFiles) -> Iterator[Path]:
    """The image files below a folder in sorted order.

    Links are followed, but no folder is visited twice, so links cannot make a loop.

    Args:
        folder: The folder.
        visited: Identities of the folders that are not visited. Is extended.
        skipped: Counts the files that are not images.
    """
    this = identity(folder)
    if this in visited:
        return
    visited.add(this)
    with os.scandir(folder) as entries:
        sorted_entries = sorted(entries, key=lambda entry: entry.name)
    for entry in sorted_entries:
        if skipped.skips(entry):
            continue
        path = folder / entry.name
        if _is_folder(entry):
            yield from walk(path, visited, skipped)
        # A link to nothing is a bad image; a pipe or socket is skipped.
        elif entry.is_symlink() or entry.is_file():
            yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself, which is a bad image like a link to nothing.
        return False
