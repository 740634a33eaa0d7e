"""Tests of optimizers and of the learning-rate schedule."""

import pytest
from torch import nn

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.optimizer import (
    learning_rate_factor,
    make_optimizer,
    peak_learning_rate,
    set_learning_rate,
)

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch_size=50)


def test_the_learning_rate_warms_up_linearly_and_then_decays_as_a_cosine():
    recipe = Recipe(schedule="cosine", warmup_fraction=0.2, batch_size=256, learning_rate=0.4)
    optimizer = make_optimizer(SPEC.build(), recipe)
    rates = []
    for step in range(100):
        set_learning_rate(optimizer, recipe, step=step, steps=100)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:20] == pytest.approx([0.4 * (step + 1) / 20 for step in range(20)])
    assert rates[20] == pytest.approx(0.4)
    assert rates[60] == pytest.approx(0.2)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 <= rates[-1] < 0.001


def test_a_constant_learning_rate_stays_at_its_peak_after_the_warm_up():
    recipe = Recipe(schedule="constant", warmup_fraction=0.1)
    factors = [learning_rate_factor(recipe, step=step, steps=50) for step in range(50)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 46)


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 1), (0.0, 5), (0.99, 3), (0.5, 1)])
def test_the_learning_rate_is_positive_in_the_shortest_schedules(warmup, steps):
    recipe = Recipe(warmup_fraction=warmup)
    optimizer = make_optimizer(SPEC.build(), recipe)
    for step in range(steps):
        set_learning_rate(optimizer, recipe, step=step, steps=steps)
        assert 0 < optimizer.param_groups[0]["lr"] <= peak_learning_rate(recipe)


@pytest.mark.parametrize(
    ("recipe", "rate"),
    [
        (Recipe(batch_size=64, learning_rate=0.2), 0.05),
        (Recipe(batch_size=64, learning_rate=0.2, optimizer="adamw"), 0.2),
    ],
)
def test_the_learning_rate_is_proportional_to_the_batch_size_except_for_adamw(recipe, rate):
    groups = make_optimizer(SPEC.build(), recipe).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([rate, rate])


@pytest.mark.parametrize("step", [0, 3, 19])
def test_the_backbone_has_a_fraction_of_the_learning_rate_of_the_classifier(step):
    model = SPEC.build()
    recipe = Recipe(optimizer="adamw", learning_rate=0.01, backbone_learning_rate_factor=0.25)
    optimizer = make_optimizer(model, recipe)
    set_learning_rate(optimizer, recipe, step=step, steps=20)
    rates = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    peak = 0.01 * learning_rate_factor(recipe, step=step, steps=20)
    for name, parameter in model.named_parameters():
        factor = 1 if name.startswith("classifier.") else 0.25
        assert rates[id(parameter)] == pytest.approx(factor * peak)


def test_a_backbone_learning_rate_needs_a_known_classifier():
    with pytest.raises(InputError) as caught:
        make_optimizer(nn.Linear(2, 2), Recipe(backbone_learning_rate_factor=0.1))
    assert str(caught.value) == (
        "recipe.backbone_learning_rate_factor: the classifier and the blocks of Linear are "
        "unknown; leave it at its default"
    )


@pytest.mark.parametrize("factor", [1.0, 0.1])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_weight_decay_excludes_norms_and_biases(optimizer, factor):
    model = SPEC.build()
    recipe = Recipe(optimizer=optimizer, weight_decay=0.1, backbone_learning_rate_factor=factor)
    groups = make_optimizer(model, recipe).param_groups
    decay = {
        id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]
    }
    assert len(decay) == len(list(model.parameters()))
    for parameter in model.parameters():
        assert decay[id(parameter)] == (recipe.weight_decay if parameter.ndim > 1 else 0.0)
