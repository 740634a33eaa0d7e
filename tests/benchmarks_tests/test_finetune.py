"""Tests of the variants of benchmarks/finetune.py, and of its results."""

import sys
from pathlib import Path

import pytest
import torch

from phinas.experiment.schema.config import DataSection
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.trainer import Trainer
from phinas.training.engine.training_setup import TrainingSetup
from phinas.training.request import TrainingRequest, TrainingSettings

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base


@pytest.fixture
def finetune(monkeypatch, restore_torch_threads):
    """The module benchmarks/finetune.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    modules = set(sys.modules)
    import finetune

    yield finetune
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and BENCHMARKS.samefile(
            Path(str(sys.modules[name].__file__)).parent
        ):
            del sys.modules[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    section = DataSection(source="digits", max_train_images=200, max_validation_images=20)
    return prepare(section, seed=0, directory=tmp_path_factory.mktemp("data"))


def make_setup(variant, data):
    torch.manual_seed(0)
    recipe = variant.make_recipe(2)
    settings = TrainingSettings(0.0, horizontal_flip=False, device="cpu")
    request = TrainingRequest(SPEC, recipe, 0, settings)
    return TrainingSetup(request, data, micro_batch_size=recipe.known_batch_size)


def changed_parts(setup, before):
    """First parts of the names of parameters that a training changed."""
    return {
        name.partition(".")[0]
        for name, parameter in setup.network.named_parameters()
        if not torch.equal(parameter, before[name])
    }


def test_unfreezing_trains_the_classifier_first(finetune, data):
    variant = finetune.VARIANTS["classifier first, 20% of the steps"]
    setup = make_setup(variant, data)
    before = {name: value.detach().clone() for name, value in setup.network.named_parameters()}
    update, parts = finetune.schedule_layers(setup, variant), []

    def on_step(step):
        update(step)
        parts.append(changed_parts(setup, before))

    Trainer(setup, on_step=on_step).run(lambda _epoch, _score: True)
    assert setup.total_steps == 12
    assert parts[:3] == 3 * [{"classifier"}]  # 20% of 12 steps are 2.4
    assert parts[3] >= {"stem", "stages", "classifier"}


def test_layer_decay_multiplies_the_rate_of_each_block(finetune, data):
    variant = finetune.VARIANTS["layer-wise decay 0.95 from 0.0005"]
    setup = make_setup(variant, data)
    finetune.schedule_layers(setup, variant)
    factors = {
        id(parameter): group["rate_factor"]
        for group in setup.optimizer.param_groups
        for parameter in group["params"]
    }
    named = {name: factors[id(value)] for name, value in setup.network.named_parameters()}
    assert len(factors) == len(named)
    assert named["classifier.weight"] == 1
    assert named["head.conv.weight"] == pytest.approx(0.95)
    assert named["stem.conv.weight"] == pytest.approx(0.95 ** (SPEC.depth + 2))


def test_tables_have_the_variants_that_are_complete(finetune):
    results = {
        finetune.Job(name, "photos", epochs, seed): {"accuracy": accuracy + 0.01 * seed}
        for name, accuracy in ((finetune.FROZEN, 0.5), (finetune.CHOSEN, 0.6))
        for epochs in finetune.EPOCHS[:2]
        for seed in finetune.SEEDS
    }
    lines = finetune.comparison_with_classifier(results, [Path("photos")])
    assert [line.partition(" |")[0] for line in lines[2:4]] == [
        "| photos, 2 epochs",
        "| photos, 5 epochs",
    ]
    assert "| 51.0 ± 1.0 | 61.0 ± 1.0 | +10.0 (" in lines[2]
    assert len(lines) == 5
