"""Weights on disk: what was saved is what is read, and a damaged or foreign file is told from
it.
"""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from phinas.experiment.errors import InputError
from phinas.space.blocks import build
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.weights_io import load_weights, save_weights

SPEC = load_space("tiny").base


def network(seed, spec=SPEC):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec)


def same(one, other):
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


@pytest.fixture
def path(tmp_path):
    saved = tmp_path / "weights.safetensors"
    save_weights(network(1), SPEC, saved)
    return saved


def test_weights_are_read_back_bit_by_bit(path):
    model = network(2)
    assert not same(model, network(1))
    load_weights(model, path)
    assert same(model, network(1))


def test_a_network_in_channels_last_is_saved_alike(path, tmp_path):
    other = tmp_path / "other.safetensors"
    save_weights(network(1).to(memory_format=torch.channels_last), SPEC, other)
    saved, again = load_file(path), load_file(other)
    assert saved.keys() == again.keys()
    assert all(torch.equal(saved[name], again[name]) for name in saved)


def test_the_header_names_the_spec(path):
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["phinas.spec_id"] == SPEC.spec_id


def test_the_same_weights_are_the_same_bytes(tmp_path):
    model = build(SPEC)
    found = set()
    # the library's own order of what is told beside them changes from one to the next
    for number in range(20):
        save_weights(model, SPEC, tmp_path / f"{number}.safetensors")
        found.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(found) == 1
    assert int.from_bytes(found.pop()[:8], "little") % 8 == 0  # tensors are aligned


def test_files_of_others_without_our_header_are_read(path, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file(load_file(path), foreign)
    model = network(2)
    load_weights(model, foreign)
    assert same(model, network(1))


def test_half_precision_weights_are_read_into_a_network_of_single_precision(path, tmp_path):
    micro_batch_reduced = {
        name: t.bfloat16() if t.is_floating_point() else t for name, t in load_file(path).items()
    }
    save_file(micro_batch_reduced, tmp_path / "half.safetensors")
    model = network(2)
    load_weights(model, tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.allclose(model.classifier.weight, network(1).classifier.weight, rtol=1e-2)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.75, 0.9, 0.9999])
def test_a_flipped_byte_is_noticed(path, share):
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    model = network(2)
    with pytest.raises(
        InputError, match=r"weights.safetensors: is damaged .* restore it from a copy"
    ):
        load_weights(model, path)
    assert same(model, network(2))


def test_a_flipped_byte_of_the_header_is_never_taken_for_these_weights(path):
    content = path.read_bytes()
    for place in range(0, 400, 17):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        model = network(2)
        try:
            load_weights(model, path)
        except InputError:
            assert same(model, network(2))
        else:
            assert same(model, network(1))  # a byte of what is not needed, such as the spec's id


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: b"\x80\x04\x95pickle",
    ],
    ids=["half", "a byte less", "five bytes", "empty", "html", "header bomb", "pickle"],
)
def test_what_is_not_a_whole_file_is_refused(path, spoil):
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=r"weights\.safetensors: is not a whole safetensors file"):
        load_weights(network(2), path)


def test_a_path_that_holds_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such file of weights"):
        load_weights(network(2), tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="can't be read"):
        load_weights(network(2), tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            replace(SPEC, classes=7),
            r"classifier.bias is \(1000,\) in the file and \(7,\) in the network: weights of "
            r"another spec",
        ),
        (
            replace(SPEC, stages=SPEC.stages[:2]),
            r"head.conv.weight is \(64, 24, 1, 1\) in the file and \(64, 16, 1, 1\) in the network",
        ),
        (
            replace(SPEC, stages=(*SPEC.stages, SPEC.stages[-1])),
            "is absent in the file and .* in the network",
        ),
        (
            replace(SPEC, stem_width=16),
            r"stages\.1\.0\.\S+ is \([\d, ]+\) in the file and \([\d, ]+\) in the network",
        ),
    ],
    ids=["classes", "shorter", "longer", "stem"],
)
def test_weights_of_another_network_are_refused_with_key_and_shapes(path, other, message):
    model = network(2, other)
    with pytest.raises(InputError, match=message):
        load_weights(model, path)
    assert same(model, network(2, other))
