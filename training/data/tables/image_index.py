"""Finds the image files that the texts of a table mean."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from phinas.experiment.errors import InputError
from phinas.training.data.folder_listing import SkippedFiles, walk
from phinas.training.data.source_dataset import list_names


class ImageIndex:
    """Finds the image files of a folder by their whole path, their name or their stem.

    Args:
        root: The folder.
        skipped: Counts the files that are not images.

    Attributes:
        files: The image files, sorted.
    """

    def __init__(self, root: Path, skipped: SkippedFiles) -> None:
        self._root = root
        self.files = list(walk(root, set(), skipped))
        self._by_name: dict[str, list[Path]] = {}
        self._by_folded_name: dict[str, list[Path]] = {}
        for file in self.files:
            relative = PurePosixPath(file.relative_to(root).as_posix())
            parts = relative.parts
            # images/cat/1.jpg is also named cat/1.jpg and 1.jpg, with or without its suffix.
            for start in range(len(parts)):
                name = "/".join(parts[start:])
                for key in {name, name.removesuffix(relative.suffix)}:
                    self._by_name.setdefault(key, []).append(file)
                    self._by_folded_name.setdefault(key.casefold(), []).append(file)

    def find_all(self, texts: Sequence[str], *, table: Path) -> list[Path]:
        """The file of each row of a table.

        Args:
            texts: The column of the images.
            table: The file of the table, for messages.

        Raises:
            InputError: A file is not found, or several have the name.
        """
        files, missing, ambiguous = [], [], []
        num_shared = _count_shared_folders(texts)
        for text in texts:
            matches = self.find(text, num_shared=num_shared)
            if len(matches) == 1:
                files.append(matches[0])
            elif matches:
                ambiguous.append(text)
            else:
                missing.append(text)
        for names, problem, advice in (
            (missing, "are not found", self._correct(missing)),
            (ambiguous, "mean several files", "write the paths with their folders and suffixes"),
        ):
            if names:
                raise InputError(
                    f"{table}: {len(names):,} of {len(texts):,} images {problem} in "
                    f"{self._root}: {list_names(names)}; {advice}"
                )
        return files

    def find(self, text: str, *, num_shared: int = 0) -> list[Path]:
        """The files that a text of the table may mean.

        Args:
            text: A path, a name or a stem.
            num_shared: The number of leading folders that all texts of the table share. They may
                be those of another machine, so without them the path may be found here.
        """
        if not text:
            return []
        name = text.replace("\\", "/")
        exact = self._root / name
        leaves_root = Path(name).is_absolute() or ".." in Path(name).parts
        if leaves_root and exact.is_file():
            return [exact]
        parts = PurePosixPath(name).parts
        for start in range(num_shared + 1):
            key = "/".join(parts[start:])
            matches = self._by_name.get(key) or self._by_folded_name.get(key.casefold(), [])
            path = self._root / key
            if matches:
                return [path] if path in matches else matches
        return []

    def _correct(self, missing: list[str]) -> str:
        """What to do about names that are not found."""
        advice = "correct the paths, or copy the images into this folder"
        if not missing or not missing[0]:
            return advice
        stem = PurePosixPath(missing[0].replace("\\", "/")).stem
        likely = self._by_folded_name.get(stem.casefold(), [])
        if not likely and stem.isdigit():  # a spreadsheet writes 007 as 7
            likely = [file for file in self.files if file.stem.lstrip("0") == stem.lstrip("0")]
        if not likely:
            return advice
        return f"is {likely[0].relative_to(self._root)} meant by {missing[0]}? Correct the paths"


def _count_shared_folders(texts: Sequence[str]) -> int:
    """The number of leading folders that all paths share. 0 if one has none."""
    folders = [PurePosixPath(text.replace("\\", "/")).parts[:-1] for text in texts if text]
    if not folders:
        return 0
    first, last = min(folders), max(folders)
    pairs = zip(first, last, strict=False)
    return next(
        (number for number, (one, other) in enumerate(pairs) if one != other),
        min(len(first), len(last)),
    )
