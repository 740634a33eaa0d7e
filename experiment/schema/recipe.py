"""How a network is trained: every option of a training, and the recipes that have names."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from phinas.experiment.schema.fields import (
    FiniteFloat,
    Fraction,
    PositiveFloat,
    PositiveInt,
    Section,
)

UnitInterval = Annotated[FiniteFloat, Field(ge=0, le=1)]


class Recipe(Section):
    """How a network is trained: SGD with Nesterov momentum (or AdamW), linear warm-up, cosine decay
    to zero.

    Not the paper's RMSProp with 350 epochs: a poor recipe for short runs. Accuracies are not
    comparable with published ones.
    """

    epochs: PositiveInt = Field(default=10, description="passes over the training images")
    batch_size: PositiveInt = Field(default=128, description="images a step")
    micro_batch_size: Annotated[int, Field(ge=2, le=10_000_000)] | None = Field(
        default=None,
        description="images at a time; larger batches are passed in parts and the gradients "
        "added; none: all at once",
    )
    optimizer: Literal["sgd", "adamw", "rmsprop"] = Field(
        default="sgd",
        description="sgd: Nesterov momentum 0.9; rmsprop: the paper's, as TensorFlow has it",
    )
    learning_rate: PositiveFloat = Field(
        default=0.2,
        description="peak; for sgd and rmsprop per 256 images of a batch, for adamw as it is",
    )
    warmup_fraction: Fraction = Field(
        default=0.2, description="fraction of the steps in which the rate rises from zero"
    )
    weight_decay: UnitInterval = Field(default=5e-4, description="not applied to norms and biases")
    label_smoothing: Fraction = Field(
        default=0.1, description="probability mass spread over all classes"
    )
    class_balanced_loss: bool = Field(
        default=False, description="classes weigh alike in the loss, however many images they have"
    )
    ema_fraction: Fraction = Field(
        default=0.0,
        description="the weights measured are an average over this fraction of the steps; 0: the "
        "last ones",
    )
    min_crop_area: UnitInterval = Field(
        default=0.0, description="random crops of at least this fraction of the area; 0: none"
    )
    cutout_size: UnitInterval = Field(
        default=0.0,
        description="side of a square that is grayed, as a fraction of the image's; 0: none",
    )
    randaugment_magnitude: UnitInterval = Field(
        default=0.0, description="magnitude of RandAugment's two operations on each image; 0: none"
    )
    mixup: Annotated[FiniteFloat, Field(ge=0, le=10)] = Field(
        default=0.0,
        description="alpha of the Beta distribution by which pairs of images are blended; 0: none",
    )
    cutmix: Annotated[FiniteFloat, Field(ge=0, le=10)] = Field(
        default=0.0,
        description="the same, for rectangles of one image laid into another; with both, each "
        "image has one",
    )
    initial_resolution_fraction: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="the first quarter of the epochs sees this fraction of the resolution, the "
        "last all of it; min_crop_area, cutout_size and randaugment_magnitude grow alike "
        "(EfficientNetV2's progressive learning); 1: always all",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="of activations; auto: bf16 where the device is a GPU that has it",
    )
    compile: bool = Field(
        default=False,
        description="torch.compile: minutes before the first step, for long trainings",
    )
    max_minutes: PositiveFloat | None = Field(
        default=None, description="a training ends after so long, with what it has; none: no limit"
    )


RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "quick": ("does it learn at all?", {"epochs": 3}),
    "proxy": ("to rank networks: the default of searches", {}),
    "validate": ("to measure a family: twice as long", {"epochs": 20}),
    "full": (
        "to use a network: long, averaged, strongly augmented, from smaller images to larger",
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


def _expand_recipe(value: Any) -> Any:
    """A recipe's name, or a mapping that begins with one (`{name: full, epochs: 50}`), as its
    options.
    """
    name = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        return value
    if name not in RECIPES:
        subject = f"name: {name!r} is" if isinstance(value, Mapping) else "is"
        raise ValueError(
            f"{subject} no recipe; write one of {', '.join(RECIPES)}, or options such as {{epochs: "
            f"10}}"
        )
    options = (
        {key: option for key, option in value.items() if key != "name"}
        if isinstance(value, Mapping)
        else {}
    )
    return RECIPES[name][1] | options


NamedRecipe = Annotated[Recipe, BeforeValidator(_expand_recipe)]
