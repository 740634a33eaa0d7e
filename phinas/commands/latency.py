"""`phinas latency`: measured inference latency."""

from typing import Annotated, Any, Literal

import click
from pydantic import Field

from phinas.experiment.schema.run import LatencyRuntime
from phinas.options.command import JSON, SAME_COMMAND, Command, plain_option
from phinas.options.completion import complete_network
from phinas.options.config_option import option_text
from phinas.terminal.output import print_json, quiet

_WholeNumber = Annotated[int, Field(ge=1)]


@click.command(cls=Command, resume=SAME_COMMAND)
@click.argument(
    "specs", metavar="SPEC...", nargs=-1, required=True, shell_complete=complete_network
)
@plain_option(
    "--batch-size",
    "batch_sizes",
    annotation=list[_WholeNumber],
    multiple=True,
    metavar="N,N,...",
    text="Batch sizes, such as 1,64.",
    default_text="1 and 16 on a CPU, 1 and 256 on a GPU",
    unit="images",
)
@plain_option("--device", default="auto", metavar="DEVICE", **option_text("run.device"))
@plain_option(
    "--threads",
    annotation=_WholeNumber,
    metavar="N",
    text="CPU threads.",
    default_text="the fastest number for the first network, by timing",
)
@plain_option(
    "--resolution",
    annotation=_WholeNumber,
    metavar="N",
    text="Input resolution of all networks.",
    default_text="that of each network",
    unit="px",
)
@plain_option(
    "--runtime",
    annotation=LatencyRuntime,
    default="torch",
    metavar="RUNTIME",
    text="Library that runs the networks. onnxruntime and onnxruntime-int8 measure on the CPU and "
    "need the extra phinas[onnx]. Each network is first exported, which takes some seconds.",
    default_text="torch",
)
@plain_option(
    "--precision",
    annotation=Literal["fp32", "bf16"],
    default="fp32",
    metavar="PRECISION",
    text="Data type of the activations in torch. bf16 uses autocast.",
    default_text="fp32",
)
@JSON
def latency(
    specs: tuple[str, ...], batch_sizes: tuple[list[int], ...], as_json: bool, **options: Any
) -> None:
    """Measure the inference latency of networks on this device.

    Each SPEC is a preset (such as efficientnet_b0), a spec file, timm:NAME, torchvision:NAME, or
    RUN:NAME for a network of a run (such as runs/photos:b1). The result has the ms
    and the images per second of each batch size, and the ratio to the first network. Networks are
    timed alternately, so that other load on the machine affects all alike. A network takes 3 to 25
    seconds for each batch size.
    """
    from phinas.api.latency import latency as measure_latency
    from phinas.api.latency_text import as_text
    from phinas.terminal.progress import Display
    from phinas.terminal.text_table import terminal_width

    sizes = [size for values in batch_sizes for size in values]
    with Display(quiet=quiet()).stage("latency", unit="batch sizes") as on_progress:
        result = measure_latency(
            *specs, batch_sizes=sizes or None, on_progress=on_progress, **options
        )
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(as_text(result, width=terminal_width()))
    if result.all_failed:
        raise click.exceptions.Exit(1)
