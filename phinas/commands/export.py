"""`phinas export`: write a network for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from phinas.experiment.schema.fit import FitSection
from phinas.options.command import BASIC, JSON, SAME_COMMAND, Command, path_option, plain_option
from phinas.options.completion import complete_network
from phinas.options.config_option import option_text
from phinas.terminal.output import print_json, quiet

if TYPE_CHECKING:
    from phinas.api.export import ExportResult


_MAX_DIFFERENCE = 1e-4  # without preprocessing in the graph it is an error
_LOSS = (
    "int8 is significantly less accurate than float32 on the same test images; leave --int8 out, "
    "or train a network without squeeze-and-excitation and SiLU, such as efficientnet_lite0, which "
    "loses less"
)


@click.command(cls=Command, resume=SAME_COMMAND)
@click.argument("spec", shell_complete=complete_network)
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
    **option_text("weights", root=FitSection)
    | {
        "text": "Weights of the network.",
        "default_text": "those of the fit or family member, otherwise random",
    },
    group=BASIC,
)
@plain_option(
    "--with-preprocessing",
    is_flag=True,
    text="Put resize and normalization into the ONNX graph. Its input is then uint8 (batch, "
    "height, width, channels) of any size.",
    group=BASIC,
)
@plain_option(
    "--int8",
    is_flag=True,
    text="Write an ONNX file with 8-bit weights and activations, calibrated on training images. "
    "The accuracy on the test split before and after is printed, and recorded in the file.",
    group=BASIC,
)
@JSON
def export(
    spec: str,
    to: str | None,
    out: Path,
    weights: str | None,
    with_preprocessing: bool,
    int8: bool,
    as_json: bool,
) -> None:
    """Write a network for other tools.

    SPEC is the directory of a fit or RUN:NAME for a network of a run (such as runs/photos:b1),
    with their weights, classes and preprocessing. Or it is a preset (such as efficientnet_b0), a
    spec file, timm:NAME or torchvision:NAME.

    The formats are onnx (needs the extra phinas[onnx]), torch (one Python file that does not import
    phinas, with the weights next to it), timm and torchvision (weights in the naming of that
    library, and a JSON file that says how to make the model). The outputs of the file are compared
    with those of the network on real images.
    """
    from phinas.api.export import export as export_network
    from phinas.reports.sentences.trained_weights import describe_weights
    from phinas.terminal.progress import Display

    display = Display(quiet=quiet())
    if not int8 and not display.is_terminal:
        display = Display(quiet=True)  # it takes seconds, and lines would only be noise
    with display.stage("export", unit="steps") as on_progress:
        result = export_network(
            spec,
            to=to,
            out=out,
            weights=weights,
            with_preprocessing=with_preprocessing,
            int8=int8,
            on_progress=on_progress,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(_describe(result))
        for warning in _warnings(result, with_preprocessing=with_preprocessing):
            click.echo(f"warning: {warning}", err=True)
        if result.trained_weights is not None:
            click.echo(describe_weights(result.trained_weights, name=spec))


def _warnings(result: "ExportResult", *, with_preprocessing: bool) -> list[str]:
    """What the user should know before using the file."""
    warnings = []
    if result.test_accuracy is not None and result.test_accuracy.is_loss_significant:
        warnings.append(_LOSS)
    difference = result.largest_relative_difference
    if with_preprocessing and difference is not None and difference > _MAX_DIFFERENCE:
        warnings.append(
            f"the outputs differ by {difference:.1e} of the largest, over {_MAX_DIFFERENCE:g}, "
            "because the graph rounds some resized pixels to the next of 256 levels; for equal "
            "outputs leave --with-preprocessing out"
        )
    return warnings


def _describe(result: "ExportResult") -> str:
    """The result in one line."""
    accuracy, difference = result.test_accuracy, result.largest_relative_difference
    if accuracy is not None and accuracy.int8 is not None:
        points = 100 * (accuracy.int8 - accuracy.float32)
        return (
            f"{result.path}: accuracy {accuracy.int8:.1%} in int8, {accuracy.float32:.1%} in "
            f"float32 ({points:+.1f} points) on {accuracy.images:,} test images"
        )
    compared = (
        f"not compared with the network, because {result.to} is not installed"
        if difference is None
        else f"largest relative difference from the outputs of the network {difference:.1e}"
    )
    if result.instructions is not None:
        return (
            f"{result.path}: weights in {result.to} naming, {compared}; {result.instructions}: the "
            "Python lines that make the model"
        )
    return f"{result.path}: {compared}"
