"""Tests of evaluation: scores, batch sizes, bootstrap replicates."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from phinas.experiment.executors import NonRetryableError
from phinas.experiment.measurement_arrays import decode_resamples
from phinas.experiment.statistics.classification_metrics import NUM_RESAMPLES, resample_scores
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.evaluate import evaluate


class PixelClassifier(nn.Module):
    """A classifier whose logits are the first pixels of the image."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, images):
        return images[:, 0].flatten(1)[:, : self.classes]


@pytest.mark.parametrize(("resolution", "most"), [(32, 500), (224, 500), (320, 245), (10000, 1)])
def test_large_images_are_evaluated_in_smaller_batches(resolution, most):
    """The batch size does not depend on the free memory, so scores do not either."""
    batch_sizes = []

    class CountingClassifier(PixelClassifier):
        def forward(self, images):
            batch_sizes.append(len(images))
            return super().forward(images)

    count = 503 if resolution < 1000 else 3
    batches = ImageBatches(
        np.zeros((count, 4, 4, 1), np.uint8),
        np.zeros(count, np.int64),
        resolution=4,
        device=torch.device("cpu"),
    )
    batches.resolution = resolution  # simulated, since the pixels would take 5 GB
    mean, std = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    evaluate(CountingClassifier(4), batches, classes=4, mean=mean, std=std)
    assert max(batch_sizes) == min(most, count)
    assert sum(batch_sizes) == count


def test_evaluation_in_parts_after_out_of_memory_gives_the_same_score():
    class LimitedMemory(PixelClassifier):
        most = 3

        def forward(self, images):
            if len(images) > self.most:
                raise torch.OutOfMemoryError("simulated")
            return super().forward(images)

    generator = np.random.default_rng(0)
    images, labels = (
        generator.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8),
        generator.integers(0, 4, 50),
    )
    batches = ImageBatches(images, labels, resolution=4, device=torch.device("cpu"))
    options = {"classes": 4, "mean": torch.zeros(1, 1, 1, 1), "std": torch.ones(1, 1, 1, 1)}
    expected = evaluate(PixelClassifier(4), batches, **options)
    assert evaluate(LimitedMemory(4), batches, **options) == expected


def test_out_of_memory_with_the_smallest_part_is_an_error_with_the_resolution():
    class NoMemory(PixelClassifier):
        def forward(self, _images):
            raise torch.OutOfMemoryError("simulated")

    batches = ImageBatches(
        np.zeros((5, 4, 4, 1), np.uint8),
        np.zeros(5, np.int64),
        resolution=4,
        device=torch.device("cpu"),
    )
    options = {"classes": 4, "mean": torch.zeros(1, 1, 1, 1), "std": torch.ones(1, 1, 1, 1)}
    with pytest.raises(
        NonRetryableError,
        match="out of memory with the smallest batch in the evaluation of images of 4 px; lower",
    ):
        evaluate(NoMemory(4), batches, **options)


@pytest.mark.parametrize("classes", [2, 4, 5, 9])
@pytest.mark.parametrize("count", [1, 499, 500, 501, 1203])
def test_scores_are_exact_for_any_size_of_the_last_batch(classes, count):
    generator = torch.Generator().manual_seed(count)
    order = torch.stack([torch.randperm(16, generator=generator) for _ in range(count)])
    images = (order * 15).view(count, 4, 4, 1).to(torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    ones = torch.ones(1, 1, 1, 1)
    model = PixelClassifier(classes).train()
    batches = ImageBatches(images.numpy(), labels.numpy(), resolution=4, device=torch.device("cpu"))
    score = evaluate(model, batches, classes=classes, mean=0 * ones, std=ones)
    logits = order[:, :classes].double() * 15 / 255
    rank = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert score.images == count
    assert score.accuracy == pytest.approx((rank == 0).double().mean().item(), abs=1e-12)
    assert score.top5 == pytest.approx((rank < 5).double().mean().item(), abs=1e-12)
    assert score.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    for number in labels.unique():
        assert score.per_class_accuracy[number] == pytest.approx(
            (rank[labels == number] == 0).double().mean().item(), abs=1e-12
        )
    assert len(score.per_class_accuracy) == classes
    assert not model.training


def labels_and_predictions(classes, count, *, absent=()):
    """Labels without the absent classes, and predictions that are mostly correct."""
    generator = np.random.default_rng(count)
    present = [number for number in range(classes) if number not in absent]
    labels = generator.choice(present, count)
    wrong = generator.integers(0, classes, count)
    return labels, np.where(generator.random(count) < 0.6, labels, wrong)


def evaluation_of(labels, predictions, *, classes, **options):
    """The evaluation of a model whose logits are largest for these predictions."""
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    images.reshape(len(labels), 16)[np.arange(len(labels)), predictions] = 255
    batches = ImageBatches(images, labels, resolution=4, device=torch.device("cpu"))
    ones = torch.ones(1, 1, 1, 1)
    return evaluate(
        PixelClassifier(classes), batches, classes=classes, mean=0 * ones, std=ones, **options
    )


@pytest.mark.parametrize(
    ("classes", "count", "absent"), [(3, 40, ()), (10, 700, ()), (10, 60, (2, 9)), (9, 1, ())]
)
def test_scores_are_those_of_scikit_learn(classes, count, absent):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

    labels, predictions = labels_and_predictions(classes, count, absent=absent)
    evaluation = evaluation_of(labels, predictions, classes=classes)
    with warnings.catch_warnings():
        # scikit-learn warns about predicted classes without images
        warnings.simplefilter("ignore", UserWarning)
        balanced = balanced_accuracy_score(labels, predictions)
    f1 = f1_score(labels, predictions, average="macro", zero_division=0)
    recall = recall_score(labels, predictions, labels=range(classes), average=None, zero_division=0)
    assert evaluation.score("accuracy") == pytest.approx(accuracy_score(labels, predictions))
    assert evaluation.score("balanced_accuracy") == pytest.approx(balanced)
    assert evaluation.score("macro_f1") == pytest.approx(f1)
    assert evaluation.per_class_accuracy == pytest.approx(recall)


def test_metrics_other_than_accuracy_have_bootstrap_replicates():
    labels, predictions = labels_and_predictions(10, 700)
    assert evaluation_of(labels, predictions, classes=10).resampled_scores == ""
    for metric in ("balanced_accuracy", "macro_f1"):
        evaluation = evaluation_of(labels, predictions, classes=10, metric=metric)
        resamples = decode_resamples(evaluation.resampled_scores)
        assert np.array_equal(resamples, resample_scores(metric, labels, predictions, classes=10))
        assert len(resamples) == NUM_RESAMPLES
        assert resamples.mean() == pytest.approx(evaluation.score(metric), abs=0.01)
