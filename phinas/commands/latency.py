"""`phinas latency`: measured inference latency."""

from typing import Any

import click

from phinas.options import JSON, NUMBERS, Verb
from phinas.output import print_json, quiet


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
