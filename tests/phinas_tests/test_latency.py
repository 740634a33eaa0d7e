"""`phinas latency`: timings as a table and as plain data."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import phinas as package
from phinas.api.latency import LatencyResult, LatencyRow
from phinas.api.latency_text import as_text
from phinas.experiment.cpu_threads import max_cpu_threads
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.nas.trial import TrialAttributes
from phinas.reports.run_reader import read_run_data
from phinas.space.search_spaces.loading import load_space
from phinas.training.timing import interleaved_timing, latency


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """A file with a network of a fraction of a millisecond."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base.to_yaml()
    )
    return str(path)


@pytest.fixture
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved_timing, "_TURN_SECONDS", 0.01)
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.05)


def row(**timings) -> LatencyRow:
    """A row of the result of one network, of which only `timings` matter."""
    network = {"name": "net", "network_id": "0", "resolution": 8, "flops": 1000, "batch_size": 1}
    return LatencyRow(**network | {"runs": 30, "rounds": 10} | timings)


def table(*rows: LatencyRow) -> str:
    return as_text(LatencyResult("a machine, 1 thread", "cpu", 1, "torch", "fp32", rows))


def test_each_network_is_timed_with_each_batch_size(
    spec: str, short_timing: None, phinas_in_process
) -> None:
    result = phinas_in_process(
        "latency", spec, spec, "--batch-size", "1", "--batch-size", "8", "--threads", "1", "--json"
    )
    assert result.returncode == 0, result.stderr
    timings = json.loads(result.stdout)
    assert [row["batch_size"] for row in timings["rows"]] == [1, 1, 8, 8]
    assert timings["threads"] == 1
    for row in timings["rows"]:
        low, high = row["latency_quartiles_ms"]
        assert 0 < low <= row["latency_ms"] <= high
        assert row["images_per_second"] == pytest.approx(
            1e3 * row["batch_size"] / row["latency_ms"]
        )
        assert 0 <= row["excluded_fraction"] < 1
    assert [row["ratio"] is None for row in timings["rows"]] == [True, False] * 2


def test_default_batch_sizes_are_one_and_sixteen_on_a_cpu(spec: str, short_timing: None) -> None:
    timings = package.latency(spec, device="cpu")
    assert [row.batch_size for row in timings.rows] == [1, 16]


@pytest.mark.slow
def test_batch_that_exceeds_the_memory_is_an_error_of_its_row_only(
    spec: str, short_timing: None, phinas_in_process
) -> None:
    result = phinas_in_process("latency", spec, "efficientnet_b7", "--batch-size", "4000", "--json")
    assert result.returncode == 0, result.stderr
    small, large = json.loads(result.stdout)["rows"]
    assert (small["error"], large["latency_ms"], large["ratio"]) == (None, None, None)
    assert "GB of memory; the machine has " in large["error"]


def test_exit_code_is_1_where_no_network_could_be_timed(phinas_in_process) -> None:
    result = phinas_in_process("latency", "efficientnet_b7", "--batch-size", "4000")
    assert result.returncode == 1
    assert "GB of memory; the machine has " in result.stdout.splitlines()[1]


def test_resolution_makes_another_network(spec: str, short_timing: None) -> None:
    (resized,) = package.latency(spec, batch_sizes=[1], resolution=16, device="cpu").rows
    (native,) = package.latency(spec, batch_sizes=[1], device="cpu").rows
    assert (resized.resolution, native.resolution) == (16, 8)
    assert resized.network_id != native.network_id
    assert resized.flops > native.flops


@pytest.mark.slow
def test_threads_of_torch_are_restored(spec: str, short_timing: None) -> None:
    before = torch.get_num_threads()
    timings = package.latency(spec, batch_sizes=[1], device="cpu", threads=before + 1)
    assert timings.hardware.endswith(f", {before + 1} threads")
    assert torch.get_num_threads() == before


def test_unknown_precision_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"^precision: 'fp8' is not one of fp32, bf16"):
        package.latency(spec, precision="fp8")


def test_bf16_is_refused_in_onnx_runtime(spec: str) -> None:
    with pytest.raises(InputError, match=r"^precision: bf16 is not available with runtime: onnx"):
        package.latency(spec, precision="bf16", runtime="onnxruntime")


def test_unknown_runtime_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"^runtime: 'tflite' is not a legal value"):
        package.latency(spec, runtime="tflite")


def test_onnx_runtime_on_a_gpu_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"^device: cuda is not available for runtime: onnxrunt"):
        package.latency(spec, device="cuda", runtime="onnxruntime")


def test_missing_onnx_runtime_is_an_error_before_the_networks_are_read(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnxruntime.*pip install 'phinas\[onnx\]'"):
        package.latency("no such network", runtime="onnxruntime-int8")


def test_networks_are_timed_in_onnx_runtime(spec: str, short_timing: None) -> None:
    pytest.importorskip("onnxruntime")
    result = package.latency(spec, spec, batch_sizes=[2], runtime="onnxruntime", threads=2)
    assert [row.error for row in result.rows] == [None, None]
    assert result.rows[1].ratio > 0
    assert (result.device, result.runtime, result.precision) == ("cpu", "onnxruntime", "fp32")
    assert "2 threads, ONNX Runtime fp32, random weights" in as_text(result).replace("\n", " ")


def test_number_of_threads_is_selected_in_onnx_runtime(spec: str, short_timing: None) -> None:
    pytest.importorskip("onnxruntime")
    result = package.latency(spec, batch_sizes=[1], runtime="onnxruntime-int8", device="auto")
    assert result.rows[0].latency_ms > 0
    assert 1 <= result.threads <= max_cpu_threads()
    assert result.precision == "int8"
    assert ", ONNX Runtime int8, " in as_text(result)


@pytest.mark.slow
def test_search_with_latency_in_onnx_runtime_records_and_reports_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "run"
    package.search(
        out=out,
        quiet=True,
        space="tiny",
        trials=3,
        evaluator="phinas.testing.functions:smooth",
        cost="latency",
        runtime="onnxruntime-int8",
        settings={"search.reference": "none", "run.executor": "inline", "search.finalists": 1},
    )
    data = read_run_data(RunDir(out))
    attributes = [TrialAttributes.from_record(item) for item in data.trial_records["search"]]
    hardware = {item.latency.latency_hardware for item in attributes if item.latency}
    assert len(hardware) == 1
    assert hardware.pop().endswith("batch of 1, ONNX Runtime int8")
    assert "ONNX Runtime int8" in RunDir(out).report_page.read_text()
    # the run has timed them, so they are not timed again
    recorded = {trial.latency_ms for trial in data.trials}
    choice = package.choose(out, max_latency_ms=1e6, quiet=True)
    assert choice.runtime == "onnxruntime-int8"
    assert choice.latencies[choice.choice.best.name].ms in recorded
    # but in another runtime they are
    choice = package.choose(out, max_latency_ms=1e6, runtime="onnxruntime", quiet=True)
    assert choice.latencies[choice.choice.best.name].ms not in recorded


def test_table_omits_empty_columns() -> None:
    fields = {
        "latency_ms": 31.234,
        "latency_quartiles_ms": (30.0, 1234.5),
        "images_per_second": 32.016,
        "excluded_fraction": 0.034,
    }
    header, line = table(row(**fields)).splitlines()[:2]
    assert header.split() == [
        "network",
        "px",
        "FLOPs",
        "batch",
        "ms",
        "quartiles",
        "images/s",
        "runs",
        "excluded",
    ]
    assert line.split() == [
        "net",
        "8",
        "1.00k",
        "1",
        "31.23",
        "30.00",
        "to",
        "1,234",
        "32.02",
        "30",
        "3%",
    ]
    device = fields | {
        "device_ms": 0.5,
        "peak_memory_bytes": 2_000_000,
        "ratio": 2.0,
        "ratio_interval": (1.9, 2.1),
    }
    text = table(row(**fields), row(**device))
    assert all(arguments in text for arguments in ("device ms", "2 MB", "2.000  1.900 to 2.100"))


def test_table_says_where_disturbed_runs_are_included() -> None:
    undisturbed = row(
        latency_ms=1.0,
        latency_quartiles_ms=(1.0, 1.0),
        images_per_second=1.0,
        excluded_fraction=0.0,
    )
    assert "disturbed" not in table(undisturbed)
    assert "up to 80%" in table(undisturbed, replace(undisturbed, disturbed_runs=24))
    assert "disturbed" not in table(replace(undisturbed, disturbed_runs=24, excluded_fraction=0.4))


def test_table_with_all_columns_has_lines_of_at_most_128_characters() -> None:
    full = row(
        name="a_long_path/" * 9,
        resolution=600,
        flops=37.75e9,
        batch_size=256,
        latency_ms=1234.5,
        latency_quartiles_ms=(1234.5, 1234.5),
        images_per_second=1234.5,
        ratio=12.345,
        ratio_interval=(12.345, 12.345),
        excluded_fraction=0.12,
        device_ms=1234.5,
        peak_memory_bytes=12_345_000_000,
    )
    assert max(map(len, table(full).splitlines())) <= 128
