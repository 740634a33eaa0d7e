"""The recipe's regularization multiplies the dropout and the stochastic depth of all scaled
networks: in the race, in the validation and of its controls.
"""

import math
from dataclasses import replace

import optuna
import pytest
import torch

from phinas.experiment.executors import Result
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, ScalingSection, ValidationSection
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.race.search import search_coefficients
from phinas.scaling_search.race.training_queue import Evaluator
from phinas.scaling_search.validation.controls import make_controls, read_controls
from phinas.scaling_search.validation.validate import ValidationContext, validate_family
from phinas.space.pytorch.conv_net import ConvBlock
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.initialization import FROM_SCRATCH, initialize_network
from phinas.training.request import TrainingRequest

TINY = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
BASELINE = replace(TINY, dropout=0.3, drop_path=0.2)
COEFFICIENTS = Coefficients(1.2, 1.1, 1.15)
FAMILY = make_family(BASELINE, COEFFICIENTS, [0.5, 3.0])
RECIPES = [
    pytest.param(Recipe(epochs=20), 0.0, id="auto, short"),
    pytest.param(Recipe(epochs=90), 0.5, id="auto, 90 epochs"),
    pytest.param(Recipe(epochs=2, regularization=0.25), 0.25, id="a number"),
]


class RequestedTrainings:
    """An executor that trains nothing, and keeps the requested trainings."""

    max_workers = 1

    def __init__(self):
        self.requests = []
        self._job = None

    def submit(self, job, on_report=None):
        self._job = job
        self.requests.append(TrainingRequest.from_dict(job.payload["request"]))

    def next_result(self):
        score = 0.5 + len(self.requests) / 1000
        return Result(self._job.key, Measurement(score, images=100).to_dict())

    def close(self):
        pass


def new_trial_store():
    return TrialStore(optuna.create_study(direction="maximize"))


def probabilities(model):
    """Of dropout and of the stochastic depth of each block."""
    blocks = [block.drop_path for block in model.modules() if isinstance(block, ConvBlock)]
    return [model.dropout.p, *blocks]


def assert_multiplied(requests, factor):
    """All trainings have the network's dropout and stochastic depth times the factor."""
    for request in requests:
        network = request.network
        model = initialize_network(
            network, request.recipe, FROM_SCRATCH, device=torch.device("cpu"), steps=100
        )
        expected = [factor * value for value in probabilities(network.build())]
        assert probabilities(model) == pytest.approx(expected)
        assert max(probabilities(network.build())[1:]) > 0


@pytest.mark.parametrize(("recipe", "factor"), RECIPES)
def test_networks_of_the_race(job_factory, recipe, factor):
    executor = RequestedTrainings()
    section = ScalingSection(
        tolerance=0.3, max_grid_members=3, seeds=2, recipe=recipe, max_budget_fraction=1.0
    )
    search_coefficients(
        BASELINE,
        section,
        seed=0,
        max_resolution=math.inf,
        trial_store=new_trial_store(),
        executor=executor,
        evaluator=Evaluator(job_factory.make_job, can_pause=True),
        on_progress=lambda _done, _total, _text: None,
    )
    requests = [request for request in executor.requests if request.recipe.epochs == recipe.epochs]
    assert len({request.network.network_id for request in requests}) == 3
    assert {request.network.dropout for request in requests} == {0.3}
    assert_multiplied(requests, factor)


def validated_requests(job_factory, tmp_path, recipe):
    """The trainings of the members and of the controls of a validation."""
    executor = RequestedTrainings()
    controls = make_controls(
        read_controls(["depth", "width"]),
        BASELINE,
        FAMILY,
        rounding=COEFFICIENTS,
        max_resolution=math.inf,
    )
    validate_family(
        FAMILY,
        ValidationSection(max_flops_multiple=100.0, seeds=1, recipe=recipe),
        seed=0,
        max_resolution=math.inf,
        context=ValidationContext(new_trial_store(), executor, job_factory.make_job, tmp_path),
        on_progress=lambda _done, _total, _text: None,
        controls=controls,
    )
    by_id = {request.network.network_id: request for request in executor.requests}
    specs = [control.spec for control in controls if control.skip is None]
    assert len(specs) == 2
    return (
        [by_id[member.network_id] for member in FAMILY],
        [by_id[spec.network_id] for spec in specs],
    )


@pytest.mark.parametrize(("recipe", "factor"), RECIPES)
def test_members_of_the_family(job_factory, tmp_path, recipe, factor):
    requests, _ = validated_requests(job_factory, tmp_path, recipe)
    dropouts = [request.network.dropout for request in requests]
    assert dropouts == [0.3, 0.3, 0.55]  # before it is multiplied
    assert_multiplied(requests, factor)


@pytest.mark.parametrize(("recipe", "factor"), RECIPES)
def test_controls(job_factory, tmp_path, recipe, factor):
    members, controls = validated_requests(job_factory, tmp_path, recipe)
    assert {request.network.dropout for request in controls} == {members[-1].network.dropout}
    assert_multiplied(controls, factor)
