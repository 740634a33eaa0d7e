"""The search and the selection of a baseline give the same result with an unreadable test split."""

from contextlib import closing

import optuna
import pytest
import torch

from phinas.experiment.executors import EXECUTORS
from phinas.experiment.schema.config import DataSection, Recipe, RunSection, SearchSection
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators import make_evaluator
from phinas.nas.search import search
from phinas.nas.selection.baseline import EvaluationContext, select_baseline
from phinas.nas.selection.baseline_record import make_baseline_file
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import TrainingJobFactory

DATA = DataSection(source="digits", upsample=True, max_train_images=200, max_validation_images=100)
SHORT_RECIPE = Recipe(epochs=1, batch_size=32, optimizer="adamw", learning_rate=0.02)
SECTION = SearchSection(
    space="tiny",
    trials=3,
    recipe=SHORT_RECIPE,
    finalists=2,
    finalist_seeds=2,
    finalist_recipe=SHORT_RECIPE.model_copy(update={"epochs": 2}),
)


@pytest.fixture(autouse=True)
def _one_thread():
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


def run(data):
    """Each measured network with its score, and the content of the baseline file."""
    job_factory = TrainingJobFactory.from_config(
        data,
        DATA,
        run=RunSection(device="cpu", trial_timeout_minutes=1.0),
        threads=1,
        checkpoints=None,
    )
    evaluator = make_evaluator(SECTION, job_factory, limit_seconds=60.0)
    space = load_space("tiny").adapt_to(channels=1, classes=10)
    trial_stores = [TrialStore(optuna.create_study(direction="maximize")) for _ in range(2)]
    with closing(EXECUTORS["inline"](1)) as executor:
        result = search(
            space,
            SECTION,
            seed=3,
            trial_store=trial_stores[0],
            executor=executor,
            evaluator=evaluator,
            on_progress=lambda *_: None,
        )
        baseline = select_baseline(
            result,
            SECTION,
            space,
            seed=3,
            context=EvaluationContext(trial_stores[1], executor, evaluator),
            on_progress=lambda *_: None,
        )
    return [(trial.spec, trial.score) for trial in result.trials], make_baseline_file(
        baseline, result
    ).model_dump()


def test_the_test_split_changes_neither_the_search_nor_the_baseline(tmp_path):
    intact_data = prepare(DATA, seed=0, directory=tmp_path / "intact")
    corrupted_data = prepare(DATA, seed=0, directory=tmp_path / "corrupted")
    for name in ("images.npy", "labels.npy"):
        path = corrupted_data.directory / "test" / name
        path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(ValueError, match=r"magic|pickled"):
        corrupted_data.test_arrays()
    assert run(corrupted_data) == run(intact_data)
