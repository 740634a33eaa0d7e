"""Tests of the GPU check on a CPU, with tiny sizes. Its measurements on a GPU are not tested."""

import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
BENCHMARKS = TESTS.parent / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch, restore_torch_threads: None) -> ModuleType:
    """The module benchmarks/gpu_check.py. Torch's settings are restored after the test."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    deterministic = torch.are_deterministic_algorithms_enabled()
    modules = set(sys.modules)
    import gpu_check

    yield gpu_check
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)
    for name in set(sys.modules) - modules:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run_part(gpu_check: ModuleType, part: str, out: Path) -> list[dict]:
    """Run a part of the check and return the results that it writes."""
    assert gpu_check.main([part, "--out", str(out), "--device", "cpu", "--small"]) == 0
    lines = (out / "results.jsonl").read_text().splitlines()
    results = [json.loads(line) for line in lines]
    assert {result["part"] for result in results} == {part}
    return results


def test_machine_records_versions_and_memory_bandwidth(gpu_check, tmp_path):
    versions, bandwidth = run_part(gpu_check, "machine", tmp_path)
    assert versions["torch"] == torch.__version__
    assert bandwidth["copy_gb_per_second"] > 0


def test_repeated_training_runs_are_identical_on_a_cpu(gpu_check, tmp_path):
    results = run_part(gpu_check, "equivalence", tmp_path)
    assert len(results) == 6
    for result in results:
        assert "error" not in result
        assert result["finite"]
        assert result["eager_max_loss_difference"] == 0
        assert result["captured_max_weight_difference"] == 0


def test_a_part_that_fails_records_its_error(gpu_check, tmp_path, monkeypatch):
    def fail(_context):
        raise RuntimeError("no GPU\nsecond line")

    monkeypatch.setitem(gpu_check.PARTS, "machine", fail)
    assert gpu_check.main(["machine", "--out", str(tmp_path), "--device", "cpu"]) == 1
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["error"] == "RuntimeError: no GPU"


def test_gpu_check_selects_all_tests_that_need_a_gpu():
    """The script selects tests by name, in one folder."""
    script = (BENCHMARKS / "gpu_check.sh").read_text()
    assert 'pytest tests/training_tests -k "gpu or cuda"' in script
    marked_test = re.compile(r'reason="needs a GPU"\)\n(?:@.*\n)*def (\w+)')
    names = {
        name: path
        for path in TESTS.rglob("test_*.py")
        for name in marked_test.findall(path.read_text())
    }
    assert names
    for name, path in names.items():
        assert path.parent.name == "training_tests"
        assert "gpu" in name or "cuda" in name
