"""`phinas plan`: what a run will cost before it is spent.

Networks and epochs are counted exactly where they are known; the baseline is not, so the space's
base stands in for it. Hours come from a few timed steps of some of these networks on this device.
What a search by a table or by a user's function takes is not known here, and said not to be.
"""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.adapt_to_data import fitted_baseline, fitted_space, largest_side
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config, Recipe
from phinas.experiment.seeds import seed_of
from phinas.family_builder import make_ladder
from phinas.nas.cost_constraint import ENUMERABLE
from phinas.nas.search import gate_of
from phinas.nas.selection.reference_network import resolve
from phinas.preflight import check
from phinas.scaling_search.coefficients import PAPER
from phinas.scaling_search.grid.measured_grid import make_grid, require_room, spread
from phinas.scaling_search.race.search import make_race
from phinas.scaling_search.race.user_coefficients import given_coefficients
from phinas.scaling_search.validation.controls import make_controls, read_controls
from phinas.scaling_search.validation.validate import members_to_train
from phinas.session import STAGES, slots_of, threads_of
from phinas.space.cost import cost
from phinas.space.search_spaces.cardinality import networks as networks_of
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import LEAST_SECONDS, MOST_SECONDS

if TYPE_CHECKING:
    import torch

    from phinas.training.data.prepared_dataset import PreparedData

_SAMPLE = 6
_TIMED = 4


@dataclass(frozen=True)
class _Stage:
    """epochs: of all trainings together; the scaling search's are not all as long as its recipe."""

    name: str
    trainings: int
    epochs: int
    networks: Sequence[ArchSpec]  # typical ones, timed
    recipe: Recipe

    @classmethod
    def of_equal(
        cls, name: str, trainings: int, networks: Sequence[ArchSpec], recipe: Recipe
    ) -> "_Stage":
        return cls(name, trainings, trainings * recipe.epochs, networks, recipe)


def plan(config: Config, *, stages: Sequence[str] = STAGES) -> dict[str, Any]:
    """Trainings, multiply-adds and hours of each stage, as plain data. Reads the images; writes
    nothing but temporary files.
    """
    from phinas.training.data.prepared_dataset import prepare

    if config.data is None:
        raise InputError(
            "data.source: missing; a plan prices trainings, and without images there are none"
        )
    check(config, stages)
    with tempfile.TemporaryDirectory(prefix="phinas-plan-") as directory:
        data = prepare(config.data, seed=config.run.seed, directory=Path(directory))
        rows = [_price(stage, config, data) for stage in _expected_stages(config, data, stages)]
    return {
        "images": {
            "train": data.train,
            "validation": data.validation,
            "test": data.test,
            "skipped": len(data.skipped),
        },
        "stages": rows,
        "trainings": sum(row["trainings"] for row in rows),
        "flops": sum(row["flops"] for row in rows),
        "hours": sum(row["hours"] for row in rows),
        "beside": _beside(config, stages),
    }


def _beside(config: Config, stages: Sequence[str]) -> list[str]:
    """What a run does beside trainings, in words: no hours of it are in the plan."""
    section, told = config.search, []
    searched = "search" in stages and config.scaling.baseline is None
    if searched and section.evaluator != "proxy":
        told.append(
            f"the search trains nothing: what {section.evaluator} takes for its {section.trials} "
            "networks is not in it"
        )
    if searched and section.cost == "latency":
        seconds = f"{LEAST_SECONDS:g} to {MOST_SECONDS:g} s each"
        told.append(
            f"each of the search's {section.trials} networks is timed first, {seconds}, which is "
            "not in it"
        )
    if (
        "scale" in stages
        and config.scaling.coefficients is None
        and config.scaling.evaluator != "proxy"
    ):
        told.append(
            f"the scaling search trains nothing: what {config.scaling.evaluator} takes for it is "
            "not in it"
        )
    return told


def _expected_stages(config: Config, data: "PreparedData", stages: Sequence[str]) -> list[_Stage]:
    """The stages with networks like those that they will train."""
    largest = largest_side(config, data)
    expected = []
    if config.scaling.baseline is not None:
        base = fitted_baseline(config, data)
    else:
        space = fitted_space(config, data)
        base = space.base
        generator = random.Random(seed_of(config.run.seed, "plan"))
        sample = [space.decode(space.sample(generator)) for _ in range(_SAMPLE)]
        if "search" in stages and config.search.evaluator == "proxy":
            # Only a small space may have fewer networks than are asked for.
            trials = (
                min(config.search.trials, networks_of(space))
                if space.size <= ENUMERABLE
                else config.search.trials
            )
            finalists = min(config.search.finalists, trials) * config.search.finalist_seeds
            expected.append(_Stage.of_equal("search", trials, sample, config.search.recipe))
            expected.append(
                _Stage.of_equal("finalists", finalists, sample, config.search.finalist_recipe)
            )
            dearest = max(cost(spec).flops for spec in sample)
            reference = resolve(config.search, gate_of(config.search), base, dearest=dearest)
            if reference and reference.spec:
                trainings = (
                    config.search.finalist_seeds + 1
                )  # one is as short as those of the search
                expected.append(
                    _Stage.of_equal(
                        "reference", trainings, [reference.spec], config.search.finalist_recipe
                    )
                )
    searched = config.scaling.coefficients is None and config.scaling.evaluator == "proxy"
    if "scale" in stages and searched:
        require_room(base.resolution, config.scaling, largest_side=largest)
        members = spread(
            make_grid(base, config.scaling, largest_side=largest), config.scaling.members
        )
        race = make_race(members, base, config.scaling)
        networks = [member.spec for member in members]
        expected.append(
            _Stage("scaling", race.most_trainings, race.budget, networks, config.scaling.recipe)
        )
    if "validate" in stages:
        kept = _validated(base, config, largest_side=largest)
        expected.append(
            _Stage.of_equal(
                "validation", len(kept) * config.validation.seeds, kept, config.validation.recipe
            )
        )
    return expected


def _validated(base: ArchSpec, config: Config, *, largest_side: float) -> list[ArchSpec]:
    """Members and controls that are trained. `paper` counts where its coefficients stand in for
    those to be found.
    """
    searched = config.scaling.coefficients is None
    coefficients = (
        PAPER if searched else given_coefficients(config.scaling)
    )  # those to be found are not known
    members = members_to_train(
        make_ladder(base, coefficients, config.scaling),
        config.validation,
        largest_side=largest_side,
    )
    rules = read_controls(config.validation.controls)
    controls = make_controls(rules, base, members, rounding=coefficients, largest_side=largest_side)
    others = [
        c.spec
        for c in controls
        if c.spec and (not c.why_not or (c.same and searched and c.rule.name == "paper"))
    ]
    return [*(member.spec for member in members), *others]


def _price(stage: _Stage, config: Config, data: "PreparedData") -> dict[str, Any]:
    from phinas.training.engine.device import resolve_device, settle
    from phinas.training.timing.time_estimate import training_seconds

    settle(deterministic=config.run.deterministic)
    slots = slots_of(config.run)
    threads = threads_of(config.run, slots=slots)
    device: torch.device = resolve_device(config.run.device)
    step = max(1, len(stage.networks) // _TIMED)
    seconds = [
        training_seconds(
            spec,
            stage.recipe,
            train=data.train,
            validation=data.validation,
            device=device,
            threads=threads,
        )
        for spec in stage.networks[::step]
    ]
    mean_seconds = sum(seconds) / len(seconds)
    mean_flops = sum(cost(spec).flops for spec in stage.networks) / len(stage.networks)
    # Backward costs about twice forward; the epoch ends with a forward pass over the validation
    # images.
    images = 3 * data.train + data.validation
    return {
        "stage": stage.name,
        "trainings": stage.trainings,
        "epochs": stage.epochs,
        "flops": stage.epochs * mean_flops * images,
        "hours": stage.epochs * mean_seconds / stage.recipe.epochs / slots / 3600,
    }


def as_text(facts: dict[str, Any]) -> str:
    """The plan as a table for a person."""
    lines = [f"{'stage':<12}{'trainings':>10}{'epochs':>8}{'FLOPs':>10}{'time':>12}"]
    lines += [
        f"{row['stage']:<12}{row['trainings']:>10}{row['epochs']:>8}{row['flops']:>10.1e}{_span(row['hours']):>12}"
        for row in facts["stages"]
    ]
    lines.append(
        f"{'all':<12}{facts['trainings']:>10}{'':>8}{facts['flops']:>10.1e}{_span(facts['hours']):>12}"
    )
    return "\n".join([*lines, *facts["beside"]])


def _span(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
