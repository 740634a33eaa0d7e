"""Recipes by name, and with options of one's own."""

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import RECIPES, Recipe, config_from_dict, merge_config

NO_RECIPE = (
    "is no recipe; write one of quick, proxy, validate, full, or options such as {epochs: 10}"
)
DATA = {"data": {"source": "digits"}}


def recipe(value):
    return config_from_dict(DATA | {"search": {"recipe": value}}, source="c.yaml").search.recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_is_one_and_its_options_may_be_changed(name):
    _, options = RECIPES[name]
    assert recipe(name) == Recipe(**options)
    assert recipe({"name": name, "epochs": 7}) == Recipe(**options | {"epochs": 7})


def test_the_default_of_a_search_is_the_proxy_recipe():
    assert recipe("proxy") == config_from_dict(DATA, source="c.yaml").search.recipe


@pytest.mark.parametrize("order", [1, -1])
def test_an_option_beside_a_name_changes_it_whichever_comes_first(order):
    options = [("search.recipe", "full"), ("search.recipe.epochs", 7)][::order]
    assert merge_config(DATA, dict(options), source="options").search.recipe == Recipe(
        **RECIPES["full"][1] | {"epochs": 7}
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ful", f"search.recipe: 'ful' {NO_RECIPE}"),
        ({"name": "ful"}, f"search.recipe.name: 'ful' {NO_RECIPE}"),
        ({"name": "full", "epocs": 3}, "search.recipe.epocs: unknown key; did you mean `epochs`?"),
        (
            {"micro_batch_size": 1},
            "search.recipe.micro_batch_size: 1 should be greater than or equal to 2",
        ),
        ({"min_crop_area": 2}, "search.recipe.min_crop_area: 2 should be less than or equal to 1"),
        (
            {"initial_resolution_fraction": 0.0},
            "search.recipe.initial_resolution_fraction: 0.0 should be greater than 0",
        ),
        (3, "search.recipe: 3 is not a section of keys"),
    ],
)
def test_a_mistake_in_a_recipe_is_told(value, message):
    with pytest.raises(InputError) as caught:
        recipe(value)
    assert str(caught.value) == f"c.yaml: {message}"
