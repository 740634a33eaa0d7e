"""Recipes by name, and with changed keys."""

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import (
    RECIPES,
    FitSection,
    Recipe,
    config_from_dict,
    merge_config,
    validate_section,
)

NO_RECIPE = (
    "is not a recipe (did you mean 'full'?); use quick (3 epochs), proxy (10 epochs), "
    "validate (20 epochs), full (150 epochs) or a mapping such as {name: full, epochs: 50}"
)
DATA = {"data": {"source": "digits"}}


def recipe(value):
    return config_from_dict(DATA | {"search": {"recipe": value}}, source="c.yaml").search.recipe


def fit_recipe(**values):
    section = {"spec": "efficientnet_b0", "data": {"source": "digits"}} | values
    return validate_section(FitSection, section, source="fit").recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_is_legal_for_a_fit_and_its_keys_may_be_changed(name):
    _, options = RECIPES[name]
    assert fit_recipe(recipe=name, weights="a.pth") == Recipe(**options)
    changed = {"name": name, "epochs": 7}
    assert fit_recipe(recipe=changed, weights="a.pth") == Recipe(**options | {"epochs": 7})


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "finetune"])
def test_every_recipe_without_initial_weights_is_legal_in_a_run(name):
    _, options = RECIPES[name]
    assert recipe(name) == Recipe(**options)
    assert recipe({"name": name, "epochs": 7}) == Recipe(**options | {"epochs": 7})


@pytest.mark.parametrize(
    ("values", "name"), [({}, "full"), ({"weights": None}, "full"), ({"weights": "a"}, "finetune")]
)
def test_the_default_of_a_fit_depends_on_its_weights(values, name):
    _, options = RECIPES[name]
    assert fit_recipe(**values) == Recipe(**options)
    assert fit_recipe(recipe={"epochs": 7}, **values) == Recipe(**options | {"epochs": 7})


def test_a_fit_section_is_the_same_after_it_was_written_and_read():
    section = {"spec": "efficientnet_b0", "data": {"source": "digits"}, "weights": "a"}
    config = validate_section(FitSection, section, source="fit")
    assert FitSection.model_validate_json(config.model_dump_json()) == config


def test_frozen_batch_norm_without_initial_weights_is_refused():
    with pytest.raises(InputError) as caught:
        recipe("finetune")
    assert str(caught.value) == (
        "c.yaml: search.recipe: finetune (and any recipe with freeze_batch_norm) needs initial "
        "weights, which only phinas fit has; use another recipe"
    )
    with pytest.raises(InputError) as caught:
        fit_recipe(recipe="finetune")
    assert str(caught.value) == (
        "fit: recipe: finetune (and any recipe with freeze_batch_norm) needs initial weights; "
        "give --weights, or use another recipe"
    )


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
        (
            {"name": "full", "epocs": 3},
            "search.recipe.epocs: unknown key; did you mean search.recipe.epochs?",
        ),
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


@pytest.mark.parametrize(
    ("images", "size"),
    [(50_000, 128), (1_024, 128), (1_023, 64), (512, 64), (511, 32), (40, 32), (20, 20)],
)
def test_default_batch_size_leaves_few_images_enough_train_steps(images, size):
    assert Recipe().batch_size_for(images) == size


def test_batch_size_of_the_user_is_kept_up_to_the_number_of_images():
    assert Recipe(batch_size=128).batch_size_for(384) == 128
    assert Recipe(batch_size=128).batch_size_for(100) == 100
