"""Tests that a training that pauses at an epoch is continued bit-exactly by a later job."""

from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.job import TrainingJobFactory

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
RANDOM = replace(SPEC, dropout=0.3, drop_path=0.3)  # uses torch's generator
FIVE_EPOCHS = Recipe(
    epochs=5, batch_size=20, ema_fraction=0.2, mixup=0.2, initial_resolution_fraction=0.6
)
RESULTS = ("score", "loss", "top5", "curve", "epochs", "per_class_accuracy")


def results_of(result):
    assert result.value is not None, result.reason
    return {name: result.value[name] for name in RESULTS}


def run_here(job):
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return results_of(executor.next_result())


def paused_factory(data, checkpoints):
    run = RunSection(device="cpu", checkpoint_minutes=60.0)
    return TrainingJobFactory.from_config(
        data, DataSection(source="digits"), run=run, threads=1, checkpoints=checkpoints
    )


def train_in_two_jobs(data, checkpoints, *, before_second=lambda _folder: None):
    """Train two epochs in one job and three in another; return both results and the weights."""
    factory = paused_factory(data, checkpoints)
    weights = checkpoints / "weights.safetensors"
    first = factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2)
    second = factory.make_job(RANDOM, FIVE_EPOCHS, 5, weights=weights)
    with closing(InlineExecutor(1)) as executor:
        executor.submit(first)
        paused = executor.next_result()
        before_second(checkpoints)
        executor.submit(second)
        finished = executor.next_result()
    return paused, finished, weights.read_bytes()


@pytest.fixture(scope="module")
def unpaused(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpaused")
    weights = folder / "weights.safetensors"
    job = paused_factory(data, folder).make_job(RANDOM, FIVE_EPOCHS, 5, weights=weights)
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return results_of(executor.next_result()), weights.read_bytes()


def test_a_paused_training_continues_bit_exactly_and_then_leaves_no_checkpoint(
    data, tmp_path, unpaused
):
    files = []
    paused, finished, weights = train_in_two_jobs(
        data, tmp_path, before_second=lambda folder: files.extend(folder.iterdir())
    )
    assert (paused.value["stop_reason"], paused.value["epochs"]) == ("paused", 2)
    assert paused.value["curve"] == finished.value["curve"][:2]
    assert paused.value["score"] == paused.value["curve"][-1]
    assert [path.name for path in files] == [f"{finished.key}.checkpoint"]
    assert (results_of(finished), weights) == unpaused
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_paused_training_without_its_checkpoint_trains_from_the_start_to_the_same_result(
    damage, data, tmp_path, unpaused
):
    def damage_checkpoint(folder):
        [path] = folder.iterdir()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])

    expected = (
        nullcontext()
        if damage == "missing"
        else pytest.warns(UserWarning, match="is damaged or belongs to another training")
    )
    with expected:
        _, finished, weights = train_in_two_jobs(data, tmp_path, before_second=damage_checkpoint)
    assert (results_of(finished), weights) == unpaused


def test_a_training_pauses_several_times_and_a_pause_can_be_repeated(data, tmp_path, unpaused):
    """A job that ends before the checkpoint's epoch has the measurement of its last epoch."""
    factory, values = paused_factory(data, tmp_path), []
    for stop_epoch in (1, 3, 3, 2, 4, None):
        job = factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=stop_epoch)
        values.append(run_here(job))
    assert [value["epochs"] for value in values] == [1, 3, 3, 2, 4, 5]
    assert values[1] == values[2]
    assert values[-1] == unpaused[0]
    for value in values:
        assert value["curve"] == values[-1]["curve"][: value["epochs"]]
        assert value["score"] == value["curve"][-1]


def test_without_a_checkpoint_folder_a_paused_training_restarts_from_the_beginning(data, unpaused):
    factory = paused_factory(data, None)
    assert run_here(factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2))["epochs"] == 2
    assert run_here(factory.make_job(RANDOM, FIVE_EPOCHS, 5)) == unpaused[0]


def test_the_checkpoint_of_a_paused_training_can_be_removed(data, tmp_path):
    factory = paused_factory(data, tmp_path)
    run_here(factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=1))
    factory.remove_checkpoint(RANDOM, FIVE_EPOCHS, 6)
    assert len(list(tmp_path.iterdir())) == 1
    factory.remove_checkpoint(RANDOM, FIVE_EPOCHS, 5)
    assert list(tmp_path.iterdir()) == []
    paused_factory(data, None).remove_checkpoint(RANDOM, FIVE_EPOCHS, 5)


def test_a_training_that_is_stopped_at_its_pause_is_not_paused_and_leaves_no_checkpoint(
    data, tmp_path
):
    job = paused_factory(data, tmp_path).make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2)
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job, lambda epoch, _: epoch < 2)
        value = executor.next_result().value
    assert (value["stop_reason"], value["epochs"]) == ("stopped", 2)
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_pauses_at_the_last_epoch_is_the_full_training(data):
    factory = paused_factory(data, None)
    full = factory.make_job(RANDOM, FIVE_EPOCHS, 5)
    assert factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=5) == full
    assert factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=4).key != full.key


@pytest.mark.parametrize("stop_epoch", [0, -1, 6])
def test_a_pause_outside_the_recipe_is_refused(stop_epoch, data):
    with pytest.raises(ValueError, match=f"stop_epoch: {stop_epoch} is not an epoch from 1 to 5"):
        paused_factory(data, None).make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=stop_epoch)


@pytest.mark.parametrize("options", [{"on_test_split": True}, {"weights": Path("weights")}])
def test_a_paused_training_has_no_test_score_and_no_weights(options, data):
    with pytest.raises(ValueError, match="stop_epoch: a paused training has no test score"):
        paused_factory(data, None).make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2, **options)
