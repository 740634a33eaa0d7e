"""The files of a zip or tar archive, each with a name that is safe to write below a folder.

The content decides what an archive is, because names such as .zip for a tar archive are common.
"""

import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Self

from phinas.experiment.errors import InputError
from phinas.training.data.foreign_formats import describe_content
from phinas.training.data.source_dataset import printable

SAFE_ADVICE = "use an archive of folders and plain files"
_NOT_PLAIN = "is a link or a device, not a file"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_UTF8_NAMES = 0x800  # the flag of a zip entry whose name is UTF-8


@dataclass(frozen=True)
class Entry:
    """A file of an archive.

    Attributes:
        name: Its path in the archive.
        size: Its size in bytes, as the archive says.
        open: Opens its content.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]


@contextmanager
def open_entries(path: Path) -> Iterator[tuple[int, Iterator[Entry]]]:
    """The size of all files in bytes, 0 where an archive has no index, and the files.

    Raises:
        InputError: It is no archive, is encrypted, or has an entry that is not a plain file.
    """
    with path.open("rb") as stream:
        start = stream.read(1000)
    if start.startswith(_ZIP_MAGIC):
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            yield sum(info.file_size for info in infos), _zip_entries(path, archive)
        return
    foreign = describe_content(start)
    if foreign is not None:
        raise InputError(f"{path} {foreign[0]}; {foreign[1]}")
    headers = _record_headers()
    try:
        tar = tarfile.open(path, "r:*", tarinfo=headers)  # noqa: SIM115 - closed below
    except tarfile.ReadError:
        raise InputError(
            f"{path} is neither a zip nor a tar archive, or it is damaged (it begins with "
            f"{start[:15]!r}); copy it again, or unpack it yourself and name the folder"
        ) from None
    with tar:
        yield 0, _tar_entries(path, tar, headers)


def _zip_entries(path: Path, archive: zipfile.ZipFile) -> Iterator[Entry]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{path}: {printable(info.filename)} {_NOT_PLAIN}; {SAFE_ADVICE}")
        if info.flag_bits & 1:
            raise InputError(
                f"{path}: {printable(info.filename)} is encrypted; unpack the archive yourself "
                "and name the folder"
            )
        if not info.is_dir():
            # Some programs on Windows write backslashes.
            name = _decode_name(info).replace("\\", "/")
            yield Entry(name, info.file_size, partial(archive.open, info))


def _decode_name(info: zipfile.ZipInfo) -> str:
    """The name of a zip entry. Many programs write UTF-8 without the flag that says so."""
    if info.flag_bits & _UTF8_NAMES:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _record_headers() -> type[tarfile.TarInfo]:
    """A class of entries that keeps the last header block of a tar archive."""

    class Header(tarfile.TarInfo):
        last = b""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            Header.last = bytes(buf)
            return super().frombuf(buf, encoding, errors)

    return Header


def _tar_entries(
    path: Path, tar: tarfile.TarFile, headers: type[tarfile.TarInfo]
) -> Iterator[Entry]:
    for member in tar:
        if not (member.isreg() or member.isdir()):
            raise InputError(f"{path}: {printable(member.name)} {_NOT_PLAIN}; {SAFE_ADVICE}")
        if member.isreg():
            yield Entry(member.name, member.size, partial(_extract, tar, member))
    # tarfile takes the end of the file, and any damage between two entries, for the end.
    last: bytes = headers.last  # type: ignore[attr-defined]
    if len(last) < tarfile.BLOCKSIZE or last.strip(b"\0"):
        raise InputError(
            f"{path} has no end mark, so it is truncated or damaged; copy it again, or unpack it "
            "yourself and name the folder"
        )


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream is not None  # it is a regular file
    return stream


class NameCheck:
    """Checks the names of the entries of an archive, one after another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spellings: dict[str, str] = {}

    def check(self, name: str) -> tuple[str, ...]:
        """The parts of a name.

        Raises:
            InputError: The name is absolute, leaves the folder, or is that of an earlier entry.
        """
        posix = PurePosixPath(name)
        parts = tuple(part for part in posix.parts if part != ".")
        if posix.is_absolute() or ".." in parts or not parts:
            raise self._refuse(name, "its path leaves the folder")
        if "\\" in name or "\0" in name or (len(parts[0]) > 1 and parts[0][1] == ":"):
            raise self._refuse(name, "its path is not portable")
        for end in range(1, len(parts) + 1):
            spelling = "/".join(parts[:end])
            key = unicodedata.normalize("NFC", spelling).casefold()
            earlier = self._spellings.setdefault(key, spelling)
            if earlier != spelling:
                raise self._refuse(
                    name, f"it differs from {printable(earlier)} in upper and lower case only"
                )
        return parts

    def _refuse(self, name: str, reason: str) -> InputError:
        return InputError(f"{self._path}: {printable(name)}: {reason}; {SAFE_ADVICE}")
