"""Coefficients that the user supplies: three numbers, or those that another run found.

Of another run, alpha, beta and gamma are used, and how it rounded depths unless `scaling.rounding`
is set. All networks of a run are rounded alike: they differ by the coefficients alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.artifact_errors import describe_problem
from phinas.experiment.artifacts.coefficients_file import (
    CoefficientsFile,
    Factor,
)
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.space.scaling import DepthRounding
from phinas.space.yaml_io import YamlError, read_yaml

_ADVICE = "write alpha, beta and gamma, or name a run directory"


class CoefficientsInput(Record):
    """Coefficients in a file that a user wrote by hand."""

    alpha: Factor
    beta: Factor
    gamma: Factor
    divisor: Annotated[int, Field(ge=1)] = 8
    rounding: DepthRounding = "ceil"
    max_resolution: Annotated[int, Field(ge=1)] | None = None


def load_user_coefficients(
    section: ScalingSection, *, record_path: Path | None = None
) -> Coefficients:
    """The coefficients of `scaling.coefficients`, with the section's divisor and without a highest
    resolution.

    Args:
        record_path: This run's own file. It is read instead of the source that it was made from,
            so that the run keeps its coefficients when the source changes.

    Raises:
        InputError: The file is missing or damaged.
    """
    assert section.coefficients is not None
    if isinstance(section.coefficients, list):
        alpha, beta, gamma = section.coefficients
        return Coefficients(
            alpha, beta, gamma, divisor=section.divisor, rounding=section.depth_rounding
        )
    source_path = Path(section.coefficients)
    if record_path is not None and record_path.exists():
        record = CoefficientsFile.read(record_path)
        if record.source == section.coefficients:
            source_path = record_path
    coefficients = read_coefficients(source_path, field="scaling.coefficients")
    return replace(
        coefficients,
        divisor=section.divisor,
        rounding=section.rounding or coefficients.rounding,
        max_resolution=None,
    )


def make_user_coefficients_file(
    coefficients: Coefficients, section: ScalingSection
) -> CoefficientsFile:
    """What `scaling/coefficients.yaml` holds of user-supplied coefficients."""
    source = section.coefficients
    return CoefficientsFile(
        alpha=coefficients.alpha,
        beta=coefficients.beta,
        gamma=coefficients.gamma,
        divisor=coefficients.divisor,
        rounding=coefficients.rounding,
        max_resolution=coefficients.max_resolution,
        source=source if isinstance(source, str) else format_coefficients(coefficients),
        race=None,
    )


def read_coefficients(source: Path, *, field: str) -> Coefficients:
    """Read the coefficients of a run, or of a file that a run or a user wrote.

    Args:
        source: A run directory or a file. A file by hand needs only alpha, beta and gamma.
        field: The key of the configuration, for error messages.

    Raises:
        InputError: The file is missing or damaged.
    """
    path = source.expanduser()
    if path.is_dir():
        path = RunDir(path).coefficients
        if not path.exists():
            raise InputError(
                f"{field}: {source}: has no scaling/coefficients.yaml yet; run `phinas scale` on "
                "that run first"
            )
    try:
        data = read_yaml(path)
    except FileNotFoundError:
        raise InputError(
            f"{field}: {source}: no such run or file; name a run directory or its coefficients.yaml"
        ) from None
    except YamlError as error:
        raise InputError(f"{field}: {error}") from None
    except OSError as error:
        raise InputError(f"{field}: {source}: could not be read ({error.strerror})") from None
    return _parse_coefficients(data, where=f"{field}: {path}")


def is_coefficients(data: object) -> bool:
    """Whether what a file holds is meant for coefficients."""
    return isinstance(data, Mapping) and {"alpha", "beta", "gamma"} <= data.keys()


def format_coefficients(coefficients: Coefficients) -> str:
    """The coefficients as in "1.2, 1.1, 1.15"."""
    return ", ".join(
        f"{value:.4g}" for value in (coefficients.alpha, coefficients.beta, coefficients.gamma)
    )


def _parse_coefficients(data: object, *, where: str) -> Coefficients:
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: is not a mapping of keys; {_ADVICE}")
    record: CoefficientsFile | CoefficientsInput
    if "format" in data:
        record = CoefficientsFile.from_dict(data, source=where)
    else:
        try:
            record = CoefficientsInput.model_validate(data)
        except ValidationError as error:
            problem = describe_problem(error, CoefficientsInput)
            raise InputError(f"{where}: {problem}; {_ADVICE}") from None
    coefficients = Coefficients(
        record.alpha,
        record.beta,
        record.gamma,
        divisor=record.divisor,
        rounding=record.rounding,
        max_resolution=record.max_resolution,
    )
    if max(coefficients.alpha, coefficients.beta, coefficients.gamma) == 1:
        raise InputError(
            f"{where}: alpha, beta and gamma are all 1, which scales nothing; set at least one "
            "above 1"
        )
    return coefficients
