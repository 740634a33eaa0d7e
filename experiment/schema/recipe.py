"""Recipes: the hyperparameters of one training, and the recipes that have names."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

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
from phinas.space.closest_name import suggest_name

MixingAlpha = Annotated[FiniteFloat, Field(ge=0, le=10)]
FractionUpToOne = Annotated[FiniteFloat, Field(gt=0, le=1)]

# By default an epoch has this many train steps, unless that needs smaller batches than the least.
# With 400 images and 10 epochs, validation accuracy with batches of 128, 64 and 32 was 24.5%, 27.1%
# and 27.4% on CIFAR-10 (small_images, 2, 2 and 1 seeds), and 49.7%, 55.0% and 59.1% on digits
# (tiny, 3 seeds).
DEFAULT_BATCH_SIZE = 128
_MIN_DEFAULT_BATCH_SIZE, _MIN_EPOCH_STEPS = 32, 8
# Measured: benchmarks/proxy_recipe.md.
_UNREGULARIZED_EPOCHS, _REGULARIZED_EPOCHS = 30, 150
# The check of learning rates. It is off by default: it takes as long as six trainings, where a
# scaling search takes as long as 24 at most, and networks of a grid agreed on the best rate up to
# noise on CIFAR-10 (benchmarks/learning_rates.md).
CHECKED_RATE_FACTORS = (0.5, 1.0, 2.0)
RATE_CHECK_NETWORKS, RATE_CHECK_SEEDS = 3, 2
_RATE_CHECK_FRACTION, _MIN_RATE_CHECK_EPOCHS = 1 / 3, 2


class Recipe(Section):
    """Hyperparameters of one training: SGD with Nesterov momentum, AdamW or RMSProp, with linear
    warm-up and then a cosine decay to zero or a constant rate.

    The default is not the RMSProp recipe with 350 epochs of EfficientNet (arXiv:1905.11946,
    section 5.2), which suits no short training. Accuracies are not comparable with published ones.
    """

    epochs: PositiveInt = option("Number of passes over the training images.", default=10)
    batch_size: PositiveInt | None = option(
        "Number of images in one train step.",
        default=None,
        unit="images",
        default_text=f"{DEFAULT_BATCH_SIZE}; with fewer than "
        f"{_MIN_EPOCH_STEPS * DEFAULT_BATCH_SIZE:,} training images 64, and with fewer than "
        f"{_MIN_EPOCH_STEPS * DEFAULT_BATCH_SIZE // 2} {_MIN_DEFAULT_BATCH_SIZE}",
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
    check_rates: bool = option(
        "Check the learning rate before the networks of a stage are compared. Three networks are "
        "trained for a third of the epochs with half, once and twice the learning rate, two times "
        "each, which takes about as long as six trainings. All networks are trained with the same "
        "rate, which is that of the recipe unless another is significantly better on average. "
        "Available in search.finalist_recipe, scaling.recipe and validation.recipe, such as "
        "{name: validate, check_rates: true}.",
        default=False,
    )
    backbone_learning_rate_factor: FractionUpToOne = option(
        "Factor of the learning rate of all weights except the classifier's.", default=1.0
    )
    schedule: Literal["cosine", "constant"] = option(
        "Learning rate after the warm-up. With constant and an ema_fraction, the accuracy after "
        "each epoch is about that of a training that ends there.",
        default="constant",
    )
    warmup_fraction: Fraction = option(
        "Fraction of the train steps in which the learning rate rises linearly from 0.", default=0.1
    )
    weight_decay: UnitInterval = option(
        "Weight decay of all weights except biases and normalization parameters.", default=5e-4
    )
    freeze_batch_norm: bool = option(
        "Normalize by the batch-norm statistics of the initial weights and keep them unchanged. "
        "This needs initial weights.",
        default=False,
    )
    regularization: Literal["auto"] | UnitInterval = option(
        "Factor of the dropout and stochastic depth of the network. auto is 0 up to "
        f"{_UNREGULARIZED_EPOCHS} epochs and rises to 1 at {_REGULARIZED_EPOCHS}.",
        default="auto",
    )
    max_gradient_norm: Annotated[FiniteFloat, Field(ge=0)] = option(
        "Gradient clipping: gradients with a larger norm are scaled down to this one. 0 disables "
        "it.",
        default=1.0,
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
        "the train steps so far. The averaged weights are evaluated. 0 disables it.",
        default=0.1,
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
    initial_resolution_fraction: FractionUpToOne = option(
        "Progressive learning (EfficientNetV2): resolution in the first quarter of the epochs, as "
        "a fraction of the full one, which the last quarter uses. min_crop_area, cutout_size and "
        "randaugment_magnitude increase with it. 1 disables it.",
        default=1.0,
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "Data type of the activations. auto selects bf16 on a GPU that supports it, and fp32 "
        "elsewhere; a run decides it once, at its first training. fp16 scales the loss, for large "
        "images on GPUs without bf16; its train steps are not captured as CUDA graphs, so small "
        "images train faster in fp32.",
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

    def batch_size_for(self, images: int) -> int:
        """The batch size of a training on this many images, which it does not exceed."""
        if self.batch_size is not None:
            return min(self.batch_size, images)
        size = DEFAULT_BATCH_SIZE
        while size > _MIN_DEFAULT_BATCH_SIZE and images < _MIN_EPOCH_STEPS * size:
            size //= 2
        return min(size, images)

    @property
    def regularization_factor(self) -> float:
        """Factor of the dropout and stochastic depth of the network."""
        if self.regularization != "auto":
            return self.regularization
        progress = (self.epochs - _UNREGULARIZED_EPOCHS) / (
            _REGULARIZED_EPOCHS - _UNREGULARIZED_EPOCHS
        )
        return min(1.0, max(0.0, progress))

    @property
    def rate_check_epochs(self) -> int:
        """Epochs of a training of the check of learning rates."""
        return min(
            self.epochs, max(_MIN_RATE_CHECK_EPOCHS, round(_RATE_CHECK_FRACTION * self.epochs))
        )

    def with_learning_rate(self, learning_rate: float) -> "Recipe":
        """The recipe with a learning rate that is not checked any more."""
        return self.model_copy(update={"learning_rate": learning_rate, "check_rates": False})

    @property
    def is_anytime(self) -> bool:
        """Whether the accuracy after each epoch is about that of a training that ends there."""
        return (
            self.schedule == "constant"
            and self.ema_fraction > 0
            and self.initial_resolution_fraction == 1
        )

    @property
    def known_batch_size(self) -> int:
        """The batch size, or that for many images where it depends on their number."""
        return self.batch_size or DEFAULT_BATCH_SIZE


FROM_SCRATCH, FINETUNE = "full", "finetune"  # the default recipes of `phinas fit`
# Name to summary and keys.
_COSINE = {"schedule": "cosine", "warmup_fraction": 0.2, "ema_fraction": 0.0}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "quick": ("3 epochs, to see whether a network learns at all", {"epochs": 3}),
    "proxy": ("10 epochs, to rank networks; the default of a search", {}),
    "validate": ("20 epochs, to measure the members of a family", {"epochs": 20, **_COSINE}),
    "full": (
        "150 epochs with EMA, strong augmentation and progressive learning, for a network that "
        "is to be used",
        {
            "epochs": 150,
            "batch_size": 256,
            "schedule": "cosine",
            "warmup_fraction": 0.05,
            "ema_fraction": 0.02,
            "min_crop_area": 0.5,
            "randaugment_magnitude": 0.4,
            "mixup": 0.2,
            "cutmix": 1.0,
            "initial_resolution_fraction": 0.57,
        },
    ),
    # Chosen by measurement: benchmarks/finetune.md.
    FINETUNE: (
        "10 epochs with AdamW, frozen batch-norm statistics and a low learning rate of the "
        "backbone, from initial weights; the default of phinas fit with --weights",
        {
            **_COSINE,
            "batch_size": 32,
            "optimizer": "adamw",
            "learning_rate": 0.003,
            "backbone_learning_rate_factor": 0.1,
            "freeze_batch_norm": True,
        },
    ),
}


VALIDATE = Recipe(**RECIPES["validate"][1])  # the default for finalists and family members


def _describe_recipes(*, with_weights: bool) -> str:
    """Names and epochs of the recipes, those that need initial weights only where there may be."""
    recipes = {name: Recipe(**keys) for name, (_, keys) in RECIPES.items()}
    names = ", ".join(
        f"{name} ({recipe.epochs} epochs)"
        for name, recipe in recipes.items()
        if with_weights or not recipe.freeze_batch_norm
    )
    return f"{names} or a mapping such as {{name: full, epochs: 50}}"


RECIPE_VALUES = _describe_recipes(with_weights=False)
FIT_RECIPE_VALUES = _describe_recipes(with_weights=True)


def _expand_recipe(value: Any, values: str) -> Any:
    """Replace the name of a recipe, alone or as `name` of a mapping, by the keys of that recipe."""
    name = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        return value
    if name not in RECIPES:
        suggestion = suggest_name(name, RECIPES, cutoff=0.5)
        hint = f" ({suggestion})" if suggestion else ""
        raise invalid("", f"{name!r} is not a recipe{hint}; use {values}")
    overrides = (
        {key: value[key] for key in value if key != "name"} if isinstance(value, Mapping) else {}
    )
    return RECIPES[name][1] | overrides


def _require_no_weights(recipe: Recipe) -> Recipe:
    if recipe.freeze_batch_norm:
        raise invalid(
            "",
            f"{FINETUNE} (and any recipe with freeze_batch_norm) needs initial weights, which only "
            "phinas fit has; use another recipe",
        )
    return recipe


# The recipe of a training from random weights, and of one that may have initial weights.
NamedRecipe = Annotated[
    Recipe,
    BeforeValidator(partial(_expand_recipe, values=RECIPE_VALUES)),
    AfterValidator(_require_no_weights),
]
FitRecipe = Annotated[Recipe, BeforeValidator(partial(_expand_recipe, values=FIT_RECIPE_VALUES))]
