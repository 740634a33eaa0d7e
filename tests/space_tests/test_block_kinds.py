"""Tests of the kinds of block, and of a new kind that is only an entry of BLOCK_KINDS."""

from dataclasses import replace

import pytest
import torch

from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.block_kinds.block import Block, BlockKind, BlockSettings, Conv, squeeze_excite
from phinas.space.interchange.standalone import write_standalone
from phinas.space.layers import lower
from phinas.space.presets import preset
from phinas.space.pytorch.conv_net import conv_linear_flops
from phinas.space.search_spaces.cardinality import count_networks
from phinas.space.search_spaces.cost_tables import CostTables
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.spec import ArchSpec, StageSpec


def lower_grouped(settings: BlockSettings) -> Block:
    """A grouped k x k convolution, squeeze-and-excitation, a projection."""
    width, activation = settings.in_width, settings.activation
    kernel, stride = settings.kernel, settings.stride
    convs = (
        Conv("grouped", width, width, kernel, stride, groups=2, activation=activation),
        *squeeze_excite(width, settings),
        Conv("project", width, settings.width),
    )
    return Block(convs, shortcut=settings.skip and settings.keeps_shape)


GROUPED = BlockKind(("Grouped", "Gr"), lower_grouped, unused_fields=("expansion",))


@pytest.fixture
def spec_of_new_kind(monkeypatch):
    monkeypatch.setitem(BLOCK_KINDS, "grouped", GROUPED)
    stages = (StageSpec(8, 2, block="grouped"), StageSpec(16, 3, 5, 2, block="grouped"))
    return ArchSpec(stages, stem_width=8, head_width=0, resolution=32, classes=4)


def test_the_cost_of_a_new_kind_of_block_is_that_of_the_built_network(spec_of_new_kind):
    spec = spec_of_new_kind
    assert spec.cost().flops == conv_linear_flops(spec)
    params = sum(parameter.numel() for parameter in spec.build().parameters())
    assert spec.cost().params == params


def test_a_new_kind_of_block_trains(spec_of_new_kind):
    model = spec_of_new_kind.build().train()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_new_kind_of_block_is_exported_as_a_stand_alone_file(spec_of_new_kind, tmp_path):
    spec = spec_of_new_kind
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert write_standalone(spec.build(), spec, tmp_path / "net.py") < 1e-5
    assert "class Grouped(nn.Module)" in (tmp_path / "net.py").read_text()


def test_a_new_kind_of_block_can_be_searched(spec_of_new_kind):
    space = space_from_dict(
        {
            "base": spec_of_new_kind.to_dict(),
            "stages": {"block": ["grouped", "mbconv"], "expansion": [2, 4]},
        }
    )
    assert space.size == 16
    assert count_networks(space) == 9  # expansion has no effect in a grouped block
    tables = CostTables(space)
    for choices in space.enumerate():
        spec = space.decode(choices)
        assert tables.network_cost(choices) == spec.cost()
        assert space.decode(encode(space, spec)) == spec


def test_a_basic_block_is_two_convolutions_and_a_projected_shortcut():
    first, second = lower(preset("resnet_18")).stages[1]
    assert [(conv.name, conv.kernel, conv.stride, conv.activation) for conv in first.convs] == [
        ("conv1", 3, 2, "relu"),
        ("conv2", 3, 1, ""),
    ]
    assert first.projection == Conv("shortcut", 64, 128, 1, 2)
    assert (second.projection, second.shortcut, second.activation) == (None, True, "relu")


def test_squeeze_and_excitation_of_a_basic_block_precedes_the_addition():
    stage = StageSpec(16, 1, se=0.5, block="basic")
    block = lower(ArchSpec((stage,), stem_width=8)).stages[0][0]
    assert [conv.name for conv in block.convs] == ["conv1", "conv2", "squeeze", "excite"]
    assert block.convs[2].out_width == 4


def test_expansion_has_no_effect_in_a_basic_block():
    spec = preset("resnet_18")
    stages = tuple(replace(stage, expansion=2) for stage in spec.stages)
    assert replace(spec, stages=stages).network_id == spec.network_id


@pytest.mark.parametrize("name", BLOCK_KINDS)
def test_unused_fields_change_neither_the_blocks_nor_the_id(name):
    kind = BLOCK_KINDS[name]
    changes = {"kernel": 5, "expansion": 3, "se": 0.5, "skip": False, "width": 24, "depth": 3}
    stage = StageSpec(16, 2, block=name)
    base = ArchSpec((stage, StageSpec(8, 1)), resolution=32)
    for field, value in changes.items():
        spec = replace(base, stages=(replace(stage, **{field: value}), base.stages[1]))
        is_same = spec.network_id == base.network_id
        assert is_same == (field in kind.unused_fields)
        assert is_same == (lower(spec.canonicalize()) == lower(base.canonicalize()))
