"""The initial weights of a fit: what they change in the network and in the normalization."""

from typing import TYPE_CHECKING

from phinas.experiment.artifacts.fit import Classifier, InputNormalization
from phinas.experiment.errors import InputError
from phinas.experiment.schema.fit import FitSection
from phinas.space.interchange.known_weights import NORMALIZATIONS, adapt_normalization
from phinas.space.spec import ArchSpec
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.training.weights.pretrained import PretrainedWeights


def read_initial_weights(
    config: FitSection, spec: ArchSpec, display: Display
) -> "PretrainedWeights | None":
    """Read the initial weights and check that they fit, without the images.

    Args:
        config: The settings.
        spec: The network, before it is adapted to the images.
        display: Shows what was found in the file.

    Returns:
        The weights; None where they are random.

    Raises:
        InputError: The file is not intact, its weights are of another network, or their
            normalization is unknown.
    """
    if config.weights is None:
        return None
    from phinas.training.weights.pretrained import read_pretrained

    weights = read_pretrained(config.weights, spec_name=config.spec)
    weights.initial_state_dict(weights.adapt_spec(spec))
    if config.normalization == "auto" and config.mean is None and weights.statistics is None:
        published = "name the published model as SPEC (timm:NAME), or "
        raise InputError(
            f"normalization: {config.weights} does not say how its images were normalized; "
            f"{published if weights.is_of_library else ''}use --normalization imagenet (most "
            "published weights), half, or data (the mean and standard deviation of your images)"
        )
    for line in weights.describe(spec):
        display.print(line)
    return weights


def check_classifier(
    weights: "PretrainedWeights | None", spec: ArchSpec, display: Display
) -> Classifier:
    """Find out whether the classifier of the weights is used, and show how the weights change.

    Args:
        weights: The initial weights; None for random ones.
        spec: The network with the channels and classes of the images.
        display: Shows what is changed.

    Raises:
        InputError: The weights are of another network.
    """
    if weights is None:
        return "reinitialized"
    initial = weights.initial_state_dict(spec)
    for line in weights.describe_fit(initial, spec):
        display.print(line)
    return "loaded" if initial.has_classifier else "reinitialized"


def resolve_normalization(
    config: FitSection, weights: "PretrainedWeights | None", channels: int
) -> InputNormalization | None:
    """The normalization of the input; None for that of the training images.

    Args:
        config: The settings.
        weights: The initial weights; None for random ones.
        channels: The channels of the images.

    Raises:
        InputError: `mean` and `std` are for another number of channels.
    """
    if config.mean is not None and config.std is not None:
        if len(config.mean) != channels:
            raise InputError(
                f"mean and std: have {len(config.mean)} channels and the images have {channels}; "
                "give one number for each channel"
            )
        return InputNormalization(
            mean=tuple(config.mean), std=tuple(config.std), source="mean and std"
        )
    if config.normalization == "data" or (config.normalization == "auto" and weights is None):
        return None
    if config.normalization == "auto":
        statistics = weights.statistics if weights is not None else None
        assert statistics is not None  # checked by read_initial_weights
        mean, std, source = statistics.mean, statistics.std, statistics.source
    else:
        (mean, std), source = NORMALIZATIONS[config.normalization], config.normalization
    return InputNormalization(
        mean=adapt_normalization(mean, channels),
        std=adapt_normalization(std, channels),
        source=source,
    )


def describe_normalization(normalization: InputNormalization | None) -> str:
    """The normalization in one line, for the terminal."""
    if normalization is None:
        return "images are normalized by the mean and std of the training images"
    mean, std = (
        ", ".join(f"{value:.4g}" for value in values)
        for values in (normalization.mean, normalization.std)
    )
    return f"images are normalized by mean {mean} and std {std} ({normalization.source})"
