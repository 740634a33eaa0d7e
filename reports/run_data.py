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
from phinas.experiment.statistics.paired_comparison import NOISELESS
from phinas.experiment.trial_store import ORPHAN, Row, open_store
from phinas.nas.objective import REWARD
from phinas.nas.pareto import pareto_front
from phinas.nas.reward import Reward
from phinas.nas.trial import Trial, judged, measured_trials
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml

STUDIES = ("search", "finalists", "scaling", "validation")


@dataclass(frozen=True)
class Records:
    """rows: of each study, without orphans; cut_off: how many orphans there are; baseline,
    coefficients: their files as plain data; members: the family by rising phi, each with what
    validation found of it; validation: its file, where that is of this family; notes: of the search
    as a whole."""

    config: Config
    manifest: dict[str, Any]
    rows: dict[str, list[Row]]
    cut_off: int
    baseline: dict[str, Any] | None
    coefficients: dict[str, Any] | None
    members: list[dict[str, Any]]
    validation: dict[str, Any]
    notes: dict[str, Any]

    @cached_property
    def trials(self) -> list[Trial]:
        """The measured ones, by number; of a search for a front with what its reward makes of them,
        once it is known.
        """
        trials = sorted(measured_trials(self.rows["search"]), key=lambda trial: trial.number)
        return judged(trials, self.reward) if self.pareto and self.reward else trials

    @property
    def pareto(self) -> bool:
        return self.config.search.reward == "pareto"

    @property
    def imaged(self) -> bool:
        """Whether there are images to train on."""
        return self.config.data is not None

    @property
    def trained(self) -> bool:
        """Whether the search trains; if not, its accuracies come from a benchmark or a user's
        function.
        """
        return self.config.search.evaluator == "proxy"

    @property
    def scaled_by(self) -> str:
        """What gave the scaling search's accuracies; "" for trainings, and where nothing raced."""
        name = self.config.scaling.evaluator
        raced = self.config.scaling.coefficients is None and name != "proxy"
        return (
            ""
            if not raced
            else "the stated law of scaling_search/race/synthetic_accuracy.py"
            if name == "law"
            else name
        )

    @property
    def noiseless(self) -> bool:
        """Whether each finalist came to the same again."""
        margin = (self.baseline or {}).get("margin")
        return margin is not None and margin < NOISELESS

    @property
    def metric(self) -> str:
        """What the search weighs accuracy against."""
        return self.config.search.cost

    @cached_property
    def front(self) -> list[Trial]:
        return pareto_front(self.trials, self.metric)

    @cached_property
    def best(self) -> Trial | None:
        """The highest reward of the search, before finalists are trained again."""
        return max(self.trials, key=lambda trial: trial.reward, default=None)

    @property
    def spec(self) -> ArchSpec | None:
        return ArchSpec.from_dict(self.baseline["spec"]) if self.baseline else None

    @property
    def chosen(self) -> int | None:
        """The number of the baseline's trial; None where there is no baseline yet, or a given
        one.
        """
        return self.baseline.get("trial") if self.baseline else None

    @property
    def given(self) -> bool:
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
        return next((row for row in self.finalists if row["trial"] == self.chosen), None)

    @property
    def reference(self) -> dict[str, Any] | None:
        """The published network that was trained beside the finalists."""
        found = (self.baseline or {}).get("reference")
        return found if found and "accuracies" in found else None

    @property
    def validated(self) -> list[dict[str, Any]]:
        return [row for row in self.members if row.get("validated")]

    @property
    def searched_coefficients(self) -> dict[str, Any] | None:
        """With the networks that raced for them; None where there are none, or given ones."""
        return (
            self.coefficients if self.coefficients and not self.coefficients.get("given") else None
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
        trained = [
            row for row in self.controls if row.get("validated") and row.get("behind") is not None
        ]
        return sorted(trained, key=lambda row: row["behind"])

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
    def compound(self) -> dict[str, Any] | None:
        """Whether compound scaling wins over one dimension alone."""
        return self.validation.get("compound")

    @property
    def predicted(self) -> list[dict[str, Any]]:
        """Members that were not trained and lie on the curve."""
        return [row for row in self.members if not row.get("validated") and row.get("prediction")]

    @property
    def unknown(self) -> list[dict[str, Any]]:
        """Members of which no accuracy is known, not even a predicted one."""
        return [
            row for row in self.members if not row.get("validated") and not row.get("prediction")
        ]

    @property
    def reward(self) -> Reward | None:
        """The search's reward, as it was noted; None where its weight is still to be estimated."""
        facts = self.notes.get(REWARD)
        return (
            Reward(**{name: facts[name] for name in ("kind", "weight", "target", "metric")})
            if facts
            else None
        )

    @property
    def why_weight(self) -> str:
        """Where the weight comes from, if it was estimated."""
        return str(self.notes[REWARD]["why"]) if REWARD in self.notes else ""

    @property
    def held(self) -> int:
        """Networks that are measured and wait for the weight that makes a reward of it."""
        return sum(row.held for row in self.rows["search"])

    @property
    def failures(self) -> list[tuple[str, Row]]:
        """Study and row of everything that failed."""
        every = [(study, row) for study in STUDIES for row in self.rows[study]]
        return [
            (study, row)
            for study, row in every
            if row.state.is_finished() and not row.done and not row.pruned
        ]

    @property
    def pruned(self) -> list[Row]:
        """The trials that were stopped on their way."""
        return [row for row in self.rows["search"] if row.pruned]

    @property
    def unfinished(self) -> int:
        return sum(
            not row.state.is_finished() and not row.held
            for study in STUDIES
            for row in self.rows[study]
        )


def read_records(run: RunDir) -> Records:
    """Everything that a report tells. Raises InputError where this is no run, StorageError where
    its record is damaged.
    """
    run.require()
    config = config_from_text(run.config.read_text(encoding="utf-8"), where=str(run.config))
    manifest = read_manifest(run)
    with closing(
        open_store(run.study, url=config.run.storage, run_id=manifest["id"], new=False)
    ) as store:
        every = {study: store.rows(study) for study in STUDIES}
        notes = store.notes("search")
    rows = {
        study: [row for row in found if row.attributes.get("reason") != ORPHAN]
        for study, found in every.items()
    }
    validation = _read(run.validation) or {}
    members = _read_members(run, validation)
    return Records(
        config=config,
        manifest=manifest,
        rows=rows,
        cut_off=sum(len(every[study]) - len(rows[study]) for study in STUDIES),
        baseline=_read(run.baseline),
        coefficients=_read(run.coefficients),
        members=members,
        validation=validation if _is_of(validation, members) else {},
        notes=notes,
    )


def _read(path: Path) -> dict[str, Any] | None:
    return read_yaml(path) if path.exists() else None


def _read_members(run: RunDir, validation: dict[str, Any]) -> list[dict[str, Any]]:
    """The spec files of the family, joined by spec_id with the rows of validation.yaml (an older
    family's do not fit).
    """
    found = {row["spec_id"]: row for row in validation.get("members", [])}
    members = [read_yaml(path) for path in run.family.glob("b*.yaml")]
    return [
        row | found.get(row["spec_id"], {}) for row in sorted(members, key=lambda row: row["phi"])
    ]


def _is_of(validation: dict[str, Any], members: list[dict[str, Any]]) -> bool:
    """Whether every network of the file is in the family: a curve or a control of another one would
    be taken for this one's.
    """
    return {row["spec_id"] for row in validation.get("members", [])} <= {
        row["spec_id"] for row in members
    }
