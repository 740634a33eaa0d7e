"""`phinas predict`: classify images with a trained network."""

from pathlib import Path

import click

from phinas.options.command import BASIC, JSON, SAME_COMMAND, Command, path_option, plain_option
from phinas.terminal.output import print_json, quiet


@click.command(cls=Command, resume=SAME_COMMAND)
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@plain_option(
    "--top",
    type=click.IntRange(min=1),
    default=3,
    text="Number of most probable classes for each image.",
    default_text="3",
    values="1 or more",
    metavar="NUMBER",
    group=BASIC,
)
@path_option(
    "--csv",
    "Write the predictions to a CSV file, a row for each image, instead of printing them.",
    metavar="FILE",
    group=BASIC,
)
@plain_option(
    "--skip-bad-images",
    is_flag=True,
    text="Exit with code 0 although some images cannot be read. Otherwise the code is 2.",
    group=BASIC,
)
@JSON
def predict(
    model: str,
    images: tuple[str, ...],
    top: int,
    csv: Path | None,
    skip_bad_images: bool,
    as_json: bool,
) -> None:
    """Classify images with a trained network.

    MODEL is the directory of a fit, RUN:NAME for a trained member of a run's family (such as
    runs/photos:b1), or an ONNX file that phinas export wrote. IMAGES are files and folders. Where
    folders have the names of classes, the accuracy, the scores of each class and the confusion
    matrix follow.
    """
    from phinas.api.predict import predict as predict_images
    from phinas.api.predict import prediction_lines, score_lines
    from phinas.experiment.errors import InputError
    from phinas.experiment.output_file import check_output_file
    from phinas.experiment.run_dir import write_atomic
    from phinas.reports.formatting import pluralize
    from phinas.reports.sentences.trained_weights import describe_weights
    from phinas.terminal.progress import Display
    from phinas.terminal.text_table import terminal_width

    if csv is not None:
        check_output_file(csv, option="--csv")
    display = Display(quiet=quiet())
    with display.stage("images", unit="images") as on_progress:
        result = predict_images(model, *images, top=top, on_progress=on_progress)
    if result.weights is not None:
        display.print(describe_weights(result.weights, name=model))
    for line in result.skipped:
        display.print(line)
    if csv is not None:
        write_atomic(csv, result.to_csv())
    if as_json:
        print_json(result.to_dict())
    else:
        lines = [f"{csv}: {pluralize(len(result.predictions), 'prediction')}"]
        lines = prediction_lines(result) if csv is None else lines
        click.echo("\n".join([*lines, *score_lines(result, width=terminal_width())]))
    for bad_image in result.bad_images:
        click.echo(f"bad image: {bad_image}", err=True)
    if result.bad_images and not skip_bad_images:
        total = len(result.bad_images) + len(result.predictions)
        raise InputError(
            f"{len(result.bad_images):,} of {total:,} images cannot be read (listed above); repair "
            "or remove them, or ignore them with --skip-bad-images"
        )
