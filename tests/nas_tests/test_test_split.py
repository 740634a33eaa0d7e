"""The search and the choice of a baseline are the same when nobody could read the test split."""

from contextlib import closing

import optuna
import pytest
import torch

from phinas.experiment.executors import EXECUTORS
from phinas.experiment.schema.config import DataSection, Recipe, RunSection, SearchSection
from phinas.experiment.trial_store import Ledger
from phinas.nas.evaluators import make_evaluator
from phinas.nas.search import search
from phinas.nas.selection.baseline import choose_baseline
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import Trainer

DATA = DataSection(source="digits", upsample=True, train_limit=200, validation_limit=100)
SHORT = Recipe(epochs=2, batch=32, optimizer="adamw", learning_rate=0.02)
SECTION = SearchSection(
    space="tiny",
    trials=4,
    recipe=SHORT,
    finalists=2,
    finalist_seeds=2,
    finalist_recipe=SHORT.model_copy(update={"epochs": 3}),
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(data):
    """Every proposal with its accuracy, and what the baseline file would hold."""
    trainer = Trainer.of(
        data, DATA, run=RunSection(device="cpu", trial_minutes=1.0), threads=1, snapshots=None
    )
    evaluator = make_evaluator(SECTION, trainer, limit_seconds=60.0)
    space = load_space("tiny").fitted(channels=1, classes=10)
    ledgers = [Ledger(optuna.create_study(direction="maximize")) for _ in range(2)]
    with closing(EXECUTORS["inline"](1)) as executor:
        shared = {
            "seed": 3,
            "executor": executor,
            "evaluator": evaluator,
            "notify": lambda *_: None,
        }
        result = search(space, SECTION, ledger=ledgers[0], **shared)
        baseline = choose_baseline(result, SECTION, space, ledger=ledgers[1], **shared)
    return [(trial.spec, trial.accuracy) for trial in result.trials], baseline.to_dict(result)


def test_the_test_split_steers_neither_the_search_nor_the_baseline(tmp_path):
    whole = prepare(DATA, seed=0, directory=tmp_path / "whole")
    sealed = prepare(DATA, seed=0, directory=tmp_path / "sealed")
    for name in ("images.npy", "labels.npy"):
        path = sealed.directory / "test" / name
        path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(ValueError, match=r"magic|pickled"):
        sealed.test_arrays()
    assert run(sealed) == run(whole)
