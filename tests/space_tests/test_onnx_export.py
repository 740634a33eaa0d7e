"""Tests that onnxruntime gives the logits of the network, for every kind of block."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from phinas.space.interchange.onnx_export import (
    ExportError,
    OnnxNetwork,
    relative_difference,
    write_onnx,
)
from phinas.space.interchange.onnx_quantization import quantize_onnx
from phinas.space.spec import ArchSpec, StageSpec

STAGES = (
    StageSpec(8, 1, expansion=1, block="fused_mbconv", se=0),
    StageSpec(8, 1, expansion=2, block="fused_mbconv", stride=2),
    StageSpec(8, 1, block="identity"),
    StageSpec(8, 1, expansion=1, activation="relu6"),
    StageSpec(16, 2, expansion=2, block="bottleneck", stride=2, activation="hard_swish"),
    StageSpec(16, 2, block="basic", stride=2),
    StageSpec(16, 1, block="separable"),
    StageSpec(8, 1, kernel=1, block="conv", activation="relu"),
)
ALL_BLOCKS = ArchSpec(STAGES, stem_width=8, stem_pool=True, head_width=0, resolution=33, classes=4)


SIZES = ((1, 33, 33), (3, 33, 33), (2, 20, 47))


def build(spec: ArchSpec) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build().eval()


def images_of(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def largest_difference(model: torch.nn.Module, path: Path) -> float:
    """Of the logits, for several batch sizes, heights and widths."""
    with torch.inference_mode():
        return max(
            relative_difference(OnnxNetwork(path)(images_of(*size)), model(images_of(*size)))
            for size in SIZES
        )


@pytest.mark.parametrize(
    ("head_width", "padding"),
    [pytest.param(0, "symmetric", marks=pytest.mark.slow), (16, "same")],
)
def test_every_kind_of_block_gives_equal_logits_at_any_batch_and_image_size(
    padding, head_width, tmp_path
):
    pytest.importorskip("onnxruntime")
    model = build(replace(ALL_BLOCKS, padding=padding, head_width=head_width))
    path = tmp_path / "every.onnx"
    difference = write_onnx(
        model,
        images_of(2, 33, 33),
        path,
        check=lambda written: largest_difference(model, written),
        metadata={"name": "every"},
    )
    assert difference < 1e-5
    assert [each.name for each in tmp_path.iterdir()] == ["every.onnx"]
    assert OnnxNetwork(path).metadata == {"name": "every"}


@pytest.mark.slow
def test_dynamic_quantization_of_onnxruntime_works_on_an_exported_file(tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization")
    model = build(replace(ALL_BLOCKS, head_width=16))
    write_onnx(model, images_of(2, 33, 33), tmp_path / "net.onnx", check=lambda _: 0.0)
    quantization.quantize_dynamic(tmp_path / "net.onnx", tmp_path / "int8.onnx")
    # the convolutions, as 8-bit integers, lose some of their precision
    assert largest_difference(model, tmp_path / "int8.onnx") < 0.5


@pytest.mark.slow
def test_int8_has_8_bits_around_one_operator_for_each_silu(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    stages = (
        StageSpec(8, 1, expansion=2, se=0.25),
        StageSpec(8, 1, expansion=2, activation="relu6"),
    )
    spec = ArchSpec(stages, stem_width=8, head_width=16, resolution=16, classes=4)
    model = build(spec)
    write_onnx(model, images_of(2, 16, 16), tmp_path / "net.onnx", check=lambda _: 0.0)
    quantized = quantize_onnx(tmp_path / "net.onnx", [images_of(8, 16, 16).numpy()])
    onnx.checker.check_model(quantized)
    operators = [node.op_type for node in quantized.graph.node]
    # of the squeeze-and-excitations alone
    assert operators.count("Sigmoid") == operators.count("GlobalAveragePool") == 2
    assert operators.count("QuickGelu") > 0
    assert [function.name for function in quantized.functions] == ["QuickGelu"]
    onnx.save(quantized, tmp_path / "int8.onnx")
    with torch.inference_mode():
        images = images_of(2, 16, 16)
        assert relative_difference(OnnxNetwork(tmp_path / "int8.onnx")(images), model(images)) < 0.2


@pytest.mark.slow
def test_a_file_that_fails_its_check_is_not_left_behind(tmp_path):
    pytest.importorskip("onnxruntime")

    def fail(written: Path) -> float:
        assert written.exists()
        raise ExportError("differs")

    with pytest.raises(ExportError, match="differs"):
        write_onnx(build(ALL_BLOCKS), images_of(2, 33, 33), tmp_path / "net.onnx", check=fail)
    assert not list(tmp_path.iterdir())
