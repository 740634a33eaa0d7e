"""One training of one network (`phinas fit`)."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from phinas.experiment.schema.fields import FiniteFloat, PositiveFloat, PositiveInt, Section
from phinas.experiment.schema.recipe import RECIPES, NamedRecipe, Recipe
from phinas.experiment.schema.run import DataSection, check_device


class FitSection(Section):
    """What is trained, on what, and how."""

    spec: str = Field(
        min_length=1, description="a preset, a spec file, timm:NAME or torchvision:NAME"
    )
    data: DataSection
    recipe: NamedRecipe = Field(
        default=Recipe(**RECIPES["full"][1]), description="a name, or options; full: to use it"
    )
    weights: str | None = Field(
        default=None,
        description="to begin with: a safetensors file (our names, timm's or torchvision's), or "
        "hf:OWNER/NAME; none: at random",
    )
    mean: list[Annotated[FiniteFloat, Field(ge=0, le=1)]] | None = Field(
        default=None,
        min_length=1,
        description="of each channel, black 0 and white 1, as the weights were trained with; "
        "none: the data's own",
    )
    std: list[PositiveFloat] | None = Field(
        default=None, min_length=1, description="deviation of each channel, to go with mean"
    )
    freeze_backbone: bool = Field(default=False, description="only the classifier learns")
    resolution: PositiveInt | None = Field(
        default=None,
        description="pixels of a side that the network sees; none: the spec's, but no more than "
        "the images have",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="decides splits, initial weights, data order and augmentation",
    )
    device: Annotated[str, AfterValidator(check_device)] = Field(
        default="auto", description="auto: a GPU if there is one"
    )
    threads: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        default="auto",
        description="CPU threads; auto: all cores, or its share of them with torchrun",
    )
    deterministic: bool = Field(
        default=False,
        description="the same bits run to run on one device; it slows a GPU, and a CPU gives them "
        "in any case",
    )
    onnx: bool = Field(default=False, description="write the network as ONNX too")
    checkpoint_minutes: PositiveFloat = Field(
        default=5.0, description="the state is left every so often, to go on from there"
    )

    @model_validator(mode="after")
    def _check_normalization(self) -> Self:
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError(
                "mean and std: one number of each channel in both; give both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _check_trainable(self) -> Self:
        if self.freeze_backbone and self.weights is None:
            raise ValueError(
                "freeze_backbone: true without weights would freeze what is random; give weights, "
                "or leave it out"
            )
        if self.recipe.batch_size < 2:
            raise ValueError(
                "recipe.batch_size: 1 image alone has no batch statistics; use 2 or more"
            )
        return self


# What decides no result but by rounding, and may be another when a fit is carried on.
CHANGEABLE_KEYS = ("device", "threads", "deterministic", "onnx", "checkpoint_minutes")
