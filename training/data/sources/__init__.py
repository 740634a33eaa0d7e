"""The data sources by name, one module for each.

To add a source, write a module in this package and list it here: `data.source` accepts it, and help
and error messages name it. This table imports no library, so that help stays quick;
`phinas.training.data.image_dataset` imports the module of an entry when it is needed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from phinas.training.data.folder_listing import is_junk
from phinas.training.data.tables.table_folder import (
    TABLE_SUFFIXES,
    find_lone_file,
    find_table_folder,
)


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """A data source that phinas ships.

    An entry has a name or a prefix if `data.source` does not say a path, suffixes if it reads
    files, and folder patterns or a test if it reads folders.

    Attributes:
        usage: How `data.source` names it.
        summary: One sentence for help texts and documentation.
        path: The function that reads it, as "module:function". It takes the text of `data.source`,
            or the resolved path, and the ReadOptions. It returns a SourceDataset or an
            ArrayDataset. All three types are in `phinas.training.data.source_dataset`.
        name: The text of `data.source`, for a source without arguments.
        prefix: The beginning of the text of `data.source`.
        suffixes: The file suffixes, in lower case.
        folder_patterns: Glob patterns. A folder that has a match is read by this source.
        accepts_folder: A further test that a folder must pass.
    """

    usage: str
    summary: str
    path: str
    name: str = ""
    prefix: str = ""
    suffixes: tuple[str, ...] = ()
    folder_patterns: tuple[str, ...] = ()
    accepts_folder: Callable[[Path], bool] = field(default=lambda _path: True)

    def suffix_of(self, path: Path) -> str:
        """The suffix of a file that this source reads, as the file has it. "" for another file."""
        length = max(
            (len(suffix) for suffix in self.suffixes if path.name.lower().endswith(suffix)),
            default=0,
        )
        return path.name[len(path.name) - length :]


ARCHIVE_SUFFIXES = tuple(
    ".zip .tar .tar.gz .tgz .tar.bz2 .tbz2 .tbz .tar.xz .txz".split()  # noqa: SIM905
)
# A folder may match several entries. The first one reads it.
SOURCES: dict[str, SourceEntry] = {
    "digits": SourceEntry(
        "digits",
        "The 1,797 handwritten digits of scikit-learn, 8 x 8 px.",
        "phinas.training.data.sources.digits:load_digits",
        name="digits",
    ),
    "parquet": SourceEntry(
        "FILE.parquet",
        "A Parquet file with image and label columns, or a folder of such files.",
        "phinas.training.data.sources.parquet:list_parquet",
        suffixes=(".parquet",),
        folder_patterns=("*.parquet", "*/*.parquet"),
    ),
    "npz": SourceEntry(
        "FILE.npz",
        "NumPy arrays of images and labels.",
        "phinas.training.data.sources.npz:load_npz",
        suffixes=(".npz",),
    ),
    "csv": SourceEntry(
        "FILE.csv",
        "A table (.csv, .tsv or .jsonl) with the path and the label of each image, or a folder "
        "with one and the images.",
        "phinas.training.data.sources.csv_table:list_csv",
        suffixes=TABLE_SUFFIXES,
        folder_patterns=("**",),
        accepts_folder=lambda folder: find_table_folder(folder) is not None,
    ),
    "archive": SourceEntry(
        "ARCHIVE.zip",
        "An archive (.zip, .tar, .tar.gz and the like) of any of these folders. It is unpacked "
        "into the cache.",
        "phinas.training.data.sources.archive:read_archive",
        suffixes=ARCHIVE_SUFFIXES,
    ),
    "image_folder": SourceEntry(
        "FOLDER",
        "A folder with one folder of images per class, or with train, val and test folders of "
        "those.",
        "phinas.training.data.sources.image_folder:list_class_folders",
        folder_patterns=("**",),  # matches any folder, an empty one too
    ),
    "hf": SourceEntry(
        "hf:NAME[:CONFIGURATION]",
        "A data set of the Hugging Face Hub.",
        "phinas.training.data.sources.hf_hub:list_hf_dataset",
        prefix="hf:",
    ),
    "torchvision": SourceEntry(
        "torchvision:NAME[:ROOT]",
        "A data set class of torchvision, downloaded unless ROOT names the folder of the data.",
        "phinas.training.data.sources.torchvision_datasets:list_torchvision",
        prefix="torchvision:",
    ),
}


def find_named_source(source: str) -> SourceEntry | None:
    """The entry whose name or prefix `data.source` has. None for a path."""
    for entry in SOURCES.values():
        if source == entry.name or (entry.prefix and source.startswith(entry.prefix)):
            return entry
    return None


def find_path_source(path: Path) -> SourceEntry | None:
    """The entry that reads this existing file or folder. None where no source does."""
    is_folder = path.is_dir()
    for entry in SOURCES.values():
        if is_folder and any(True for _ in visible_matches(path, entry.folder_patterns)):
            if entry.accepts_folder(path):
                return entry
        elif entry.suffix_of(path) and path.is_file():
            return entry
    return None


def find_content(path: Path) -> Path:
    """The single data file of a folder that holds nothing else. `path` where there is none."""
    if not path.is_dir():
        return path
    suffixes = (*SOURCES["npz"].suffixes, *ARCHIVE_SUFFIXES)
    return find_lone_file(path, suffixes) or path


def visible_matches(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """What matches one of the glob patterns, without hidden files and junk folders."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if not any(map(is_junk, path.relative_to(folder).parts)):
                yield path


def source_usages() -> str:
    """The usages of all sources, separated by commas."""
    return ", ".join(entry.usage for entry in SOURCES.values())
