"""The files that a job reads and writes, wherever it runs.

An input is named by its path on the driver's machine and its SHA-256. A worker uses the file at
this path if it has it, or else asks for its bytes. A file with another SHA-256 counts as missing.
An output is written to a folder of the worker's machine, and the executor moves it to the folder
that the driver has named.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file of a job on the driver's machine.

    Attributes:
        path: The path.
        sha256: The SHA-256 of its content, as 64 hexadecimal digits.
    """

    path: str
    sha256: str


class JobFiles:
    """The files of a job in the process that runs it.

    Args:
        inputs: The inputs by name.
        output_folder: Where the job writes files. None if it writes none. What a failed attempt of
            the job left there is removed.
        fetch: Returns the bytes of an input that this machine lacks, by name. None if they cannot
            be fetched.
    """

    def __init__(
        self,
        inputs: Mapping[str, JobFile],
        output_folder: Path | None,
        fetch: Callable[[str], bytes | None] = lambda _name: None,
    ) -> None:
        self._inputs, self._output_folder, self._fetch = inputs, output_folder, fetch
        self._fetched: TemporaryDirectory[str] | None = None
        if output_folder is not None:
            shutil.rmtree(output_folder, ignore_errors=True)

    def find(self, name: str) -> Path | None:
        """The path of an input. None if it is missing or damaged."""
        file = self._inputs.get(name)
        if file is None:
            return None
        if hash_file(Path(file.path)) == file.sha256:
            return Path(file.path)
        content = self._fetch(name)
        if content is None or hashlib.sha256(content).hexdigest() != file.sha256:
            return None
        if self._fetched is None:
            self._fetched = TemporaryDirectory(prefix="phinas-job-")
        path = Path(self._fetched.name) / file.sha256
        path.write_bytes(content)
        return path

    def output_path(self, name: str) -> Path | None:
        """The path of an output, whose folder is created. None if the job writes no files."""
        if self._output_folder is None:
            return None
        # Not all its parents, so that a run directory that was removed stays removed.
        for folder in (self._output_folder.parent, self._output_folder):
            folder.mkdir(exist_ok=True)
        return self._output_folder / name

    def hash_outputs(self) -> dict[str, str]:
        """The SHA-256 of each output by name."""
        hashes = {path.name: hash_file(path) for path in self._outputs()}
        return {name: sha256 for name, sha256 in hashes.items() if sha256 is not None}

    def read_outputs(self) -> dict[str, bytes]:
        """The content of each output by name, for a driver on another machine."""
        return {path.name: path.read_bytes() for path in self._outputs()}

    def _outputs(self) -> list[Path]:
        if self._output_folder is None or not self._output_folder.is_dir():
            return []
        return sorted(self._output_folder.iterdir())

    def close(self) -> None:
        """Remove the files that were fetched."""
        if self._fetched is not None:
            self._fetched.cleanup()
            self._fetched = None


NO_FILES = JobFiles({}, None)


def read_inputs(inputs: Mapping[str, JobFile]) -> dict[str, bytes]:
    """The content of each input that can be read, by name, for workers on other machines."""
    contents = {}
    for name, file in inputs.items():
        try:
            contents[name] = Path(file.path).read_bytes()
        except OSError:
            continue  # The job treats it as missing.
    return contents


def write_outputs(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the outputs of a job that ran on another machine.

    Args:
        folder: The output folder of the job. What a failed attempt left there is removed.
        contents: The content of each output by name.

    Raises:
        OSError: A file cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in contents.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def hash_file(path: Path) -> str | None:
    """The SHA-256 of a file, as 64 hexadecimal digits. None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
