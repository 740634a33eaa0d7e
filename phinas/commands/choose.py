"""`phinas choose`: the best measured network of a run under limits."""

from pathlib import Path
from typing import Any

import click

from phinas.experiment.schema.fields import Count, PositiveFloat
from phinas.experiment.schema.run import LatencyRuntime
from phinas.options.command import DIRECTORY, JSON, SAME_COMMAND, Command, plain_option
from phinas.options.config_option import option_text
from phinas.terminal.output import print_json, quiet


@click.command(
    cls=Command,
    resume=SAME_COMMAND,
    interrupt_message="nothing was written; run the same command again",
)
@DIRECTORY
@plain_option(
    "--max-flops",
    annotation=Count,
    metavar="N",
    text="Largest number of multiply-adds per image.",
    default_text="no limit",
)
@plain_option(
    "--max-params",
    annotation=Count,
    metavar="N",
    text="Largest number of parameters.",
    default_text="no limit",
)
@plain_option(
    "--max-latency-ms",
    annotation=PositiveFloat,
    metavar="MS",
    text="Longest time of one inference on one image. Networks that the run has not timed are "
    "timed on this machine, from the highest score downwards, until one meets the limit. Each "
    "takes a few seconds. The number of threads is the fastest for the first network.",
    default_text="no limit",
    unit="ms",
)
@plain_option(
    "--max-size-mb",
    annotation=PositiveFloat,
    metavar="MB",
    text="Largest size of the float32 weights.",
    default_text="no limit",
    unit="MB",
)
@plain_option(
    "--runtime",
    annotation=LatencyRuntime,
    metavar="RUNTIME",
    text="Library that runs the networks for --max-latency-ms. onnxruntime and onnxruntime-int8 "
    "measure on the CPU and need the extra phinas[onnx].",
    default_text="that of the run's latencies, or else torch",
)
@plain_option("--device", default="auto", metavar="DEVICE", **option_text("run.device"))
@JSON
def choose(directory: Path, as_json: bool, **options: Any) -> None:
    """Choose the best network that a run has measured, under limits.

    DIRECTORY is the run directory. The run may be in progress. The result is a name such as
    runs/photos:b1 or runs/photos:trial-17, which describe, fit, export, latency and scale accept.
    Without limits it is the network with the best score on the test split, or before the
    validation on the validation split.
    """
    from phinas.api.choice_text import describe_choice
    from phinas.api.choose import choose as choose_network
    from phinas.terminal.text_table import terminal_width

    result = choose_network(directory, quiet=quiet(), **options)
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(describe_choice(result, width=terminal_width()))
