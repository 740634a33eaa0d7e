"""What makes the scores on a data set worth less, each problem with its remedy, the worst first."""

from collections import Counter
from collections.abc import Callable, Sequence

from phinas.training.data.dataset_audit import DatasetAudit

MIN_CLASS_IMAGES = 20  # training images of a class: with fewer, networks hardly learn it
_MIN_IMBALANCE = 10
_MAX_NAMED = 5


def list_problems(audit: DatasetAudit) -> list[str]:
    """The problems of a data set in sentences; empty where none was found."""
    return [problem for check in _CHECKS if (problem := check(audit))]


def _check_splits(audit: DatasetAudit) -> str:
    count = audit.cross_split_duplicates
    if not count:
        return ""
    images = _count_images(count, "is", "are")
    return f"{images} in more than one split, so accuracies are too high; remove the copies"


def _check_groups(audit: DatasetAudit) -> str:
    groups = audit.shared_groups
    if not groups:
        return ""
    subject = (
        "one group of the test split is"
        if len(groups) == 1
        else f"{len(groups):,} groups of the test split are"
    )
    return (
        f"{subject} also in train or validation ({_name_first(groups)}), so accuracies are too "
        "high; remove their images from one split"
    )


def _check_labels(audit: DatasetAudit) -> str:
    if not audit.label_conflicts:
        return ""
    pairs = Counter(" and ".join(names) for names in audit.label_conflicts)
    named = ", ".join(f"{pair} ({count})" for pair, count in pairs.most_common(_MAX_NAMED))
    images = _count_images(len(audit.label_conflicts), "has", "have")
    return f"{images} more than one label: {named}; correct the labels"


def _check_class_sizes(audit: DatasetAudit) -> str:
    rare = sorted(
        (row for row in audit.classes if row.train < MIN_CLASS_IMAGES), key=lambda row: row.train
    )
    if not rare:
        return ""
    named = ", ".join(f"{row.name} ({row.train})" for row in rare[:_MAX_NAMED])
    others = f" and {len(rare) - _MAX_NAMED} more" if len(rare) > _MAX_NAMED else ""
    return (
        f"fewer than {MIN_CLASS_IMAGES} training images in {named}{others}; add images, or merge "
        "classes"
    )


def _check_imbalance(audit: DatasetAudit) -> str:
    if audit.imbalance < _MIN_IMBALANCE:
        return ""
    return (
        f"the largest class has {audit.imbalance:.0f} times as many images as the smallest, so "
        "accuracy says little about small classes; use --metric balanced_accuracy"
    )


def _check_duplicates(audit: DatasetAudit) -> str:
    if not audit.duplicates:
        return ""
    return f"{audit.duplicates:,} copies of other images in the same split, which count twice"


def _check_skipped_images(audit: DatasetAudit) -> str:
    if not audit.skipped_images:
        return ""
    images = _count_images(len(audit.skipped_images), "is", "are")
    return f"{images} unreadable and skipped: {'; '.join(audit.skipped_images[:_MAX_NAMED])}"


_CHECKS: tuple[Callable[[DatasetAudit], str], ...] = (
    _check_splits,
    _check_groups,
    _check_labels,
    _check_class_sizes,
    _check_imbalance,
    _check_duplicates,
    _check_skipped_images,
)


def _name_first(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MAX_NAMED], *(["..."] if len(names) > _MAX_NAMED else [])])


def _count_images(count: int, verb: str, verbs: str) -> str:
    return f"one image {verb}" if count == 1 else f"{count:,} images {verbs}"
