"""What a search learns from other runs (`search.learn_from`).

It is copied into the run when the search begins. So a resumed run does not need the other runs, and
trials that these add later change nothing.
"""

from contextlib import closing
from typing import TYPE_CHECKING

from phinas.experiment.artifacts.earlier_searches import EarlierSearchesFile, EarlierSearchRecord
from phinas.experiment.errors import InputError
from phinas.experiment.manifest import read_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import SearchSection, config_from_text
from phinas.space.search_spaces.search_space import Choices, SearchSpace

if TYPE_CHECKING:
    from phinas.nas.surrogate.transfer import EarlierSearch

_KEY = "search.learn_from"
_REMEDY = "leave it out, or name a run whose search has more trials"


def load_earlier_searches(
    section: SearchSection, space: SearchSpace, run: RunDir
) -> "tuple[EarlierSearch, ...]":
    """The earlier searches of a run: from its record, or if there is none yet, from the other runs
    and into the record.

    Raises:
        InputError: See `read_earlier_searches`. The record is damaged.
    """
    from phinas.nas.surrogate.transfer import EarlierSearch

    if not section.learn_from:
        return ()
    if not run.earlier_searches.exists():
        read_earlier_searches(section, space).write(run.earlier_searches)
    record = EarlierSearchesFile.read(run.earlier_searches)
    return tuple(
        EarlierSearch(
            search.run,
            tuple(
                tuple(space.to_indices(dict(zip(record.decisions, values, strict=True))))
                for values in search.choices
            ),
            search.scores,
        )
        for search in record.searches
    )


def read_earlier_searches(section: SearchSection, space: SearchSpace) -> EarlierSearchesFile:
    """Read the complete trials of the runs in `search.learn_from`.

    Args:
        section: The configuration of the search.
        space: Its search space.

    Raises:
        InputError: One of them is not a run, has too few complete trials, or searched another
            space.
        StorageError: Its record of trials is damaged or cannot be reached.
    """
    return EarlierSearchesFile(
        decisions=tuple(decision.name for decision in space.decisions),
        searches=tuple(_read_run(name, space) for name in section.learn_from),
    )


def _read_run(name: str, space: SearchSpace) -> EarlierSearchRecord:
    from phinas.experiment.storage.study_storage import open_storage
    from phinas.nas.surrogate.accuracy_model import MIN_TRIALS
    from phinas.nas.trial import completed_trials

    run = RunDir(name)
    if not run.exists:
        raise InputError(
            f"{_KEY}: {name}: is not a run directory; name the --out of an earlier `phinas search` "
            "or `phinas run`"
        )
    config = config_from_text(run.config.read_text(encoding="utf-8"), source=str(run.config))
    manifest = read_manifest(run)
    with closing(
        open_storage(run.study, url=config.run.storage, run_id=manifest.id, new=False)
    ) as storage:
        measured = [
            (trial.choices, trial.score)
            for trial in completed_trials(storage.records("search"))
            if trial.choices is not None
        ]
    if len(measured) < MIN_TRIALS:
        raise InputError(
            f"{_KEY}: {name}: has {len(measured)} complete trials, and {MIN_TRIALS} are needed; "
            f"{_REMEDY}"
        )
    differences = (_find_difference(choices, space) for choices, _ in measured)
    if difference := next(filter(None, differences), ""):
        raise InputError(
            f"{_KEY}: {name}: searched another space than {space.name!r} ({difference}); leave it "
            "out, or set search.space to that of the earlier run"
        )
    return EarlierSearchRecord(
        run=name,
        run_id=manifest.id,
        data_fingerprint=manifest.data.fingerprint if manifest.data else None,
        choices=tuple(
            tuple(choices[decision.name] for decision in space.decisions) for choices, _ in measured
        ),
        scores=tuple(score for _, score in measured),
    )


def _find_difference(choices: Choices, space: SearchSpace) -> str:
    """Why a network is not one of the space. Empty if it is."""
    values = {decision.name: decision.values for decision in space.decisions}
    for name in [*values, *choices]:
        if name not in choices:
            return f"it did not choose {name}"
        if name not in values:
            return f"it chose {name}"
        if choices[name] not in values[name]:
            return f"it chose {name} = {choices[name]!r}"
    return ""
