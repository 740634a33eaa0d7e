"""`phinas fit`: train or fine-tune one network."""

from pathlib import Path
from typing import Any

import click

from phinas.errors import is_rank_zero
from phinas.experiment.schema.config import apply_overrides, validate_section
from phinas.experiment.schema.fit import FitSection
from phinas.options.command import BASIC, JSON, SAME_COMMAND, Command, path_option
from phinas.options.completion import complete_network
from phinas.options.config_building import option_values, parse_settings, written_names
from phinas.options.config_option import config_option, config_options
from phinas.options.groups import FIT_KEYS
from phinas.options.names import expand_names
from phinas.terminal.output import print_json, quiet


@click.command(cls=Command, resume=SAME_COMMAND)
@click.argument("spec", shell_complete=complete_network)
@config_option("data.source", root=FitSection, required=True)
@path_option(
    "--out",
    "Directory of the results, which is created or resumed.",
    required=True,
    metavar="DIRECTORY",
    group=BASIC,
)
@config_options(FIT_KEYS, root=FitSection)
@JSON
def fit(spec: str, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Train or fine-tune one network on your images.

    Writes its weights, its scores and a model card to --out. SPEC is a preset (such as
    efficientnet_b0), a spec file, timm:NAME, torchvision:NAME, or RUN:NAME for a network of a run
    (such as runs/photos:b1). The same command again resumes an interrupted training.
    With several GPUs, write torchrun --nproc-per-node N -m phinas fit instead of phinas fit.
    """
    from phinas.api.fit import fit as fit_network
    from phinas.fit_pipeline.results import summary_line

    changes = option_values(options) | parse_settings(settings)
    # `fit_network` validates too, but does not know what the user calls a key.
    validate_section(
        FitSection,
        apply_overrides({}, changes | {"spec": spec}, source="fit"),
        source="fit",
        names=written_names(settings) | {"spec": "SPEC"},
        expand_values=expand_names,
    )
    data = changes.pop("data.source")
    result = fit_network(spec, data=data, out=out, settings=changes, quiet=quiet())
    if not is_rank_zero():
        return
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(summary_line(result))
    click.echo(result.model_card)
