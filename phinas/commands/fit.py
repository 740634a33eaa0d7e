"""`phinas fit`: train or fine-tune one network."""

from pathlib import Path
from typing import Any

import click

from phinas.errors import is_rank_zero
from phinas.options import (
    JSON,
    Command,
    parse_settings,
)
from phinas.terminal.output import print_json, quiet


@click.command(cls=Command)
@click.argument("spec")
@click.option(
    "--data",
    required=True,
    help="digits, a path (class folders, Parquet, an .npz), hf:NAME or torchvision:NAME.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The directory, new or to be carried on.",
)
@click.option(
    "--weights",
    help="To begin with: a safetensors file in our names, timm's or torchvision's, or "
    "hf:OWNER/NAME.",
)
@click.option(
    "--freeze-backbone",
    is_flag=True,
    default=None,
    help="With --weights: only the classifier learns.",
)
@click.option("--recipe", help="quick, proxy, validate or full (the default): how it is trained.")
@click.option("--epochs", "recipe__epochs", type=int, help="Passes over the training images.")
@click.option("--batch-size", "recipe__batch_size", type=int, help="Images per step.")
@click.option(
    "--max-minutes",
    "recipe__max_minutes",
    type=float,
    help="Stop after N minutes and keep the current weights.",
)
@click.option(
    "--resolution",
    type=int,
    help="Pixels of a side that it sees; else the spec's, or the images' if fewer.",
)
@click.option(
    "--upsample", "data__upsample", is_flag=True, default=None, help="It may see images enlarged."
)
@click.option(
    "--skip-bad-images",
    "data__skip_bad_images",
    is_flag=True,
    default=None,
    help="Leave unreadable images out.",
)
@click.option(
    "--group-by",
    "data__group_by",
    help="Column, key, or regular expression over paths: a group is in one split.",
)
@click.option("--seed", type=int, help="Decides splits, weights, data order and augmentation.")
@click.option("--device", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--threads", type=int, help="CPU threads; else all cores.")
@click.option(
    "--deterministic",
    is_flag=True,
    default=None,
    help="The same bits run to run on a GPU too, more slowly.",
)
@click.option(
    "--onnx", is_flag=True, default=None, help="Write the network as ONNX too (extra `onnx`)."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any recipe.KEY or data.KEY, e.g. recipe.ema_fraction=0.1.",
)
@JSON
def fit(
    spec: str, data: str, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Train or fine-tune one network on your images: weights, measurements, and a model card in
    --out.

    The same call again carries on where it was stopped. Several GPUs: torchrun --nproc-per-node N
    -m phinas fit ...
    """
    from phinas.api.fit import fit as fit_network
    from phinas.fit_pipeline.results import summary_line

    changes = {
        name.replace("__", "."): value for name, value in options.items() if value is not None
    } | parse_settings(settings)
    result = fit_network(spec, data=data, out=out, settings=changes, quiet=quiet())
    if not is_rank_zero():
        return
    if as_json:
        print_json(result)
        return
    click.echo(summary_line(result))
    click.echo(result["model_card"])
