"""Fixtures for real trainings: digits, also with an unreadable test split, and one thread."""

import pytest
import torch

from phinas.experiment.schema.config import DataSection, RunSection
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import TrainingJobFactory

DATA = DataSection(source="digits", max_train_images=200, max_validation_images=100)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def job_factory(tmp_path_factory):
    data = prepare(DATA, seed=0, directory=tmp_path_factory.mktemp("whole"))
    return TrainingJobFactory.from_config(
        data,
        DATA,
        run=RunSection(device="cpu", trial_timeout_minutes=1.0),
        threads=1,
        checkpoints=None,
    )


@pytest.fixture(scope="session")
def sealed(tmp_path_factory):
    """Digits whose test split can't be read: bytes that are not even arrays, as many as there
    were.
    """
    data = prepare(DATA, seed=0, directory=tmp_path_factory.mktemp("sealed"))
    for name in ("images.npy", "labels.npy"):
        path = data.directory / "test" / name
        path.write_bytes(b"\xff" * path.stat().st_size)
    return TrainingJobFactory.from_config(
        data,
        DATA,
        run=RunSection(device="cpu", trial_timeout_minutes=1.0),
        threads=1,
        checkpoints=None,
    )
