"""Small run directories, made with the classes that make real ones."""

import math
import random
from contextlib import closing

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from phinas.experiment.manifest import add_to_manifest, new_manifest
from phinas.experiment.measurement import Measurement, wilson_interval
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.schema.config import config_from_dict
from phinas.experiment.statistics.paired_comparison import compare
from phinas.experiment.trial_store import ORPHAN, open_store
from phinas.nas.objective import REWARD
from phinas.nas.reward import make_reward
from phinas.nas.search import SearchResult
from phinas.nas.selection.baseline import Baseline
from phinas.nas.selection.finalists import Finalist
from phinas.nas.trial import cost_in, judged, measured_trials, trial_attributes
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family, write_family
from phinas.scaling_search.grid.measured_grid import make_grid, spread
from phinas.scaling_search.race.racing import judge, next_trainings
from phinas.scaling_search.race.search import ScalingResult, make_race
from phinas.scaling_search.validation.curve import Point, fit_curve, why_no_curve
from phinas.scaling_search.validation.validate import Validated, reason_to_skip
from phinas.space.cost import cost
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec, StageSpec
from phinas.space.yaml_io import dump_yaml

WIDTHS = CategoricalDistribution(list(range(8, 2048, 8)))
DATA = {
    "name": "digits",
    "side": 8,
    "channels": 1,
    "train": 1150,
    "validation": 288,
    "test": 359,
    "fingerprint": "705006da94414bfa",
}


WHY = (
    "w = -0.031 was estimated: accuracy grew as cost^0.031 (95%: 0.012 to 0.050) along the "
    "upper edge of 24 networks"
)


def latency(median):
    quartiles = [median - 0.05, median + 0.15]
    return {
        "latency_ms": median,
        "latency_quartiles_ms": quartiles,
        "latency_runs": 40,
        "latency_on": "a chip, 1 thread",
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


def _of(results, member, wanted):
    """Accuracies of a member's trainings of such epochs, by seed."""
    return [
        results[training]
        for training in sorted(results)
        if training.member == member and wanted(training.epochs)
    ]


class Builder:
    """One run, brought as far as a test wants it."""

    def __init__(self, path, **sections):
        self.random = random.Random(0)
        self.config = config_from_dict(
            {"name": "a small run", "data": {"source": "digits"}} | sections, where="test"
        )
        self.run = RunDir(path)
        self.run.create(
            dump_yaml(self.config.model_dump()),
            new_manifest(seed=0) | {"goal": ["search", "scale", "validate"]},
        )
        self.add_data()
        with closing(open_store(self.run.study, url=None, new=True)) as store:
            store.ledger("search", aims=self.config.search.aims)

    def add_data(self, **changes):
        add_to_manifest(
            self.run, data=DATA | {"duplicates": 0, "classes": 10, "skipped": []} | changes
        )

    def measured(self, accuracy, *, split="validation", images=288):
        return Measurement(
            accuracy, split=split, images=images, epochs=6, train_seconds=2.5, device="cpu"
        )

    def search(self, count, *, failed=(), pruned=(), running=0, orphans=0, held=0, accuracy=None):
        reward, section = self.reward(), self.config.search
        with closing(open_store(self.run.study, url=None, new=False)) as store:
            ledger = store.ledger("search")
            if not held:
                ledger.note(
                    REWARD, reward.to_dict() | {"why": WHY if section.weight == "auto" else ""}
                )
            for proposal in range(orphans + count + running + held):
                spec = network(proposal)
                attributes = trial_attributes(proposal, spec, f"key{proposal}", 0)
                if section.cost == "latency":
                    attributes |= latency(1.0 + 0.1 * proposal)
                number = ledger.begin(
                    {"stages.1.width": spec.stages[1].width},
                    {"stages.1.width": WIDTHS},
                    **attributes,
                )
                if proposal < orphans:
                    ledger.fail(number, ORPHAN)
                elif proposal - orphans in failed:
                    ledger.fail(number, "the loss became NaN", attempts=1)
                elif proposal - orphans in pruned:
                    so_far = Measurement(
                        0.3, images=288, epochs=2, train_seconds=5.0, curve=(0.2, 0.3), device="cpu"
                    )
                    ledger.prune(
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
                    price = cost_in(section.cost, attributes)
                    worth = [value, price] if section.reward == "pareto" else reward(value, price)
                    ledger.complete(number, worth, self.measured(value), attempts=1)
                elif proposal >= orphans + count + running:
                    ledger.complete(number, None, self.measured(0.7), attempts=1)
        return self

    def reward(self):
        section = self.config.search
        kind = "soft" if section.reward == "pareto" else section.reward
        weight = -0.031 if section.weight == "auto" else section.weight
        return make_reward(
            kind, weight=weight, target=section.target or 400_000.0, metric=section.cost
        )

    def choose(self, *, finalists=3, seeds=2, exhausted=False, reference=None, noise=0.01):
        with closing(open_store(self.run.study, url=None, new=False)) as store:
            trials = measured_trials(store.rows("search"))
        section = self.config.search
        reward, pareto = self.reward(), section.reward == "pareto"
        trials = judged(trials, reward) if pareto else trials
        best = sorted(trials, key=lambda trial: -trial.reward)[:finalists]
        accuracies = {
            t.spec.spec_id: [
                min(1.0, t.accuracy + 0.02 + noise * self.random.random()) for _ in range(seeds)
            ]
            for t in best
        }
        rewards = {
            t.spec.spec_id: [
                reward(value, t.cost_in(reward.metric)) for value in accuracies[t.spec.spec_id]
            ]
            for t in best
        }
        comparison = compare(rewards)
        chosen = next(trial for trial in best if trial.spec.spec_id == comparison.winner)
        result = SearchResult(
            trials, reward, exhausted, pareto, WHY if section.weight == "auto" else ""
        )
        taken, trained = [Finalist(trial) for trial in best], section.evaluator == "proxy"
        baseline = Baseline(chosen, taken, accuracies, rewards, comparison, reference, trained)
        facts = baseline.to_dict(result) | {"exhausted": exhausted}
        write_atomic(self.run.baseline, dump_yaml(facts))
        self.spec = chosen.spec
        return self

    def give(
        self, spec=None, *, why="given: efficientnet_b0, for 1000 classes at 224 pixels of a side"
    ):
        self.spec = spec or preset("efficientnet_b0")
        price = cost(self.spec)
        facts = {
            "spec": self.spec.to_dict(),
            "spec_id": self.spec.spec_id,
            "flops": price.flops,
            "params": price.params,
        }
        write_atomic(self.run.baseline, dump_yaml(facts | {"why": why, "finalists": []}))
        return self

    def scale(self, *, gap=0.0, seeds=None):
        """Race the grid on accuracies drawn at random, brief and full trainings alike; the first
        member is `gap` above them.
        """
        section = self.config.scaling.model_copy(
            update={"seeds": seeds or self.config.scaling.seeds}
        )
        grid = make_grid(self.spec, section)
        raced = spread(grid, section.members)
        race = make_race(raced, self.spec, section)
        results = {}
        while rung := next_trainings(race, results):
            results |= {
                t: 0.8 + 0.02 * self.random.random() + (0 if t.member else gap) for t in rung
            }
        verdict = judge(race, results)
        full = {
            m.spec.spec_id: _of(results, place, lambda epochs: epochs == race.epochs)
            for place, m in enumerate(raced)
        }
        brief = {
            m.spec.spec_id: _of(results, place, lambda epochs: epochs < race.epochs)
            for place, m in enumerate(raced)
        }
        brief = {name: values[0] for name, values in brief.items() if values}
        self.found = raced[verdict.winner].point(section)
        result = ScalingResult(self.found, grid, raced, full, brief, race, verdict)
        write_atomic(self.run.coefficients, dump_yaml(result.to_dict(section)))
        return self.grow()

    def give_coefficients(self, *point, why="given: the paper's"):
        self.found = Coefficients(*point, divisor=self.config.scaling.divisor)
        facts = dict(zip(("alpha", "beta", "gamma"), point, strict=True)) | {
            "nominal": self.found.nominal,
            "why": why,
        }
        facts |= {
            "divisor": self.found.divisor,
            "rounding": self.found.rounding,
            "given": True,
            "members": [],
        }
        write_atomic(self.run.coefficients, dump_yaml(facts))
        return self.grow()

    def grow(self):
        """The family by the coefficients found."""
        self.family = make_family(self.spec, self.found, self.config.scaling.phi)
        write_family(self.family, self.run.family)
        return self

    def validate(self, *, seeds=2, step=0.01, least=0.9, images=359, controls=None, curve=True):
        """Each member `step` above the one before. controls: by name, how far behind the compound
        member, or why it is not.
        """
        rows = []
        for place, member in enumerate(self.family):
            why = reason_to_skip(member, self.config.validation, largest_side=float("inf"))
            accuracy = min(0.99, least + step * place)
            found = [] if why else self.tested(accuracy, seeds, images)
            rows.append(Validated(member, found, why).to_dict())
        facts = {"members": rows}
        if curve:
            facts |= self.curve(rows)
        if controls is not None:
            facts |= self.controls(rows, controls)
        write_atomic(self.run.validation, dump_yaml(facts))
        return self

    def tested(self, accuracy, seeds, images):
        return [
            self.measured(min(1.0, accuracy + 0.004 * s), split="test", images=images)
            for s in range(seeds)
        ]

    def curve(self, rows):
        """The curve through the trained of `rows`; the others are given their predictions."""
        trained = [row for row in rows if row["validated"]]
        errors = [(row["interval"][1] - row["interval"][0]) / 3.92 for row in trained]
        points = [
            Point(row["flops"], row["accuracy"], error)
            for row, error in zip(trained, errors, strict=True)
        ]
        why = why_no_curve(points)
        found = None if why else fit_curve(points)
        for row in rows:
            if not row["validated"]:
                row["prediction"] = found and found.predict(row["flops"]).to_dict()
        if found is None:
            return {"curve": None, "why_no_curve": why}
        band = [
            found.band(float(f)) for f in np.geomspace(trained[0]["flops"], rows[-1]["flops"], 60)
        ]
        told = [
            {"flops": p.flops, "accuracy": p.accuracy, "interval": [p.low, p.high]} for p in band
        ]
        return {"curve": found.to_dict() | {"band": told}, "why_no_curve": ""}

    def controls(self, rows, wanted):
        trained = [row for row in rows if row["validated"] and row["name"] != "b0"]
        against = trained[-1] if trained else None
        told = [control(name, behind, against, self.spec) for name, behind in wanted.items()]
        single = {
            row["name"]: row["verdict"]
            for row in told
            if row["name"] in ("depth", "width", "resolution")
        }
        beaten = [name for name, found in single.items() if found == "worse"]
        wins = False if beaten else True if single and set(single.values()) == {"better"} else None
        why = {
            True: "it is better than each dimension alone, beyond doubt",
            False: f"{', '.join(beaten)} alone is better, beyond doubt",
            None: "the differences are within the noise"
            if any(single.values())
            else "no control could be trained",
        }[wins]
        return {
            "controls": told,
            "compound": {"against": against and against["name"], "wins": wins, "why": why},
        }


RULES = {
    "depth": ("depth alone", (2.0, 1.0, 1.0)),
    "width": ("width alone", (1.0, 1.4, 1.0)),
    "resolution": ("resolution alone", (1.0, 1.0, 1.4)),
    "paper": ("1.2, 1.1, 1.15 of the paper", (1.2, 1.1, 1.15)),
    "efficientnet_b1": ("efficientnet_b1 as published", None),
}


def control(name, behind, against, baseline):
    """A row of `controls` in validation.yaml: the network of that rule nearest to the FLOPs of
    `against`.
    """
    rule, point = RULES.get(name, (f"coefficients of {name} (1.30, 1.05, 1.10)", (1.3, 1.05, 1.1)))
    row = dict.fromkeys(
        ("against", "phi", "alpha", "beta", "gamma", "spec", "spec_id", "flops", "params", "ratio")
    )
    row |= {
        "name": name,
        "rule": rule,
        "validated": False,
        "why_not": "",
        "behind": None,
        "correction": None,
    }
    row |= {"behind_interval": None, "verdict": None}
    if against is None or isinstance(behind, str):
        return row | {
            "why_not": behind if isinstance(behind, str) else "no scaled member was trained"
        }
    coefficients = Coefficients(*(point or (1.2, 1.1, 1.15)), divisor=4)
    networks = {phi / 50: coefficients.apply(baseline, phi / 50) for phi in range(1, 200)}
    phi = min(networks, key=lambda phi: abs(math.log(cost(networks[phi]).flops / against["flops"])))
    spec, price = networks[phi], cost(networks[phi])
    row |= {
        "against": against["name"],
        "spec": spec.to_dict(),
        "spec_id": spec.spec_id,
        "flops": price.flops,
    }
    row |= {"params": price.params, "ratio": price.flops * against["ratio"] / against["flops"]}
    if point:
        row |= {"phi": phi, "alpha": point[0], "beta": point[1], "gamma": point[2]}
    correction = 0.02 * math.log(against["flops"] / price.flops)
    accuracies = [
        min(1.0, max(0.0, value - behind - correction)) for value in against["accuracies"]
    ]
    accuracies[0], accuracies[-1] = accuracies[0] + 0.001, accuracies[-1] - 0.001
    mean, interval = sum(accuracies) / len(accuracies), [behind - 0.015, behind + 0.015]
    row |= {
        "validated": True,
        "accuracies": accuracies,
        "accuracy": mean,
        "images": against["images"],
    }
    row |= {
        "interval": list(wilson_interval(mean, against["images"])),
        "train_seconds": 5.0,
        "failed": "",
    }
    verdict = "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "tied"
    return row | {
        "behind": behind,
        "correction": correction,
        "behind_interval": interval,
        "verdict": verdict,
    }


@pytest.fixture
def build(tmp_path):
    """`build(**sections)`: a run that has just been started, with those sections of the
    configuration.
    """

    def start(directory="run", **sections):
        return Builder(tmp_path / directory, **sections)

    return start


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run with everything, and its report."""
    from phinas.reports.page import write_report

    scaling = {"tolerance": 0.2, "divisor": 4, "members": 5, "phi": [1.0, 2.0, 3.0]}
    built = Builder(
        tmp_path_factory.mktemp("reports") / "whole",
        scaling=scaling,
        search={"recipe": {"epochs": 6}},
    )
    told = {
        "depth": 0.03,
        "width": -0.02,
        "resolution": "needs 90 pixels of a side",
        "paper": 0.01,
        "efficientnet_b1": 0.02,
    }
    built.search(12, failed=(4,), running=1, orphans=2).choose().scale().validate(
        controls=told | {"runs/other": 0.001}
    )
    write_report(built.run)
    return built
