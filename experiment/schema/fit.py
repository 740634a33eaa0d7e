"""One training of one network (`phinas fit`)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from phinas.experiment.schema.fields import (
    REFERENCE_VALUES,
    NetworkAndWeights,
    NonEmptyText,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    invalid,
    option,
)
from phinas.experiment.schema.recipe import (
    FINETUNE,
    FIT_RECIPE_VALUES,
    FROM_SCRATCH,
    RECIPES,
    FitRecipe,
    Recipe,
)
from phinas.experiment.schema.run import DataSection, HardwareSection

Normalization = Literal["auto", "imagenet", "half", "data"]


class FitSection(HardwareSection):
    """What `phinas fit` trains, on which images, and how."""

    spec: NonEmptyText = option(
        "Network to train.",
        values="a preset such as efficientnet_b0, a spec file, timm:NAME, torchvision:NAME, or "
        "RUN:NAME for a network of a run, such as runs/photos:b1",
    )
    data: DataSection = option("Images to train and test on.")
    recipe: FitRecipe = option(
        "Recipe for the training.",
        default=Recipe(**RECIPES[FROM_SCRATCH][1]),
        values=FIT_RECIPE_VALUES,
        default_text=f"{FROM_SCRATCH}, or with initial weights {FINETUNE}",
    )
    weights: str | None = option(
        "Initial weights.",
        default=None,
        values="a safetensors or PyTorch file in phinas, timm, torchvision or "
        "EfficientNet-PyTorch naming, or hf:OWNER/NAME",
        default_text="random",
    )
    normalization: Normalization = option(
        "Mean and standard deviation that normalize the images. Initial weights need those that "
        "they were trained with.",
        default="auto",
        values="auto (those of the weights if they are known, data without weights), imagenet "
        "(mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225), half (both 0.5) or data (those of "
        "the training images)",
    )
    mean: Annotated[list[UnitInterval], Field(min_length=1)] | None = option(
        "Mean of each channel (black 0, white 1), instead of normalization.",
        default=None,
        default_text="that of normalization",
    )
    std: Annotated[list[PositiveFloat], Field(min_length=1)] | None = option(
        "Standard deviation of each channel, instead of normalization.",
        default=None,
        default_text="that of normalization",
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
    pretrained_reference: NetworkAndWeights | None = option(
        "Published network to compare with. It is fine-tuned from its weights on the same images, "
        "by the recipe finetune, with its own resolution unless one is set.",
        default=None,
        values=REFERENCE_VALUES,
        default_text="none",
    )
    onnx: bool = option(
        "Also write the trained network as ONNX, which needs the extra phinas[onnx].",
        default=False,
        on_resume="may change",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_default_recipe(cls, data: Any) -> Any:
        """Add the name of the default recipe, which a mapping without a name changes."""
        recipe = data.get("recipe", {}) if isinstance(data, Mapping) else None
        if not isinstance(recipe, Mapping) or "name" in recipe:
            return data
        name = FROM_SCRATCH if data.get("weights") is None else FINETUNE
        return {**data, "recipe": {"name": name, **recipe}}

    @model_validator(mode="after")
    def _check_normalization(self) -> Self:
        if len(self.mean or ()) != len(self.std or ()):
            raise invalid(
                "std", "has another number of channels than mean; give both, or leave both out"
            )
        if self.mean and self.normalization != "auto":
            raise invalid(
                "normalization",
                f"{self.normalization!r} and mean are both given; leave one of them out",
            )
        return self

    @model_validator(mode="after")
    def _check_trainable(self) -> Self:
        if self.freeze_backbone and self.weights is None:
            raise invalid(
                "freeze_backbone",
                "needs initial weights, which it freezes; give --weights, or leave it out",
            )
        if self.recipe.freeze_batch_norm and self.weights is None:
            raise invalid(
                "recipe",
                f"{FINETUNE} (and any recipe with freeze_batch_norm) needs initial weights; give "
                "--weights, or use another recipe",
            )
        if self.recipe.check_rates:
            raise invalid(
                "recipe.check_rates",
                "is for stages that compare networks, and phinas fit trains one; leave it out",
            )
        if self.recipe.known_batch_size < 2:
            raise invalid(
                "recipe.batch_size", "1 image alone has no batch statistics; use 2 or more"
            )
        return self
