"""Tests that onnxruntime gives the logits of the network, for every kind of block."""

from dataclasses import replace

import pytest
import torch

from phinas.space.interchange.onnx_export import write_onnx
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


@pytest.mark.parametrize(
    ("head_width", "padding"),
    [pytest.param(0, "symmetric", marks=pytest.mark.slow), (16, "same")],
)
def test_every_kind_of_block_gives_equal_logits_in_onnxruntime(padding, head_width, tmp_path):
    pytest.importorskip("onnxruntime")
    spec = replace(ALL_BLOCKS, padding=padding, head_width=head_width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = spec.build()
    assert write_onnx(model, spec, tmp_path / "every.onnx") < 1e-5  # in batches of one and three
    assert [path.name for path in tmp_path.iterdir()] == ["every.onnx"]
