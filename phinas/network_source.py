"""Networks by name: what `space.loading` knows, the networks of a run (`RUN:NAME`), and those that
a user's function builds.
"""

from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.reports.formatting import join_names, pluralize
from phinas.space.builders.builder_function import is_builder
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.builders.timm_builders import OWN_FUNCTION, describe_families, suggest_spec
from phinas.space.closest_name import suggest_name
from phinas.space.interchange.library_models import has_spec, library_name
from phinas.space.loading import load_spec
from phinas.space.network import ScalableNetwork
from phinas.space.spec import ArchSpec, SpecError

_MAX_LISTED = 9  # names in an error message


def split_run_name(source: str) -> tuple[RunDir, str] | None:
    """Split `RUN:NAME` into the run directory and the name of the network.

    Returns:
        None if the part before the last colon is not a run directory.
    """
    directory, colon, name = source.rpartition(":")
    if not colon or not directory:
        return None
    run = RunDir(Path(directory).expanduser())
    return (run, name) if run.exists else None


def names_builder(source: str) -> bool:
    """Whether `source` names a model builder. `photos:b1` does not if `photos` is a run."""
    return split_run_name(source) is None and is_builder(source)


def load_network(source: str, *, field: str = "spec") -> ArchSpec:
    """Load a network in stages.

    Args:
        source: `RUN:NAME` for a network of a run, such as `runs/photos:trial-17`, `:b1` or
            `:baseline`, or anything that `phinas.space.loading.load_spec` accepts.
        field: What error messages call the argument that has the source.

    Raises:
        InputError: The run has no network of this name, one of its files is damaged, or a model
            builder makes the network.
        SpecError: The network is unknown, or the file does not describe one.
        StorageError: The run's record of trials is damaged.
    """
    network = load_baseline(source, field=field)
    if not isinstance(network, ArchSpec):
        raise InputError(
            f"{field}: {source!r} is made by a model builder, which `phinas scale --baseline` and "
            "`phinas latency` accept and this command does not; name a preset, a spec file or a "
            "network of timm such as timm:resnet50"
        )
    return network


def load_baseline(source: str, *, field: str = "spec") -> ScalableNetwork:
    """Load a network of any kind.

    Args:
        source: As for `load_network`, or a model builder, `package.module:build` or
            `path/to/file.py:build` (`phinas.space.builders.builder_function`), or `timm:NAME` for a
            network that is scaled by its arguments (`phinas.space.builders.timm_builders`).
        field: What error messages call the argument that has the source.

    Raises:
        InputError: As for `load_network`.
        SpecError: As for `load_network`, or the function does not make the same network of the same
            arguments each time.
        StorageError: The run's record of trials is damaged.
    """
    run_name = split_run_name(source)
    if run_name is None:
        if _is_run(source):
            raise InputError(
                f"{field}: {source!r} is a run, which has several networks; name one, such as "
                f"{source}:baseline (phinas choose {source} lists the best)"
            )
        if is_builder(source):
            return BuiltNetwork.of_builder(source)
        _require_known_family(source, field)
        return load_spec(source, field=field)
    from phinas.reports.named_network import read_named_network

    run, name = run_name
    network = read_named_network(run, name)
    if network is None:
        raise InputError(f"{field}: {_describe_unknown_name(run, name)}")
    return network


def _require_known_family(source: str, field: str) -> None:
    """Raise SpecError for a name of timm whose network cannot be scaled."""
    name = library_name(source)
    if not name.startswith("timm:") or has_spec(name):
        return
    suggestion = suggest_spec(name.removeprefix("timm:"))
    raise SpecError(
        f"{field}: {name!r} is neither a network of timm that a spec describes nor of a family "
        f"that phinas scales by its arguments ({describe_families()}); name another one, or "
        + OWN_FUNCTION
        + (f" ({suggestion})" if suggestion else "")
    )


def _is_run(source: str) -> bool:
    try:
        return RunDir(Path(source).expanduser()).exists
    except OSError:  # the name is too long for the file system
        return False


def _describe_unknown_name(run: RunDir, name: str) -> str:
    """What is wrong with a name, and the names that there are."""
    from phinas.reports.named_network import list_named_networks

    names, trials = list_named_networks(run)
    problem = (
        f"{run.path} has no network {name!r}"
        if name
        else f"{run.path}: has no name after the colon"
    )
    is_numbered = name.rpartition("-")[0] in ("trial", "grid", "finalist")
    suggestion = "" if is_numbered else suggest_name(name, [*names, *trials])
    if not (names or trials):
        return f"{problem}; it has no network yet; wait for its first trials, or resume it"
    if trials:
        names.append(f"{pluralize(len(trials), 'trial')} ({_describe_range(trials)})")
    listed = _list_names(names)
    return (
        f"{problem}; {suggestion} Its networks are {listed}"
        if suggestion
        else f"{problem}; its networks are {listed}"
    )


def _describe_range(trials: list[str]) -> str:
    return trials[0] if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"


def _list_names(names: list[str]) -> str:
    """The first names, and always the last one."""
    omitted = len(names) - _MAX_LISTED
    if omitted > 0:
        names = [*names[: _MAX_LISTED - 1], f"{omitted:,} more", names[-1]]
    return join_names(names)
