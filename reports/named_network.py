"""A network of a run by its name, such as `trial-17` or `b1`, without the rest of the run.

`measured_networks` gives the names. A name needs one file or one recorded trial, so the other
trials, of which there may be thousands, are not read.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile, RacedMember
from phinas.experiment.artifacts.validation_file import ControlRecord, ValidationFile
from phinas.experiment.manifest import read_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import config_from_text
from phinas.experiment.storage.study_storage import StudyStorage, open_storage
from phinas.nas.trial import TrialAttributes
from phinas.scaling_search.family.family import read_member
from phinas.space.network import ScalableNetwork
from phinas.space.spec import ArchSpec

BASELINE = "baseline"
_CONTROL_PREFIX = "control-"
_NUMBERED_NAME = re.compile(r"(trial|finalist|grid)-(0|[1-9]\d{0,8})")
_MEMBER_NAME = re.compile(r"b-?\d+")


def read_named_network(run: RunDir, name: str) -> ScalableNetwork | None:
    """Read a network of a run: the baseline, a member of the family, a control, a finalist, a
    network of the scaling search, or any trial, also one without a result.

    Returns:
        None if the run has no network of this name.

    Raises:
        InputError: The file that has the network is damaged or of another version.
        StorageError: The record of trials is damaged.
    """
    if name == BASELINE:
        baseline = _read_baseline(run)
        return baseline.spec if baseline else None
    if name.startswith(_CONTROL_PREFIX):
        controls = {control_name(control): control for control in _read_controls(run)}
        network = controls[name].network if name in controls else None
        return network.spec if network else None
    if numbered := _NUMBERED_NAME.fullmatch(name):
        return _NUMBERED_READERS[numbered[1]](run, int(numbered[2]))
    path = run.family / f"{name}.yaml"
    is_member = _MEMBER_NAME.fullmatch(name) is not None and path.is_file()
    return read_member(path).spec if is_member else None


def list_named_networks(run: RunDir) -> tuple[list[str], list[str]]:
    """List the names of the networks of a run.

    Returns:
        The names but for those of the trials, and the names of the trials.

    Raises:
        InputError: A file is damaged or of another version.
        StorageError: The record of trials is damaged.
    """
    with _open_storage(run) as storage:
        trials = [
            f"trial-{record.number}"
            for record in storage.records("search")
            if TrialAttributes.are_recorded(record)
        ]
    names = [BASELINE] if run.baseline.exists() else []
    names += sorted(
        (path.stem for path in run.family.glob("b*.yaml") if _MEMBER_NAME.fullmatch(path.stem)),
        key=lambda name: int(name[1:]),
    )
    names += [control_name(control) for control in _read_controls(run) if control.network]
    names += [f"finalist-{number}" for number in _finalist_trials(run)]
    names += [f"grid-{number}" for number in range(1, len(_raced_members(run)) + 1)]
    return names, trials


def control_name(control: ControlRecord) -> str:
    """The name of a control, such as "control-depth"."""
    return _CONTROL_PREFIX + control.name.replace(" ", "-")


def make_grid_spec(baseline: ScalableNetwork, member: RacedMember) -> ScalableNetwork:
    """Make a network of the scaling search from its dimensions.

    Args:
        baseline: The network that is scaled.
        member: The dimensions.
    """
    if member.built_network is not None:
        return member.built_network
    assert isinstance(baseline, ArchSpec)
    canonical = baseline.canonicalize()
    dimensions = zip(canonical.stages, member.depths, member.widths, strict=True)
    return replace(
        canonical,
        stages=tuple(
            replace(stage, depth=depth, width=width) for stage, depth, width in dimensions
        ),
        stem_width=member.stem_width,
        head_width=member.head_width,
        resolution=member.resolution,
    )


def _read_trial(run: RunDir, number: int) -> ArchSpec | None:
    with _open_storage(run) as storage:
        record = storage.record("search", number)
    if record is None or not TrialAttributes.are_recorded(record):
        return None
    return ArchSpec.from_dict(TrialAttributes.from_record(record).spec)


def _read_finalist(run: RunDir, number: int) -> ArchSpec | None:
    return _read_trial(run, number) if number in _finalist_trials(run) else None


def _read_grid_member(run: RunDir, number: int) -> ScalableNetwork | None:
    baseline, members = _read_baseline(run), _raced_members(run)
    if baseline is None or not 1 <= number <= len(members):
        return None
    member = members[number - 1]
    spec = make_grid_spec(baseline.spec, member)
    # a baseline that was replaced after the race gives another network
    return spec if spec.network_id == member.network_id else None


_NUMBERED_READERS: dict[str, Callable[[RunDir, int], ScalableNetwork | None]] = {
    "trial": _read_trial,
    "finalist": _read_finalist,
    "grid": _read_grid_member,
}


def _read_baseline(run: RunDir) -> BaselineFile | None:
    return BaselineFile.read(run.baseline) if run.baseline.exists() else None


def _read_controls(run: RunDir) -> tuple[ControlRecord, ...]:
    return ValidationFile.read(run.validation).controls if run.validation.exists() else ()


def _finalist_trials(run: RunDir) -> list[int]:
    baseline = _read_baseline(run)
    selection = baseline.selection if baseline else None
    return [finalist.trial for finalist in selection.finalists] if selection else []


def _raced_members(run: RunDir) -> tuple[RacedMember, ...]:
    if not run.coefficients.exists():
        return ()
    race = CoefficientsFile.read(run.coefficients).race
    return race.members if race else ()


@contextmanager
def _open_storage(run: RunDir) -> Iterator[StudyStorage]:
    run.require_run()
    config = config_from_text(run.config.read_text(encoding="utf-8"), source=str(run.config))
    with closing(
        open_storage(run.study, url=config.run.storage, run_id=read_manifest(run).id, new=False)
    ) as storage:
        yield storage
