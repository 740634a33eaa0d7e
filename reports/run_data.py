"""The data of a run: configuration, manifest, studies and files (`run_reader` reads them).

A report can be written at any moment of a run, so all but configuration, manifest and the record of
trials may be missing. Trials that another one replaced after an interruption are only counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from phinas.experiment.artifacts.baseline_file import (
    BaselineFile,
    CostMetric,
    FinalistRecord,
    ReferenceRecord,
    SelectionRecord,
)
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile, RaceRecord
from phinas.experiment.artifacts.earlier_searches import EarlierSearchesFile
from phinas.experiment.artifacts.learning_rates import LearningRatesFile
from phinas.experiment.artifacts.manifest import Manifest
from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.artifacts.validation_file import ControlRecord, ValidationFile
from phinas.experiment.measurement import metric_label
from phinas.experiment.schema.config import Config
from phinas.experiment.statistics.paired_comparison import ROUNDING_TOLERANCE
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.pareto import pareto_front
from phinas.nas.reward import Reward
from phinas.nas.trial import Trial, apply_reward, completed_trials
from phinas.reports.family_rows import (
    PredictedMember,
    ReportMember,
    TestedControl,
    TestedMember,
)
from phinas.space.network import ScalableNetwork

STUDIES = ("search", "proxy_check", "learning_rates", "finalists", "scaling", "validation")


@dataclass(frozen=True)
class RunData:
    """The data of one run.

    Attributes:
        config: The configuration.
        manifest: What the run was made with.
        trial_records: Of each study, without replaced trials.
        num_interrupted: Number of replaced trials.
        earlier_searches: What the search learned from other runs, if anything.
        proxy_check: The proxy check of the search, where there was one.
        learning_rates: The checks of the learning rate by stage.
        baseline: The baseline, once there is one.
        coefficients: The compound coefficients, once there are some.
        members: The family by rising phi.
        missing_members: Names of members whose files were deleted or renamed.
        validation: The validation of this family, once there is one.
        reward: The reward of the search; None before its exponent is estimated.
    """

    config: Config
    manifest: Manifest
    trial_records: dict[str, list[TrialRecord]]
    num_interrupted: int
    earlier_searches: EarlierSearchesFile | None
    proxy_check: ProxyCheckFile | None
    learning_rates: dict[str, LearningRatesFile]
    baseline: BaselineFile | None
    coefficients: CoefficientsFile | None
    members: Sequence[ReportMember]
    missing_members: Sequence[str]
    validation: ValidationFile | None
    reward: Reward | None

    @cached_property
    def trials(self) -> list[Trial]:
        """The complete trials by number, with their rewards once the reward is known."""
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
        """Whether scores of the search come from trainings, not from a benchmark or a function."""
        return self.config.search.evaluator == "proxy"

    @property
    def scaling_score_source(self) -> str:
        """What gave the scores of the scaling search; "" for trainings, or without a race."""
        name = self.config.scaling.evaluator
        if self.config.scaling.coefficients is not None or name == "proxy":
            return ""
        return "the synthetic accuracy model" if name == "synthetic" else name

    @property
    def search_score_label(self) -> str:
        """The score of the search in words, such as "balanced accuracy"."""
        if self.selection is not None:
            return metric_label(self.selection.metric)
        return metric_label(self.trials[0].measurement.metric if self.trials else self.metric)

    @property
    def race_score_label(self) -> str:
        """The score of the scaling search in words."""
        return metric_label(self.race.metric if self.race else self.metric)

    @property
    def test_score_label(self) -> str:
        """The score of the validation in words."""
        return metric_label(self.validation.metric if self.validation else self.metric)

    @property
    def metric(self) -> str:
        """The configured score."""
        return self.config.metric

    @property
    def is_noiseless(self) -> bool:
        """Whether repeated measurements of each finalist were identical."""
        margin = self.selection.margin if self.selection else None
        return margin is not None and margin < ROUNDING_TOLERANCE

    @property
    def cost_metric(self) -> CostMetric:
        """The cost of the search's reward."""
        return self.config.search.cost

    @cached_property
    def pareto_front(self) -> list[Trial]:
        return pareto_front(self.trials, self.cost_metric)

    @cached_property
    def best_trial(self) -> Trial | None:
        """The highest reward of the search, before finalists are trained again."""
        return max(self.trials, key=lambda trial: trial.reward, default=None)

    @property
    def baseline_spec(self) -> ScalableNetwork | None:
        return self.baseline.spec if self.baseline else None

    @property
    def selection(self) -> SelectionRecord | None:
        """How the baseline was selected; None before that, or for a user's baseline."""
        return self.baseline.selection if self.baseline else None

    @property
    def baseline_trial(self) -> int | None:
        """The number of the baseline's trial, where the search selected one."""
        return self.selection.trial if self.selection else None

    @property
    def has_user_baseline(self) -> bool:
        """Whether the user supplies the baseline."""
        if self.baseline is not None:
            return self.baseline.selection is None
        return self.config.scaling.baseline is not None

    @property
    def finalists(self) -> tuple[FinalistRecord, ...]:
        return self.selection.finalists if self.selection else ()

    @property
    def reference(self) -> ReferenceRecord | None:
        """The published network that was trained like the finalists."""
        return self.selection.reference if self.selection else None

    @property
    def race(self) -> RaceRecord | None:
        """The race for the coefficients; None before that, or for a user's coefficients."""
        return self.coefficients.race if self.coefficients else None

    @cached_property
    def tested_members(self) -> list[TestedMember]:
        return [
            TestedMember(row.member, row.record, row.record.result)
            for row in self.members
            if row.record is not None and row.record.result is not None
        ]

    @cached_property
    def predicted_members(self) -> list[PredictedMember]:
        """Members that were not trained and lie on the curve."""
        return [
            PredictedMember(
                row.member,
                row.record,
                row.record.prediction.score,
                row.record.prediction.interval,
                row.record.prediction.extrapolation,
            )
            for row in self.members
            if row.record is not None and row.record.prediction is not None
        ]

    @property
    def members_without_score(self) -> list[ReportMember]:
        """Members whose score is neither measured nor predicted."""
        return [
            row
            for row in self.members
            if row.record is None or (row.record.result is None and row.record.prediction is None)
        ]

    @property
    def unpredicted_members(self) -> list[ReportMember]:
        """Members that were not trained and of which the curve says too little."""
        return [row for row in self.members if row.record and row.record.missing_prediction]

    @property
    def controls(self) -> tuple[ControlRecord, ...]:
        return self.validation.controls if self.validation else ()

    @cached_property
    def tested_controls(self) -> list[TestedControl]:
        """The controls that were trained and compared, the best relative to its member first."""
        controls = [
            TestedControl(
                record,
                record.network,
                record.result,
                record.comparison,
                record.family_member.upper(),
            )
            for record in self.controls
            if record.network is not None
            and record.result is not None
            and record.comparison is not None
            and record.family_member is not None
        ]
        return sorted(controls, key=lambda control: control.comparison.difference)

    def find_member(self, name: str | None) -> ReportMember | None:
        """The member of the family with this name."""
        return next((row for row in self.members if row.member.name == name), None)

    def find_tested_member(self, name: str | None) -> TestedMember | None:
        """The trained member of the family with this name."""
        return next((row for row in self.tested_members if row.member.name == name), None)

    @property
    def num_unscored_trials(self) -> int:
        """Networks that are measured and have no reward yet, since its exponent is not known."""
        return sum(record.is_unscored for record in self.trial_records["search"])

    @property
    def failures(self) -> list[tuple[str, TrialRecord]]:
        """Study and record of everything that failed."""
        all_records = [(study, record) for study in STUDIES for record in self.trial_records[study]]
        return [
            (study, record)
            for study, record in all_records
            if record.state.is_finished() and not record.is_complete and not record.is_pruned
        ]

    @property
    def pruned_trials(self) -> list[TrialRecord]:
        """The trials that the pruner stopped early."""
        return [record for record in self.trial_records["search"] if record.is_pruned]

    @property
    def num_unfinished(self) -> int:
        return sum(
            not record.state.is_finished() and not record.is_unscored
            for study in STUDIES
            for record in self.trial_records[study]
        )
