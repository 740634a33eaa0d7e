"""Optimizers and the learning rate."""

import pytest

from phinas.experiment.schema.config import Recipe
from phinas.space.blocks import build
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.optimizer import make_optimizer, peak_learning_rate, set_learning_rate

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch_size=50)


def test_the_learning_rate_warms_up_and_then_falls_as_a_cosine_to_nearly_zero():
    recipe = Recipe(warmup_fraction=0.2, batch_size=256, learning_rate=0.4)
    optimizer = make_optimizer(build(SPEC), recipe)
    rates = []
    for step in range(100):
        set_learning_rate(optimizer, recipe, step=step, steps=100)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:20] == pytest.approx([0.4 * (step + 1) / 20 for step in range(20)])
    assert rates[20] == pytest.approx(0.4)
    assert rates[60] == pytest.approx(0.2)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 <= rates[-1] < 0.001


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 1), (0.0, 5), (0.99, 3), (0.5, 1)])
def test_even_the_shortest_schedule_is_finite_and_starts_above_zero(warmup, steps):
    recipe = Recipe(warmup_fraction=warmup)
    optimizer = make_optimizer(build(SPEC), recipe)
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
def test_weight_decay_spares_norms_and_biases_and_sgd_scales_its_rate_with_the_batch(recipe, rate):
    model = build(SPEC)
    groups = make_optimizer(model, recipe).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([rate, rate])
    decay = {
        id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]
    }
    assert len(decay) == len(list(model.parameters()))
    for parameter in model.parameters():
        assert decay[id(parameter)] == (recipe.weight_decay if parameter.ndim > 1 else 0.0)
