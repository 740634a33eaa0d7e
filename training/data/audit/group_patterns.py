r"""Values of `data.group_by` for class folders, proposed from the names of the images.

In names such as `00012_00027.png`, the first number may be a video and the second one its frame.
Such a pattern is proposed if it makes several groups in most classes, with several images each.
"""

import re
from collections.abc import Sequence

import numpy as np

_FOLDER = r"([^/]+/[^/]+?)"
_PREFIX = r"([^/]+?)"
# What follows the group in the name of an image.
_NUMBERED_ENDS = (r"_\d+\.\w+$", r"-\d+\.\w+$")
_COPY_ENDS = (r"(?: ?\(\d+\)| copy(?: \d+)?)?\.\w+$", r"(?:[_-][^/_-]+)?\.\w+$")
_MIN_GROUPS = 3  # groups in a class, so that each split can have one
_MIN_CLASSES = 0.8  # fraction of the classes that have so many groups
_MIN_PAIRS = 0.5  # fraction of the pairs of images that look alike with one group


def propose_pattern(
    paths: Sequence[str], labels: np.ndarray, pairs: np.ndarray | None = None
) -> str:
    """A regular expression for `data.group_by`. Empty where names show no groups.

    Args:
        paths: The path of each image, which includes the folder of its class.
        labels: int64 (count,), class indices.
        pairs: Indices of images that look alike, (count, 2). Such pairs are evidence for a pattern
            that gives them one group.
    """
    for end in _NUMBERED_ENDS:
        groups = _groups(_FOLDER + end, paths)
        if groups is not None and _is_plausible(groups, labels, min_images=2.0):
            return _choose_beginning(end, paths, labels)
    if pairs is None or not len(pairs):
        return ""
    for end in _NUMBERED_ENDS + _COPY_ENDS:
        groups = _groups(_FOLDER + end, paths)
        if groups is None or not _is_plausible(groups, labels, min_images=1.0):
            continue
        if (groups[pairs[:, 0]] == groups[pairs[:, 1]]).mean() >= _MIN_PAIRS:
            return _FOLDER + end
    return ""


def find_mixed_groups(groups: np.ndarray, labels: np.ndarray) -> dict[str, list[int]]:
    """The groups that have images of several classes, each with its class indices."""
    names, codes = np.unique(groups, return_inverse=True)
    pairs = np.unique(np.stack([codes, labels]), axis=1)
    codes_found, counts = np.unique(pairs[0], return_counts=True)
    return {
        str(names[code]): pairs[1, pairs[0] == code].tolist() for code in codes_found[counts > 1]
    }


def with_folder(pattern: str) -> str:
    """A pattern that captures the folder of the class too. Empty where it cannot be made so."""
    match = re.fullmatch(r"\((?!\?)(.*)\)(.*)", pattern)
    if match is None or "/" in match[1].replace("[^/", ""):
        return ""
    return f"([^/]+/{match[1]}){match[2]}"


def _groups(pattern: str, paths: Sequence[str]) -> np.ndarray | None:
    """The group of each path; None where the pattern does not match one."""
    compiled = re.compile(pattern)
    groups = []
    for path in paths:
        match = compiled.search(path)
        if match is None:
            return None
        groups.append(match[1])
    return np.array(groups)


def _is_plausible(groups: np.ndarray, labels: np.ndarray, *, min_images: float) -> bool:
    """Whether most classes have several groups, with so many images each on average."""
    names, codes = np.unique(groups, return_inverse=True)
    if len(groups) < min_images * len(names) or len(names) == len(groups):
        return False
    num_classes = int(labels.max()) + 1
    pairs = np.unique(codes * num_classes + labels)
    groups_per_class = np.bincount(pairs % num_classes, minlength=num_classes)
    present = np.bincount(labels, minlength=num_classes) > 0
    return float((groups_per_class[present] >= _MIN_GROUPS).mean()) >= _MIN_CLASSES


def _choose_beginning(end: str, paths: Sequence[str], labels: np.ndarray) -> str:
    """The pattern without the folder of the class, unless the groups of each class are numbered.

    A number that starts again in each class means another object there. Any other name that occurs
    in several classes, such as that of a patient, is taken for one group.
    """
    prefixes = _groups(_PREFIX + end, paths)
    if prefixes is None or not find_mixed_groups(prefixes, labels):
        return _PREFIX + end
    for label in np.unique(labels):
        names = set(prefixes[labels == label].tolist())
        if not all(name.isdecimal() for name in names):
            return _PREFIX + end
        numbers = {int(name) for name in names}
        if min(numbers) > 1 or max(numbers) - min(numbers) >= 2 * len(numbers):
            return _PREFIX + end
    return _FOLDER + end
