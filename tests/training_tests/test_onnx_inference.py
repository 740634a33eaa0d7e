"""Tests of inferences in ONNX Runtime for latency measurements."""

from pathlib import Path

import numpy as np
import pytest
import torch

from phinas.experiment.errors import InputError, NoResultError
from phinas.space.search_spaces.loading import load_space
from phinas.training.timing.latency import measure_latency
from phinas.training.timing.onnx_inference import OnnxInference, _export
from phinas.training.timing.runtimes import InferenceBuilder, require_runtime
from phinas.training.timing.torch_inference import make_inference

pytest.importorskip("onnxruntime")

NETWORK = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "int8"])
def inference(request):
    """An inference of three images."""
    return OnnxInference(NETWORK, batch=3, int8=request.param)


def test_inference_gives_finite_logits_with_any_number_of_threads(inference):
    inference.set_threads(1)
    logits = inference()
    inference.set_threads(2)
    assert logits.shape == (3, 10)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(inference(), logits, atol=1e-3)


def test_int8_model_has_integer_weights_and_float32_has_not(inference, request):
    import onnx

    model = onnx.load_from_string(inference._model)
    has_int8 = onnx.TensorProto.INT8 in {item.data_type for item in model.graph.initializer}
    assert has_int8 == request.node.callspec.params["inference"]


def test_batch_norm_is_folded(inference):
    import onnx

    model = onnx.load_from_string(inference._model)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_inference_can_be_built_in_inference_mode():
    with torch.inference_mode():
        inference = InferenceBuilder(CPU, "onnxruntime").build(NETWORK, batch=1, threads=1)
        assert inference().shape == make_inference(NETWORK, CPU, batch=1)().shape


@pytest.mark.slow
def test_another_number_of_threads_needs_no_second_export():
    builder = InferenceBuilder(CPU, "onnxruntime")
    inference = builder.build(NETWORK, batch=1, threads=1)
    assert builder.build(NETWORK, batch=1, threads=2) is inference
    assert builder.build(NETWORK, batch=2, threads=2) is not inference


def test_building_does_not_change_torchs_generator():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    OnnxInference(NETWORK, batch=1, int8=True)
    assert torch.rand(1) == expected


class NaNLogits(torch.nn.Module):
    """A network whose logits are NaN."""

    def forward(self, images):
        """Compute the logits."""
        return (images.mean((1, 2, 3)) * float("nan"))[:, None].expand(-1, 10)


def test_network_with_other_logits_after_the_export_is_not_timed():
    with pytest.raises(NoResultError, match=r"cannot be exported to ONNX \(its logits differ"):
        _export(NETWORK, NaNLogits().eval(), torch.randn(1, 1, 8, 8), int8=False)


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ("onnxruntime", "ONNX Runtime"),
        pytest.param("onnxruntime-int8", "ONNX Runtime int8", marks=pytest.mark.slow),
    ],
)
def test_hardware_of_a_timing_says_the_runtime(runtime, name):
    before = torch.get_num_threads()
    try:
        result = measure_latency(
            spec=NETWORK.to_dict(), device="auto", threads=1, batch=1, runtime=runtime
        )
    finally:
        torch.set_num_threads(before)
    assert result["latency_ms"] > 0
    assert result["latency_hardware"].endswith(f", 1 thread, batch of 1, {name}")


def test_other_devices_are_refused():
    with pytest.raises(InputError, match=r"^run.device: cuda:0 is not available for run.latency_"):
        require_runtime(
            "onnxruntime", "cuda:0", option="run.latency_runtime", device_option="run.device"
        )
    require_runtime("torch", "cuda:0", option="runtime", device_option="device")


@pytest.mark.slow
def test_onnx_runtime_is_faster_than_eager_torch_for_one_small_image():
    network = load_space("tiny").adapt_to(channels=3, classes=10, resolution=32).base
    before = torch.get_num_threads()
    try:
        torch_ms, onnx_ms = (
            measure_latency(
                spec=network.to_dict(), device="cpu", threads=1, batch=1, runtime=runtime
            )["latency_ms"]
            for runtime in ("torch", "onnxruntime")
        )
    finally:
        torch.set_num_threads(before)
    assert onnx_ms < torch_ms


@pytest.mark.slow
def test_temporary_files_are_removed(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    OnnxInference(NETWORK, batch=1, int8=True)
    assert list(tmp_path.iterdir()) == []
