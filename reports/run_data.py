"""What a run directory holds, read once: configuration, manifest, studies, and the files that the
stages wrote.

Everything may be missing but configuration, manifest and the record of trials: a report can be
written at any moment of a run. Rows that a killed driver left (orphans) are no trials; they are
counted and left out.
"""

from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from phinas.experiment.manifest import read_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, config_from_text
from phinas.experiment.statistics.paired_comparison import ROUNDING_TOLERANCE
from phinas.experiment.trial_store import ORPHAN_REASON, TrialRecord, open_storage
from phinas.nas.objective import REWARD
from phinas.nas.pareto import pareto_front
from phinas.nas.reward import Reward
from phinas.nas.trial import Trial, apply_reward, completed_trials
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml

STUDIES = ("search", "finalists", "scaling", "validation")


@dataclass(frozen=True)
class RunData:
    """trial_records: of each study, without orphans; num_interrupted: how many orphans there are;
    baseline,
    coefficients: their files as plain data; members: the family by rising phi, each with what
    validation found of it; validation: its file, where that is of this family; search_attrs:
    attributes of the search as a whole."""

    config: Config
    manifest: dict[str, Any]
    trial_records: dict[str, list[TrialRecord]]
    num_interrupted: int
    baseline: dict[str, Any] | None
    coefficients: dict[str, Any] | None
    members: list[dict[str, Any]]
    validation: dict[str, Any]
    search_attrs: dict[str, Any]

    @cached_property
    def trials(self) -> list[Trial]:
        """The measured ones, by number; of a search for a front with what its reward makes of them,
        once it is known.
        """
        trials = sorted(
            completed_trials(self.trial_records["search"]), key=lambda trial: trial.number
        )
        return (
            apply_reward(trials, self.reward) if self.is_pareto_search and self.reward else trials
        )

    @property
    def is_pareto_search(self) -> bool:
        return self.config.search.reward == "pareto"

    @property
    def has_images(self) -> bool:
        """Whether there are images to train on."""
        return self.config.data is not None

    @property
    def search_trains_networks(self) -> bool:
        """Whether the search trains; if not, its accuracies come from a benchmark or a user's
        function.
        """
        return self.config.search.evaluator == "proxy"

    @property
    def scaling_accuracy_source(self) -> str:
        """What gave the scaling search's accuracies; "" for trainings, and where nothing raced."""
        name = self.config.scaling.evaluator
        uses_custom_evaluator = self.config.scaling.coefficients is None and name != "proxy"
        return (
            ""
            if not uses_custom_evaluator
            else "the stated law of scaling_search/race/synthetic_accuracy.py"
            if name == "synthetic"
            else name
        )

    @property
    def is_noiseless(self) -> bool:
        """Whether each finalist came to the same again."""
        margin = (self.baseline or {}).get("margin")
        return margin is not None and margin < ROUNDING_TOLERANCE

    @property
    def cost_metric(self) -> str:
        """What the search weighs accuracy against."""
        return self.config.search.cost

    @cached_property
    def pareto_front(self) -> list[Trial]:
        return pareto_front(self.trials, self.cost_metric)

    @cached_property
    def best_trial(self) -> Trial | None:
        """The highest reward of the search, before finalists are trained again."""
        return max(self.trials, key=lambda trial: trial.reward, default=None)

    @property
    def baseline_spec(self) -> ArchSpec | None:
        return ArchSpec.from_dict(self.baseline["spec"]) if self.baseline else None

    @property
    def baseline_trial(self) -> int | None:
        """The number of the baseline's trial; None where there is no baseline yet, or a given
        one.
        """
        return self.baseline.get("trial") if self.baseline else None

    @property
    def has_user_baseline(self) -> bool:
        """The baseline was brought by the user (or will be), not searched."""
        return (
            "trial" not in self.baseline
            if self.baseline
            else self.config.scaling.baseline is not None
        )

    @property
    def finalists(self) -> list[dict[str, Any]]:
        return list(self.baseline.get("finalists", [])) if self.baseline else []

    @property
    def chosen_finalist(self) -> dict[str, Any] | None:
        return next((row for row in self.finalists if row["trial"] == self.baseline_trial), None)

    @property
    def reference(self) -> dict[str, Any] | None:
        """The published network that was trained beside the finalists."""
        reference = (self.baseline or {}).get("reference")
        return reference if reference and "accuracies" in reference else None

    @property
    def validated_members(self) -> list[dict[str, Any]]:
        return [row for row in self.members if row.get("validated")]

    @property
    def searched_coefficients(self) -> dict[str, Any] | None:
        """With the networks that raced for them; None where there are none, or given ones."""
        return (
            self.coefficients
            if self.coefficients and not self.coefficients.get("user_supplied")
            else None
        )

    @property
    def controls(self) -> list[dict[str, Any]]:
        """Other ways to scale, as the configuration names them; of a run before there were any,
        none.
        """
        return list(self.validation.get("controls") or [])

    @property
    def trained_controls(self) -> list[dict[str, Any]]:
        """Those that were trained and compared, the best beside its member first."""
        trained_controls = [
            row
            for row in self.controls
            if row.get("validated") and row.get("accuracy_gap") is not None
        ]
        return sorted(trained_controls, key=lambda row: row["accuracy_gap"])

    @property
    def curve(self) -> dict[str, Any] | None:
        """The law fitted through the trained members, with its band."""
        return self.validation.get("curve")

    @property
    def gain(self) -> dict[str, Any] | None:
        """Of the largest trained member over B0; None of a run before this was told, or where it is
        not known.
        """
        return self.validation.get("gain")

    @property
    def compound_verdict(self) -> dict[str, Any] | None:
        """Whether compound scaling wins over one dimension alone."""
        return self.validation.get("compound")

    @property
    def predicted_members(self) -> list[dict[str, Any]]:
        """Members that were not trained and lie on the curve."""
        return [row for row in self.members if not row.get("validated") and row.get("prediction")]

    @property
    def members_without_accuracy(self) -> list[dict[str, Any]]:
        """Members of which no accuracy is known, not even a predicted one."""
        return [
            row for row in self.members if not row.get("validated") and not row.get("prediction")
        ]

    @property
    def reward(self) -> Reward | None:
        """The search's reward, as it was noted; None where its weight is still to be estimated."""
        settings = self.search_attrs.get(REWARD)
        return (
            Reward(**{name: settings[name] for name in ("kind", "exponent", "target", "metric")})
            if settings
            else None
        )

    @property
    def exponent_explanation(self) -> str:
        """Where the weight comes from, if it was estimated."""
        return str(self.search_attrs[REWARD]["explanation"]) if REWARD in self.search_attrs else ""

    @property
    def num_unscored_trials(self) -> int:
        """Networks that are measured and wait for the weight that makes a reward of it."""
        return sum(record.is_unscored for record in self.trial_records["search"])

    @property
    def failures(self) -> list[tuple[str, TrialRecord]]:
        """Study and row of everything that failed."""
        all_records = [(study, record) for study in STUDIES for record in self.trial_records[study]]
        return [
            (study, record)
            for study, record in all_records
            if record.state.is_finished() and not record.is_complete and not record.is_pruned
        ]

    @property
    def pruned_trials(self) -> list[TrialRecord]:
        """The trials that were stopped on their way."""
        return [record for record in self.trial_records["search"] if record.is_pruned]

    @property
    def num_unfinished(self) -> int:
        return sum(
            not record.state.is_finished() and not record.is_unscored
            for study in STUDIES
            for record in self.trial_records[study]
        )


def read_run_data(run: RunDir) -> RunData:
    """Everything that a report tells. Raises InputError where this is no run, StorageError where
    its record is damaged.
    """
    run.require_run()
    config = config_from_text(run.config.read_text(encoding="utf-8"), source=str(run.config))
    manifest = read_manifest(run)
    with closing(
        open_storage(run.study, url=config.run.storage, run_id=manifest["id"], new=False)
    ) as storage:
        all_records = {study: storage.records(study) for study in STUDIES}
        search_attrs = storage.study_attrs("search")
    trial_records = {
        study: [record for record in records if record.user_attrs.get("reason") != ORPHAN_REASON]
        for study, records in all_records.items()
    }
    validation = _read(run.validation) or {}
    members = _read_members(run, validation)
    return RunData(
        config=config,
        manifest=manifest,
        trial_records=trial_records,
        num_interrupted=sum(
            len(all_records[study]) - len(trial_records[study]) for study in STUDIES
        ),
        baseline=_read(run.baseline),
        coefficients=_read(run.coefficients),
        members=members,
        validation=validation if _describes_family(validation, members) else {},
        search_attrs=search_attrs,
    )


def _read(path: Path) -> dict[str, Any] | None:
    return read_yaml(path) if path.exists() else None


def _read_members(run: RunDir, validation: dict[str, Any]) -> list[dict[str, Any]]:
    """The spec files of the family, joined by spec_id with the rows of validation.yaml (an older
    family's do not fit).
    """
    results = {row["spec_id"]: row for row in validation.get("members", [])}
    members = [read_yaml(path) for path in run.family.glob("b*.yaml")]
    return [
        row | results.get(row["spec_id"], {}) for row in sorted(members, key=lambda row: row["phi"])
    ]


def _describes_family(validation: dict[str, Any], members: list[dict[str, Any]]) -> bool:
    """Whether every network of the file is in the family: a curve or a control of another one would
    be taken for this one's.
    """
    return {row["spec_id"] for row in validation.get("members", [])} <= {
        row["spec_id"] for row in members
    }
