"""Tests of out-of-memory errors: the micro-batch size is halved, or the training fails."""

import pytest
import torch

from phinas.experiment.executors import NonRetryableError
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.device import is_out_of_memory, use_device
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.train_step import OutOfMemoryError
from phinas.training.request import TrainingRequest, TrainingSettings
from phinas.training.timing.step_timing import time_steps

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=3, batch_size=50)


def state(trained):
    return trained.model.state_dict()


def test_out_of_memory_in_a_capture_halves_the_micro_batch(
    data, fit, simulate_capture, before_each_pass
):
    def capture(train_step, *batch):
        with before_each_pass(limit_memory):
            train_step(*batch)
        return lambda: train_step(*batch)

    def limit_memory(images):
        if len(images) > 15:
            raise torch.OutOfMemoryError("simulated")

    simulate_capture(capture)
    trained = fit(data)
    assert (trained.micro_batch_size, trained.micro_batch_reduced) == (13, True)


@pytest.fixture(scope="module")
def micro_batch_training(data, fit, before_each_pass):
    """A training with a micro-batch size of 13 in its recipe, and its micro-batch sizes."""
    sizes = []
    with before_each_pass(lambda images: sizes.append(len(images))):
        trained = fit(data, recipe=SHORT.model_copy(update={"epochs": 2, "micro_batch_size": 13}))
    return trained, sizes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_after_out_of_memory_the_training_equals_one_with_the_smaller_micro_batch(
    error, data, fit, before_each_pass, assert_same, micro_batch_training
):
    def limit_memory(images):
        if len(images) > 15:
            raise error

    configured, sizes = micro_batch_training
    with before_each_pass(limit_memory):
        trained = fit(data)
    assert trained.micro_batch_reduced
    assert not configured.micro_batch_reduced
    assert set(sizes) == {12, 13}
    assert trained.micro_batch_size == 13
    assert_same(trained, configured)


def test_memory_that_runs_out_in_a_later_epoch_repeats_no_report(data, fit, before_each_pass):
    reports = []

    def limit_memory(images):
        if reports and len(images) > 15:  # in the second epoch
            raise torch.OutOfMemoryError("simulated")

    def report(epoch, score):
        reports.append(epoch)
        return True

    with before_each_pass(limit_memory):
        trained = fit(data, recipe=SHORT, report=report)
    assert trained.micro_batch_reduced
    assert reports == [1, 2, 3]
    assert len(trained.curve) == 3


def test_an_engine_that_cudnn_does_not_find_with_any_micro_batch_is_its_own_error(
    data, fit, before_each_pass
):
    message = "GET was unable to find an engine to execute this computation"
    sizes = []

    def fail(images):
        sizes.append(len(images))
        raise RuntimeError(message)

    with before_each_pass(fail), pytest.raises(RuntimeError, match=f"^{message}$"):
        fit(data)
    assert len(sizes) > 3


def test_an_error_while_another_is_handled_is_not_taken_for_it():
    def fail(error, *, during):
        try:
            raise during
        except RuntimeError:
            raise error  # noqa: B904 (the context is what is tested)

    memory = torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(ValueError, match="a bug") as bug:
        fail(ValueError("a bug"), during=memory)
    assert not is_out_of_memory(bug.value)
    end = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    with pytest.raises(RuntimeError, match="capture") as capture:
        fail(end, during=memory)
    assert is_out_of_memory(capture.value)


def test_a_gpu_becomes_the_current_one_before_memory_is_pinned(monkeypatch):
    gpu, devices, fractions = torch.device("cuda", 3), [], []
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda *values: fractions.append(values)
    )
    use_device(torch.device("cpu"), sharers=2)
    use_device(gpu)
    assert (devices, fractions) == ([gpu], [])
    use_device(gpu, sharers=4)
    assert devices == [gpu, gpu]
    assert fractions == [(pytest.approx(0.2375), gpu)]


def test_a_timing_halves_the_micro_batch_if_memory_runs_out(before_each_pass):
    sizes = []

    def limit_memory(images):
        sizes.append(len(images))
        if len(images) > max_images:
            raise torch.OutOfMemoryError("simulated")

    request = TrainingRequest(SPEC, SHORT, 0, TrainingSettings(0.125, True, device="cpu"))
    with before_each_pass(limit_memory):
        max_images = 15
        small, large = time_steps(request, seconds=60.0, image_size=8)
        assert (small.batch, large.batch) == (8, 50)
        halved = sizes[sizes.index(50) :]
        assert halved[:3] == [50, 25, 13]
        assert max(halved[2:]) == 13
        max_images = 1
        with pytest.raises(
            NonRetryableError, match="out of memory with the smallest micro-batch of images of 8 px"
        ):
            time_steps(request, seconds=60.0, image_size=8)


def test_any_other_error_is_raised(data, fit, before_each_pass):
    def fail(_images):
        raise RuntimeError("something else")

    with before_each_pass(fail), pytest.raises(RuntimeError, match="something else"):
        fit(data)


@pytest.mark.parametrize(("batch", "smallest"), [(50, 2), (127, 3), (5, 3), (3, 3)])
def test_out_of_memory_with_the_smallest_micro_batch_fails(
    data, fit, batch, smallest, before_each_pass
):
    sizes = []

    def fail(images):
        sizes.append(len(images))
        raise torch.OutOfMemoryError("simulated")

    message = rf"^out of memory with a micro-batch of {smallest} images \(simulated\)"
    with before_each_pass(fail), pytest.raises(OutOfMemoryError, match=message):
        fit(data, recipe=Recipe(epochs=1, batch_size=batch))
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) <= 8


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4, "cutmix": 0.7}])
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(data, fit, mixing):
    """The backbone is frozen, since statistics of batch norms would be those of micro-batches."""
    frozen = Initialization(freeze_backbone=True)
    recipe = Recipe(epochs=1, batch_size=60, learning_rate=0.5, class_balanced_loss=True, **mixing)
    full_batch = fit(data, recipe=recipe, initialization=frozen)
    in_parts = fit(
        data, recipe=recipe.model_copy(update={"micro_batch_size": 7}), initialization=frozen
    )
    assert torch.allclose(
        state(full_batch)["classifier.weight"], state(in_parts)["classifier.weight"], atol=1e-6
    )
    assert not torch.equal(
        state(full_batch)["classifier.weight"],
        state(fit(data, recipe=recipe, initialization=frozen, seed=4))["classifier.weight"],
    )
