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

from phinas.adapt_to_data import baseline_for_data, max_resolution, space_for_data
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config, Recipe
from phinas.experiment.seeds import derive_seed
from phinas.family_builder import build_family
from phinas.nas.cost_constraint import MAX_ENUMERABLE
from phinas.nas.search import make_cost_constraint
from phinas.nas.selection.reference_network import resolve_reference
from phinas.preflight import check_config
from phinas.scaling_search.coefficients import PAPER
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.resolutions import check_resolution_range
from phinas.scaling_search.race.search import make_race
from phinas.scaling_search.race.user_coefficients import load_user_coefficients
from phinas.scaling_search.validation.controls import make_controls, read_controls
from phinas.scaling_search.validation.validate import members_to_train
from phinas.session import STAGES, resolve_threads, resolve_workers
from phinas.space.cost import network_cost
from phinas.space.search_spaces.cardinality import count_networks
from phinas.space.spec import ArchSpec
from phinas.terminal.text_table import Column, format_table
from phinas.training.timing.latency import MAX_SECONDS, MIN_SECONDS

if TYPE_CHECKING:
    import torch

    from phinas.training.data.prepared_dataset import PreparedData

_SAMPLE_SIZE = 6
_TIMED_NETWORKS = 4


@dataclass(frozen=True)
class _Stage:
    """epochs: of all trainings together; the scaling search's are not all as long as its recipe."""

    name: str
    trainings: int
    epochs: int
    networks: Sequence[ArchSpec]  # typical ones, timed
    recipe: Recipe

    @classmethod
    def of_equal_trainings(
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
    check_config(config, stages)
    with tempfile.TemporaryDirectory(prefix="phinas-plan-") as directory:
        data = prepare(config.data, seed=config.run.seed, directory=Path(directory))
        rows = [
            _estimate_stage(stage, config, data) for stage in _expected_stages(config, data, stages)
        ]
    return {
        "images": {
            "train": data.train,
            "validation": data.validation,
            "test": data.test,
            "skipped": len(data.skipped_images),
        },
        "stages": rows,
        "trainings": sum(row["trainings"] for row in rows),
        "flops": sum(row["flops"] for row in rows),
        "hours": sum(row["hours"] for row in rows),
        "not_included": _excluded_costs(config, stages),
    }


def _excluded_costs(config: Config, stages: Sequence[str]) -> list[str]:
    """Sentences about the work of a run that the plan does not include."""
    section, notes = config.search, []
    searches_network = "search" in stages and config.scaling.baseline is None
    if searches_network and section.evaluator != "proxy":
        notes.append(
            f"the search trains nothing: what {section.evaluator} takes for its {section.trials} "
            "networks is not in it"
        )
    if searches_network and section.cost == "latency":
        seconds = f"{MIN_SECONDS:g} to {MAX_SECONDS:g} s each"
        notes.append(
            f"each of the search's {section.trials} networks is timed first, {seconds}, which is "
            "not in it"
        )
    if (
        "scale" in stages
        and config.scaling.coefficients is None
        and config.scaling.evaluator != "proxy"
    ):
        notes.append(
            f"the scaling search trains nothing: what {config.scaling.evaluator} takes for it is "
            "not in it"
        )
    return notes


def _expected_stages(config: Config, data: "PreparedData", stages: Sequence[str]) -> list[_Stage]:
    """The stages with networks like those that they will train."""
    resolution_limit = max_resolution(config, data)
    expected = []
    if config.scaling.baseline is not None:
        base = baseline_for_data(config, data)
    else:
        space = space_for_data(config, data)
        base = space.base
        generator = random.Random(derive_seed(config.run.seed, "plan"))
        sample = [space.decode(space.sample(generator)) for _ in range(_SAMPLE_SIZE)]
        if "search" in stages and config.search.evaluator == "proxy":
            # Only a small space may have fewer networks than are asked for.
            trials = (
                min(config.search.trials, count_networks(space))
                if space.size <= MAX_ENUMERABLE
                else config.search.trials
            )
            finalists = min(config.search.finalists, trials) * config.search.finalist_seeds
            expected.append(
                _Stage.of_equal_trainings("search", trials, sample, config.search.recipe)
            )
            expected.append(
                _Stage.of_equal_trainings(
                    "finalists", finalists, sample, config.search.finalist_recipe
                )
            )
            max_trial_flops = max(network_cost(spec).flops for spec in sample)
            reference = resolve_reference(
                config.search,
                make_cost_constraint(config.search),
                base,
                max_trial_flops=max_trial_flops,
            )
            if reference and reference.spec:
                # one is as short as those of the search
                trainings = config.search.finalist_seeds + 1
                expected.append(
                    _Stage.of_equal_trainings(
                        "reference", trainings, [reference.spec], config.search.finalist_recipe
                    )
                )
    searches_coefficients = (
        config.scaling.coefficients is None and config.scaling.evaluator == "proxy"
    )
    if "scale" in stages and searches_coefficients:
        check_resolution_range(base.resolution, config.scaling, max_resolution=resolution_limit)
        members = farthest_point_sample(
            make_grid(base, config.scaling, max_resolution=resolution_limit),
            config.scaling.max_grid_members,
        )
        race = make_race(members, base, config.scaling)
        networks = [member.spec for member in members]
        expected.append(
            _Stage("scaling", race.max_trainings, race.max_epochs, networks, config.scaling.recipe)
        )
    if "validate" in stages:
        validated = _validation_networks(base, config, max_resolution=resolution_limit)
        expected.append(
            _Stage.of_equal_trainings(
                "validation",
                len(validated) * config.validation.seeds,
                validated,
                config.validation.recipe,
            )
        )
    return expected


def _validation_networks(
    base: ArchSpec, config: Config, *, max_resolution: float
) -> list[ArchSpec]:
    """Members and controls that are trained. `paper` counts where its coefficients stand in for
    those to be found.
    """
    searches_coefficients = config.scaling.coefficients is None
    # those to be found are not known
    coefficients = PAPER if searches_coefficients else load_user_coefficients(config.scaling)
    members = members_to_train(
        build_family(base, coefficients, config.scaling),
        config.validation,
        max_resolution=max_resolution,
    )
    definitions = read_controls(config.validation.controls)
    controls = make_controls(
        definitions, base, members, rounding=coefficients, max_resolution=max_resolution
    )
    trained_controls = [
        control.spec
        for control in controls
        if control.spec
        and (
            not control.skip_reason
            or (
                control.is_same_network
                and searches_coefficients
                and control.definition.name == "paper"
            )
        )
    ]
    return [*(member.spec for member in members), *trained_controls]


def _estimate_stage(stage: _Stage, config: Config, data: "PreparedData") -> dict[str, Any]:
    from phinas.training.engine.device import resolve_device, set_determinism
    from phinas.training.timing.time_estimate import estimate_training_seconds

    set_determinism(deterministic=config.run.deterministic)
    max_workers = resolve_workers(config.run)
    threads = resolve_threads(config.run, max_workers=max_workers)
    device: torch.device = resolve_device(config.run.device)
    step = max(1, len(stage.networks) // _TIMED_NETWORKS)
    seconds = [
        estimate_training_seconds(
            spec,
            stage.recipe,
            train_images=data.train,
            val_images=data.validation,
            device=device,
            threads=threads,
        )
        for spec in stage.networks[::step]
    ]
    mean_seconds = sum(seconds) / len(seconds)
    mean_flops = sum(network_cost(spec).flops for spec in stage.networks) / len(stage.networks)
    # Backward costs about twice forward; the epoch ends with a forward pass over the validation
    # images.
    images = 3 * data.train + data.validation
    return {
        "stage": stage.name,
        "trainings": stage.trainings,
        "epochs": stage.epochs,
        "flops": stage.epochs * mean_flops * images,
        "hours": stage.epochs * mean_seconds / stage.recipe.epochs / max_workers / 3600,
    }


def as_text(estimate: dict[str, Any], *, width: int | None = None) -> str:
    """The plan as a table in lines of `width` characters (None: unlimited)."""
    columns = [
        Column("stage", "left"),
        *(Column(title) for title in ("trainings", "epochs", "FLOPs", "time")),
    ]
    rows = [
        [
            row["stage"],
            f"{row['trainings']}",
            f"{row['epochs']}",
            f"{row['flops']:.1e}",
            _format_hours(row["hours"]),
        ]
        for row in estimate["stages"]
    ]
    rows.append(
        [
            "all",
            f"{estimate['trainings']}",
            "",
            f"{estimate['flops']:.1e}",
            _format_hours(estimate["hours"]),
        ]
    )
    return "\n".join([*format_table(columns, rows, width=width), *estimate["not_included"]])


def _format_hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
