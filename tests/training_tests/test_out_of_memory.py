"""Memory that runs out: what is passed at a time is halved, and it is told; or nothing fits, and
that is told.
"""

import pytest
import torch

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.train_step import OutOfMemoryError
from phinas.training.timing.time_estimate import estimate_training_seconds

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=3, batch_size=50)


def state(trained):
    return trained.model.state_dict()


def test_memory_that_runs_out_in_a_capture_halves_what_is_passed_at_a_time(
    data, fit, capturing, before_each_pass
):
    def capture(take_step, *batch):
        with before_each_pass(scarce):
            take_step(*batch)
        return lambda: take_step(*batch)

    def scarce(images):
        if len(images) > 15:
            raise torch.OutOfMemoryError("as if")

    capturing(capture)
    trained = fit(data)
    assert (trained.micro_batch_size, trained.micro_batch_reduced) == (13, True)


@pytest.fixture(scope="module")
def trained_in_parts(data, fit, before_each_pass):
    """A training with 13 images at a time by its recipe, and how many were passed each time."""
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
    ],
)
def test_out_of_memory_halves_what_is_passed_at_a_time_and_gives_what_that_gives(
    error, data, fit, before_each_pass, assert_same, trained_in_parts
):
    def scarce(images):
        if len(images) > 15:
            raise error

    asked, sizes = trained_in_parts
    with before_each_pass(scarce):
        trained = fit(data)
    assert trained.micro_batch_reduced
    assert not asked.micro_batch_reduced
    assert set(sizes) == {12, 13}
    assert trained.micro_batch_size == 13
    assert_same(trained, asked)


def test_a_time_is_predicted_in_parts_where_memory_runs_out(before_each_pass):
    passed = []

    def scarce(images):
        passed.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("as if")

    def predicted():
        return estimate_training_seconds(
            SPEC, SHORT, train_images=100, val_images=50, device=torch.device("cpu"), threads=1
        )

    with before_each_pass(scarce):
        most = 15
        assert predicted() > 0
        assert passed[:3] == [50, 25, 13]
        assert max(passed[2:]) == 13
        most = 1
        with pytest.raises(
            InputError, match="out of memory with the fewest images of 8 pixels at a time"
        ):
            predicted()


def test_any_other_error_is_raised(data, fit, before_each_pass):
    def broken(_images):
        raise RuntimeError("something else")

    with before_each_pass(broken), pytest.raises(RuntimeError, match="something else"):
        fit(data)


@pytest.mark.parametrize(("batch", "least"), [(50, 2), (127, 3), (5, 3), (3, 3)])
def test_out_of_memory_with_the_fewest_images_at_a_time_is_a_failure_that_says_so(
    data, fit, batch, least, before_each_pass
):
    tried = []

    def never(images):
        tried.append(len(images))
        raise torch.OutOfMemoryError("as if")

    with (
        before_each_pass(never),
        pytest.raises(
            OutOfMemoryError, match=rf"^out of memory with {least} images at a time \(as if\)"
        ),
    ):
        fit(data, recipe=Recipe(epochs=1, batch_size=batch))
    assert tried == sorted(tried, reverse=True)
    assert len(tried) <= 8


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4, "cutmix": 0.7}])
def test_gradients_of_parts_add_up_to_those_of_the_batch(data, fit, mixing):
    """Of a network without batch norm in training: norms see the parts."""
    frozen = Initialization(freeze_backbone=True)
    recipe = Recipe(epochs=1, batch_size=60, learning_rate=0.5, class_balanced_loss=True, **mixing)
    whole = fit(data, recipe=recipe, initialization=frozen)
    parted = fit(
        data, recipe=recipe.model_copy(update={"micro_batch_size": 7}), initialization=frozen
    )
    assert torch.allclose(
        state(whole)["classifier.weight"], state(parted)["classifier.weight"], atol=1e-6
    )
    assert not torch.equal(
        state(whole)["classifier.weight"],
        state(fit(data, recipe=recipe, initialization=frozen, seed=4))["classifier.weight"],
    )
