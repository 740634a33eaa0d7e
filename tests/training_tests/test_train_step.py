"""Tests of the train step: micro-batches, loss, precision, determinism."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.augmentation.transforms import normalize
from phinas.training.engine.device import set_determinism
from phinas.training.engine.optimizer import make_optimizer
from phinas.training.engine.train_step import TrainStep, activation_dtype, micro_batch_sizes
from phinas.training.request import TrainingRequest, TrainingSettings

SPEC = replace(
    load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base,
    dropout=0.0,
    drop_path=0.0,
)
ONES = torch.ones(1, 1, 1, 1)


@given(st.integers(2, 3000), st.integers(2, 3000))
def test_micro_batches_are_nearly_equal_within_the_limit_and_never_a_single_image(batch, limit):
    sizes = micro_batch_sizes(batch, limit)
    assert sum(sizes) == batch
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= max(limit, 3)  # with a limit of 2, an odd batch has one part of 3
    if limit > 2:
        assert max(sizes) <= limit


def make_step(recipe, *, weights=None, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SPEC.build().to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(network, recipe)
    step = TrainStep(
        network,
        optimizer,
        TrainingRequest(SPEC, recipe, seed, TrainingSettings(0.0, False)),
        mean=0 * ONES,
        std=ONES,
        class_weights=weights,
        micro_batch_size=recipe.micro_batch_size or recipe.known_batch_size,
    )
    return network, optimizer, step


def make_batch(count=12):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (count,), generator=generator), torch.arange(count)


@pytest.mark.parametrize("weights", [None, torch.linspace(0.5, 2, 10)])
def test_a_step_is_the_optimizers_step_on_the_mean_loss(weights):
    recipe = Recipe(batch_size=12, label_smoothing=0.1, max_gradient_norm=0)
    images, labels, samples = make_batch()
    network, _, step = make_step(recipe, weights=weights)
    step(images, labels, samples)
    expected, optimizer, _ = make_step(recipe)
    losses = functional.cross_entropy(
        expected(normalize(images, 0 * ONES, ONES)),
        labels,
        weight=weights,
        label_smoothing=0.1,
        reduction="none",
    )
    losses.mean().backward()
    optimizer.step()
    assert step.loss_sum.item() == pytest.approx(losses.mean().item())
    for parameters in zip(network.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(*parameters)


@pytest.mark.parametrize(("limit", "expected"), [(0.5, 0.5), (1e6, None), (0, None)])
@pytest.mark.parametrize("micro_batch_size", [None, 4])
def test_larger_gradients_are_scaled_down_to_the_limit(limit, expected, micro_batch_size):
    recipe = Recipe(batch_size=12, max_gradient_norm=limit, micro_batch_size=micro_batch_size)
    network, _, step = make_step(recipe)
    step(*make_batch())
    norm = torch.nn.utils.get_total_norm([part.grad for part in network.parameters()]).item()
    if expected is None:
        assert norm > 0.6
    else:
        assert norm == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_mixed_images_is_the_mean_over_images():
    """Mixup with alpha near 0 leaves each image unchanged or replaces it by its partner, so the
    frequencies of the labels are nearly unchanged.
    """
    images, labels, samples = make_batch()
    plain, mixed = (
        make_step(Recipe(batch_size=12))[2],
        make_step(Recipe(batch_size=12, mixup=1e-3))[2],
    )
    plain(images, labels, samples)
    mixed(images, labels, samples)
    assert mixed.loss_sum.item() == pytest.approx(plain.loss_sum.item(), rel=0.2)


def test_precision_is_that_of_the_recipe_and_float32_on_a_cpu_by_default():
    cpu = torch.device("cpu")
    names = ("auto", "fp32", "bf16", "fp16")
    assert [activation_dtype(Recipe(precision=name), cpu) for name in names] == [
        torch.float32,
        torch.float32,
        torch.bfloat16,
        torch.float16,
    ]


@pytest.mark.parametrize("max_gradient_norm", [0.0, 0.5])
def test_float16_scales_the_loss_and_skips_a_step_whose_gradients_overflow(max_gradient_norm):
    recipe = Recipe(batch_size=12, precision="fp16", max_gradient_norm=max_gradient_norm)
    network, _, step = make_step(recipe)
    single = make_step(recipe.model_copy(update={"precision": "fp32"}))
    before = [part.detach().clone() for part in network.parameters()]
    step.scaler.load_state_dict(step.scaler.state_dict() | {"scale": 1e30})
    step(*make_batch())
    assert all(torch.equal(*parts) for parts in zip(before, network.parameters(), strict=True))
    assert step.scaler.get_scale() == pytest.approx(5e29)
    step.scaler.update(1024.0)
    step(*make_batch())
    single[2](*make_batch())
    changes = [
        torch.cat([(part - old).flatten() for part, old in zip(parameters, before, strict=True)])
        for parameters in (network.parameters(), single[0].parameters())
    ]
    assert functional.cosine_similarity(*changes, dim=0) > 0.98
    assert changes[0].norm().item() == pytest.approx(changes[1].norm().item(), rel=0.05)


def test_deterministic_algorithms_can_be_switched_on_and_off():
    set_determinism(deterministic=True)
    try:
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        make_step(Recipe(batch_size=12, mixup=0.5, randaugment_magnitude=0.5, min_crop_area=0.5))[
            2
        ](*make_batch())
        # RandAugment disables them temporarily for its histograms
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        set_determinism(deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_algorithms_of_cudnn_are_timed_for_long_trainings_only():
    try:
        set_determinism(deterministic=False, steps=1250)  # a proxy
        assert not torch.backends.cudnn.benchmark
        set_determinism(deterministic=False, steps=60_000)
        assert torch.backends.cudnn.benchmark
        set_determinism(deterministic=True, steps=60_000)
        assert not torch.backends.cudnn.benchmark
    finally:
        set_determinism(deterministic=False)
