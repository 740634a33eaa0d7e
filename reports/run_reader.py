"""Read the data of a run directory."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from phinas.experiment.artifacts.artifact import Artifact
from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.earlier_searches import EarlierSearchesFile
from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.artifacts.learning_rates import CHECKED_STAGES, LearningRatesFile
from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.artifacts.validation_file import ValidationFile
from phinas.experiment.manifest import find_missing_members, read_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import config_from_text
from phinas.experiment.storage.study_storage import open_storage
from phinas.experiment.storage.trial_record import drop_replaced
from phinas.nas.objective import read_reward_record, reward_from_record
from phinas.reports.family_rows import ReportMember
from phinas.reports.run_data import STUDIES, RunData
from phinas.scaling_search.family.family import read_family

AnyArtifact = TypeVar("AnyArtifact", bound=Artifact)


def read_run_data(run: RunDir) -> RunData:
    """Read a run directory.

    Raises:
        InputError: It is not a run directory, or a file is damaged or of another version.
        StorageError: The record of trials is damaged.
    """
    run.require_run()
    config = config_from_text(run.config.read_text(encoding="utf-8"), source=str(run.config))
    manifest = read_manifest(run)
    with closing(
        open_storage(run.study, url=config.run.storage, run_id=manifest.id, new=False)
    ) as storage:
        all_records = {study: storage.records(study) for study in STUDIES}
        reward_record = read_reward_record(storage.study_attrs("search"))
    trial_records = {study: drop_replaced(records) for study, records in all_records.items()}
    family = read_family(run.family)
    validation = _read(ValidationFile, run.validation)
    missing_members = find_missing_members(run, manifest)
    is_of_family = validation is not None and _describes_family(
        validation, family, missing_members=missing_members
    )
    return RunData(
        config=config,
        manifest=manifest,
        trial_records=trial_records,
        num_interrupted=sum(
            record.is_interrupted for records in all_records.values() for record in records
        ),
        earlier_searches=_read(EarlierSearchesFile, run.earlier_searches),
        proxy_check=_read(ProxyCheckFile, run.proxy_check),
        learning_rates={
            stage: check
            for stage in CHECKED_STAGES
            if (check := _read(LearningRatesFile, run.learning_rates(stage))) is not None
        },
        baseline=_read(BaselineFile, run.baseline),
        coefficients=_read(CoefficientsFile, run.coefficients),
        members=_join_members(family, validation, keep_predictions=is_of_family),
        missing_members=missing_members,
        validation=validation if is_of_family else None,
        reward=reward_from_record(reward_record) if reward_record is not None else None,
    )


def _read(kind: type[AnyArtifact], path: Path) -> AnyArtifact | None:
    return kind.read(path) if path.exists() else None


def _join_members(
    family: Sequence[FamilyMember], validation: ValidationFile | None, *, keep_predictions: bool
) -> list[ReportMember]:
    """The family with the rows of the validation.

    Args:
        keep_predictions: False for the validation of another family, of which only the results of
            equal networks hold for this one.
    """
    records = {row.network_id: row for row in validation.members} if validation else {}
    if not keep_predictions:
        records = {
            name: row.model_copy(update={"prediction": None}) for name, row in records.items()
        }
    return [ReportMember(member, records.get(member.network_id)) for member in family]


def _describes_family(
    validation: ValidationFile, family: Sequence[FamilyMember], *, missing_members: Sequence[str]
) -> bool:
    """Whether every network of the file is in the family. The curve and the controls of an earlier
    family would be taken for this one's.

    Args:
        missing_members: Names of members without a file, whose rows are accepted.
    """
    rows = [row for row in validation.members if row.name not in missing_members]
    return {row.network_id for row in rows} <= {row.network_id for row in family}
