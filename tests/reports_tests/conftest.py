"""Small run directories, made with the classes that make real ones."""

import math
import random
from contextlib import closing

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from phinas.experiment.manifest import new_manifest, update_manifest
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.schema.config import config_from_dict
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.experiment.statistics.paired_comparison import compare
from phinas.experiment.trial_store import ORPHAN_REASON, open_storage
from phinas.nas.objective import REWARD
from phinas.nas.reward import make_reward
from phinas.nas.search import SearchResult
from phinas.nas.selection.baseline import Baseline
from phinas.nas.selection.finalists import Finalist
from phinas.nas.trial import apply_reward, completed_trials, make_trial_attributes, recorded_cost
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family, write_family
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.race.racing import evaluate_race, next_runs
from phinas.scaling_search.race.search import ScalingResult, make_race
from phinas.scaling_search.validation.curve import CurvePoint, fit_curve, missing_curve_reason
from phinas.scaling_search.validation.validate import MemberValidation, find_skip_reason
from phinas.space.cost import network_cost
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec, StageSpec
from phinas.space.yaml_io import dump_yaml

WIDTHS = CategoricalDistribution(list(range(8, 2048, 8)))
DATA = {
    "name": "digits",
    "image_size": 8,
    "channels": 1,
    "train": 1150,
    "validation": 288,
    "test": 359,
    "fingerprint": "705006da94414bfa",
}


EXPONENT_EXPLANATION = (
    "w = -0.031 was estimated: accuracy grew as cost^0.031 (95%: 0.012 to 0.050) along the upper "
    "edge of 24 networks"
)


def latency(median):
    quartiles = [median - 0.05, median + 0.15]
    return {
        "latency_ms": median,
        "latency_quartiles_ms": quartiles,
        "latency_runs": 40,
        "latency_hardware": "a chip, 1 thread",
    }


def network(number):
    """A different small network for each number."""
    stages = (
        StageSpec(8, 1, expansion=1),
        StageSpec(8 + 8 * number, 2, kernel=5, stride=2, expansion=2, se=0.0),
    )
    return ArchSpec(
        stages, stem_width=8, stem_stride=1, head_width=64, resolution=12, channels=1, classes=10
    )


def _accuracies_of(results, member, matches):
    """Accuracies of a member's trainings of such epochs, by seed."""
    return [
        results[training]
        for training in sorted(results)
        if training.member == member and matches(training.epochs)
    ]


class RunBuilder:
    """One run, brought as far as a test wants it."""

    def __init__(self, path, **sections):
        self.random = random.Random(0)
        self.config = config_from_dict(
            {"name": "a small run", "data": {"source": "digits"}} | sections, source="test"
        )
        self.run = RunDir(path)
        self.run.create(
            dump_yaml(self.config.model_dump()),
            new_manifest(seed=0) | {"goal": ["search", "scale", "validate"]},
        )
        self.add_data()
        with closing(open_storage(self.run.study, url=None, new=True)) as storage:
            storage.open_study("search", directions=self.config.search.directions)

    def add_data(self, **changes):
        update_manifest(
            self.run, data=DATA | {"duplicates": 0, "classes": 10, "skipped_images": []} | changes
        )

    def make_measurement(self, accuracy, *, split="validation", images=288):
        return Measurement(
            accuracy, split=split, images=images, epochs=6, train_seconds=2.5, device="cpu"
        )

    def search(
        self, count, *, failed=(), pruned=(), running=0, orphans=0, awaiting_reward=0, accuracy=None
    ):
        reward, section = self.reward(), self.config.search
        with closing(open_storage(self.run.study, url=None, new=False)) as storage:
            trial_store = storage.open_study("search")
            if not awaiting_reward:
                trial_store.set_study_attr(
                    REWARD,
                    reward.to_dict()
                    | {
                        "explanation": EXPONENT_EXPLANATION
                        if section.reward_exponent == "auto"
                        else ""
                    },
                )
            for proposal in range(orphans + count + running + awaiting_reward):
                spec = network(proposal)
                attributes = make_trial_attributes(proposal, spec, f"key{proposal}", 0)
                if section.cost == "latency":
                    attributes |= latency(1.0 + 0.1 * proposal)
                number = trial_store.begin(
                    {"stages.1.width": spec.stages[1].width},
                    {"stages.1.width": WIDTHS},
                    **attributes,
                )
                if proposal < orphans:
                    trial_store.fail(number, ORPHAN_REASON)
                elif proposal - orphans in failed:
                    trial_store.fail(number, "the loss became NaN", attempts=1)
                elif proposal - orphans in pruned:
                    so_far = Measurement(
                        0.3, images=288, epochs=2, train_seconds=5.0, curve=(0.2, 0.3), device="cpu"
                    )
                    trial_store.prune(
                        number,
                        "pruned by median after 2 of 6 epochs at 30.0%",
                        so_far,
                        {1: 0.2, 2: 0.3},
                        attempts=1,
                    )
                elif proposal < orphans + count:
                    value = (
                        accuracy(proposal)
                        if accuracy
                        else min(1.0, 0.6 + 0.3 * self.random.random())
                    )
                    cost_value = recorded_cost(section.cost, attributes)
                    objective = (
                        [value, cost_value]
                        if section.reward == "pareto"
                        else reward(value, cost_value)
                    )
                    trial_store.complete(
                        number, objective, self.make_measurement(value), attempts=1
                    )
                elif proposal >= orphans + count + running:
                    trial_store.complete(number, None, self.make_measurement(0.7), attempts=1)
        return self

    def reward(self):
        section = self.config.search
        kind = "soft" if section.reward == "pareto" else section.reward
        exponent = -0.031 if section.reward_exponent == "auto" else section.reward_exponent
        return make_reward(
            kind, exponent=exponent, target=section.target_cost or 400_000.0, metric=section.cost
        )

    def select_baseline(
        self, *, finalists=3, seeds=2, space_exhausted=False, reference=None, noise=0.01
    ):
        with closing(open_storage(self.run.study, url=None, new=False)) as storage:
            trials = completed_trials(storage.records("search"))
        section = self.config.search
        reward, pareto = self.reward(), section.reward == "pareto"
        trials = apply_reward(trials, reward) if pareto else trials
        best_trials = sorted(trials, key=lambda trial: -trial.reward)[:finalists]
        accuracies = {
            t.spec.spec_id: [
                min(1.0, t.accuracy + 0.02 + noise * self.random.random()) for _ in range(seeds)
            ]
            for t in best_trials
        }
        rewards = {
            t.spec.spec_id: [
                reward(value, t.get_cost(reward.metric)) for value in accuracies[t.spec.spec_id]
            ]
            for t in best_trials
        }
        comparison = compare(rewards)
        winner = next(trial for trial in best_trials if trial.spec.spec_id == comparison.winner)
        result = SearchResult(
            trials,
            reward,
            space_exhausted,
            pareto,
            EXPONENT_EXPLANATION if section.reward_exponent == "auto" else "",
        )
        finalist_list, uses_training = (
            [Finalist(trial) for trial in best_trials],
            section.evaluator == "proxy",
        )
        baseline = Baseline(
            winner, finalist_list, accuracies, rewards, comparison, reference, uses_training
        )
        document = baseline.to_dict(result) | {"space_exhausted": space_exhausted}
        write_atomic(self.run.baseline, dump_yaml(document))
        self.spec = winner.spec
        return self

    def give_baseline(
        self,
        spec=None,
        *,
        explanation="given: efficientnet_b0, for 1000 classes at 224 pixels of a side",
    ):
        self.spec = spec or preset("efficientnet_b0")
        spec_cost = network_cost(self.spec)
        document = {
            "spec": self.spec.to_dict(),
            "spec_id": self.spec.spec_id,
            "flops": spec_cost.flops,
            "params": spec_cost.params,
        }
        write_atomic(
            self.run.baseline, dump_yaml(document | {"explanation": explanation, "finalists": []})
        )
        return self

    def scale(self, *, gap=0.0, seeds=None):
        """Race the grid on accuracies drawn at random, brief and full trainings alike; the first
        member is `gap` above them.
        """
        section = self.config.scaling.model_copy(
            update={"seeds": seeds or self.config.scaling.seeds}
        )
        grid = make_grid(self.spec, section)
        raced_members = farthest_point_sample(grid, section.max_grid_members)
        race = make_race(raced_members, self.spec, section)
        results = {}
        while rung := next_runs(race, results):
            results |= {
                t: 0.8 + 0.02 * self.random.random() + (0 if t.member else gap) for t in rung
            }
        verdict = evaluate_race(race, results)
        full_accuracies = {
            m.spec.spec_id: _accuracies_of(results, index, lambda epochs: epochs == race.epochs)
            for index, m in enumerate(raced_members)
        }
        short_accuracies = {
            m.spec.spec_id: _accuracies_of(results, index, lambda epochs: epochs < race.epochs)
            for index, m in enumerate(raced_members)
        }
        short_accuracies = {name: values[0] for name, values in short_accuracies.items() if values}
        self.coefficients = raced_members[verdict.winner].to_coefficients(section)
        result = ScalingResult(
            self.coefficients, grid, raced_members, full_accuracies, short_accuracies, race, verdict
        )
        write_atomic(self.run.coefficients, dump_yaml(result.to_dict(section)))
        return self.build_family()

    def give_coefficients(self, *point, explanation="given: the paper's"):
        self.coefficients = Coefficients(*point, divisor=self.config.scaling.divisor)
        document = dict(zip(("alpha", "beta", "gamma"), point, strict=True)) | {
            "nominal": self.coefficients.nominal,
            "explanation": explanation,
        }
        document |= {
            "divisor": self.coefficients.divisor,
            "rounding": self.coefficients.rounding,
            "user_supplied": True,
            "members": [],
        }
        write_atomic(self.run.coefficients, dump_yaml(document))
        return self.build_family()

    def build_family(self):
        """The family by the coefficients found."""
        self.family = make_family(self.spec, self.coefficients, self.config.scaling.phi)
        write_family(self.family, self.run.family)
        return self

    def validate(
        self, *, seeds=2, step=0.01, min_accuracy=0.9, images=359, controls=None, curve=True
    ):
        """Each member `step` above the one before. controls: by name, how far behind the compound
        member, or why it is not.
        """
        rows = []
        for index, member in enumerate(self.family):
            reason = find_skip_reason(member, self.config.validation, max_resolution=float("inf"))
            accuracy = min(0.99, min_accuracy + step * index)
            measurements = [] if reason else self.make_test_measurements(accuracy, seeds, images)
            rows.append(MemberValidation(member, measurements, reason).to_dict())
        document = {"members": rows}
        if curve:
            document |= self.curve(rows)
        if controls is not None:
            document |= self.controls(rows, controls)
        write_atomic(self.run.validation, dump_yaml(document))
        return self

    def make_test_measurements(self, accuracy, seeds, images):
        return [
            self.make_measurement(min(1.0, accuracy + 0.004 * s), split="test", images=images)
            for s in range(seeds)
        ]

    def curve(self, rows):
        """The curve through the trained of `rows`; the others are given their predictions."""
        trained_rows = [row for row in rows if row["validated"]]
        errors = [(row["interval"][1] - row["interval"][0]) / 3.92 for row in trained_rows]
        points = [
            CurvePoint(row["flops"], row["accuracy"], error)
            for row, error in zip(trained_rows, errors, strict=True)
        ]
        reason = missing_curve_reason(points)
        curve_fit = None if reason else fit_curve(points)
        for row in rows:
            if not row["validated"]:
                row["prediction"] = curve_fit and curve_fit.predict(row["flops"]).to_dict()
        if curve_fit is None:
            return {"curve": None, "missing_curve_reason": reason}
        band = [
            curve_fit.band(float(f))
            for f in np.geomspace(trained_rows[0]["flops"], rows[-1]["flops"], 60)
        ]
        band_points = [
            {"flops": p.flops, "accuracy": p.accuracy, "interval": [p.low, p.high]} for p in band
        ]
        return {"curve": curve_fit.to_dict() | {"band": band_points}, "missing_curve_reason": ""}

    def controls(self, rows, requested):
        trained_rows = [row for row in rows if row["validated"] and row["name"] != "b0"]
        family_member = trained_rows[-1] if trained_rows else None
        controls = [
            make_control(name, accuracy_gap, family_member, self.spec)
            for name, accuracy_gap in requested.items()
        ]
        single_dimensions = {
            row["name"]: row["verdict"]
            for row in controls
            if row["name"] in ("depth", "width", "resolution")
        }
        better_dimensions = [
            name for name, verdict in single_dimensions.items() if verdict == "worse"
        ]
        wins = (
            False
            if better_dimensions
            else True
            if single_dimensions and set(single_dimensions.values()) == {"better"}
            else None
        )
        explanation = {
            True: "it is better than each dimension alone, beyond doubt",
            False: f"{', '.join(better_dimensions)} alone is better, beyond doubt",
            None: "the differences are within the noise"
            if any(single_dimensions.values())
            else "no control could be trained",
        }[wins]
        return {
            "controls": controls,
            "compound": {
                "family_member": family_member and family_member["name"],
                "wins": wins,
                "explanation": explanation,
            },
        }


RULES = {
    "depth": ("depth alone", (2.0, 1.0, 1.0)),
    "width": ("width alone", (1.0, 1.4, 1.0)),
    "resolution": ("resolution alone", (1.0, 1.0, 1.4)),
    "paper": ("1.2, 1.1, 1.15 of the paper", (1.2, 1.1, 1.15)),
    "efficientnet_b1": ("efficientnet_b1 as published", None),
}


def make_control(name, accuracy_gap, family_member, baseline):
    """A row of `controls` in validation.yaml: the network of that rule nearest to the FLOPs of
    `against`.
    """
    rule, point = RULES.get(name, (f"coefficients of {name} (1.30, 1.05, 1.10)", (1.3, 1.05, 1.1)))
    row = dict.fromkeys(
        (
            "family_member",
            "phi",
            "alpha",
            "beta",
            "gamma",
            "spec",
            "spec_id",
            "flops",
            "params",
            "ratio",
        )
    )
    row |= {
        "name": name,
        "label": rule,
        "validated": False,
        "skip_reason": "",
        "accuracy_gap": None,
        "flops_adjustment": None,
    }
    row |= {"accuracy_gap_interval": None, "verdict": None}
    if family_member is None or isinstance(accuracy_gap, str):
        return row | {
            "skip_reason": accuracy_gap
            if isinstance(accuracy_gap, str)
            else "no scaled member was trained"
        }
    coefficients = Coefficients(*(point or (1.2, 1.1, 1.15)), divisor=4)
    networks = {phi / 50: coefficients.apply(baseline, phi / 50) for phi in range(1, 200)}
    phi = min(
        networks,
        key=lambda phi: abs(math.log(network_cost(networks[phi]).flops / family_member["flops"])),
    )
    spec, spec_cost = networks[phi], network_cost(networks[phi])
    row |= {
        "family_member": family_member["name"],
        "spec": spec.to_dict(),
        "spec_id": spec.spec_id,
        "flops": spec_cost.flops,
    }
    row |= {
        "params": spec_cost.params,
        "ratio": spec_cost.flops * family_member["ratio"] / family_member["flops"],
    }
    if point:
        row |= {"phi": phi, "alpha": point[0], "beta": point[1], "gamma": point[2]}
    flops_adjustment = 0.02 * math.log(family_member["flops"] / spec_cost.flops)
    accuracies = [
        min(1.0, max(0.0, value - accuracy_gap - flops_adjustment))
        for value in family_member["accuracies"]
    ]
    accuracies[0], accuracies[-1] = accuracies[0] + 0.001, accuracies[-1] - 0.001
    mean, interval = sum(accuracies) / len(accuracies), [accuracy_gap - 0.015, accuracy_gap + 0.015]
    row |= {
        "validated": True,
        "accuracies": accuracies,
        "accuracy": mean,
        "images": family_member["images"],
    }
    row |= {
        "interval": list(wilson_interval(mean, family_member["images"])),
        "train_seconds": 5.0,
        "failure_reason": "",
    }
    verdict = "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "tied"
    return row | {
        "accuracy_gap": accuracy_gap,
        "flops_adjustment": flops_adjustment,
        "accuracy_gap_interval": interval,
        "verdict": verdict,
    }


@pytest.fixture
def build(tmp_path):
    """`build(**sections)`: a run that has just been started, with those sections of the
    configuration.
    """

    def start(directory="run", **sections):
        return RunBuilder(tmp_path / directory, **sections)

    return start


@pytest.fixture(scope="session")
def full_run(tmp_path_factory):
    """A run with everything, and its report."""
    from phinas.reports.page import write_report

    scaling = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 5, "phi": [1.0, 2.0, 3.0]}
    builder = RunBuilder(
        tmp_path_factory.mktemp("reports") / "whole",
        scaling=scaling,
        search={"recipe": {"epochs": 6}},
    )
    controls = {
        "depth": 0.03,
        "width": -0.02,
        "resolution": "needs 90 pixels of a side",
        "paper": 0.01,
        "efficientnet_b1": 0.02,
    }
    builder.search(12, failed=(4,), running=1, orphans=2).select_baseline().scale().validate(
        controls=controls | {"runs/other": 0.001}
    )
    write_report(builder.run)
    return builder
