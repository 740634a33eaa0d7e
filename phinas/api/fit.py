"""`phinas fit`: train or fine-tune one network.

`fit.yaml` records the resolved settings. The same call again resumes: from the last checkpoint, or,
where `measurement.json` exists, by returning the result. Of several processes (torchrun) the first
one reads images, writes files and prints; the others wait for it, and train.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from phinas.adapt_to_data import adapt_spec
from phinas.api.keywords import FitOptions, keyword_keys, values_by_key
from phinas.experiment.artifacts.fit import Classifier, FitRecord
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.schema.config import FitSection, apply_overrides, validate_section
from phinas.experiment.versions import version
from phinas.fit_pipeline.fit_record import hash_weights, normalize, require_same
from phinas.options.groups import FIT_KEYS
from phinas.run_context import INPUT_ERRORS
from phinas.space.loading import load_spec
from phinas.space.network import Network
from phinas.space.spec import ArchSpec
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.fit_pipeline.results import FitResult
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.distributed import DistributedContext


def fit(
    spec: str,
    *,
    data: str,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Unpack[FitOptions],
) -> "FitResult":
    """Train or fine-tune a network, and measure it on the test split.

    The same call again resumes an interrupted training, or returns the result of a finished one.

    Args:
        spec: A preset such as "efficientnet_b0", a spec file, "timm:NAME" or "torchvision:NAME".
        data: The images: "digits", a path (class folders, Parquet files or an .npz file),
            "hf:NAME" or "torchvision:NAME".
        out: The directory of the results, which is created or resumed.
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"recipe.ema_fraction": 0.1}.
        quiet: Show no progress.
        **options: The options of `phinas fit`, with underscores: recipe ("full"), epochs (the
            recipe's), weights (random), resolution in px (the spec's, at most the image size),
            batch_size in images (the recipe's), device ("auto"), seed (0), freeze_backbone
            (False), max_minutes (no limit), upsample (False), skip_bad_images (False), group_by
            (none), threads (all cores), deterministic (False) and onnx (False).

    Returns:
        The scores on the test split, and the paths of the files.

    Raises:
        InputError: An argument is wrong, or `out` holds something else.
        InUseError: Another process trains in `out`.
        NoResultError: The training failed, for example because the loss became NaN.
        SignalInterrupt: SIGINT or SIGTERM ended the training; a checkpoint is written.

    Example:
        >>> result = phinas.fit("efficientnet_b0", data="photos/", out="runs/b0", epochs=10)
        >>> result.score
        0.914
    """
    from phinas.fit_pipeline.results import read_results
    from phinas.training.engine.distributed import init_distributed

    keys = keyword_keys(FIT_KEYS)
    changes = values_by_key("fit", options, keys) | dict(settings or {})
    changes |= {"spec": spec, "data.source": data}
    names = {key: name for name, key in keys.items() if name in options} | {"data.source": "data"}
    fit_dir = FitDir(out)
    with (
        init_distributed(str(changes.get("device", "auto"))) as (distributed, device),
        ExitStack() as stack,
    ):
        display = Display(quiet=quiet or not distributed.is_rank_zero)
        distributed.on_rank_zero(
            lambda: _start(
                fit_dir, _make_config(changes, names), distributed, stack=stack, display=display
            )
        )
        config = _make_config(changes, names)
        if not fit_dir.is_finished:
            record = FitRecord.read(fit_dir.record_file).model_copy(update={"config": config})
            _train_and_measure(fit_dir, record, distributed, device=device, display=display)
        distributed.on_rank_zero(lambda: _write_onnx(fit_dir, requested=config.onnx))
        return read_results(fit_dir)


def _make_config(changes: Mapping[str, Any], names: Mapping[str, str]) -> FitSection:
    values = apply_overrides({}, changes, source="fit")
    return validate_section(FitSection, values, source="fit", names=names)


def _start(
    fit_dir: FitDir,
    config: FitSection,
    distributed: "DistributedContext",
    *,
    stack: ExitStack,
    display: Display,
) -> None:
    """Lock the directory, prepare the images and resolve the settings.

    A new directory is removed again where the input is wrong.
    """
    from phinas.training.engine.device import resolve_device

    resolve_device(config.device)
    _require_onnx(config)
    fit_dir.require_available()
    created = not fit_dir.path.exists()
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
                stack.callback(shutil.rmtree, fit_dir.path, ignore_errors=True)
        raise


def _create(
    fit_dir: FitDir, config: FitSection, distributed: "DistributedContext", display: Display
) -> None:
    """Make the directory a fit. What is wrong with spec and weights is found before the images are
    read, which takes longer.
    """
    fit_dir.remove_leftovers()
    load_spec(config.spec)
    hash_weights(config)
    data = _prepare_data(fit_dir, config, display)
    record = _resolve(config, data, distributed)
    record.write(fit_dir.record_file)
    _report_classifier(record, display)


def _check_existing(
    fit_dir: FitDir, config: FitSection, distributed: "DistributedContext", display: Display
) -> None:
    """Check that the call asks for the training in the directory, and that its images are there."""
    record = FitRecord.read(fit_dir.record_file)
    require_same(record, config, fit_dir)
    if fit_dir.is_finished:
        return
    data = _prepare_data(fit_dir, config, display)
    batch_size = _shared_batch_size(config, data, distributed)
    if record.batch_size != batch_size:
        change = f"the batch size was {record.batch_size} and is now {batch_size}"
        raise InputError(
            f"{fit_dir.path}: {change}; start as many processes as before, or use a new --out"
        )
    _report_classifier(record, display)


def _report_classifier(record: FitRecord, display: Display) -> None:
    if record.classifier == "reinitialized" and record.config.weights:
        display.print(
            f"{record.config.weights}: has a different number of classes than the data set "
            f"({record.spec.classes}); the classifier is reinitialized"
        )


def _prepare_data(fit_dir: FitDir, config: FitSection, display: Display) -> "PreparedData":
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data", unit="images") as on_progress:
        return prepare(
            config.data,
            seed=config.seed,
            directory=fit_dir.data,
            on_progress=lambda done, total: on_progress(done, total, ""),
        )


def _resolve(
    config: FitSection, data: "PreparedData", distributed: "DistributedContext"
) -> FitRecord:
    """The network for these images. Its initial weights are loaded once, to check them."""
    spec = load_spec(config.spec)
    spec = adapt_spec(spec, data, resolution=_choose_resolution(config, spec, data))
    if config.mean is not None and len(config.mean) != spec.channels:
        raise InputError(
            f"mean and std: have {len(config.mean)} channels and the images have {spec.channels}; "
            "give one number for each channel"
        )
    return FitRecord(
        phinas=version(),
        config=config,
        spec=spec,
        batch_size=_shared_batch_size(config, data, distributed),
        weights_sha256=hash_weights(config),
        classifier=_check_weights(config, spec),
    )


def _shared_batch_size(
    config: FitSection, data: "PreparedData", distributed: "DistributedContext"
) -> int:
    """The batch size that the processes can share, at most the number of training images."""
    return distributed.global_batch_size(min(config.recipe.batch_size, data.train))


def _choose_resolution(config: FitSection, network: Network, data: "PreparedData") -> int:
    """The resolution in px: the requested one, or the spec's, at most the image size."""
    upsample = config.data.upsample
    if config.resolution and config.resolution > data.image_size and not upsample:
        raise InputError(
            f"resolution: {config.resolution} px exceeds the image size {data.image_size} px; "
            "lower it, or use --upsample (data.upsample: true) to enlarge the images"
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


def _check_weights(config: FitSection, spec: ArchSpec) -> Classifier:
    """Load the initial weights into the network; whether its classifier is among them."""
    if config.weights is None:
        return "reinitialized"
    import torch

    from phinas.training.data.sources.hf_hub import resolve_weights_path
    from phinas.training.engine.weights_io import load_pretrained

    with torch.random.fork_rng(devices=[]):
        classes = load_pretrained(spec.build(), resolve_weights_path(config.weights), spec=spec)
    return "loaded" if classes == spec.classes else "reinitialized"


def _train_and_measure(
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

    # `_start` has compared the hashes
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
    from importlib.util import find_spec

    if config.onnx and not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        raise InputError("--onnx: needs more packages; pip install 'phinas[onnx]'")


def _write_onnx(fit_dir: FitDir, *, requested: bool) -> None:
    if requested and not fit_dir.onnx.exists():
        from phinas.api.export import export

        export(str(fit_dir.spec), out=fit_dir.onnx, weights=fit_dir.weights)
