"""Tests that a training that pauses at an epoch is continued bit-exactly by a later job."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from phinas.experiment.executors import EXECUTORS
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.experiment.storage.paused_trainings import PausedTrainings
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


def open_states(folder):
    return PausedTrainings(folder / "paused", max_bytes=1e9)


def list_states(folder):
    paths = (folder / "paused").iterdir()
    return [path for path in paths if path.is_file() and path.name != "index.json"]


def run_part(job, states, executor, report=None):
    """Run a part of a training and store its state, or remove it after the last part."""
    executor.submit(states.prepare(job), report)
    result = executor.next_result()
    if job.stop_epoch is None:
        states.remove(result)
    else:
        states.store(result, study="search", priority=0.0)
    return result


def train_in_two_jobs(data, folder, *, before_second=lambda _folder: None, executor_name="inline"):
    """Train two epochs in one job and three in another; return both results and the weights."""
    factory, states = paused_factory(data, folder / "checkpoints"), open_states(folder)
    weights = folder / "weights.safetensors"
    first = factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2)
    second = factory.make_job(RANDOM, FIVE_EPOCHS, 5, weights=weights)
    with closing(EXECUTORS[executor_name](1)) as executor:
        paused = run_part(first, states, executor)
        before_second(folder)
        finished = run_part(second, states, executor)
    return paused, finished, weights.read_bytes()


@pytest.fixture(scope="module")
def unpaused(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpaused")
    weights = folder / "weights.safetensors"
    job = paused_factory(data, folder).make_job(RANDOM, FIVE_EPOCHS, 5, weights=weights)
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return results_of(executor.next_result()), weights.read_bytes()


@pytest.mark.parametrize("executor_name", ["inline", "processes"])
def test_a_paused_training_continues_bit_exactly_and_then_leaves_no_state(
    data, tmp_path, unpaused, executor_name
):
    names = []
    paused, finished, weights = train_in_two_jobs(
        data,
        tmp_path,
        before_second=lambda folder: names.extend(path.name for path in list_states(folder)),
        executor_name=executor_name,
    )
    assert (paused.value["stop_reason"], paused.value["epochs"]) == ("paused", 2)
    assert paused.value["curve"] == finished.value["curve"][:2]
    assert paused.value["score"] == paused.value["curve"][-1]
    assert [len(name) for name in names] == [64]
    assert (results_of(finished), weights) == unpaused
    assert list_states(tmp_path) == []
    assert not list(tmp_path.glob("checkpoints/*"))


def test_the_second_job_trains_only_the_remaining_epochs(data, tmp_path, before_each_pass):
    batch_sizes = []
    with before_each_pass(lambda images: batch_sizes.append(len(images))):
        train_in_two_jobs(data, tmp_path)
    assert len(batch_sizes) == 5 * 10  # 200 images in batches of 20


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_paused_training_without_its_state_trains_from_the_start_to_the_same_result(
    damage, data, tmp_path, unpaused
):
    def damage_state(folder):
        [path] = list_states(folder)
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(content[:-1] + (b"" if damage == "cut" else bytes([content[-1] ^ 1])))

    _, finished, weights = train_in_two_jobs(data, tmp_path, before_second=damage_state)
    assert (results_of(finished), weights) == unpaused


def test_a_training_pauses_several_times_and_a_pause_can_be_repeated(data, tmp_path, unpaused):
    """A job that ends before the epoch of the state trains from an earlier one, or the start."""
    factory, states, values = paused_factory(data, tmp_path), open_states(tmp_path), []
    with closing(InlineExecutor(1)) as executor:
        for stop_epoch in (1, 3, 3, 2, 4, None):
            job = factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=stop_epoch)
            values.append(results_of(run_part(job, states, executor)))
    assert [value["epochs"] for value in values] == [1, 3, 3, 2, 4, 5]
    assert values[1] == values[2]
    assert values[-1] == unpaused[0]
    for value in values:
        assert value["curve"] == values[-1]["curve"][: value["epochs"]]
        assert value["score"] == value["curve"][-1]


def test_a_state_is_used_if_the_checkpoint_is_older_and_not_if_it_is_newer(
    data, tmp_path, unpaused, before_each_pass
):
    """A worker that was killed may have left a checkpoint from before or after the pause."""
    factory, states = paused_factory(data, tmp_path / "checkpoints"), open_states(tmp_path)
    full = factory.make_job(RANDOM, FIVE_EPOCHS, 5)
    checkpoint = tmp_path / "checkpoints" / f"{full.key}.checkpoint"
    contents, batch_sizes = {}, []
    for stop_epoch in (2, 3, 1):
        job = factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=stop_epoch)
        target = tmp_path / str(stop_epoch)
        run_here(replace(job, output_folder=str(target)))
        contents[stop_epoch] = (target / "paused_state").read_bytes()
    with closing(InlineExecutor(1)) as executor:
        run_part(factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2), states, executor)
        for epoch, num_remaining in ((1, 3), (3, 2)):
            checkpoint.parent.mkdir(exist_ok=True)
            checkpoint.write_bytes(contents[epoch])
            batch_sizes.clear()
            with before_each_pass(lambda images: batch_sizes.append(len(images))):
                executor.submit(states.prepare(full))
                assert results_of(executor.next_result()) == unpaused[0]
            assert len(batch_sizes) == num_remaining * 10
            assert not checkpoint.exists()


def test_a_checkpoint_beyond_the_stop_epoch_is_not_used(data, tmp_path):
    factory = paused_factory(data, tmp_path)
    later = factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=3)
    run_here(replace(later, output_folder=str(tmp_path / "output")))
    checkpoint = tmp_path / f"{later.training_key}.checkpoint"
    (tmp_path / "output" / "paused_state").replace(checkpoint)
    value = run_here(factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2))
    assert (value["epochs"], value["score"]) == (2, value["curve"][-1])


def test_without_an_owner_of_its_state_a_paused_training_restarts_from_the_beginning(
    data, unpaused
):
    factory = paused_factory(data, None)
    assert run_here(factory.make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2))["epochs"] == 2
    assert run_here(factory.make_job(RANDOM, FIVE_EPOCHS, 5)) == unpaused[0]


def test_a_training_that_is_stopped_at_its_pause_is_not_paused_and_leaves_no_state(data, tmp_path):
    job = paused_factory(data, tmp_path).make_job(RANDOM, FIVE_EPOCHS, 5, stop_epoch=2)
    with closing(InlineExecutor(1)) as executor:
        value = run_part(job, open_states(tmp_path), executor, lambda epoch, _: epoch < 2).value
    assert (value["stop_reason"], value["epochs"]) == ("stopped", 2)
    assert not list(tmp_path.rglob("*state*")) + list(tmp_path.glob("*.checkpoint*"))


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
