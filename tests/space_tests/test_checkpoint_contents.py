"""Tests of finding a state dict in what training programs save."""

import pytest
import torch

from phinas.space.interchange.checkpoint_contents import find_state_dict
from phinas.space.interchange.library_models import library_spec
from phinas.space.interchange.state_dict_maps import to_library_state_dict
from phinas.space.interchange.state_dict_namings import WeightsError

SPEC = library_spec("timm:test_efficientnet")


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return to_library_state_dict(SPEC.build().state_dict(), SPEC, "timm")


@pytest.fixture(scope="module")
def average(state):
    return {name: tensor + 1 for name, tensor in state.items()}


def add_prefix(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def assert_same(contents, state):
    assert contents.tensors.keys() == state.keys()
    assert all(contents.tensors[name] is state[name] for name in state)


def test_a_plain_state_dict_is_taken_as_it_is(state):
    contents = find_state_dict(state)
    assert_same(contents, state)
    assert (contents.key, contents.prefix, contents.is_ema) == ("", "", False)
    assert contents.describe() == "tensors named as in timm's EfficientNet"


@pytest.mark.parametrize(
    "key", ["state_dict", "model", "model_state_dict", "module", "net", "network", "weights"]
)
def test_a_state_dict_under_a_usual_key_is_found(key, state):
    contents = find_state_dict({"epoch": 3, key: state, "optimizer": {"state": {0: {}}}})
    assert_same(contents, state)
    assert f"state dict from {key}" in contents.describe()


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema_state_dict", "ema"])
def test_the_moving_average_is_preferred(key, state, average):
    contents = find_state_dict({"state_dict": state, "model": state, key: average})
    assert_same(contents, average)
    assert contents.is_ema
    assert f"moving average (EMA) from {key}" in contents.describe()


def test_a_moving_average_in_a_nested_dict_is_found(state, average):
    contents = find_state_dict({"model": state, "ema": {"decay": 0.99, "module": average}})
    assert_same(contents, average)
    assert contents.key == "ema.module"
    assert contents.is_ema


def test_a_moving_average_without_tensors_is_passed_over(state):
    contents = find_state_dict({"ema": {"decay": 0.99}, "state_dict": state})
    assert_same(contents, state)
    assert not contents.is_ema


def test_a_moving_average_by_prefix_is_preferred(state, average):
    content = add_prefix(state, "model.") | add_prefix(average, "ema_model.")
    contents = find_state_dict({"state_dict": content})
    assert_same(contents, average)
    assert contents.is_ema
    assert "moving average (EMA)" in contents.describe()


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.backbone."]
)
def test_the_prefix_of_a_wrapper_is_removed(prefix, state):
    contents = find_state_dict({"state_dict": add_prefix(state, prefix)})
    assert_same(contents, state)
    assert f"prefix {prefix} removed" in contents.describe()


def test_a_single_unknown_prefix_is_removed_and_named(state):
    contents = find_state_dict({f"student.{name}": tensor for name, tensor in state.items()})
    assert contents.tensors.keys() == state.keys()
    assert "prefix student. removed" in contents.describe()


@pytest.mark.parametrize("name", ["n_averaged", "total_ops", "module.n_averaged"])
def test_the_update_count_of_an_averaged_model_is_no_tensor_of_the_network(name, state):
    content = add_prefix(state, "module.") | {name: torch.tensor(7)}
    contents = find_state_dict({"model_ema": content, "model": state})
    assert_same(contents, state)
    assert contents.ignored == ()


def test_tensors_beside_the_network_are_reported(state):
    content = add_prefix(state, "model.") | {"loss.weight": torch.ones(3)}
    contents = find_state_dict({"state_dict": content})
    assert_same(contents, state)
    assert "other tensors ignored (loss.weight)" in contents.describe()


def test_the_architecture_in_a_checkpoint_is_read(state):
    checkpoint = {"arch": "tf_efficientnet_b0", "state_dict": state}
    assert find_state_dict(checkpoint).architecture == "tf_efficientnet_b0"


def test_a_deeply_nested_or_recursive_checkpoint_ends(state):
    recursive = {"epoch": 1}
    recursive["model"] = recursive
    with pytest.raises(WeightsError, match="holds no state dict"):
        find_state_dict(recursive)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list and no state dict; save model.state_dict"),
        ({"epoch": 3, "best": 0.9}, r"holds no state dict \(its keys are best, epoch\)"),
        ({}, r"holds no state dict \(its keys are none\)"),
        ({"a.weight": torch.ones(1)}, r"the tensor names \(a.weight, ...\) are of no known naming"),
        (
            {"my_net.conv_stem.weight": torch.ones(1), "other.conv_stem.weight": torch.ones(1)},
            r"the tensor names \(my_net.conv_stem.weight, other.conv_stem.weight, ...\) are of no",
        ),
    ],
    ids=["list", "no tensors", "empty", "other names", "two unknown prefixes"],
)
def test_content_without_a_known_state_dict_is_refused(content, message):
    with pytest.raises(WeightsError, match=message):
        find_state_dict(content)
