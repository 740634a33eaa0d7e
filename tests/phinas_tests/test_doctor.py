"""Tests of `phinas doctor`."""

import json
from types import SimpleNamespace

import pytest
import torch

import phinas as package
from phinas.api import doctor as doctor_module
from phinas.api.doctor import Device, as_text, doctor


@pytest.fixture(scope="module")
def diagnosis():
    return doctor()


def test_it_has_the_versions_the_devices_and_the_space_of_this_machine(diagnosis):
    assert diagnosis.versions["torch"] == torch.__version__
    assert diagnosis.versions["phinas"]
    assert diagnosis.devices[-1].name == "cpu"
    assert diagnosis.cores >= 1
    assert all(free > 0 for free in diagnosis.free_disk_bytes.values())
    assert {extra.name for extra in diagnosis.extras} == {
        *("parquet", "hf", "onnx", "postgres", "ray", "peers")
    }
    assert package.doctor.__module__ == "phinas.api.doctor"


def test_a_missing_and_an_old_package_are_named_with_the_command_that_installs_them(monkeypatch):
    installed = {"ray": None, "optuna": "2.0", "pyarrow": "1.0"}
    real = doctor_module.installed_version
    monkeypatch.setattr(
        doctor_module, "installed_version", lambda name: installed.get(name, real(name))
    )
    result = doctor()
    missing = {extra.name: extra.missing for extra in result.extras}
    assert missing["ray"] == ("ray>=2.40",)
    assert missing["parquet"] == ("pyarrow>=16",)
    (problem,) = [problem for problem in result.problems if "optuna" in problem]
    assert problem == ('optuna<6,>=4.9 is required, installed is 2.0; pip install "optuna<6,>=4.9"')
    assert 'pip install "phinas[ray]"' in as_text(result)


def test_a_gpu_that_torch_does_not_find_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor_module.shutil, "which", lambda _name: "/usr/bin/nvidia-smi")
    cpu = (Device("cpu", "a processor"),)
    monkeypatch.setattr(torch.version, "cuda", None)
    (problem,) = [text for text in doctor_module._device_problems(cpu) if "NVIDIA" in text]
    assert "install a torch with CUDA" in problem
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    (problem,) = [text for text in doctor_module._device_problems(cpu) if "NVIDIA" in text]
    assert "torch is built for CUDA 12.8: check the driver's version" in problem
    gpu = (Device("cuda:0", "a GPU", 10**10), *cpu)
    assert not [text for text in doctor_module._device_problems(gpu) if "NVIDIA" in text]


def test_gpus_are_listed_first_with_their_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda _index: SimpleNamespace(name="NVIDIA H200", total_memory=150_000_000_000),
    )
    assert next(doctor_module._find_devices("a processor")) == Device(
        "cuda:0", "NVIDIA H200", 150_000_000_000
    )


def test_little_memory_and_little_disk_are_problems(tmp_path):
    (memory, disk) = doctor_module._space_problems(3_000_000_000, {str(tmp_path): 10**9})
    assert memory.startswith("the machine has 3.0 GB of memory; use --workers 1")
    assert disk == f"{tmp_path} has 1.0 GB of free space; free some"
    assert not [*doctor_module._space_problems(0, {str(tmp_path): 10**10})]


def test_text_and_json(diagnosis, phinas_in_process):
    text = phinas_in_process("doctor").stdout
    assert f"torch {torch.__version__}" in text
    assert "no problem found" in text or "problem: " in text
    data = json.loads(phinas_in_process("doctor", "--json").stdout)
    assert data["cores"] == diagnosis.cores
    assert data["devices"][-1]["name"] == "cpu"
