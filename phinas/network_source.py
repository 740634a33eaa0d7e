"""Networks by name: what `space.loading` knows, and the networks of a run (`RUN:NAME`)."""

from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.space.closest_name import suggest_name
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec

_MAX_LISTED = 8  # names in an error message


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


def load_network(source: str, *, field: str = "spec") -> ArchSpec:
    """Load a network.

    Args:
        source: `RUN:NAME` for a network of a run, such as `runs/photos:trial-17`, `:b1` or
            `:baseline`, or anything that `phinas.space.loading.load_spec` accepts.
        field: What error messages call the argument that has the source.

    Raises:
        InputError: The run has no network of this name, or one of its files is damaged.
        SpecError: The network is unknown, or the file does not describe one.
        StorageError: The run's record of trials is damaged.
    """
    run_name = split_run_name(source)
    if run_name is None:
        if _is_run(source):
            raise InputError(
                f"{field}: {source!r} is a run, which has several networks; name one, such as "
                f"{source}:baseline (phinas choose {source} lists the best)"
            )
        return load_spec(source, field=field)
    from phinas.reports.measured_networks import named_specs
    from phinas.reports.run_reader import read_run_data

    run, name = run_name
    specs = named_specs(read_run_data(run))
    if name not in specs:
        hint = suggest_name(name, specs) or f"its networks are {_list_names(list(specs))}"
        raise InputError(f"{field}: {run.path} has no network {name!r}; {hint}")
    return specs[name]


def _is_run(source: str) -> bool:
    try:
        return RunDir(Path(source).expanduser()).exists
    except OSError:  # the name is too long for the file system
        return False


def _list_names(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    return f"{shown} and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else shown
