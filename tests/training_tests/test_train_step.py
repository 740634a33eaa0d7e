"""A step of a training: how a batch is passed in parts, in which precision, and that it is the
optimizer's step by hand.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from phinas.experiment.schema.config import Recipe
from phinas.space.blocks import build
from phinas.space.search_spaces.loading import load_space
from phinas.training.augmentation.transforms import Augmentation, normalize
from phinas.training.engine.device import set_determinism
from phinas.training.engine.optimizer import make_optimizer
from phinas.training.engine.train_step import TrainStep, activation_dtype, micro_batch_sizes

SPEC = replace(
    load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base,
    dropout=0.0,
    drop_path=0.0,
)
ONES = torch.ones(1, 1, 1, 1)


@given(st.integers(2, 3000), st.integers(2, 3000))
def test_parts_are_the_batch_nearly_equal_within_the_limit_and_never_one_image_alone(batch, limit):
    sizes = micro_batch_sizes(batch, limit)
    assert sum(sizes) == batch
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= max(limit, 3)  # an odd batch two at a time has three once
    if limit > 2:
        assert max(sizes) <= limit


def step_of(recipe, *, weights=None, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(SPEC).to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(network, recipe)
    step = TrainStep(
        network,
        optimizer,
        recipe,
        augmentation=Augmentation(),
        seed=seed,
        classes=10,
        mean=0 * ONES,
        std=ONES,
        class_weights=weights,
        micro_batch_size=recipe.micro_batch_size or recipe.batch_size,
    )
    return network, optimizer, step


def batch_of(count=12):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (count,), generator=generator), torch.arange(count)


@pytest.mark.parametrize("weights", [None, torch.linspace(0.5, 2, 10)])
def test_a_step_is_that_of_the_optimizer_on_the_mean_loss(weights):
    recipe = Recipe(batch_size=12, label_smoothing=0.1)
    images, labels, samples = batch_of()
    network, _, step = step_of(recipe, weights=weights)
    step(images, labels, samples)
    by_hand, optimizer, _ = step_of(recipe)
    losses = functional.cross_entropy(
        by_hand(normalize(images, 0 * ONES, ONES)),
        labels,
        weight=weights,
        label_smoothing=0.1,
        reduction="none",
    )
    losses.mean().backward()
    optimizer.step()
    assert step.loss_sum.item() == pytest.approx(losses.mean().item())
    for ours, theirs in zip(network.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(ours, theirs)


def test_mixed_images_keep_the_loss_of_their_targets_the_mean_over_images():
    """Mixing with alpha near 0 keeps each image whole, or takes its partner: all labels count as
    often as before.
    """
    images, labels, samples = batch_of()
    plain, mixed = step_of(Recipe(batch_size=12))[2], step_of(Recipe(batch_size=12, mixup=1e-3))[2]
    plain(images, labels, samples)
    mixed(images, labels, samples)
    assert mixed.loss_sum.item() == pytest.approx(plain.loss_sum.item(), rel=0.2)


def test_precision_is_that_of_the_recipe_and_on_a_cpu_full_unless_it_is_asked_for():
    cpu = torch.device("cpu")
    assert [activation_dtype(Recipe(precision=name), cpu) for name in ("auto", "fp32", "bf16")] == [
        torch.float32,
        torch.float32,
        torch.bfloat16,
    ]


def test_deterministic_algorithms_are_asked_of_torch_and_let_go_again():
    set_determinism(deterministic=True)
    try:
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        step_of(Recipe(batch_size=12, mixup=0.5, randaugment_magnitude=0.5, min_crop_area=0.5))[2](
            *batch_of()
        )
        # the histograms of RandAugment do without for a moment
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        set_determinism(deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
