"""Checks of a model builder as the baseline of a run, and the record of its files.

A resumed run must have the files that it was started with, because its networks and trainings are
those of these files.
"""

from phinas.experiment.artifacts.manifest import BuilderDescription
from phinas.experiment.errors import InputError
from phinas.experiment.manifest import read_manifest, record_builder
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.scaling import ScalingSection
from phinas.scaling_search.grid.builder_grid import require_used_factors
from phinas.space.builders.builder_function import load_builder
from phinas.space.builders.built_network import BuiltNetwork

# the options that say how depths and widths are rounded
_ROUNDING_OPTIONS = ("divisor", "rounding")


def check_builder(network: BuiltNetwork, config: Config) -> None:
    """Check that a model builder makes the same network each time and uses its arguments, and that
    no option would have no effect on it.

    Raises:
        InputError: It does not, or an option would have none.
        SpecError: It fails.
    """
    section = config.scaling
    for name in _ROUNDING_OPTIONS:
        if getattr(section, name) != ScalingSection.model_fields[name].default:
            raise InputError(
                f"scaling.{name}: has no effect on {network.builder}, which rounds depths and "
                "widths itself; leave it out"
            )
    network.check_repeatable()
    network.cost()
    depth, width, _ = (
        section.coefficients
        if isinstance(section.coefficients, list)
        else (section.alpha[1], section.beta[1], 1.0)
    )
    require_used_factors(network, depth=depth > 1, width=width > 1, field="scaling.baseline")


def check_builder_sources(network: BuiltNetwork, run: RunDir) -> None:
    """Check that a builder is still made of the files that a run was started with.

    Raises:
        InputError: It is not; names the files and packages that differ.
    """
    recorded = read_manifest(run).builder
    if recorded is None:
        return
    current = _describe(network.builder)
    changes = [
        *_describe_changed_files(recorded.files, current.files),
        *(
            f"{name} has version {current.packages.get(name) or 'unknown'} instead of "
            f"{version or 'unknown'}"
            for name, version in recorded.packages.items()
            if current.packages.get(name) != version
        ),
    ]
    if changes:
        raise InputError(
            f"scaling.baseline: {network.builder} is not the one that {run.path} was started with: "
            f"{', '.join(changes)}; restore what has changed, or start a new run"
        )


def record_builder_sources(reference: str, run: RunDir) -> None:
    """Record the files of a builder in the manifest of a run, unless they are recorded."""
    if read_manifest(run).builder is None:
        record_builder(run, _describe(reference))


def _describe(reference: str) -> BuilderDescription:
    sources = load_builder(reference).sources
    return BuilderDescription(reference=reference, files=sources.files, packages=sources.packages)


def _describe_changed_files(recorded: dict[str, str], current: dict[str, str]) -> list[str]:
    """What differs between two sets of files, in words."""
    changes = []
    for name in sorted(recorded.keys() | current.keys()):
        if name not in recorded:
            changes.append(f"{name} is a new file")
        elif name not in current:
            changes.append(f"{name} is not used any more")
        elif recorded[name] != current[name]:
            changes.append(f"{name} was changed")
    return changes
