"""Small run directories, made with the classes that make real ones."""

import math
import random
from contextlib import closing
from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution

from phinas.experiment.artifacts.baseline_file import ExponentEstimate
from phinas.experiment.artifacts.manifest import DatasetDescription, DuplicateCounts
from phinas.experiment.artifacts.trained_weights import SavedWeights
from phinas.experiment.artifacts.validation_file import (
    ControlComparison,
    ControlNetwork,
    ControlRecord,
    GainRecord,
    MemberRecord,
    ScaleFactors,
    SkipReason,
    TestResult,
    ValidationFile,
)
from phinas.experiment.manifest import create_run, new_manifest, record_family, update_manifest
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import config_from_dict
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.experiment.statistics.paired_comparison import compare
from phinas.experiment.storage.study_storage import open_storage
from phinas.experiment.storage.trial_record import ORPHAN_REASON
from phinas.nas.objective import record_reward
from phinas.nas.reward import make_reward
from phinas.nas.search import SearchResult
from phinas.nas.selection.baseline import SelectedBaseline
from phinas.nas.selection.baseline_record import make_baseline_file, make_user_baseline_file
from phinas.nas.selection.finalists import Finalist
from phinas.nas.trial import LatencyTiming, TrialAttributes, apply_reward, completed_trials
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family, write_family
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.race.centroid import estimate_coefficients
from phinas.scaling_search.race.racing import evaluate_race, next_runs
from phinas.scaling_search.race.scaling_result import ScalingResult, make_coefficients_file
from phinas.scaling_search.race.search import make_race
from phinas.scaling_search.race.user_coefficients import make_user_coefficients_file
from phinas.scaling_search.race.value_of_more import ValueOfMore
from phinas.scaling_search.validation.compound_verdict import judge_compound_scaling
from phinas.scaling_search.validation.controls import SINGLE_DIMENSION
from phinas.scaling_search.validation.curve import (
    MIN_POINTS,
    CurvePoint,
    count_sizes,
    fit_curve,
)
from phinas.scaling_search.validation.prediction import make_band, predict_member
from phinas.scaling_search.validation.validate import find_skip_reason
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


EXPONENT_ESTIMATE = ExponentEstimate(
    value=-0.031, case="estimated", num_networks=24, slope=0.031, interval=(0.012, 0.05)
)


def latency(median):
    return LatencyTiming(
        latency_ms=median,
        latency_quartiles_ms=(median - 0.05, median + 0.15),
        latency_runs=40,
        latency_hardware="a chip, 1 thread",
    )


def network(number):
    """A different small network for each number."""
    stages = (
        StageSpec(8, 1, expansion=1),
        StageSpec(8 + 8 * number, 2, kernel=5, stride=2, expansion=2, se=0.0),
    )
    return ArchSpec(
        stages, stem_width=8, stem_stride=1, head_width=64, resolution=12, channels=1, classes=10
    )


def _predict_row(row, curve):
    """The row of a member that was not trained, with its prediction."""
    result = predict_member(curve, row.flops, fits_images=True)
    return row.model_copy(
        update={"prediction": result.prediction, "missing_prediction": result.missing}
    )


def _scores_of(results, member, matches):
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
        create_run(
            self.run,
            dump_yaml(self.config.model_dump()),
            new_manifest(seed=0, goal=["search", "scale", "validate"]),
        )
        self.add_data()
        with closing(open_storage(self.run.study, url=None, new=True)) as storage:
            storage.open_study("search", directions=self.config.search.directions)

    def add_data(self, **changes):
        update_manifest(
            self.run,
            data=DatasetDescription(
                **DATA
                | {"duplicates": DuplicateCounts(), "classes": 10, "skipped_images": ()}
                | changes
            ),
        )

    def make_measurement(self, score, *, split="validation", images=288):
        return Measurement(
            score, split=split, images=images, epochs=6, train_seconds=2.5, device="cpu"
        )

    def search(
        self, count, *, failed=(), pruned=(), running=0, orphans=0, awaiting_reward=0, score=None
    ):
        reward, section = self.reward(), self.config.search
        with closing(open_storage(self.run.study, url=None, new=False)) as storage:
            trial_store = storage.open_study("search")
            if not awaiting_reward:
                record_reward(trial_store, reward, self.exponent_estimate())
            for proposal in range(orphans + count + running + awaiting_reward):
                spec = network(proposal)
                attributes = TrialAttributes.of(
                    spec, proposal=proposal, key=f"key{proposal}", num_rejected=0
                )
                if section.cost == "latency":
                    attributes = replace(attributes, latency=latency(1.0 + 0.1 * proposal))
                number = trial_store.begin(
                    {"stages.1.width": spec.stages[1].width},
                    {"stages.1.width": WIDTHS},
                    **attributes.to_dict(),
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
                    value = score(proposal) if score else min(1.0, 0.6 + 0.3 * self.random.random())
                    cost_value = attributes.get_cost(section.cost)
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
            kind,
            exponent=exponent,
            target=section.target_cost or 400_000.0,
            cost_metric=section.cost,
        )

    def exponent_estimate(self):
        return EXPONENT_ESTIMATE if self.config.search.reward_exponent == "auto" else None

    def select_baseline(
        self, *, finalists=3, seeds=2, space_exhausted=False, reference=None, noise=0.01
    ):
        with closing(open_storage(self.run.study, url=None, new=False)) as storage:
            trials = completed_trials(storage.records("search"))
        section = self.config.search
        reward, pareto = self.reward(), section.reward == "pareto"
        trials = apply_reward(trials, reward) if pareto else trials
        best_trials = sorted(trials, key=lambda trial: -trial.reward)[:finalists]
        scores = {
            t.spec.network_id: [
                min(1.0, t.score + 0.02 + noise * self.random.random()) for _ in range(seeds)
            ]
            for t in best_trials
        }
        rewards = {
            t.spec.network_id: [
                reward(value, t.get_cost(reward.cost_metric)) for value in scores[t.spec.network_id]
            ]
            for t in best_trials
        }
        comparison = compare(rewards)
        winner = next(trial for trial in best_trials if trial.spec.network_id == comparison.winner)
        result = SearchResult(
            trials,
            reward,
            space_exhausted,
            pareto,
            self.exponent_estimate(),
        )
        finalist_list, uses_training = (
            [Finalist(trial) for trial in best_trials],
            section.evaluator == "proxy",
        )
        selected = SelectedBaseline(
            winner, finalist_list, scores, rewards, comparison, reference, uses_training
        )
        make_baseline_file(selected, result).write(self.run.baseline)
        self.spec = winner.spec
        return self

    def give_baseline(self, spec=None, *, source="efficientnet_b0"):
        self.spec = spec or preset("efficientnet_b0")
        make_user_baseline_file(self.spec, source).write(self.run.baseline)
        return self

    def scale(self, *, gap=0.0, seeds=None):
        """Race the grid on random scores of short and full trainings; the first member's are `gap`
        above the others'.
        """
        section = self.config.scaling.model_copy(
            update={"seeds": seeds or self.config.scaling.seeds}
        )
        grid = make_grid(self.spec, section)
        raced_members = farthest_point_sample(grid, section.max_grid_members)
        race = make_race(raced_members, self.spec, section, can_pause=False)
        results = {}
        while rung := next_runs(race, results):
            results |= {
                t: 0.8 + 0.02 * self.random.random() + (0 if t.member else gap) for t in rung
            }
        verdict = evaluate_race(race, results)
        full_scores = {
            m.spec.network_id: _scores_of(results, index, lambda epochs: epochs == race.epochs)
            for index, m in enumerate(raced_members)
        }
        short_scores = {
            m.spec.network_id: _scores_of(results, index, lambda epochs: epochs < race.epochs)
            for index, m in enumerate(raced_members)
        }
        short_scores = {name: values[0] for name, values in short_scores.items() if values}
        estimate = estimate_coefficients(
            self.spec,
            section,
            [member.to_coefficients(section) for member in raced_members],
            [row.probability_of_best for row in verdict.member_results],
        )
        self.coefficients = estimate.coefficients
        more = ValueOfMore(31, 2.6, 0.0004, 0.0021) if len(verdict.ties) > 1 else None
        result = ScalingResult(
            estimate,
            grid,
            raced_members,
            full_scores,
            short_scores,
            race,
            verdict,
            value_of_more=more,
        )
        make_coefficients_file(result, section).write(self.run.coefficients)
        return self.build_family()

    def give_coefficients(self, *point):
        section = self.config.scaling.model_copy(update={"coefficients": list(point)})
        self.coefficients = Coefficients(*point, divisor=section.divisor)
        record = make_user_coefficients_file(self.coefficients, section)
        record.write(self.run.coefficients)
        return self.build_family()

    def build_family(self):
        """The family by the coefficients found."""
        self.family = make_family(self.spec, self.coefficients, self.config.scaling.phi)
        record_family(self.run, write_family(self.family, self.run.family))
        return self

    def validate(
        self, *, seeds=2, step=0.01, min_score=0.9, images=359, controls=(), curve=True, gain=None
    ):
        """Validate the family, each member `step` above the one before.

        controls: by name, how far behind their member, or why they failed. gain: of the largest
        trained member over B0, as (difference, interval).
        """
        rows, points = [], []
        for index, member in enumerate(self.family):
            skip = find_skip_reason(member, self.config.validation, max_resolution=float("inf"))
            score = min(0.99, min_score + step * index)
            result = None if skip else make_test_result(score, seeds, images)
            rows.append(make_member_record(member, result, skip))
            if result is not None:
                error = (result.interval[1] - result.interval[0]) / 3.92
                points.append(CurvePoint(member.flops, result.score, error))
        fitted = fit_curve(points) if curve and count_sizes(points) >= MIN_POINTS else None
        if fitted is not None:
            rows = [row if row.result else _predict_row(row, fitted) for row in rows]
            predicted_flops = [row.flops for row in rows if row.prediction]
            fitted = fitted.to_record(make_band(fitted, predicted_flops))
        trained = [row for row in rows if row.result]
        control_rows = self.make_controls(trained, dict(controls))
        self.validation = ValidationFile(
            metric=self.config.metric,
            members=tuple(rows),
            gain=gain
            and GainRecord(
                member=trained[-1].name, baseline="b0", difference=gain[0], interval=gain[1]
            ),
            controls=control_rows,
            curve=fitted,
            num_trained_sizes=count_sizes(points),
            compound=judge_compound_scaling(
                next((row.family_member for row in control_rows if row.phi), None),
                {row.name: row.comparison and row.comparison.verdict for row in control_rows},
                single_dimension=SINGLE_DIMENSION,
            ),
        )
        self.validation.write(self.run.validation)
        return self

    def make_controls(self, trained, requested):
        scaled = [row for row in trained if row.name != "b0"]
        member = scaled[-1] if scaled else None
        return tuple(
            make_control(name, score_gap, member, self.spec)
            for name, score_gap in requested.items()
        )

    def update_validation(self, **changes):
        self.validation = self.validation.model_copy(update=changes)
        self.validation.write(self.run.validation)
        return self


def make_test_result(score, seeds, images, failure_reason=""):
    scores = [min(1.0, score + 0.004 * index) for index in range(seeds)]
    return make_result(scores, images, failure_reason)


def make_result(scores, images, failure_reason=""):
    mean = sum(scores) / len(scores)
    return TestResult(
        scores=tuple(scores),
        score=mean,
        interval=wilson_interval(mean, images),
        images=images,
        train_seconds=5.0,
        failure_reason=failure_reason,
    )


def make_member_record(member, result, skip):
    return MemberRecord(
        name=member.name,
        phi=member.phi,
        network_id=member.network_id,
        flops=member.flops,
        params=member.params,
        ratio=member.ratio,
        result=result,
        skip=skip,
        prediction=None,
        weights=SavedWeights(seed=0, score=result.scores[0]) if result else None,
    )


KINDS = {
    "depth": ("depth", "", (2.0, 1.0, 1.0)),
    "width": ("width", "", (1.0, 1.4, 1.0)),
    "resolution": ("resolution", "", (1.0, 1.0, 1.4)),
    "paper": ("paper", "", (1.2, 1.1, 1.15)),
    "efficientnet_b1": ("published", "efficientnet_b1", None),
    "mine.yaml": ("spec_file", "mine.yaml", None),
}


def make_control(name, score_gap, member, baseline):
    """A control with the network nearest to the FLOPs of `member`, `score_gap` behind it; a text
    for score_gap is the reason why its training failed.
    """
    kind, source, point = KINDS.get(name, ("coefficients", name, (1.3, 1.05, 1.1)))
    factors = point and ScaleFactors(alpha=point[0], beta=point[1], gamma=point[2])
    fields = {"name": name, "kind": kind, "source": source, "coefficients": factors}
    empty = dict.fromkeys(("phi", "family_member", "network", "result", "skip", "comparison"))
    if member is None:
        return ControlRecord(**fields | empty | {"skip": SkipReason(case="no_scaled_member")})
    fields["family_member"], fields["phi"] = member.name, 1.0 if point else None
    if isinstance(score_gap, SkipReason):
        return ControlRecord(**empty | fields | {"skip": score_gap})
    if isinstance(score_gap, str):
        skip = SkipReason(case="training_failed", reason=score_gap)
        return ControlRecord(**empty | fields | {"skip": skip})
    coefficients = Coefficients(*(point or (1.2, 1.1, 1.15)), divisor=4)
    networks = {phi / 50: coefficients.apply(baseline, phi / 50) for phi in range(1, 200)}
    phi, spec = min(
        networks.items(), key=lambda item: abs(math.log(item[1].cost().flops / member.flops))
    )
    cost = spec.cost()
    adjustment = 0.02 * math.log(member.flops / cost.flops)
    scores = [min(1.0, max(0.0, value - score_gap - adjustment)) for value in member.result.scores]
    scores[0], scores[-1] = scores[0] + 0.001, scores[-1] - 0.001
    low, high = score_gap - 0.015, score_gap + 0.015
    return ControlRecord(
        **empty
        | fields
        | {
            "phi": phi if point else None,
            "network": ControlNetwork(
                spec=spec,
                network_id=spec.network_id,
                flops=cost.flops,
                params=cost.params,
                ratio=cost.flops * member.ratio / member.flops,
            ),
            "result": make_result(scores, member.result.images),
            "comparison": ControlComparison(
                difference=score_gap,
                flops_adjustment=adjustment,
                interval=(low, high),
                verdict="better" if low > 0 else "worse" if high < 0 else "tied",
            ),
        }
    )


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

    scaling = {
        "grid_phi": 1.0,
        "tolerance": 0.2,
        "divisor": 4,
        "max_grid_members": 5,
        "phi": [1.0, 2.0, 3.0],
    }
    builder = RunBuilder(
        tmp_path_factory.mktemp("reports") / "whole",
        scaling=scaling,
        search={"recipe": {"epochs": 6}},
    )
    controls = {
        "depth": 0.03,
        "width": -0.02,
        "resolution": SkipReason(case="image_size", resolution=90, image_size=8),
        "paper": 0.01,
        "efficientnet_b1": 0.02,
    }
    builder.search(12, failed=(4,), running=1, orphans=2).select_baseline().scale().validate(
        controls=controls | {"runs/other": 0.001}
    )
    write_report(builder.run)
    return builder
