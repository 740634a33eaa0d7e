"""Tests of weights files: bit-exact round trips, and damaged or foreign files."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from phinas.experiment.errors import InputError
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.weights_io import load_weights, save_weights

SPEC = load_space("tiny").base


def network(seed, spec=SPEC):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build()


def same(one, other):
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_weights(network(1), SPEC, file)
    return file


def test_weights_round_trip_bit_exactly(path):
    model = network(2)
    assert not same(model, network(1))
    load_weights(model, path)
    assert same(model, network(1))


def test_a_network_in_channels_last_is_saved_identically(path, tmp_path):
    other = tmp_path / "other.safetensors"
    save_weights(network(1).to(memory_format=torch.channels_last), SPEC, other)
    first, second = load_file(path), load_file(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_header_holds_the_network_id(path):
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["phinas.network_id"] == SPEC.network_id


def test_the_same_weights_give_identical_files(tmp_path):
    model = SPEC.build()
    contents = set()
    # safetensors writes the metadata in random order
    for number in range(20):
        save_weights(model, SPEC, tmp_path / f"{number}.safetensors")
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1
    assert int.from_bytes(contents.pop()[:8], "little") % 8 == 0  # tensors are aligned


def test_files_without_the_metadata_of_phinas_are_read(path, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file(load_file(path), foreign)
    model = network(2)
    load_weights(model, foreign)
    assert same(model, network(1))


def test_half_precision_weights_are_read_into_a_network_of_single_precision(path, tmp_path):
    half = {
        name: t.bfloat16() if t.is_floating_point() else t for name, t in load_file(path).items()
    }
    save_file(half, tmp_path / "half.safetensors")
    model = network(2)
    load_weights(model, tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.allclose(model.classifier.weight, network(1).classifier.weight, rtol=1e-2)


@pytest.mark.parametrize("position", [0.3, 0.5, 0.75, 0.9, 0.9999])
def test_a_flipped_bit_is_detected(path, position):
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(content)
    model = network(2)
    with pytest.raises(
        InputError, match=r"weights.safetensors: is damaged .* restore it from a copy"
    ):
        load_weights(model, path)
    assert same(model, network(2))


def test_a_flipped_bit_of_the_header_never_loads_other_weights(path):
    content = path.read_bytes()
    for index in range(0, 400, 17):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        model = network(2)
        try:
            load_weights(model, path)
        except InputError:
            assert same(model, network(2))
        else:
            assert same(model, network(1))  # the bit is in unused metadata, such as the id


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        lambda content: b"\xff" * 8 + content[8:],
    ],
    ids=["half", "a byte less", "five bytes", "empty", "html", "huge header length"],
)
def test_a_damaged_file_is_refused(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        InputError, match=r"weights\.safetensors: is (empty|a web page|neither a complete)"
    ):
        load_weights(network(2), path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="the weights file does not exist; check the path"):
        load_weights(network(2), tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="is a folder without model"):
        load_weights(network(2), tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            replace(SPEC, classes=7),
            r"classifier.bias is of shape \(1000,\) in the file and of shape \(7,\) in the "
            r"network: the weights belong to another spec; use that spec",
        ),
        (
            replace(SPEC, stages=SPEC.stages[:2]),
            r"head.conv.weight is of shape \(64, 24, 1, 1\) in the file and of shape "
            r"\(64, 16, 1, 1\) in the network",
        ),
        (
            replace(SPEC, stages=(*SPEC.stages, SPEC.stages[-1])),
            "is absent in the file and .* in the network",
        ),
        (
            replace(SPEC, stem_width=16),
            r"stages\.1\.0\.\S+ is of shape \([\d, ]+\) in the file and of shape \([\d, ]+\) in "
            r"the network",
        ),
    ],
    ids=["classes", "shorter", "longer", "stem"],
)
def test_weights_of_another_network_are_refused_with_key_and_shapes(path, other, message):
    model = network(2, other)
    with pytest.raises(InputError, match=message):
        load_weights(model, path)
    assert same(model, network(2, other))
