"""The training of the family and of its controls, measured on the test split."""

from typing import Annotated

from pydantic import AfterValidator, Field

from phinas.experiment.schema.fields import (
    REFERENCE_VALUES,
    FiniteFloat,
    NetworkAndWeights,
    PositiveInt,
    Section,
    option,
)
from phinas.experiment.schema.recipe import RECIPE_VALUES, VALIDATE, NamedRecipe


def _check_unique(value: list[str]) -> list[str]:
    for index, name in enumerate(value):
        if not name.strip():
            raise ValueError(
                "has an empty name; remove it, or name depth, width, resolution, paper, a "
                "network or a run"
            )
        if name in value[:index]:
            raise ValueError(f"has {name!r} twice; write each control once")
    return value


class ValidationSection(Section):
    """The training of the family and its comparison with controls, on the test split."""

    max_flops_multiple: Annotated[FiniteFloat, Field(ge=1)] = option(
        "Train members of the family with at most this multiple of the baseline's FLOPs.",
        default=6.0,
        on_resume="may grow",
    )
    seeds: PositiveInt = option(
        "Number of trainings of each member.", default=2, on_resume="may grow"
    )
    recipe: NamedRecipe = option(
        "Recipe for the training of a member.", default=VALIDATE, values=RECIPE_VALUES
    )
    # Each control is a network of its own, so a change leaves the other trainings valid.
    controls: Annotated[list[str], AfterValidator(_check_unique)] = option(
        "Networks that the largest trained member of the family is compared with. depth, width "
        "and resolution scale the baseline to its FLOPs in that dimension only. paper does so by "
        "the published coefficients 1.2, 1.1, 1.15. Other networks are used as they are.",
        default=["depth", "width", "resolution", "paper"],
        values="a list of depth, width, resolution, paper, presets, timm:NAME, spec files, other "
        "runs or their coefficients.yaml",
        on_resume="may change",
    )
    pretrained_reference: NetworkAndWeights | None = option(
        "Published network to compare the family with. It is fine-tuned once from its weights on "
        "the same images, by the recipe finetune, and compared with the trained member nearest in "
        "FLOPs. This needs the metric accuracy.",
        default=None,
        values=REFERENCE_VALUES,
        default_text="none",
        on_resume="may change",
    )
