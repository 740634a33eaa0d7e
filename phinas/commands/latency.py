"""`phinas latency`: measured inference latency."""

from typing import Any

import click

from phinas.options import JSON, NUMBER_LIST, Command
from phinas.terminal.output import print_json, quiet


@click.command(cls=Command)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option(
    "--batch-size",
    "batch_sizes",
    type=NUMBER_LIST,
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
    specs: tuple[str, ...], batch_sizes: tuple[list[float], ...], as_json: bool, **options: Any
) -> None:
    """Time inferences of networks on this device: milliseconds, images a second, and the ratio to
    the first network.

    Several are timed in turns, so that what else the machine does hits all alike. Takes 3 to 25
    seconds a network and batch.
    """
    from phinas.api import latency
    from phinas.terminal.progress import Display
    from phinas.terminal.text_table import terminal_width

    sizes: list[Any] = [
        int(size) if size.is_integer() else size for values in batch_sizes for size in values
    ]
    with Display(quiet=quiet()).stage("latency") as on_progress:
        result = latency.latency(
            *specs, batch_sizes=sizes or None, on_progress=on_progress, **options
        )
    if as_json:
        print_json(result)
    else:
        click.echo(latency.as_text(result, width=terminal_width()))
    if all(row["error"] for row in result["rows"]):
        raise click.exceptions.Exit(1)
