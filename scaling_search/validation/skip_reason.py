"""Why a network of the validation is not trained, as a sentence."""

from phinas.experiment.artifacts.validation_file import SkipReason
from phinas.scaling_search.family.budget_ladder import format_budget
from phinas.space.network import Network

_SENTENCES = {
    "image_size": "it needs images of {resolution} px and they are stored at {image_size:g} px; "
    "set data.image_size to store them larger in a new run, or data.upsample: true to enlarge them",
    "max_flops_multiple": "it has {flops_ratio:.1f} times B0's FLOPs, more than "
    "validation.max_flops_multiple allows ({limit:g})",
    "no_scaled_member": "no member but B0 is trained; raise validation.max_flops_multiple or set "
    "data.upsample: true",
    "no_member": "no member of the family is trained",
    "flops_gap": "its {flops} differ by more than {limit:.0%} from the {member_flops} of {member}",
    "same_network": "it is the same network as {member}",
    "training_failed": "{reason}",
}


def describe_skip(skip: SkipReason) -> str:
    """The reason, to follow a colon."""
    return _SENTENCES[skip.case].format(
        resolution=skip.resolution,
        image_size=skip.image_size or 0.0,
        flops_ratio=skip.flops_ratio or 0.0,
        limit=skip.limit or 0.0,
        flops=format_budget("flops", skip.flops or 0.0),
        member_flops=format_budget("flops", skip.member_flops or 0.0),
        member=(skip.member or "").upper(),
        reason=skip.reason,
    )


def find_image_size_skip(spec: Network, *, max_resolution: float) -> SkipReason | None:
    """Why a network is too large for the images; None where it is not.

    Args:
        max_resolution: Of networks for these images, in px.
    """
    if spec.resolution <= max_resolution:
        return None
    return SkipReason(case="image_size", resolution=spec.resolution, image_size=max_resolution)
