"""Coefficients that the user supplies: three numbers, or those that another run found.

Of another run its alpha, beta and gamma are taken, not how it rounded: all networks of a run are
rounded by one rule (`scaling.divisor`, `scaling.rounding`), so that they differ by the coefficients
alone.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.space.scaling import DepthRounding
from phinas.space.yaml_io import YamlError, read_yaml


def load_user_coefficients(
    section: ScalingSection, *, record_path: Path | None = None
) -> Coefficients:
    """Those of `scaling.coefficients`, under the section's rounding.

    record_path: this run's own file; where it was made from the same source, it is read instead,
    whatever became of the source. Raises InputError where there is nothing readable.
    """
    assert section.coefficients is not None
    if isinstance(section.coefficients, list):
        alpha, beta, gamma = section.coefficients
        return Coefficients(alpha, beta, gamma, divisor=section.divisor, rounding=section.rounding)
    source_path = Path(section.coefficients)
    if (
        record_path is not None
        and record_path.exists()
        and read_yaml(record_path).get("source") == section.coefficients
    ):
        source_path = record_path
    coefficients = read_coefficients(source_path, field="scaling.coefficients")
    return replace(coefficients, divisor=section.divisor, rounding=section.rounding)


def describe_user_coefficients(
    coefficients: Coefficients, section: ScalingSection
) -> dict[str, Any]:
    """What `scaling/coefficients.yaml` holds of user-supplied coefficients: the keys of a search's,
    empty where nothing was raced, and `user_supplied`: true, `source`: as the configuration names
    them (text)."""
    values = {name: getattr(coefficients, name) for name in ("alpha", "beta", "gamma")}
    coefficients_text = format_coefficients(coefficients)
    source = section.coefficients if isinstance(section.coefficients, str) else coefficients_text
    return values | {
        "nominal": coefficients.nominal,
        "divisor": coefficients.divisor,
        "rounding": coefficients.rounding,
        "user_supplied": True,
        "source": source,
        "ranges": {name: [value, value] for name, value in values.items()},
        "explanation": f"given: {coefficients_text}"
        + (f", the coefficients of {source}" if source != coefficients_text else ""),
        "grid_size": 0,
        "seeds": 0,
        "epochs": 0,
        "members": [],
    }


def read_coefficients(source: Path, *, field: str) -> Coefficients:
    """From a run directory or a coefficients.yaml. field: of the configuration, for messages.

    Raises InputError where it is missing or damaged; a file by hand needs no more than alpha, beta
    and gamma.
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
            f"{field}: {source}: there is no such run or file; name a run directory or its "
            "coefficients.yaml"
        ) from None
    except YamlError as error:
        raise InputError(f"{field}: {error}") from None
    except OSError as error:
        raise InputError(f"{field}: {source}: can't be read ({error.strerror})") from None
    return _parse_coefficients(data, where=f"{field}: {path}")


def is_coefficients(data: object) -> bool:
    """Whether what a file holds is meant for coefficients."""
    return isinstance(data, Mapping) and {"alpha", "beta", "gamma"} <= data.keys()


def format_coefficients(coefficients: Coefficients) -> str:
    """As in "1.2, 1.1, 1.15"."""
    return ", ".join(
        f"{value:.4g}" for value in (coefficients.alpha, coefficients.beta, coefficients.gamma)
    )


def _parse_coefficients(data: object, *, where: str) -> Coefficients:
    if not isinstance(data, Mapping):
        raise InputError(
            f"{where}: is no coefficients.yaml: it holds no keys; write alpha, beta and gamma, or "
            "name a run directory"
        )
    for name in ("alpha", "beta", "gamma"):
        value = data.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 1 <= value < math.inf
        ):
            problem = (
                f"{name}: {value!r} is not a number of 1 or more"
                if name in data
                else f"{name}: missing"
            )
            raise InputError(
                f"{where}: {problem}; write alpha, beta and gamma, or name a run directory"
            )
    divisor, rounding = data.get("divisor", 8), data.get("rounding", "ceil")
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise InputError(
            f"{where}: divisor: {divisor!r} is not a whole number of 1 or more; the usual one is 8"
        )
    if rounding not in get_args(DepthRounding):
        raise InputError(
            f"{where}: rounding: {rounding!r} is none of {', '.join(get_args(DepthRounding))}"
        )
    coefficients = Coefficients(
        float(data["alpha"]),
        float(data["beta"]),
        float(data["gamma"]),
        divisor=divisor,
        rounding=rounding,
    )
    if max(coefficients.alpha, coefficients.beta, coefficients.gamma) == 1:
        raise InputError(
            f"{where}: alpha, beta and gamma are all 1, which scales nothing; at least one must "
            "be above 1"
        )
    return coefficients
