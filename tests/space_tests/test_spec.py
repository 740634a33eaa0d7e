"""Tests of ArchSpec: validation, identity, YAML."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.layers import lower
from phinas.space.loading import load_spec
from phinas.space.presets import PRESETS, preset
from phinas.space.spec import BLOCKS, ArchSpec, SpecError, StageSpec
from phinas.space.yaml_io import YamlError, dump_yaml, read_yaml

B0 = preset("efficientnet_b0")

finite_floats = st.floats(0, 0.95) | st.sampled_from([0, 0.25])
stages = st.builds(
    StageSpec,
    width=st.integers(1, 1 << 17),
    depth=st.integers(1, 1 << 10),
    kernel=st.integers(0, 15).map(lambda half: 2 * half + 1),
    stride=st.integers(1, 2),
    expansion=st.floats(1, 64) | st.integers(1, 64),
    se=finite_floats | st.just(1),
    skip=st.booleans(),
)
specs = st.builds(
    ArchSpec,
    stages=st.lists(stages, min_size=1, max_size=4).map(tuple),
    stem_width=st.integers(1, 99),
    resolution=st.integers(32, 1 << 14),
    classes=st.integers(1, 9),
    dropout=finite_floats,
    bn_eps=st.floats(1e-9, 1),
)


def b0_with(**fields):
    return B0.to_dict() | fields


def b0_with_stage(**fields):
    data = B0.to_dict()
    data["stages"][2] |= fields
    return data


@settings(max_examples=50, deadline=None)
@given(specs)
def test_a_spec_round_trips_through_yaml(spec):
    restored = ArchSpec.from_yaml(spec.to_yaml())
    assert restored == spec
    assert restored.network_id == spec.network_id


@settings(max_examples=50, deadline=None)
@given(specs, specs)
def test_two_specs_share_an_id_only_if_they_are_equal(one, other):
    assert (one.network_id == other.network_id) == (one == other)


def test_the_id_of_b0_is_the_golden_one():
    golden = read_yaml(Path(__file__).parent.parent / "golden" / "efficientnet.yaml")
    assert B0.network_id == golden["b0_network_id"]


def test_published_networks_have_different_ids():
    assert len({preset(name).network_id for name in PRESETS}) == len(PRESETS)


def test_integer_and_float_values_give_the_same_network():
    one, other = (ArchSpec((StageSpec(8, 1, expansion=expansion),)) for expansion in (5, 5.0))
    assert one == other
    assert one.network_id == other.network_id


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 225},
        {"classes": 10},
        {"activation": "relu"},
        {"dropout": 0.3},
        {"stem_kernel": 5},
        {"bn_momentum": 0.1},
    ],
)
def test_every_changed_field_changes_the_id(change):
    assert replace(B0, **change).network_id != B0.network_id


def test_the_order_of_stages_changes_the_id():
    assert replace(B0, stages=B0.stages[::-1]).network_id != B0.network_id


def test_a_field_with_its_default_value_does_not_change_the_id():
    canonical = {"stages": [{"width": 8, "depth": 1}]}
    verbose = {
        "stages": [{"width": 8, "depth": 1, "kernel": 3, "expansion": 6.0, "skip": True}],
        "classes": 1000,
    }
    assert ArchSpec.from_dict(canonical).network_id == ArchSpec.from_dict(verbose).network_id


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b0_with(stem_width=0), r"stem_width: 0 is not a whole number from 1"),
        (b0_with(head_width=-3), r"head_width: -3 is not a whole number"),
        (b0_with(head_width=True), r"head_width: True is not a whole number"),
        (b0_with(head_width=1280.0), r"head_width: 1280.0 is not a whole number"),
        (b0_with(classes="10"), r"classes: '10' is not a whole number"),
        (b0_with(channels=None), r"channels: None is not a whole number"),
        (b0_with(stem_kernel=4), r"stem_kernel: 4 is even.*use 3 or 5"),
        (b0_with(resolution=31), r"resolution: 31 is below the total stride 32; raise it"),
        (b0_with(resolution=10**9), r"resolution: 1000000000 is not a whole number from 1 to"),
        (b0_with(dropout=math.nan), r"dropout: nan is not a finite number"),
        (b0_with(dropout=1), r"dropout: 1 is outside 0 to 0.95"),
        (b0_with(drop_path="0.2"), r"drop_path: '0.2' is not a finite number"),
        (b0_with(bn_eps=0), r"bn_eps: 0 is outside"),
        (b0_with(bn_eps=10**400), r"bn_eps: 1000+\.\.\. is outside"),
        (b0_with(bn_momentum=math.inf), r"bn_momentum: inf is not a finite number"),
        (b0_with(activation="gelu"), r"activation: 'gelu' is not one of silu, relu"),
        (b0_with(activation=["silu"]), r"activation: \['silu'\] is not one of"),
        (b0_with(stem_widht=32), r"stem_widht: unknown field; did you mean 'stem_width'"),
        (b0_with(zzz=32), r"zzz: unknown field; known fields: stages, stem_width"),
        (b0_with(stages=[]), r"stages: \(\) is empty; a network needs at least one stage"),
        (b0_with(stages=3), r"stages: 3 is not a list of stages"),
        (b0_with(stages=[3]), r"stages.0: 3 is not a mapping"),
        ({"resolution": 224}, r"stages: missing"),
        ({"stages": [{"width": 8}]}, r"stages.0.depth: missing"),
        (b0_with_stage(width=0), r"stages.2.width: 0 is not"),
        (b0_with_stage(depth=0), r"stages.2.depth: 0 is not"),
        (b0_with_stage(kernel=6), r"stages.2.kernel: 6 is even.*use 5 or 7"),
        (b0_with_stage(kernel="3"), r"stages.2.kernel: '3' is not"),
        (b0_with_stage(stride=3), r"stages.2.stride: 3 is not a whole number from 1 to 2"),
        (b0_with_stage(expansion=0), r"stages.2.expansion: 0 is outside 1 to 64"),
        (b0_with_stage(expansion=True), r"stages.2.expansion: True is not a finite number"),
        (b0_with_stage(se=1.5), r"stages.2.se: 1.5 is outside 0 to 1"),
        (b0_with_stage(se=math.nan), r"stages.2.se: nan is not a finite number"),
        (b0_with_stage(skip=1), r"stages.2.skip: 1 is neither true nor false"),
        (b0_with_stage(kernle=3), r"stages.2.kernle: unknown field; did you mean 'kernel'"),
        (
            b0_with_stage(block="mbcnov"),
            r"stages.2.block: 'mbcnov' is not one of mbconv, .*; did you mean 'mbconv'",
        ),
        (b0_with_stage(block=["mbconv"]), r"stages.2.block: \['mbconv'\] is not one of"),
        (
            b0_with_stage(block="identity"),
            r"stages.2.stride: 2 is impossible for an identity; use another block, or stride 1",
        ),
        (
            b0_with_stage(activation="swish"),
            r"stages.2.activation: 'swish' is not one of silu, .*; did you mean 'hard_swish'",
        ),
        (b0_with(stem_pool=1), r"stem_pool: 1 is neither true nor false"),
        (b0_with(padding="valid"), r"padding: 'valid' is not one of symmetric, same"),
        (
            b0_with(stages=[{"width": 8, "depth": 1, "block": "identity"}]),
            r"stages: \['identity'\] leaves every layer out",
        ),
        (b0_with(stem_pool=True, resolution=32), r"resolution: 32 is below the total stride 64"),
        (None, r"spec: None is not a mapping"),
        ([], r"spec: \[\] is not a mapping"),
    ],
)
def test_an_invalid_spec_is_refused_with_field_value_and_remedy(data, message):
    with pytest.raises(SpecError, match=f"^{message}"):
        ArchSpec.from_dict(data)


blocks = st.builds(
    StageSpec,
    width=st.sampled_from([8, 16]),
    depth=st.integers(1, 2),
    stride=st.just(1) | st.integers(1, 2),
    expansion=st.sampled_from([1, 2]),
    se=st.sampled_from([0, 0.25]),
    skip=st.booleans(),
    block=st.sampled_from([kind for kind in BLOCKS if kind != "identity"]),
    activation=st.sampled_from(["", "silu", "relu"]),
) | st.builds(
    StageSpec, width=st.sampled_from([8, 16]), depth=st.integers(1, 2), block=st.just("identity")
)
networks = st.builds(
    ArchSpec,
    stages=st.lists(blocks, max_size=5).map(lambda stages: (*stages, StageSpec(8, 1))),
    stem_width=st.just(8),
)


def list_blocks(spec):
    return [block for stage in lower(spec).stages for block in stage]


@given(networks)
def test_a_canonical_spec_is_the_same_network_with_the_same_id(spec):
    simple = spec.canonicalize()
    assert list_blocks(simple) == list_blocks(spec)
    assert simple.canonicalize() == simple
    assert simple.network_id == spec.network_id
    assert simple.depth == spec.depth
    assert all(stage.block != "identity" for stage in simple.stages)


@given(networks, networks)
def test_two_specs_with_one_id_are_one_network(one, other):
    if one.network_id == other.network_id:
        assert list_blocks(one) == list_blocks(other)


@pytest.mark.parametrize(
    ("verbose", "canonical"),
    [
        ([StageSpec(8, 1), StageSpec(8, 1)], [StageSpec(8, 2)]),
        ([StageSpec(8, 2, stride=2), StageSpec(8, 3)], [StageSpec(8, 5, stride=2)]),
        ([StageSpec(8, 1), StageSpec(64, 9, kernel=7, block="identity")], [StageSpec(8, 1)]),
        # the widths differ, so there is no shortcut
        ([StageSpec(16, 1, skip=False)], [StageSpec(16, 1)]),
        ([StageSpec(16, 1), StageSpec(16, 2, skip=False)], [StageSpec(16, 3, skip=False)]),
        ([StageSpec(8, 1, activation="silu")], [StageSpec(8, 1)]),
        ([StageSpec(8, 1, block="conv", expansion=3, se=1)], [StageSpec(8, 1, block="conv")]),
    ],
)
def test_two_specs_of_one_network_have_the_same_id(verbose, canonical):
    assert (
        ArchSpec(tuple(verbose), stem_width=8).network_id
        == ArchSpec(tuple(canonical), stem_width=8).network_id
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([StageSpec(8, 1), StageSpec(8, 1, stride=2)], [StageSpec(8, 2)]),
        ([StageSpec(8, 2)], [StageSpec(8, 2, skip=False)]),
        ([StageSpec(8, 1)], [StageSpec(8, 1, skip=False)]),
        ([StageSpec(8, 1)], [StageSpec(8, 1, activation="relu")]),
        (
            [StageSpec(8, 1, se=0, expansion=1)],
            [StageSpec(8, 1, se=0, expansion=1, block="separable")],
        ),
    ],
)
def test_different_networks_have_different_ids(one, other):
    assert (
        ArchSpec(tuple(one), stem_width=8).network_id
        != ArchSpec(tuple(other), stem_width=8).network_id
    )


@pytest.mark.parametrize("stages", [[StageSpec(8, 1)], (1,), 5])
def test_stages_that_are_not_a_tuple_of_stages_are_refused_at_construction(stages):
    with pytest.raises(SpecError, match=r"^stages: .* is not a tuple of StageSpec"):
        ArchSpec(stages=stages)


def test_an_error_truncates_a_long_value():
    with pytest.raises(SpecError) as error_info:
        ArchSpec.from_dict(b0_with(activation="x" * 100_000))
    assert len(str(error_info.value)) < 300


def test_the_nearest_preset_is_suggested():
    with pytest.raises(SpecError, match="did you mean 'efficientnet_b3'"):
        preset("eficientnet_b3")


def test_load_spec_reads_a_file_with_the_spec_under_a_key(tmp_path):
    path = tmp_path / "b 0.yaml"
    path.write_text(dump_yaml({"note": "best", "spec": B0.to_dict()}))
    assert load_spec(str(path)) == B0


@pytest.mark.parametrize("name", ["nowhere.yaml", "x" * 5000, "a\0b"])
def test_load_spec_of_an_unknown_name_suggests_presets(name):
    with pytest.raises(SpecError, match="is neither a file nor a preset"):
        load_spec(name)


def test_error_of_load_spec_has_the_name_of_the_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("stages: [{width: 0, depth: 1}]")
    with pytest.raises(SpecError, match=r"bad.yaml: stages.0.width: 0"):
        load_spec(str(path))


def test_load_spec_refuses_the_configuration_of_a_run(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("search: {trials: 3}")
    with pytest.raises(SpecError, match=r"config.yaml' is the configuration of a run"):
        load_spec(str(path))


def test_load_spec_refuses_a_directory(tmp_path):
    with pytest.raises(YamlError, match="is a directory"):
        load_spec(str(tmp_path))
