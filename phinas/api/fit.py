"""`phinas fit`: train or fine-tune one network.

The one decision to know: `fit.yaml` holds what was asked, resolved, and the same call again carries
on: from the last snapshot, or, where `measurement.json` is there, to telling the result again. Of
several processes (`torchrun`) the first one reads images, writes and speaks; the others wait for
it, and train.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.adapt_to_data import sized
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.schema.config import FitSection, checked, overlaid
from phinas.fit_stages.record import Fit, sha256_of_weights
from phinas.progress import Display
from phinas.space.loading import load_spec
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.distributed import Ranks

_WRONG_INPUT = (InputError, SpecError, YamlError)


def fit(
    spec: str,
    *,
    data: str,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train the network of `spec` (a preset, spec file, timm:NAME, ...) on `data` and measure it on
    the test split, in `out`.

    settings: dotted keys of experiment/schema/fit.py, such as {"recipe": "quick", "weights":
    "b0.safetensors"}. Returns what measurement.json says and where the files are. Raises
    InputError, InUseError, NothingFound where the training came to nothing, and Interrupted after
    SIGINT or SIGTERM.
    """
    from phinas.fit_stages.results import read_results
    from phinas.training.engine.distributed import ranks_of

    changes = {"recipe": "full", **(settings or {}), "spec": spec, "data.source": data}
    place = FitDir(out)
    with ranks_of(str(changes.get("device", "auto"))) as (ranks, device), ExitStack() as stack:
        display = Display(quiet=quiet or not ranks.leads)
        ranks.led(lambda: _begin(place, _asked(changes), ranks, stack=stack, display=display))
        config = _asked(changes)
        if not place.finished:
            _carry_through(
                place,
                replace(Fit.read(place), config=config),
                ranks,
                device=device,
                display=display,
            )
        ranks.led(lambda: _write_onnx(place, wanted=config.onnx))
        return read_results(place)


def _asked(changes: Mapping[str, Any]) -> FitSection:
    return checked(FitSection, overlaid({}, changes, where="fit"), where="fit")


def _begin(
    place: FitDir, config: FitSection, ranks: "Ranks", *, stack: ExitStack, display: Display
) -> None:
    """Lock the directory, prepare the images, and resolve what is asked; nothing stays behind of
    what is wrong.
    """
    from phinas.training.engine.device import resolve_device

    resolve_device(config.device)
    _require_onnx(config)
    place.require_free()
    made_here = not place.path.exists()
    stack.enter_context(place.locked())
    try:
        held = Fit.read(place) if place.exists else None
        if held is not None:
            held.require_same(config, place)
        if place.finished:
            return
        if held is None:
            place.clear_leftovers()
        load_spec(config.spec)  # before the images are read, which takes long
        sha256_of_weights(config)
        data = _prepared(place, config, display)
        resolved = _resolved(config, data, ranks)
        if held is None:
            resolved.write(place)
        elif held.batch != resolved.batch:
            was = f"the batch was {held.batch} and is now {resolved.batch}"
            raise InputError(
                f"{place.path}: {was}; start as many processes as before, or use a new --out"
            )
        if resolved.classifier == "drawn" and config.weights:
            display.say(
                f"{config.weights}: tells other classes apart, so the classifier of "
                f"{len(data.classes)} is drawn anew"
            )
    except BaseException as error:
        if not place.exists:
            place.clear_leftovers()
            if made_here and isinstance(error, _WRONG_INPUT):
                stack.callback(shutil.rmtree, place.path, ignore_errors=True)
        raise


def _prepared(place: FitDir, config: FitSection, display: Display) -> "PreparedData":
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data") as notify:
        return prepare(
            config.data,
            seed=config.seed,
            directory=place.data,
            notify=lambda done, total: notify(done, total, "images read"),
        )


def _resolved(config: FitSection, data: "PreparedData", ranks: "Ranks") -> Fit:
    """The network for these images, with the weights that it begins with tried on it."""
    import torch

    from phinas.space.blocks import build
    from phinas.training.data.sources.hf_hub import weights_file
    from phinas.training.engine.weights_io import load_pretrained

    given = load_spec(config.spec)
    if config.resolution and config.resolution > data.side and not config.data.upsample:
        raise InputError(
            f"resolution: {config.resolution} pixels of a side and the images have {data.side}; "
            "set it lower, or --upsample to "
            "enlarge images"
        )
    side = config.resolution or (
        given.resolution if config.data.upsample else min(given.resolution, data.side)
    )
    if side < given.reduction:
        short = f"{side} pixels of a side are below the network's total stride {given.reduction}"
        raise InputError(
            f"resolution: {short}; use --upsample --resolution {4 * given.reduction}, or a spec "
            "of smaller strides"
        )
    spec = sized(given, data, side=side)
    if config.mean is not None and len(config.mean) != spec.channels:
        raise InputError(
            f"mean and std: {len(config.mean)} channels are given and the images have "
            f"{spec.channels}"
        )
    classifier = "drawn"
    if config.weights is not None:
        with torch.random.fork_rng(devices=[]):
            classes = load_pretrained(build(spec), weights_file(config.weights), spec=spec)
        classifier = "loaded" if classes == spec.classes else "drawn"
    return Fit(
        config,
        spec,
        ranks.batch(min(config.recipe.batch, data.train)),
        sha256_of_weights(config),
        classifier,
    )


def _carry_through(
    place: FitDir, asked: Fit, ranks: "Ranks", *, device: str, display: Display
) -> None:
    """Train, from the last snapshot if there is one, measure and write it all down."""
    from phinas.fit_stages.results import write_results
    from phinas.fit_stages.training import train_it
    from phinas.training.data.prepared_dataset import read_prepared

    data = asked.normalised(
        read_prepared(place.data, hashed=False)
    )  # `_begin` has compared the hashes
    trained, snapshots = train_it(place, asked, data, ranks, device=device, display=display)
    ranks.led(lambda: write_results(place, asked, data, trained))
    if ranks.leads:
        snapshots.remove()
        shutil.rmtree(place.snapshot.parent, ignore_errors=True)


def _require_onnx(config: FitSection) -> None:
    """Raises InputError before hours of training, not after them."""
    from importlib.util import find_spec

    if config.onnx and not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        raise InputError("--onnx needs more packages; pip install 'phinas[onnx]'")


def _write_onnx(place: FitDir, *, wanted: bool) -> None:
    if wanted and not place.onnx.exists():
        from phinas.api.export import export

        export(str(place.spec), out=place.onnx, weights=place.weights)
