"""The published network, fine-tuned on the same images, that a fit or a family is compared with.

It is a fit of its own, with the recipe `finetune`, in the folder `pretrained_reference`. Both
networks classify the same test images, so their accuracies are compared by pairs.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

from phinas.experiment.artifacts.fit import FitMeasurement, FitRecord, TrainedNetwork
from phinas.experiment.artifacts.pretrained_reference import PretrainedReference
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.measurement import Measurement, combine_seeds
from phinas.experiment.schema.config import FitSection, validate_section
from phinas.experiment.schema.run import HardwareSection
from phinas.experiment.statistics.paired_scores import NetworkScore, difference_standard_error
from phinas.fit_pipeline.initial_weights import read_initial_weights
from phinas.network_source import load_network
from phinas.terminal.progress import Display


def split_reference(value: str) -> tuple[str, str]:
    """The network and the weights of `NETWORK=WEIGHTS`."""
    network, _, weights = value.partition("=")
    return network.strip(), weights.strip()


def make_reference(value: str, shared: Mapping[str, Any]) -> FitSection:
    """The fit of a reference.

    Args:
        value: `NETWORK=WEIGHTS`.
        shared: The sections and keys that it shares with what is compared with it.
    """
    network, weights = split_reference(value)
    section = {**shared, "spec": network, "weights": weights}
    return validate_section(FitSection, section, source="fit")


def make_reference_of_fit(config: FitSection) -> FitSection:
    """The fit of the reference of a fit: on the same images, with the same seed and hardware."""
    keys = ["data", *HardwareSection.model_fields]
    shared = {key: value for key, value in config.model_dump().items() if key in keys}
    if config.resolution is not None:
        shared["resolution"] = config.resolution
    return make_reference(str(config.pretrained_reference), shared)


def check_reference_of_fit(config: FitSection, *, world_size: int) -> None:
    """Check the reference of a fit, if there is one, before the images are read.

    Raises:
        SpecError: The network is unknown.
        InputError: The weights do not fit, or several processes train the network.
    """
    if config.pretrained_reference is None:
        return
    key = "pretrained_reference"
    if world_size > 1:
        raise InputError(
            f"{key}: is not possible with torchrun; fine-tune that network by a fit of its own"
        )
    check_reference(config.pretrained_reference, config.data.model_dump(), key=key)


def check_reference(value: str, data: Mapping[str, Any], *, key: str) -> None:
    """Check network and weights of a reference, without the images.

    Args:
        value: `NETWORK=WEIGHTS`.
        data: The section `data`.
        key: The configuration key of the value, for the error messages.

    Raises:
        SpecError: The network is unknown.
        InputError: The weights do not fit, or their normalization is unknown.
    """
    network, _ = split_reference(value)
    spec = load_network(network, field=key)
    try:
        config = make_reference(value, {"data": data})
        read_initial_weights(config, spec, Display(quiet=True))
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def compare_with_reference(
    fit_dir: FitDir, record: FitRecord, measurement: Measurement
) -> PretrainedReference | None:
    """Compare the test accuracy of a fit with that of its finished reference; None without one.

    Raises:
        InputError: The images of the reference have changed.
    """
    if record.config.pretrained_reference is None:
        return None
    return compare_scores(
        record.config.pretrained_reference,
        FitDir(fit_dir.pretrained_reference),
        combine_seeds(record.spec.cost().flops, [measurement]),
        data=fit_dir.data,
    )


def compare_scores(
    value: str, reference_dir: FitDir, network: NetworkScore, *, data: Path, member: str = ""
) -> PretrainedReference:
    """Compare the test accuracy of a network with that of a finished reference.

    Args:
        value: `NETWORK=WEIGHTS` of the reference.
        reference_dir: The fit of the reference.
        network: The accuracies of the network.
        data: Its prepared images. Those of the reference may be stored at another size.
        member: Name of the network in its family.

    Raises:
        InputError: The reference has other test images.
    """
    if _test_labels_sha256(data) != _test_labels_sha256(reference_dir.data):
        raise InputError(
            f"{reference_dir.path}: its test images are not those of the network that is compared "
            "with it; remove this directory, so that it is made again"
        )
    measurement = FitMeasurement.read(reference_dir.measurement).measurement
    flops = TrainedNetwork.read(reference_dir.spec).spec.cost().flops
    seeds = [*network.score_by_seed]
    reference = NetworkScore(
        flops,
        dict.fromkeys(seeds, measurement.score),
        measurement.images,
        {} if measurement.correct_mask is None else dict.fromkeys(seeds, measurement.correct_mask),
    )
    difference = network.score - measurement.score
    error = difference_standard_error([network], reference, seeds)
    half_width = NormalDist().inv_cdf(0.975) * error
    published, weights = split_reference(value)
    return PretrainedReference(
        network=published,
        weights=weights,
        flops=flops,
        epochs=measurement.epochs,
        score=measurement.score,
        images=measurement.images,
        member=member,
        trainings=len(seeds),
        difference=difference,
        interval=(difference - half_width, difference + half_width),
    )


def _test_labels_sha256(data: Path) -> str:
    """The recorded hash of the labels of the test split, which is not read."""
    from phinas.experiment.artifacts.prepared_data import RECORD_FILE, PreparedDataRecord
    from phinas.training.data.prepared_dataset import ARRAYS

    _, labels = ARRAYS["test"]
    return PreparedDataRecord.read(data / RECORD_FILE).files[labels].sha256
