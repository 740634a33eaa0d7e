"""Coefficients that are brought and not searched: three numbers, or those that another run found.

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


def given_coefficients(section: ScalingSection, *, recorded: Path | None = None) -> Coefficients:
    """Those of `scaling.coefficients`, under the section's rounding.

    recorded: this run's own file; where it was made of the same source, what it says is kept,
    whatever became of the source. Raises InputError where there is nothing readable.
    """
    assert section.coefficients is not None
    if isinstance(section.coefficients, list):
        alpha, beta, gamma = section.coefficients
        return Coefficients(alpha, beta, gamma, divisor=section.divisor, rounding=section.rounding)
    source = Path(section.coefficients)
    if (
        recorded is not None
        and recorded.exists()
        and read_yaml(recorded).get("source") == section.coefficients
    ):
        source = recorded
    found = read_coefficients(source, field="scaling.coefficients")
    return replace(found, divisor=section.divisor, rounding=section.rounding)


def given_facts(coefficients: Coefficients, section: ScalingSection) -> dict[str, Any]:
    """What `scaling/coefficients.yaml` holds of coefficients that were given: the keys of a
    search's, empty where nothing was raced, and `given`: true, `source`: as the configuration names
    them (text)."""
    values = {name: getattr(coefficients, name) for name in ("alpha", "beta", "gamma")}
    numbers = in_words(coefficients)
    source = section.coefficients if isinstance(section.coefficients, str) else numbers
    return values | {
        "nominal": coefficients.nominal,
        "divisor": coefficients.divisor,
        "rounding": coefficients.rounding,
        "given": True,
        "source": source,
        "ranges": {name: [value, value] for name, value in values.items()},
        "why": f"given: {numbers}"
        + (f", the coefficients of {source}" if source != numbers else ""),
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
        facts = read_yaml(path)
    except FileNotFoundError:
        raise InputError(
            f"{field}: {source}: there is no such run or file; name a run directory or its "
            "coefficients.yaml"
        ) from None
    except YamlError as error:
        raise InputError(f"{field}: {error}") from None
    except OSError as error:
        raise InputError(f"{field}: {source}: can't be read ({error.strerror})") from None
    return _checked(facts, where=f"{field}: {path}")


def is_coefficients(facts: object) -> bool:
    """Whether what a file holds is meant for coefficients."""
    return isinstance(facts, Mapping) and {"alpha", "beta", "gamma"} <= facts.keys()


def in_words(coefficients: Coefficients) -> str:
    """As in "1.2, 1.1, 1.15"."""
    return ", ".join(
        f"{value:.4g}" for value in (coefficients.alpha, coefficients.beta, coefficients.gamma)
    )


def _checked(facts: object, *, where: str) -> Coefficients:
    if not isinstance(facts, Mapping):
        raise InputError(
            f"{where}: is no coefficients.yaml: it holds no keys; write alpha, beta and gamma, or "
            "name a run directory"
        )
    for name in ("alpha", "beta", "gamma"):
        value = facts.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 1 <= value < math.inf
        ):
            problem = (
                f"{name}: {value!r} is not a number of 1 or more"
                if name in facts
                else f"{name}: missing"
            )
            raise InputError(
                f"{where}: {problem}; write alpha, beta and gamma, or name a run directory"
            )
    divisor, rounding = facts.get("divisor", 8), facts.get("rounding", "ceil")
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise InputError(
            f"{where}: divisor: {divisor!r} is not a whole number of 1 or more; the usual one is 8"
        )
    if rounding not in get_args(DepthRounding):
        raise InputError(
            f"{where}: rounding: {rounding!r} is none of {', '.join(get_args(DepthRounding))}"
        )
    found = Coefficients(
        float(facts["alpha"]),
        float(facts["beta"]),
        float(facts["gamma"]),
        divisor=divisor,
        rounding=rounding,
    )
    if max(found.alpha, found.beta, found.gamma) == 1:
        raise InputError(
            f"{where}: alpha, beta and gamma are all 1, which scales nothing; at least one must "
            "be above 1"
        )
    return found
