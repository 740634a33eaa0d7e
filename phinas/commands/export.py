"""`phinas export`: write a network for other tools."""

from pathlib import Path
from typing import Literal

import click

from phinas.experiment.schema.fit import FitSection
from phinas.options.command import BASIC, JSON, SAME_COMMAND, Command, path_option, plain_option
from phinas.options.config_option import option_text
from phinas.terminal.output import print_json


@click.command(cls=Command, resume=SAME_COMMAND)
@click.argument("spec")
@path_option(
    "--out",
    "File to write: NAME.onnx, NAME.py or NAME.safetensors.",
    required=True,
    metavar="FILE",
    group=BASIC,
)
@plain_option(
    "--to",
    annotation=Literal["onnx", "torch", "timm", "torchvision"],
    text="Format of the file. NAME.safetensors needs --to timm or --to torchvision.",
    default_text="onnx for NAME.onnx, torch for NAME.py",
    metavar="FORMAT",
    group=BASIC,
)
@plain_option(
    "--weights",
    metavar="WEIGHTS",
    **option_text("weights", root=FitSection) | {"text": "Weights of the network."},
    group=BASIC,
)
@JSON
def export(spec: str, to: str | None, out: Path, weights: str | None, as_json: bool) -> None:
    """Write a network for other tools.

    SPEC is a preset (such as efficientnet_b0), a spec file, timm:NAME or torchvision:NAME. The
    formats are onnx (needs the extra phinas[onnx]), torch (one Python file that does not import
    phinas, with the weights next to it), timm and torchvision (weights in the naming of that
    library, and a JSON file that says how to make the model). The outputs of onnx and torch files
    are compared with those of the network.
    """
    from phinas.api.export import export as export_network

    result = export_network(spec, to=to, out=out, weights=weights)
    if as_json:
        print_json(result.to_dict())
    elif result.instructions is not None:
        click.echo(
            f"{result.path}: weights in {to} naming; {result.instructions}: the Python lines that "
            "make the model"
        )
    else:
        click.echo(
            f"{result.path}: largest relative difference from the outputs of the network "
            f"{result.largest_relative_difference:.1e}"
        )
