"""Scores of held-out images."""

import numpy as np
import pytest
import torch
from torch import nn

from phinas.experiment.executors import NonRetryableError
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.evaluate import evaluate


class Remembering(nn.Module):
    """Logits that are written in the first pixels of the image."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, images):
        return images[:, 0].flatten(1)[:, : self.classes]


@pytest.mark.parametrize(("resolution", "most"), [(32, 500), (224, 500), (320, 245), (10000, 1)])
def test_large_images_are_scored_fewer_at_a_time(resolution, most):
    """Whatever memory is free, so that it decides no number."""
    seen = []

    class Counting(Remembering):
        def forward(self, images):
            seen.append(len(images))
            return super().forward(images)

    count = 503 if resolution < 1000 else 3
    held = ImageBatches(
        np.zeros((count, 4, 4, 1), np.uint8),
        np.zeros(count, np.int64),
        resolution=4,
        device=torch.device("cpu"),
    )
    held.resolution = resolution  # as if: the pixels themselves would be 5 GB
    evaluate(Counting(4), held, classes=4, mean=torch.zeros(1, 1, 1, 1), std=torch.ones(1, 1, 1, 1))
    assert max(seen) == min(most, count)
    assert sum(seen) == count


def test_images_are_scored_in_parts_where_memory_runs_out_and_the_score_is_the_same():
    class Scarce(Remembering):
        most = 3

        def forward(self, images):
            if len(images) > self.most:
                raise torch.OutOfMemoryError("as if")
            return super().forward(images)

    generator = np.random.default_rng(0)
    images, labels = (
        generator.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8),
        generator.integers(0, 4, 50),
    )
    held = ImageBatches(images, labels, resolution=4, device=torch.device("cpu"))
    how = {"classes": 4, "mean": torch.zeros(1, 1, 1, 1), "std": torch.ones(1, 1, 1, 1)}
    assert evaluate(Scarce(4), held, **how) == evaluate(Remembering(4), held, **how)
    Scarce.most = 1
    with pytest.raises(
        NonRetryableError,
        match="out of memory when it scores images of 4 pixels; lower the resolution",
    ):
        evaluate(Scarce(4), held, **how)


@pytest.mark.parametrize("classes", [2, 4, 5, 9])
@pytest.mark.parametrize("count", [1, 499, 500, 501, 1203])
def test_a_score_is_exact_whatever_the_last_batch(classes, count):
    generator = torch.Generator().manual_seed(count)
    order = torch.stack([torch.randperm(16, generator=generator) for _ in range(count)])
    images = (order * 15).view(count, 4, 4, 1).to(torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    ones = torch.ones(1, 1, 1, 1)
    model = Remembering(classes).train()
    held = ImageBatches(images.numpy(), labels.numpy(), resolution=4, device=torch.device("cpu"))
    score = evaluate(model, held, classes=classes, mean=0 * ones, std=ones)
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
