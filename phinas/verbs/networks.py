"""The verbs of networks by themselves: describe, export, fit, latency."""

from pathlib import Path
from typing import Any

import click

from phinas.errors import leads
from phinas.options import NUMBERS, Verb, settings_of
from phinas.verbs.common import JSON, print_json, quiet


@click.command(cls=Verb)
@click.argument("spec")
@click.option(
    "--compare", metavar="OTHER", help="Set another network beside it, named in any of these ways."
)
@click.option(
    "--draw", type=click.Path(path_type=Path), help="Draw the block layout to a file, .svg or .png."
)
@click.option("--conventions", is_flag=True, help="Say what other tools count for it, and why.")
@click.option("--verify", is_flag=True, help="Count the built network with fvcore too.")
@JSON
def describe(
    spec: str,
    compare: str | None,
    draw: Path | None,
    conventions: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Stage table and exact cost of a preset (efficientnet_b0), a spec file, timm:NAME or
    torchvision:NAME.

    FLOPs are multiply-adds.
    """
    from phinas.api import compare_networks, describe

    facts = describe.describe(
        spec, compare=compare, draw=draw, conventions=conventions, verify=verify
    )
    if as_json:
        print_json(facts)
    else:
        click.echo(describe.as_text(facts) if compare is None else compare_networks.as_text(facts))
    if not all(network.get("agrees", True) for network in facts.get("networks", [facts])):
        raise click.exceptions.Exit(1)


@click.command(cls=Verb)
@click.argument("spec")
@click.option(
    "--to",
    type=click.Choice(["onnx", "torch", "timm", "torchvision"]),
    help="What for, if --out's ending does not say.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file: NAME.onnx, NAME.py or NAME.safetensors.",
)
@click.option(
    "--weights", help="A safetensors file in our names, timm's or torchvision's, or hf:OWNER/NAME."
)
@JSON
def export(spec: str, to: str | None, out: Path, weights: str | None, as_json: bool) -> None:
    """Write the network of SPEC for other tools.

    onnx (extra `onnx`) and torch (one Python file that needs nothing of phinas, weights beside it)
    are run to see that they give the same. timm and torchvision: weights in that library's names,
    and in a JSON file how to call its class.
    """
    from phinas.api.export import export as write_export

    facts = write_export(spec, to=to, out=out, weights=weights)
    if as_json:
        print_json(facts)
        return
    if facts["recipe"]:
        click.echo(
            f"{facts['path']}: weights in {to}'s names; {facts['recipe']}: the Python lines that "
            "make the model"
        )
        return
    click.echo(
        f"{facts['path']}: largest difference from torch "
        f"{facts['largest_relative_difference']:.1e}, relative"
    )


@click.command(cls=Verb)
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
@click.option("--batch", "recipe__batch", type=int, help="Images a step.")
@click.option(
    "--minutes", "recipe__minutes", type=float, help="End after so long, with what it has."
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
    help="Any recipe.KEY or data.KEY, e.g. recipe.ema=0.1.",
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
    from phinas.fit_stages.results import sentence

    changes = {
        name.replace("__", "."): value for name, value in options.items() if value is not None
    } | settings_of(settings)
    facts = fit_network(spec, data=data, out=out, settings=changes, quiet=quiet())
    if not leads():
        return
    if as_json:
        print_json(facts)
        return
    click.echo(sentence(facts))
    click.echo(facts["card"])


@click.command(cls=Verb)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option(
    "--batch",
    "batches",
    type=NUMBERS,
    multiple=True,
    help="Images of an inference: 1,64. By default 1 and many.",
)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--threads", type=int, help="Of the CPU; by default all that torch takes.")
@click.option("--resolution", type=int, help="Pixels of a side, instead of the networks' own.")
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", help="bf16: under autocast."
)
@JSON
def latency(
    specs: tuple[str, ...], batches: tuple[list[float], ...], as_json: bool, **options: Any
) -> None:
    """Time inferences of networks on this device: milliseconds, images a second, and the ratio to
    the first network.

    Several are timed in turns, so that what else the machine does hits all alike. Takes 3 to 25
    seconds a network and batch.
    """
    from phinas.api import latency
    from phinas.progress import Display

    chosen: list[Any] = [
        int(batch) if batch.is_integer() else batch for given in batches for batch in given
    ]
    with Display(quiet=quiet()).stage("latency") as notify:
        facts = latency.latency(*specs, batches=chosen or None, notify=notify, **options)
    if as_json:
        print_json(facts)
    else:
        click.echo(latency.as_text(facts))
    if all(row["failed"] for row in facts["rows"]):
        raise click.exceptions.Exit(1)


VERBS = (describe, export, fit, latency)
