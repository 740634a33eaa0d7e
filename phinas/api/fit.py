"""`phinas fit`: train or fine-tune one network.

`fit.yaml` records the resolved settings. The same call again resumes: from the last checkpoint, or,
where `measurement.json` exists, by returning the result. Of several processes (torchrun) the first
one reads images, writes files and prints; the others wait for it, and train.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from phinas.api.keywords import FitOptions, keyword_keys, values_by_key
from phinas.experiment.artifacts.fit import FitRecord
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.schema.config import FitSection, apply_overrides, validate_section
from phinas.fit_pipeline.fit_steps import start_fit, train_and_measure
from phinas.fit_pipeline.reference_training import fine_tune_reference_of_fit
from phinas.options.groups import FIT_KEYS
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.fit_pipeline.results import FitResult


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
        spec: A preset such as "efficientnet_b0", a spec file, "timm:NAME", "torchvision:NAME", or
            "RUN:NAME" for a network of a run, such as "runs/photos:b1".
        data: The images: "digits", a path (class folders, an archive of them, a CSV table, Parquet
            files or an .npz file), "hf:NAME" or "torchvision:NAME".
        out: The directory of the results, which is created or resumed.
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"recipe.ema_fraction": 0.1}.
        quiet: Show no progress.
        **options: The options of `phinas fit`, with underscores: recipe (with
            weights "finetune", else "full"), epochs (the recipe's), weights (random), normalization
            ("auto"), resolution in px (the spec's, at most the image size), batch_size in images
            (the recipe's), device ("auto"), seed (0), freeze_backbone (False), max_minutes (no
            limit), upsample (False), skip_bad_images (False), group_by (none), threads (the fastest
            number), deterministic (False), pretrained_reference (none), onnx (False) and the others
            that `phinas fit --help` lists.

    Returns:
        The scores on the test split, and the paths of the files.

    Raises:
        InputError: An argument is wrong, or `out` holds something else.
        InUseError: Another process trains in `out`.
        NoResultError: The training failed, for example because the loss became NaN.
        SignalInterrupt: SIGINT or SIGTERM ended the training; a checkpoint is written.

    Examples:
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
            lambda: start_fit(
                fit_dir, _make_config(changes, names), distributed, stack=stack, display=display
            )
        )
        config = _make_config(changes, names)
        if not fit_dir.is_finished:
            record = FitRecord.read(fit_dir.record_file).model_copy(update={"config": config})
            fine_tune_reference_of_fit(fit_dir, config, display)
            train_and_measure(fit_dir, record, distributed, device=device, display=display)
        distributed.on_rank_zero(lambda: _write_onnx(fit_dir, requested=config.onnx))
        return read_results(fit_dir)


def _make_config(changes: Mapping[str, Any], names: Mapping[str, str]) -> FitSection:
    values = apply_overrides({}, changes, source="fit")
    return validate_section(FitSection, values, source="fit", names=names)


def _write_onnx(fit_dir: FitDir, *, requested: bool) -> None:
    if requested and not fit_dir.onnx.exists():
        from phinas.api.export import export

        export(str(fit_dir.path), out=fit_dir.onnx)
