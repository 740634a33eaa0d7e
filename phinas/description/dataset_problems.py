"""What makes the scores on a data set worth less, each problem with its remedy, the worst first.

Hints are about images that may be right: near-duplicates, blurred ones and the like.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from phinas.reports.formatting import pluralize
from phinas.reports.sentences.duplicates import describe_leaks

if TYPE_CHECKING:
    from phinas.training.data.audit.dataset_audit import DatasetAudit

MIN_CLASS_IMAGES = 20  # training images of a class: with fewer, networks hardly learn it
_MIN_IMBALANCE = 10
_MIN_CROPPED = 0.1  # fraction of the images that lose much, from which it is a problem
_MAX_NAMED = 5


def list_problems(audit: "DatasetAudit") -> list[str]:
    """The problems of a data set in sentences; empty where none was found."""
    leaks = describe_leaks(
        audit.duplicates, validation=audit.images["validation"], test=audit.images["test"]
    )
    return leaks + [problem for check in _CHECKS if (problem := check(audit))]


def list_hints(audit: "DatasetAudit") -> list[str]:
    """What a look at the images may be worth, in sentences; empty where nothing was found."""
    return [hint for describe in _HINTS if (hint := describe(audit))]


def _check_groups(audit: "DatasetAudit") -> str:
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


def _check_mixed_groups(audit: "DatasetAudit") -> str:
    mixed = audit.mixed_groups
    if not mixed:
        return ""
    examples = "; ".join(f"{group.name}: {_name_first(group.classes)}" for group in mixed[:2])
    more = "; ..." if len(mixed) > 2 else ""
    pattern = audit.suggested_group_by
    example = f", as in --group-by '{pattern}'" if pattern else ""
    return (
        f"{pluralize(len(mixed), 'group has', 'groups have')} images of several classes "
        f"({examples}{more}); if the same name means another object in another class folder, "
        f"capture the folder in data.group_by too{example}"
    )


def _check_labels(audit: "DatasetAudit") -> str:
    if not audit.label_conflicts:
        return ""
    pairs = Counter(" and ".join(names) for names in audit.label_conflicts)
    named = ", ".join(f"{pair} ({count})" for pair, count in pairs.most_common(_MAX_NAMED))
    count, total = audit.duplicates.with_other_label, sum(audit.images.values())
    have = "has" if count == 1 else "have"
    return (
        f"{count:,} of {pluralize(total, 'image')} {have} a copy with another label: {named}; "
        "correct the labels"
    )


def _check_surplus(audit: "DatasetAudit") -> str:
    if not audit.surplus_files:
        return ""
    return (
        f"{_count_images(audit.surplus_files, audit)} bytes after the end of the image, so files "
        "may be damaged; look at some, and copy the files again if their colors are wrong"
    )


def _check_class_sizes(audit: "DatasetAudit") -> str:
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


def _check_imbalance(audit: "DatasetAudit") -> str:
    if audit.imbalance < _MIN_IMBALANCE:
        return ""
    return (
        f"the largest class has {audit.imbalance:.0f} times as many images as the smallest, so "
        "accuracy says little about small classes; use --metric balanced_accuracy"
    )


def _check_small_images(audit: "DatasetAudit") -> str:
    sizes = audit.sizes
    if sizes is None or not sizes.much_smaller:
        return ""
    are = "is" if sizes.much_smaller == 1 else "are"
    return (
        f"{sizes.much_smaller:,} of {pluralize(sizes.files, 'image')} {are} much smaller than the "
        f"others (from {sizes.smallest} px, the others have {sizes.typical} px); remove them if "
        "they are thumbnails"
    )


def _check_crop(audit: "DatasetAudit") -> str:
    sizes = audit.sizes
    if sizes is None or sizes.much_cropped < _MIN_CROPPED * sizes.files:
        return ""
    return (
        f"the center crop removes 40% or more of {sizes.much_cropped:,} of "
        f"{pluralize(sizes.files, 'image')} ({sizes.median_crop_loss:.0%} in the median); use "
        "--resize-mode squash or letterbox (data.resize_mode) to keep the whole images"
    )


def _check_repeats(audit: "DatasetAudit") -> str:
    repeats = audit.duplicates.repeats
    if not repeats:
        return ""
    verb = "repeats" if repeats == 1 else "repeat"
    return (
        f"{repeats:,} of {pluralize(sum(audit.images.values()), 'image')} {verb} another image of "
        "the same split, which counts twice; leave them out with --drop-duplicates "
        "(data.drop_duplicates: true)"
    )


def _check_skipped_images(audit: "DatasetAudit") -> str:
    skipped = audit.skipped_images
    if not skipped:
        return ""
    total = len(skipped) + sum(audit.images.values())
    are = "is" if len(skipped) == 1 else "are"
    return (
        f"{len(skipped):,} of {pluralize(total, 'image')} {are} unreadable and skipped: "
        f"{'; '.join(skipped[:_MAX_NAMED])}{'; ...' if len(skipped) > _MAX_NAMED else ''}"
    )


_CHECKS: tuple[Callable[["DatasetAudit"], str], ...] = (
    _check_groups,
    _check_mixed_groups,
    _check_labels,
    _check_surplus,
    _check_class_sizes,
    _check_imbalance,
    _check_small_images,
    _check_crop,
    _check_repeats,
    _check_skipped_images,
)


def _describe_near_duplicates(audit: "DatasetAudit") -> str:
    near = audit.near_duplicates
    if near is None or not near.images:
        return ""
    parts = [
        f"{count:,} of {pluralize(audit.images[split], f'{split} image')}"
        for split, count in (
            ("test", near.test_like_train),
            ("validation", near.validation_like_train),
        )
        if count
    ]
    if not parts:
        count = _count_images(near.images, audit, have="looks", haves="look")
        return f"{count} almost like another image of the same split"
    verb = "looks" if near.test_like_train + near.validation_like_train == 1 else "look"
    remedy = (
        f"keep such images in one split with --group-by '{audit.suggested_group_by}'"
        if audit.suggested_group_by
        else "keep such images in one split with --group-by, if their names or a column tell which "
        "belong together"
    )
    return f"{' and '.join(parts)} {verb} almost like a training image; {remedy}"


def _describe_names(audit: "DatasetAudit") -> str:
    near = audit.near_duplicates
    is_named = near is not None and near.test_like_train + near.validation_like_train > 0
    if not audit.suggested_group_by or is_named or audit.mixed_groups:
        return ""
    return (
        "the names look like those of several images of one object, such as frames of a video; "
        f"if they are, keep them in one split with --group-by '{audit.suggested_group_by}'"
    )


def _describe_quality(audit: "DatasetAudit") -> str:
    parts = [f"{count:,} {issue}" for issue, count in audit.quality.items() if count]
    if not parts:
        return ""
    total = pluralize(sum(audit.images.values()), "image")
    return f"of {total}, {', '.join(parts)}; look at them (--csv FILE lists them)"


_HINTS: tuple[Callable[["DatasetAudit"], str], ...] = (
    _describe_near_duplicates,
    _describe_names,
    _describe_quality,
)


def _name_first(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MAX_NAMED], *(["..."] if len(names) > _MAX_NAMED else [])])


def _count_images(
    count: int, audit: "DatasetAudit", *, have: str = "has", haves: str = "have"
) -> str:
    total = pluralize(sum(audit.images.values()), "image")
    return f"{count:,} of {total} {have if count == 1 else haves}"
