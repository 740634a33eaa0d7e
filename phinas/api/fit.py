"""`phinas fit`: train or fine-tune one network.

The one decision to know: `fit.yaml` holds what was asked, resolved, and the same call again carries
on: from the last checkpoint, or, where `measurement.json` is there, to telling the result again. Of
several processes (`torchrun`) the first one reads images, writes and speaks; the others wait for
it, and train.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.adapt_to_data import adapt_spec
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.schema.config import FitSection, apply_overrides, validate_section
from phinas.fit_pipeline.fit_record import FitRecord, hash_weights
from phinas.space.loading import load_spec
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.distributed import DistributedContext

_WRONG_INPUT = (InputError, SpecError, YamlError)


def fit(
    spec: str,
    *,
    data: str,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train the network of `spec` (a preset, spec file, timm:NAME, ...) on `data` and measure
    it on the test split, in `out`.

    settings: dotted keys of experiment/schema/fit.py, such as {"recipe": "quick", "weights":
    "b0.safetensors"}. Returns what measurement.json says and where the files are. Raises
    InputError, InUseError, NoResultError where the training came to nothing, and
    SignalInterrupt after SIGINT or SIGTERM.
    """
    from phinas.fit_pipeline.results import read_results
    from phinas.training.engine.distributed import init_distributed

    changes = {"recipe": "full", **(settings or {}), "spec": spec, "data.source": data}
    fit_dir = FitDir(out)
    with (
        init_distributed(str(changes.get("device", "auto"))) as (distributed, device),
        ExitStack() as stack,
    ):
        display = Display(quiet=quiet or not distributed.is_rank_zero)
        distributed.on_rank_zero(
            lambda: _start(fit_dir, _fit_config(changes), distributed, stack=stack, display=display)
        )
        config = _fit_config(changes)
        if not fit_dir.is_finished:
            _train_and_measure(
                fit_dir,
                replace(FitRecord.read(fit_dir), config=config),
                distributed,
                device=device,
                display=display,
            )
        distributed.on_rank_zero(lambda: _write_onnx(fit_dir, requested=config.onnx))
        return read_results(fit_dir)


def _fit_config(changes: Mapping[str, Any]) -> FitSection:
    return validate_section(FitSection, apply_overrides({}, changes, source="fit"), source="fit")


def _start(
    fit_dir: FitDir,
    config: FitSection,
    distributed: "DistributedContext",
    *,
    stack: ExitStack,
    display: Display,
) -> None:
    """Lock the directory, prepare the images, and resolve what is asked; nothing stays behind of
    what is wrong.
    """
    from phinas.training.engine.device import resolve_device

    resolve_device(config.device)
    _require_onnx(config)
    fit_dir.require_available()
    created = not fit_dir.path.exists()
    stack.enter_context(fit_dir.locked())
    try:
        previous = FitRecord.read(fit_dir) if fit_dir.exists else None
        if previous is not None:
            previous.require_same(config, fit_dir)
        if fit_dir.is_finished:
            return
        if previous is None:
            fit_dir.remove_leftovers()
        load_spec(config.spec)  # before the images are read, which takes long
        hash_weights(config)
        data = _prepare_data(fit_dir, config, display)
        resolved = _resolve(config, data, distributed)
        if previous is None:
            resolved.write(fit_dir)
        elif previous.batch_size != resolved.batch_size:
            change = f"the batch was {previous.batch_size} and is now {resolved.batch_size}"
            raise InputError(
                f"{fit_dir.path}: {change}; start as many processes as before, or use a new --out"
            )
        if resolved.classifier == "reinitialized" and config.weights:
            display.print(
                f"{config.weights}: tells other classes apart, so the classifier of "
                f"{len(data.classes)} is drawn anew"
            )
    except BaseException as error:
        if not fit_dir.exists:
            fit_dir.remove_leftovers()
            if created and isinstance(error, _WRONG_INPUT):
                stack.callback(shutil.rmtree, fit_dir.path, ignore_errors=True)
        raise


def _prepare_data(fit_dir: FitDir, config: FitSection, display: Display) -> "PreparedData":
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data") as on_progress:
        return prepare(
            config.data,
            seed=config.seed,
            directory=fit_dir.data,
            on_progress=lambda done, total: on_progress(done, total, "images read"),
        )


def _resolve(
    config: FitSection, data: "PreparedData", distributed: "DistributedContext"
) -> FitRecord:
    """The network for these images, with the weights that it begins with tried on it."""
    import torch

    from phinas.space.blocks import build
    from phinas.training.data.sources.hf_hub import resolve_weights_path
    from phinas.training.engine.weights_io import load_pretrained

    spec = load_spec(config.spec)
    if config.resolution and config.resolution > data.image_size and not config.data.upsample:
        raise InputError(
            f"resolution: {config.resolution} pixels of a side and the images have "
            f"{data.image_size}; "
            "set it lower, or --upsample to "
            "enlarge images"
        )
    resolution = config.resolution or (
        spec.resolution if config.data.upsample else min(spec.resolution, data.image_size)
    )
    if resolution < spec.total_stride:
        reason = (
            f"{resolution} pixels of a side are below the network's total stride "
            f"{spec.total_stride}"
        )
        raise InputError(
            f"resolution: {reason}; use --upsample --resolution {4 * spec.total_stride}, or a spec "
            "of smaller strides"
        )
    spec = adapt_spec(spec, data, resolution=resolution)
    if config.mean is not None and len(config.mean) != spec.channels:
        raise InputError(
            f"mean and std: {len(config.mean)} channels are given and the images have "
            f"{spec.channels}"
        )
    classifier = "reinitialized"
    if config.weights is not None:
        with torch.random.fork_rng(devices=[]):
            classes = load_pretrained(build(spec), resolve_weights_path(config.weights), spec=spec)
        classifier = "loaded" if classes == spec.classes else "reinitialized"
    return FitRecord(
        config,
        spec,
        distributed.global_batch_size(min(config.recipe.batch_size, data.train)),
        hash_weights(config),
        classifier,
    )


def _train_and_measure(
    fit_dir: FitDir,
    record: FitRecord,
    distributed: "DistributedContext",
    *,
    device: str,
    display: Display,
) -> None:
    """Train, from the last checkpoint if there is one, measure and write it all down."""
    from phinas.fit_pipeline.results import write_results
    from phinas.fit_pipeline.training import train_network
    from phinas.training.data.prepared_dataset import read_prepared

    # `_start` has compared the hashes
    data = record.normalize(read_prepared(fit_dir.data, verify_sha256=False))
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
        raise InputError("--onnx needs more packages; pip install 'phinas[onnx]'")


def _write_onnx(fit_dir: FitDir, *, requested: bool) -> None:
    if requested and not fit_dir.onnx.exists():
        from phinas.api.export import export

        export(str(fit_dir.spec), out=fit_dir.onnx, weights=fit_dir.weights)
