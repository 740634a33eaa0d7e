"""The steps of a fit: the start, which checks and records everything, and the training.

Of several processes the first one does the start, and writes the results.
"""

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

from phinas.adapt_to_data import adapt_spec, describe_image_size
from phinas.experiment.artifacts.fit import FitRecord
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.schema.config import FitSection
from phinas.experiment.versions import version
from phinas.fit_pipeline.fit_record import hash_weights, normalize, require_same
from phinas.fit_pipeline.initial_weights import (
    check_classifier,
    describe_normalization,
    read_initial_weights,
    resolve_normalization,
)
from phinas.fit_pipeline.pretrained_reference import check_reference_of_fit
from phinas.network_source import load_network
from phinas.reports.sentences.duplicates import list_leaks
from phinas.run_context import INPUT_ERRORS
from phinas.space.library_lookup import is_installed
from phinas.space.network import Network
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.distributed import DistributedContext


def start_fit(
    fit_dir: FitDir,
    config: FitSection,
    distributed: "DistributedContext",
    *,
    stack: ExitStack,
    display: Display,
) -> None:
    """Lock the directory, prepare the images and resolve the settings.

    New directories are removed again where the input is wrong.
    """
    from phinas.training.engine.device import resolve_device

    resolve_device(config.device)
    _require_onnx(config)
    fit_dir.require_available()
    created = fit_dir.missing_directories
    stack.enter_context(fit_dir.locked())
    try:
        if fit_dir.exists:
            _check_existing(fit_dir, config, distributed, display)
        else:
            _create(fit_dir, config, distributed, display)
    except BaseException as error:
        if not fit_dir.exists:
            fit_dir.remove_leftovers()
            if created and isinstance(error, INPUT_ERRORS):
                stack.callback(fit_dir.remove_created, created)
        raise


def _create(
    fit_dir: FitDir, config: FitSection, distributed: "DistributedContext", display: Display
) -> None:
    """Make the directory a fit. What is wrong with spec and weights is found before the images are
    read, which takes longer.
    """
    fit_dir.remove_leftovers()
    spec = load_network(config.spec)
    weights_sha256 = hash_weights(config)
    weights = read_initial_weights(config, spec, display)
    check_reference_of_fit(config, world_size=distributed.world_size)
    data = _prepare_data(fit_dir, config, display, resolution=spec.resolution)
    if weights is not None:
        spec = weights.adapt_spec(spec)
    resolution = _choose_resolution(config, spec, data)
    if config.resolution is None and resolution != spec.resolution:
        display.print(
            f"note: {config.spec} has {spec.resolution} px, which exceeds "
            f"{describe_image_size(data)}, so it is trained at {resolution} px; --upsample "
            "(data.upsample: true) enlarges the images instead"
        )
    spec = adapt_spec(spec, data, resolution=resolution)
    normalization = resolve_normalization(config, weights, spec.channels)
    record = FitRecord(
        phinas=version(),
        config=config,
        spec=spec,
        batch_size=_shared_batch_size(config, data, distributed),
        weights_sha256=weights_sha256,
        classifier=check_classifier(weights, spec, display),
        normalization=normalization,
    )
    record.write(fit_dir.record_file)
    if weights is not None:
        display.print(describe_normalization(normalization))


def _check_existing(
    fit_dir: FitDir, config: FitSection, distributed: "DistributedContext", display: Display
) -> None:
    """Check that the call asks for the training in the directory, and that its images are there."""
    record = FitRecord.read(fit_dir.record_file)
    spec = require_same(record, config, fit_dir)
    if fit_dir.is_finished:
        return
    data = _prepare_data(fit_dir, config, display, resolution=spec.resolution)
    batch_size = _shared_batch_size(config, data, distributed)
    if record.batch_size != batch_size:
        change = f"the batch size was {record.batch_size} and is now {batch_size}"
        raise InputError(
            f"{fit_dir.path}: {change}; start as many processes as before, or use a new --out"
        )


def _prepare_data(
    fit_dir: FitDir, config: FitSection, display: Display, *, resolution: int
) -> "PreparedData":
    """Decode the images.

    Args:
        resolution: That of the network, which the configuration may override, in px.
    """
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data", unit="images") as on_progress:
        data = prepare(
            config.data,
            seed=config.seed,
            directory=fit_dir.data,
            max_size=config.resolution or resolution,
            on_progress=lambda done, total: on_progress(done, total, ""),
        )
    for note in data.notes:
        display.print(f"note: {note}")
    for leak in list_leaks(data):
        display.print(f"warning: {leak}")
    return data


def _shared_batch_size(
    config: FitSection, data: "PreparedData", distributed: "DistributedContext"
) -> int:
    """The batch size that the processes can share, at most the number of training images."""
    return distributed.global_batch_size(config.recipe.batch_size_for(data.train))


def _choose_resolution(config: FitSection, network: Network, data: "PreparedData") -> int:
    """The resolution in px: the requested one, or the spec's, at most the image size."""
    upsample = config.data.upsample
    if config.resolution and config.resolution > data.image_size and not upsample:
        raise InputError(
            f"resolution: {config.resolution} px exceeds {describe_image_size(data)}; "
            "lower it, or set data.upsample: true to enlarge the images"
        )
    default = network.resolution if upsample else min(network.resolution, data.image_size)
    resolution = config.resolution or default
    if resolution < network.min_resolution:
        raise InputError(
            f"resolution: {resolution} px is less than the network's total stride "
            f"{network.min_resolution}; use --upsample --resolution {4 * network.min_resolution}, "
            "or a network with a smaller total stride"
        )
    return resolution


def train_and_measure(
    fit_dir: FitDir,
    record: FitRecord,
    distributed: "DistributedContext",
    *,
    device: str,
    display: Display,
) -> None:
    """Train, from the last checkpoint if there is one, and write the results."""
    from phinas.fit_pipeline.results import write_results
    from phinas.fit_pipeline.training import train_network
    from phinas.training.data.prepared_dataset import read_prepared

    # `start_fit` has compared the hashes
    data = normalize(record, read_prepared(fit_dir.data, verify_sha256=False))
    training_result, checkpoints = train_network(
        fit_dir, record, data, distributed, device=device, display=display
    )
    distributed.on_rank_zero(lambda: write_results(fit_dir, record, data, training_result))
    if distributed.is_rank_zero:
        checkpoints.remove()
        shutil.rmtree(fit_dir.checkpoint.parent, ignore_errors=True)


def _require_onnx(config: FitSection) -> None:
    """Raises InputError before hours of training, not after them."""
    if config.onnx and not all(
        is_installed(name) for name in ("onnx", "onnxscript", "onnxruntime")
    ):
        raise InputError("--onnx: needs more packages; pip install 'phinas[onnx]'")
