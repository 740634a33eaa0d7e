"""Sentences about images with equal pixels, for the terminal, the page and the model card."""

from phinas.experiment.artifacts.manifest import DatasetDescription, DuplicateCounts
from phinas.experiment.artifacts.prepared_data import DatasetSummary
from phinas.reports.sentences.rendering import list_sentences, render

_DROP = "remove them from train with --drop-duplicates (data.drop_duplicates: true)"


def list_leaks(data: DatasetDescription | DatasetSummary) -> list[str]:
    """Which images of a run or a fit are also in another split. Empty where none is."""
    return describe_leaks(data.duplicates, validation=data.validation, test=data.test)


def describe_leaks(counts: DuplicateCounts, *, validation: int, test: int) -> list[str]:
    """Which images are also in another split. Empty where none is.

    Args:
        counts: The numbers of images with equal pixels.
        validation: The number of validation images.
        test: The number of test images.
    """
    return list_sentences(
        _leak(
            counts.test_in_train,
            total=test,
            split="test",
            other="train",
            effect="test scores are too high",
            remedy=_DROP,
        ),
        _leak(
            counts.test_in_validation,
            total=test,
            split="test",
            other="validation",
            effect="test images influence which network is selected",
            remedy="remove them from one of the splits",
        ),
        _leak(
            counts.validation_in_train,
            total=validation,
            split="validation",
            other="train",
            effect="validation scores are too high, and overfitting is not noticed",
            remedy=_DROP,
        ),
    )


def describe_dropped(counts: DuplicateCounts) -> str:
    """How many training images were left out; empty for none."""
    return render("duplicates", "dropped", count=counts.dropped) if counts.dropped else ""


def _leak(count: int, *, total: int, **words: str) -> str:
    if not count:
        return ""
    percent = 100 * count / total
    share = f"{percent:.0f}%" if percent >= 9.5 else f"{percent:.1g}%"
    return render("duplicates", "leak", count=count, total=total, share=share, **words)
