"""The commands that come next after a run, with the real paths, to be copied."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from phinas.experiment.artifacts.validation_file import MemberRecord, ValidationFile
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, DataSection
from phinas.experiment.schema.recipe import FROM_SCRATCH, RECIPES, Recipe
from phinas.network_source import names_builder
from phinas.options.config_option import flag_name
from phinas.options.groups import FIT_KEYS

# Keys that make the trainings of a run shorter, which a training for use does not need.
_SHORT_RUN_KEYS = {"max_train_images", "max_validation_images"}


@dataclass(frozen=True)
class NextCommand:
    """A command that continues with the result of a run.

    Attributes:
        purpose: What it does, in one line.
        command: The command line, quoted for a shell.
    """

    purpose: str
    command: str

    def to_dict(self) -> dict[str, str]:
        """Plain data."""
        return asdict(self)


def next_commands(
    run: RunDir, config: Config, validation: ValidationFile | None
) -> tuple[NextCommand, ...]:
    """The commands that come next, in the order of their use.

    Args:
        run: The run directory.
        config: Its configuration.
        validation: The result of the validation, if there is one.
    """
    directory = _short_path(run.path)
    if not run.baseline.exists():
        return ()
    commands = []
    if not run.coefficients.exists():
        commands.append(_command("find the scaling coefficients", "scale", directory))
    elif validation is None and config.data is not None:
        commands.append(_command("measure the family on the test split", "validate", directory))
    name, description = _best_network(validation)
    if validation is not None:
        commands.append(
            _command(
                "choose a measured network (limits: --max-flops, --max-params, --max-latency-ms, "
                "--max-size-mb)",
                *("choose", directory),
            )
        )
    if config.data is not None and names_builder(config.scaling.baseline or ""):
        # `phinas fit` does not train networks of a model builder
        commands += _commands_of_trained_member(f"{directory}:{name}", config) if validation else ()
    elif config.data is not None:
        out = f"{directory}-{name}"
        commands.append(
            _command(
                f"train {description} by the recipe {FROM_SCRATCH} "
                f"({_epochs(FROM_SCRATCH)} epochs)",
                *("fit", f"{directory}:{name}", *data_arguments(config.data), "--out", out),
            )
        )
        commands.append(
            _command("classify images with it", "predict", out, _images(config.data.source))
        )
        commands.append(
            _command(
                "export it with its weights, classes and preprocessing",
                *("export", out, "--out", f"{out}.onnx", "--with-preprocessing"),
            )
        )
    commands.append(_command("write the report again", "report", directory))
    return tuple(commands)


def _commands_of_trained_member(member: str, config: Config) -> tuple[NextCommand, ...]:
    """The commands that use the weights of a validated member, such as "runs/photos:b1"."""
    assert config.data is not None
    path = f"{member.replace(':', '-')}.onnx"
    return (
        _command("classify images with it", "predict", member, _images(config.data.source)),
        _command(
            "export it with its weights, classes and preprocessing",
            *("export", member, "--out", path, "--with-preprocessing"),
        ),
    )


def commands_as_text(commands: tuple[NextCommand, ...]) -> str:
    """The commands, each below its purpose. "" without commands."""
    lines = [f"# {row.purpose}\n{row.command}" for row in commands]
    return "\n".join(["next:", *lines]) if lines else ""


def _command(purpose: str, *arguments: str) -> NextCommand:
    return NextCommand(purpose, shlex.join(["phinas", *arguments]))


def _epochs(recipe: str) -> int:
    return Recipe(**RECIPES[recipe][1]).epochs


def best_member(validation: ValidationFile) -> MemberRecord | None:
    """The validated member with the best score; of equal ones the smallest. None without scores."""
    tested = [row for row in validation.members if row.result is not None]
    return max(tested, key=lambda row: row.result.score if row.result else 0.0, default=None)


def _best_network(validation: ValidationFile | None) -> tuple[str, str]:
    """The name of the network to train, and what it is in words."""
    best = best_member(validation) if validation is not None else None
    if best is None:
        return "baseline", "the baseline"
    return best.name, f"{best.name}, the member with the best score,"


def data_arguments(data: DataSection) -> list[str]:
    """The options of `phinas fit` that give the images and splits of a run."""
    arguments = ["--data", data.source]
    changes = data.model_dump(exclude_defaults=True, exclude={"source", *_SHORT_RUN_KEYS})
    for key, value in changes.items():
        name = f"data.{key}"
        if name not in FIT_KEYS:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["--set", f"{name}={text}"]
        else:
            arguments += [flag_name(name)] if value is True else [flag_name(name), str(value)]
    return arguments


def _images(source: str) -> str:
    """The folder of the images, or the word IMAGES for another source."""
    return source if Path(source).expanduser().is_dir() else "IMAGES"


def _short_path(path: Path) -> str:
    """The path relative to the current directory where it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, FileNotFoundError):  # elsewhere, or the current directory was removed
        return str(path)
