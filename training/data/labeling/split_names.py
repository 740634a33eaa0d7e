"""What data sets call their splits: folders, files, keys and splits of the Hub."""

import re
from collections.abc import Iterable

# In lower case. If several are present, the first one is the split.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_GENERIC_WORDS = {"set", "images", "imgs", "image", "img", "data", "dataset", "folder", "split"}
# Further words of the names of folders that hold images of all classes, or no images.
_NO_CLASS_WORDS = {
    *("photo", "photos", "picture", "pictures", "pics", "jpg", "jpeg", "jpegs", "png", "files"),
    *("input", "inputs", "resized", "part", "sets", "all", "full", "crops"),
    *("label", "labels", "annotation", "annotations", "mask", "masks", "bbox", "bboxes"),
    *("segmentation", "segmentations"),
}
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")


def split_of_name(name: str) -> str | None:
    """The split that a name means, such as "validation" for "dev". None for another name."""
    for split, names in SPLIT_NAMES.items():
        if name.lower() in names:
            return split
    return None


def split_of_file(name: str) -> str | None:
    """The split of a file such as train-00000-of-00002.parquet or test2.csv, by its first word."""
    word = re.match(r"[a-z]+", name.lower())
    if word is None:
        return None
    return split_of_name(word[0]) or split_of_name(_without_set(word[0]))


def _without_set(word: str) -> str:
    return word.removesuffix("set")


def means_no_class(name: str) -> bool:
    """Whether the name of a folder only says which images it holds, and not of which class.

    Such names are train, test1, train_images, JPEGImages, images_001 and masks.
    """
    words = [word.lower() for word in _NAME_WORD.findall(name)]
    return bool(words) and all(
        split_of_name(_without_set(word)) or word in _GENERIC_WORDS | _NO_CLASS_WORDS
        for word in words
    )


def select_splits(names: Iterable[str]) -> dict[str, str]:
    """The names that mean the splits of a data set, by split.

    A name is `train`, or has one word that means a split: `seg_train` and `seg_test`, or
    `training_set` and `test_set`. The other words are general, or the same for all splits.

    Args:
        names: Names of folders, of which others may be none of a split.
    """
    names = sorted(names)
    exact = {
        split: name
        for split, words in SPLIT_NAMES.items()
        for word in reversed(words)
        for name in names
        if name.lower() == word
    }
    if "train" in exact:
        return exact
    by_remainder: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = re.split(r"[\s_.\-]+", name.lower())
        splits = [split for word in words if (split := split_of_name(word))]
        if len(splits) == 1:
            remainder = tuple(
                word for word in words if not split_of_name(word) and word not in _GENERIC_WORDS
            )
            by_remainder.setdefault(remainder, {}).setdefault(splits[0], name)
    for selected in by_remainder.values():
        if "train" in selected and len(selected) > 1:
            return selected
    return {}
