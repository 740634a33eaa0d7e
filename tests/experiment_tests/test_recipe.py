"""Recipes by name, and with changed keys."""

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import RECIPES, Recipe, config_from_dict, merge_config

NO_RECIPE = (
    "is not a recipe (did you mean 'full'?); use quick (3 epochs), proxy (10 epochs), "
    "validate (20 epochs), full (150 epochs) or a mapping such as {name: full, epochs: 50}"
)
DATA = {"data": {"source": "digits"}}


def recipe(value):
    return config_from_dict(DATA | {"search": {"recipe": value}}, source="c.yaml").search.recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_is_legal_and_its_keys_may_be_changed(name):
    _, options = RECIPES[name]
    assert recipe(name) == Recipe(**options)
    assert recipe({"name": name, "epochs": 7}) == Recipe(**options | {"epochs": 7})


def test_the_default_of_a_search_is_the_proxy_recipe():
    assert recipe("proxy") == config_from_dict(DATA, source="c.yaml").search.recipe


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_next_to_a_name_changes_the_recipe_in_any_order(order):
    options = [("search.recipe", "full"), ("search.recipe.epochs", 7)][::order]
    assert merge_config(DATA, dict(options), source="options").search.recipe == Recipe(
        **RECIPES["full"][1] | {"epochs": 7}
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ful", f"search.recipe: 'ful' {NO_RECIPE}"),
        ({"name": "ful"}, f"search.recipe: 'ful' {NO_RECIPE}"),
        ({"name": "full", "epocs": 3}, "search.recipe.epocs: unknown key; did you mean `epochs`?"),
        (
            {"micro_batch_size": 1},
            "search.recipe.micro_batch_size: 1 is less than 2; use a whole number of at least 2",
        ),
        (
            {"min_crop_area": 2},
            "search.recipe.min_crop_area: 2 is greater than 1; use a number from 0 to 1",
        ),
        (
            {"initial_resolution_fraction": 0.0},
            "search.recipe.initial_resolution_fraction: 0.0 is not greater than 0; use a number "
            "above 0 and at most 1",
        ),
        (
            3,
            "search.recipe: 3 is not a mapping of keys to values; use quick (3 epochs), proxy (10 "
            "epochs), validate (20 epochs), full (150 epochs) or a mapping such as {name: full, "
            "epochs: 50}",
        ),
    ],
)
def test_a_wrong_recipe_is_reported(value, message):
    with pytest.raises(InputError) as caught:
        recipe(value)
    assert str(caught.value) == f"c.yaml: {message}"
