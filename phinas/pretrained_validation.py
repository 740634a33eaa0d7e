"""The family of a run compared with a published network that is fine-tuned on the same images."""

import math
from typing import TYPE_CHECKING

from phinas.experiment.artifacts.fit import TrainedNetwork
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.measurement import combine_seeds
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.run import HardwareSection
from phinas.fit_pipeline.pretrained_reference import (
    check_reference,
    compare_scores,
    make_reference,
)
from phinas.fit_pipeline.reference_training import fine_tune_reference
from phinas.run_context import RunContext

if TYPE_CHECKING:
    from phinas.experiment.artifacts.pretrained_reference import PretrainedReference
    from phinas.scaling_search.validation.validate import ValidationResult

_KEY = "validation.pretrained_reference"


def require_reference(config: Config) -> None:
    """Check the reference before the run, without the images.

    Raises:
        SpecError: The network is unknown.
        InputError: The weights do not fit, or the metric is not accuracy.
    """
    value = config.validation.pretrained_reference
    if value is None or config.data is None:
        return
    if config.metric != "accuracy":
        raise InputError(
            f"{_KEY}: accuracies are compared, and the metric is {config.metric!r}; use the metric "
            "accuracy, or leave the reference out"
        )
    check_reference(value, config.data.model_dump(), key=_KEY)


def compare_family_with_reference(
    context: RunContext, validation: "ValidationResult"
) -> "PretrainedReference | None":
    """Fine-tune the reference and compare it with the trained member nearest in FLOPs.

    A reference that is finished is not trained again, unless another one is requested.

    Raises:
        InputError: The folder of the reference holds another one.
    """
    value = context.config.validation.pretrained_reference
    if value is None:
        return None
    assert context.config.data is not None
    reference_dir = FitDir(context.run.pretrained_reference)
    shared = {key: getattr(context.config.run, key) for key in HardwareSection.model_fields}
    shared["data"] = context.config.data.model_dump()
    fine_tune_reference(reference_dir, make_reference(value, shared), context.display)
    flops = TrainedNetwork.read(reference_dir.spec).spec.cost().flops
    trained = [row for row in validation.members if row.measurements]
    nearest = min(trained, key=lambda row: abs(math.log(row.member.flops / flops)))
    return compare_scores(
        value,
        reference_dir,
        combine_seeds(nearest.member.flops, nearest.measurements),
        data=context.run.data,
        member=nearest.member.name,
    )
