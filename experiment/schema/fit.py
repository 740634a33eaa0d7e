"""One training of one network (`phinas fit`)."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from phinas.experiment.schema.fields import (
    NonEmptyText,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    invalid,
    option,
)
from phinas.experiment.schema.recipe import RECIPE_VALUES, RECIPES, NamedRecipe, Recipe
from phinas.experiment.schema.run import DataSection, HardwareSection


class FitSection(HardwareSection):
    """What `phinas fit` trains, on which images, and how."""

    spec: NonEmptyText = option(
        "Network to train.",
        values="a preset such as efficientnet_b0, a spec file, timm:NAME or torchvision:NAME",
    )
    data: DataSection = option("Images to train and test on.")
    recipe: NamedRecipe = option(
        "Recipe for the training.", default=Recipe(**RECIPES["full"][1]), values=RECIPE_VALUES
    )
    weights: str | None = option(
        "Initial weights.",
        default=None,
        values="a safetensors file in phinas, timm or torchvision naming, or hf:OWNER/NAME",
        default_text="random",
    )
    mean: Annotated[list[UnitInterval], Field(min_length=1)] | None = option(
        "Mean of each channel (black 0, white 1) that the initial weights were trained with.",
        default=None,
        default_text="the mean of the training images",
    )
    std: Annotated[list[PositiveFloat], Field(min_length=1)] | None = option(
        "Standard deviation of each channel that the initial weights were trained with.",
        default=None,
        default_text="the standard deviation of the training images",
    )
    freeze_backbone: bool = option(
        "Train only the classifier. This needs initial weights.", default=False
    )
    resolution: PositiveInt | None = option(
        "Input resolution of the network.",
        default=None,
        unit="px",
        default_text="that of the spec, at most the image size",
    )
    onnx: bool = option(
        "Also write the trained network as ONNX, which needs the extra phinas[onnx].",
        default=False,
        on_resume="may change",
    )

    @model_validator(mode="after")
    def _check_normalization(self) -> Self:
        if len(self.mean or ()) != len(self.std or ()):
            raise invalid(
                "std", "has another number of channels than mean; give both, or leave both out"
            )
        return self

    @model_validator(mode="after")
    def _check_trainable(self) -> Self:
        if self.freeze_backbone and self.weights is None:
            raise invalid(
                "freeze_backbone",
                "has no initial weights to freeze; set weights, or leave it out",
            )
        if self.recipe.batch_size < 2:
            raise invalid(
                "recipe.batch_size", "1 image alone has no batch statistics; use 2 or more"
            )
        return self
