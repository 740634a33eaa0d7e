"""Tests of reading weights files: formats, and files that are refused."""

import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from phinas.experiment.errors import InputError
from phinas.space.search_spaces.loading import load_space
from phinas.training.weights.weights_file import read_weights

SPEC = load_space("tiny").base


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return SPEC.build().state_dict()


def assert_holds(file, state):
    tensors = file.contents.tensors
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_a_safetensors_file_is_read_with_its_metadata(state, tmp_path):
    save_file(state, tmp_path / "w.safetensors", metadata={"author": "x"})
    file = read_weights(tmp_path / "w.safetensors")
    assert_holds(file, state)
    assert file.metadata == {"author": "x"}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.ckpt", "w.safetensors"])
def test_a_file_of_torch_save_is_read_whatever_its_name(name, zipped, state, tmp_path):
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_holds(read_weights(tmp_path / name), state)


def test_plain_data_of_training_programs_beside_the_weights_is_allowed(state, tmp_path):
    checkpoint = {
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "best": np.float64(0.75),
        "curve": np.arange(3),
        "epoch": 3,
    }
    torch.save(checkpoint, tmp_path / "w.pth")
    assert_holds(read_weights(tmp_path / "w.pth"), state)


def test_half_precision_is_read(state, tmp_path):
    half = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    torch.save(half, tmp_path / "w.pth")
    assert_holds(read_weights(tmp_path / "w.pth"), half)


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(zipped, tmp_path):
    torch.save(
        RunsCode(tmp_path / "ran"), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(InputError, match=r"w.pth: holds an object of .*, which may run code"):
        read_weights(tmp_path / "w.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(RunsCode(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"plain.pkl: "):
        read_weights(tmp_path / "plain.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_pickled_model_is_refused_with_what_to_save(tmp_path):
    torch.save(SPEC.build(), tmp_path / "w.pth")
    message = r"holds an object of phinas\.\S+, which .* save only the tensors with torch.save"
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path / "w.pth")


def test_a_torchscript_archive_is_refused_with_what_to_save(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"is a TorchScript archive; save the state_dict\(\)"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:200],
        lambda content: content[:4],
        lambda content: b"\x80\x04\x95pickle",
        lambda content: b"PK\x03\x04" + bytes(100),
    ],
    ids=["half", "200 bytes", "4 bytes", "pickle", "zip"],
)
def test_a_damaged_file_of_torch_save_is_refused(damage, state, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(state, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"w.pth: is not a complete file of torch.save"):
        read_weights(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensor: tensor.to(torch.int8),
            r"stem.conv.weight has the type torch.int8 and should have floating-point numbers",
        ),
        (lambda tensor: tensor * float("nan"), r"stem.conv.weight has values that are not finite"),
        (lambda tensor: tensor.to_sparse(), r"stem.conv.weight has the type"),
    ],
    ids=["int8", "nan", "sparse"],
)
def test_tensors_that_no_network_has_are_refused(change, message, state, tmp_path):
    torch.save(state | {"stem.conv.weight": change(state["stem.conv.weight"])}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(InputError, match="the weights file does not exist; check the path"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(InputError, match="is a folder without model"):
        read_weights(tmp_path)


def test_a_file_without_a_state_dict_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w.pth: holds no state dict \(its keys are epoch\)"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; name another file"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file"),
        (b"\x08\x07\x12\x07pytorch" + bytes(99), "is an ONNX file"),
        (b"\x1c\0\0\0TFL3" + bytes(99), "is a TensorFlow Lite file"),
        (b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "weights in several files"),
        (b'{"mean": [0.5]}', "is a JSON file; name the weights file beside it"),
        (b"\x40" + bytes(7) + b'{"a": ', "is neither a complete safetensors file"),
    ],
)
def test_a_file_of_another_format_is_named(content, message, tmp_path):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path / "w.pth")


def test_a_numpy_archive_is_not_taken_for_a_file_of_torch_save(tmp_path):
    np.savez(tmp_path / "w.npz", weights=np.ones(3))
    with pytest.raises(InputError, match="is a NumPy archive"):
        read_weights(tmp_path / "w.npz")


def test_weights_of_8_bits_are_refused(state, tmp_path):
    wide = {name: t.to(torch.float8_e4m3fn) for name, t in state.items() if t.ndim}
    torch.save(wide, tmp_path / "w.pth")
    with pytest.raises(InputError, match="float8_e4m3fn and should have floating-point numbers"):
        read_weights(tmp_path / "w.pth")


def test_the_reason_of_torch_ends_at_a_word(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"\(RuntimeError: .*(central directory|\.\.\.)\); name"):
        read_weights(tmp_path / "w.pth")
