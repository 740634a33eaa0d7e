"""Images from where people have them: a name, class folders, Hugging Face Parquet or its hub,
torchvision, an .npz.

The one decision to know: every source becomes one uint8 array (images, side, side, channels) with
integer labels, decoded once. Every image is checked while it is read; a bad one is named, and is
left out only where the caller asked for that. Images are turned upright (EXIF), made RGB, and
brought to the stored side by their shorter edge and a centre crop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.cache import decode_once
from phinas.training.data.decoding import LARGEST_SIDE, Listing, check_memory, stored_side
from phinas.training.data.sources import hf_hub, torchvision_datasets
from phinas.training.data.sources.image_folder import list_class_folders, shown
from phinas.training.data.sources.npz import Arrays, load_digits, load_npz
from phinas.training.data.sources.parquet import list_parquet, parquet_files

Notify = Callable[[int, int], None]
DIGITS = "digits"
NAMED = {
    hf_hub.PREFIX: hf_hub.list_hub,
    torchvision_datasets.PREFIX: torchvision_datasets.list_torchvision,
}


@dataclass(frozen=True)
class Images:
    """pixels: uint8 of (count, side, side, channels); labels: int64 of (count,), indices of
    classes; groups: text of (count,), if data.group_by is given."""

    pixels: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Images":
        return Images(
            self.pixels[indices],
            self.labels[indices],
            None if self.groups is None else self.groups[indices],
        )


@dataclass(frozen=True)
class ImageSet:
    """A data set in memory. test: the source's official test split; mirror: left-right flips keep
    the class; skipped: bad images that were left out, each with its reason."""

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...]
    mirror: bool
    skipped: tuple[str, ...]


def load_images(section: DataSection, *, notify: Notify | None = None) -> ImageSet:
    """The images of a source; `notify` hears (done, total) as they are decoded. Raises
    InputError.
    """
    if section.source == DIGITS:
        if section.group_by is not None:
            raise InputError(
                f"data.group_by: {section.group_by!r}, and {DIGITS} have no groups; leave it out"
            )
        return _from_arrays(load_digits(), section, name=DIGITS, mirror=False)
    heard = notify or (lambda _done, _total: None)
    for prefix, list_named in NAMED.items():
        if section.source.startswith(prefix):
            listing = list_named(section.source, group_by=section.group_by)
            name = section.source.removeprefix(prefix).partition(":")[0]
            return _from_listing(listing, section, path=Path(name), notify=heard)
    try:
        path = _find(section.source)
        if path.suffix.lower() == ".npz" and path.is_file():
            return _from_arrays(
                load_npz(path, group_by=section.group_by), section, name=path.stem, mirror=True
            )
        return _from_listing(_list(path, section.group_by), section, path=path, notify=heard)
    except OSError as error:
        raise InputError(
            f"{error.filename or section.source}: cannot be read: {error.strerror or error}"
        ) from None


def _find(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError:
        path = Path(source)  # `~somebody`, who is not here
    if path.exists():
        return path.resolve()
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(source, [DIGITS], n=1) or [
        str(path.parent / name) for name in get_close_matches(path.name, siblings, n=1)
    ]
    remedy = (
        f"did you mean {near[0]!r}?"
        if near
        else "give `digits`, or a folder, a .parquet or an .npz file"
    )
    raise InputError(f"data.source: {shown(source)!r} does not exist; {remedy}")


def _list(path: Path, group_by: str | None) -> Listing:
    if path.is_dir() and not parquet_files(path):
        return list_class_folders(path, group_by=group_by)
    if path.is_dir() or path.suffix.lower() == ".parquet":
        return list_parquet(path, group_by=group_by)
    kinds = "a folder of class folders, a .parquet or an .npz"
    raise InputError(
        f"data.source: {path} is a file of unknown kind {path.suffix!r}; give {kinds} (archives "
        "unpacked)"
    )


def _from_listing(
    listing: Listing, section: DataSection, *, path: Path, notify: Notify
) -> ImageSet:
    """Decodes both splits, and judges the bad images of both together."""
    parts = [listing.train, *([listing.test] if listing.test else [])]
    total = sum(len(part.labels) for part in parts)
    _check_classes(path, listing.classes, [part.labels for part in parts])
    side = section.side or stored_side(listing.train)
    check_memory(total, side=side)
    splits: list[Images] = []
    skipped: list[str] = []
    done = 0
    for part in parts:
        pixels, bad = decode_once(part, side=side, notify=partial(_report, notify, done, total))
        images = Images(pixels, part.labels, part.groups)
        if bad:
            good = np.setdiff1d(np.arange(len(images)), list(bad))
            images = images.take(good if section.skip_bad_images else good[:0])
            skipped += bad.values()
        splits.append(images)
        done += len(part.labels)
    if skipped and not section.skip_bad_images:
        raise InputError(f"{path}: {_describe_bad(skipped, total)}")
    _check_classes(path, listing.classes, [split.labels for split in splits])
    return ImageSet(
        path.name,
        splits[0],
        splits[1] if listing.test else None,
        listing.classes,
        True,
        tuple(skipped),
    )


def _report(notify: Notify, before: int, total: int, count: int) -> None:
    notify(before + count, total)


def _describe_bad(bad: list[str], total: int) -> str:
    rest = f"; and {len(bad) - 5:,} more" if len(bad) > 5 else ""
    remedy = (
        "mend them, or leave them out and count them with --skip-bad-images "
        "(data.skip_bad_images: true)"
    )
    return f"{len(bad):,} of {total:,} images cannot be used: {'; '.join(bad[:5])}{rest}. {remedy}"


def _from_arrays(arrays: Arrays, section: DataSection, *, name: str, mirror: bool) -> ImageSet:
    where = Path(section.source)
    pairs = [arrays.train, *([arrays.test] if arrays.test else [])]
    _check_classes(where, arrays.classes, [labels for _, labels in pairs])
    side = section.side or min(*arrays.train[0].shape[1:3], LARGEST_SIDE)
    check_memory(
        sum(len(labels) for _, labels in pairs), side=side, channels=arrays.train[0].shape[3]
    )
    splits = [
        Images(_fit(pixels, side=side), labels, of)
        for (pixels, labels), of in zip(pairs, arrays.groups, strict=False)
    ]
    return ImageSet(name, splits[0], splits[1] if arrays.test else None, arrays.classes, mirror, ())


def _fit(pixels: np.ndarray, *, side: int) -> np.ndarray:
    """Arrays of another size go the way of decoded images: a centred square, resized."""
    count, height, width, channels = pixels.shape
    if (height, width) == (side, side):
        return pixels
    fitted = np.empty((count, side, side, channels), np.uint8)
    for index, image in enumerate(pixels):
        drawn = Image.fromarray(image[..., 0] if channels == 1 else image)
        square = ImageOps.fit(drawn, (side, side), method=Image.Resampling.BICUBIC)
        fitted[index] = np.asarray(square).reshape(side, side, channels)
    return fitted


def _check_classes(where: Path, classes: tuple[str, ...], splits: list[np.ndarray]) -> None:
    """Raises InputError unless there are two classes, and images of every class in every split."""
    if not len(splits[0]):
        raise InputError(f"{where}: holds no images to train with; add some")
    if len(classes) < 2:
        raise InputError(
            f"{where}: holds one class ({shown(classes[0])}); a classifier needs at least two"
        )
    for split, labels in zip(("train", "test"), splits, strict=False):
        counts = np.bincount(labels, minlength=len(classes))
        empty = [repr(shown(classes[index])) for index in np.flatnonzero(counts == 0)[:5]]
        if empty:
            raise InputError(
                f"{where}: no image of class {', '.join(empty)} in {split}; add some, or remove "
                "the class"
            )
