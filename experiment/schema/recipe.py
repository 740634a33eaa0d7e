"""Recipes: the hyperparameters of one training, and the recipes that have names."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from phinas.experiment.schema.fields import (
    FiniteFloat,
    Fraction,
    PositiveFloat,
    PositiveInt,
    Section,
    UnitInterval,
    invalid,
    option,
)

MixingAlpha = Annotated[FiniteFloat, Field(ge=0, le=10)]


class Recipe(Section):
    """Hyperparameters of one training: SGD with Nesterov momentum, AdamW or RMSProp, with linear
    warm-up and cosine decay to zero.

    The default is not the RMSProp recipe with 350 epochs of EfficientNet (arXiv:1905.11946,
    section 5.2), which suits no short training. Accuracies are not comparable with published ones.
    """

    epochs: PositiveInt = option("Number of passes over the training images.", default=10)
    batch_size: PositiveInt = option(
        "Number of images in one train step.", default=128, unit="images"
    )
    micro_batch_size: Annotated[int, Field(ge=2, le=10_000_000)] | None = option(
        "Number of images in one forward and backward pass. A larger batch is split, and its "
        "gradients are accumulated.",
        default=None,
        unit="images",
        default_text="the batch size",
    )
    optimizer: Literal["sgd", "adamw", "rmsprop"] = option(
        "Optimizer. sgd has a Nesterov momentum of 0.9, and rmsprop is TensorFlow's, as in the "
        "EfficientNet paper.",
        default="sgd",
    )
    learning_rate: PositiveFloat = option(
        "Peak learning rate. sgd and rmsprop multiply it by batch size / 256.", default=0.2
    )
    warmup_fraction: Fraction = option(
        "Fraction of the train steps in which the learning rate rises linearly from 0.", default=0.2
    )
    weight_decay: UnitInterval = option(
        "Weight decay of all weights except biases and normalization parameters.", default=5e-4
    )
    label_smoothing: Fraction = option(
        "Probability that label smoothing spreads over all classes.", default=0.1
    )
    class_balanced_loss: bool = option(
        "Weight the loss so that each class counts equally, whatever its number of images.",
        default=False,
    )
    ema_fraction: Fraction = option(
        "Time constant of the exponential moving average (EMA) of the weights, as a fraction of "
        "the train steps. The averaged weights are evaluated. 0 disables it.",
        default=0.0,
    )
    min_crop_area: UnitInterval = option(
        "Smallest area of a random crop, as a fraction of the image area. 0 disables random crops.",
        default=0.0,
    )
    cutout_size: UnitInterval = option(
        "Width of the gray square of Cutout, as a fraction of the image size. 0 disables Cutout.",
        default=0.0,
    )
    randaugment_magnitude: UnitInterval = option(
        "Magnitude of RandAugment, with two operations for each image. 0 disables RandAugment.",
        default=0.0,
    )
    mixup: MixingAlpha = option(
        "Parameter alpha of mixup's Beta distribution. 0 disables mixup.", default=0.0
    )
    cutmix: MixingAlpha = option(
        "Parameter alpha of CutMix's Beta distribution. 0 disables CutMix. With mixup enabled "
        "too, each image gets one of the two.",
        default=0.0,
    )
    initial_resolution_fraction: Annotated[FiniteFloat, Field(gt=0, le=1)] = option(
        "Progressive learning (EfficientNetV2): resolution in the first quarter of the epochs, as "
        "a fraction of the full one, which the last quarter uses. min_crop_area, cutout_size and "
        "randaugment_magnitude increase with it. 1 disables it.",
        default=1.0,
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "Data type of the activations. auto selects bf16 on a GPU that supports it.",
        default="auto",
    )
    compile: bool = option(
        "Compile the network with torch.compile, which takes minutes before the first train step.",
        default=False,
    )
    max_minutes: PositiveFloat | None = option(
        "Stop a training after this time and keep the current weights.",
        default=None,
        unit="min",
        default_text="no limit",
    )


# Name to summary and keys.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "quick": ("3 epochs, to see whether a network learns at all", {"epochs": 3}),
    "proxy": ("10 epochs, to rank networks; the default of a search", {}),
    "validate": ("20 epochs, to measure the members of a family", {"epochs": 20}),
    "full": (
        "150 epochs with EMA, strong augmentation and progressive learning, for a network that "
        "is to be used",
        {
            "epochs": 150,
            "batch_size": 256,
            "warmup_fraction": 0.05,
            "ema_fraction": 0.02,
            "min_crop_area": 0.5,
            "randaugment_magnitude": 0.4,
            "mixup": 0.2,
            "cutmix": 1.0,
            "initial_resolution_fraction": 0.57,
        },
    ),
}
_NAMES_AND_EPOCHS = ", ".join(
    f"{name} ({Recipe(**keys).epochs} epochs)" for name, (_, keys) in RECIPES.items()
)
RECIPE_VALUES = f"{_NAMES_AND_EPOCHS} or a mapping such as {{name: full, epochs: 50}}"


def _expand_recipe(value: Any) -> Any:
    """Replace the name of a recipe, alone or as `name` of a mapping, by the keys of that recipe."""
    name = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        return value
    if name not in RECIPES:
        closest = get_close_matches(name, RECIPES, n=1, cutoff=0.5)
        hint = f" (did you mean {closest[0]!r}?)" if closest else ""
        raise invalid(
            "",
            f"{name!r} is not a recipe{hint}; use {RECIPE_VALUES}",
        )
    overrides = (
        {key: value[key] for key in value if key != "name"} if isinstance(value, Mapping) else {}
    )
    return RECIPES[name][1] | overrides


NamedRecipe = Annotated[Recipe, BeforeValidator(_expand_recipe)]
