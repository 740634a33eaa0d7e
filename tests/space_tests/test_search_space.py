"""Tests of search spaces: encoding, golden sizes, sampling, adaptation, errors."""

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.presets import preset
from phinas.space.search_spaces.cardinality import count_networks
from phinas.space.search_spaces.cost_tables import CostTables
from phinas.space.search_spaces.definitions import SPACES, space_summaries
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.space.yaml_io import YamlError, dump_yaml, read_yaml

B0 = preset("efficientnet_b0")
GOLDEN = read_yaml(Path(__file__).parent.parent / "golden" / "search_spaces.yaml")["spaces"]
SMALL = space_from_dict(
    {
        "name": "small",
        "base": {"stages": [{"width": 8, "depth": 1}, {"width": 16, "depth": 2}], "resolution": 16},
        "stages": {"kernel": [3, 5], "depth": {"add": [-1, 0, 1]}},
        "overrides": {1: {"skip": [True, False]}},
        "global": {"resolution": [16, 24], "head_width": {"multiply": [0.5, 1]}},
    }
)


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_loads_under_its_name(name):
    assert load_space(name).name == name


@pytest.mark.parametrize("name", SPACES)
def test_the_base_of_a_shipped_space_is_in_the_space(name):
    space = load_space(name)
    assert space.decode(encode(space, space.base)) == space.base


def test_b0_is_in_the_mnasnet_space():
    space = load_space("mnasnet")
    assert space.decode(encode(space, B0)).network_id == B0.network_id


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_decode_and_encode_are_inverse(name, seed):
    space = load_space(name)
    spec = space.decode(space.sample(random.Random(seed)))
    assert space.decode(encode(space, spec)) == spec


def test_choices_of_distinct_networks_are_recovered_exactly():
    space = load_space("accel_nasbench")
    for seed in range(50):
        choices = space.sample(random.Random(seed))
        assert encode(space, space.decode(choices)) == choices


def test_golden_file_has_every_shipped_space():
    assert set(GOLDEN) == set(SPACES)


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_has_the_golden_size_base_and_cost(name):
    space = load_space(name)
    min_flops, max_flops = CostTables(space).cost_range("flops")
    assert GOLDEN[name] == {
        "choices": space.size,
        "networks": count_networks(space),
        "base": space.base.network_id,
        "min_flops": min_flops,
        "max_flops": max_flops,
    }


@pytest.mark.parametrize(
    ("name", "size", "num_networks"),
    [
        ("accel_nasbench", 36**6 * 48, 36**6 * 48),
        ("mobilenet_v3_like", (3 * 9**4) ** 5, (9**2 + 9**3 + 9**4) ** 5),
        ("proxylessnas", 6**6 * 7**15, (6 + 6**2 + 6**3 + 6**4) ** 5 * 6),
    ],
)
def test_a_published_space_has_the_published_size(name, size, num_networks):
    assert (GOLDEN[name]["choices"], GOLDEN[name]["networks"]) == (size, num_networks)


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_has_a_summary_of_one_line(name):
    summary = space_summaries()[name]
    assert summary == summary.strip()
    assert 10 < len(summary) <= 90
    assert "\n" not in summary


@pytest.mark.parametrize(
    ("space", "name"), [("accel_nasbench", "efficientnet_b0"), ("fused", "efficientnet_v2_b0")]
)
def test_the_published_network_is_in_the_space(space, name):
    search_space = load_space(space)
    assert (
        search_space.decode(encode(search_space, preset(name))).network_id
        == preset(name).network_id
    )


def test_a_layer_may_have_choices_of_its_own():
    space = space_from_dict(
        {
            "base": {
                "stages": [{"width": 8, "depth": 1}, {"width": 16, "depth": 3, "stride": 2}],
                "resolution": 16,
            },
            "layers": {"kernel": [3, 5], "block": ["mbconv", "identity"]},
            "overrides": {
                1: {"layers": {"kernel": [3], "block": ["mbconv"]}},
                2: {"expansion": [2, 4]},
            },
        }
    )
    assert [
        decision.name for decision in space.decisions if decision.name.startswith("stages.1.")
    ] == [
        "stages.1.expansion",
        *(
            f"stages.1.layers.{layer}.{field}"
            for layer in range(3)
            for field in ("kernel", "block")
        ),
    ]
    first = next(
        decision for decision in space.decisions if decision.name == "stages.1.layers.0.block"
    )
    # it has the stride of the stage, so it cannot be an identity
    assert first.values == ("mbconv",)
    kernels = {f"stages.1.layers.{layer}.kernel": kernel for layer, kernel in enumerate((3, 5, 5))}
    choices = next(space.enumerate()) | kernels | {"stages.1.expansion": 4}
    assert [
        (stage.kernel, stage.depth, stage.expansion, stage.stride)
        for stage in space.decode(choices).stages[1:]
    ] == [
        (3, 1, 4, 2),
        (5, 2, 4, 1),
    ]
    shorter = space.decode(choices | {"stages.1.layers.1.block": "identity"})
    assert shorter.depth == 3
    assert shorter == space.decode(choices | {"stages.1.layers.2.block": "identity"})


def test_choices_of_a_layer_that_is_left_out_do_not_change_the_network():
    space = load_space("mobilenet_v3_like")
    choices = space.sample(random.Random(0)) | {"stages.2.depth": 2}
    inactive = "stages.2.layers.3.kernel"
    assert len({space.decode(choices | {inactive: kernel}).network_id for kernel in (3, 5, 7)}) == 1


def test_positions_and_choices_are_inverse():
    space = load_space("mobilenet_v3_like")
    choices = space.sample(random.Random(1))
    assert space.from_indices(space.to_indices(choices)) == choices
    with pytest.raises(
        SpecError, match=f"indices: 3 positions for {len(space.decisions)} decisions"
    ):
        space.from_indices([0, 0, 0])
    with pytest.raises(SpecError, match=r"indices: -1 for stages\.0\.depth is not from 0 to 0"):
        space.from_indices([-1] * len(space.decisions))


def test_encode_does_not_take_a_layers_activation_for_the_networks():
    stage = StageSpec(8, 2, stride=1, expansion=2)
    space = SearchSpace(
        "two activations",
        ArchSpec((stage, stage), activation="silu"),
        (
            Decision("stages.0.depth", (1, 3)),
            Decision("stages.0.activation", ("relu",)),
            Decision.joint("stages.0.layers.0.op", ["identity", {"block": "mbconv"}]),
            Decision("stages.1.depth", (1, 2)),
        ),
    )
    for choices in space.enumerate():
        network = space.decode(choices)
        assert space.decode(encode(space, network)) == network


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_neighbors_differ_in_exactly_one_decision(name, seed):
    space = load_space(name)
    choices = space.sample(random.Random(seed))
    neighbors = list(space.neighbors(choices))
    assert len(neighbors) == sum(len(decision.values) - 1 for decision in space.decisions)
    for neighbor in neighbors:
        assert sum(neighbor[name] != choices[name] for name in choices) == 1


def test_the_same_seed_samples_the_same_choices():
    space = load_space("mnasnet")
    assert space.sample(random.Random(7)) == space.sample(random.Random(7))
    assert space.sample(random.Random(7)) != space.sample(random.Random(8))


def test_size_counts_choices_and_count_networks_counts_networks():
    networks = {SMALL.decode(choices).network_id for choices in SMALL.enumerate()}
    assert SMALL.size == (2 * 2) * (2 * 3) * 2 * 2 * 2
    # with one block, stage 1 has no shortcut
    assert count_networks(SMALL) == len(networks) == SMALL.size * 3 // 4


def test_sampling_reaches_every_network_of_a_small_space():
    generator = random.Random(0)
    assert len({tuple(SMALL.sample(generator).items()) for _ in range(3000)}) == SMALL.size


def test_a_space_of_1e30_networks_can_be_sampled():
    base = ArchSpec((StageSpec(8, 1),) * 30)
    space = SearchSpace(
        "huge",
        base,
        tuple(Decision(f"stages.{index}.width", tuple(range(8, 18))) for index in range(30)),
    )
    assert space.size == 10**30
    space.decode(space.sample(random.Random(0)))


def test_a_space_may_have_a_single_network():
    space = space_from_dict({"base": "efficientnet_b0", "global": {"resolution": [224]}})
    assert space.size == 1
    assert list(space.enumerate()) == [{"resolution": 224}]
    assert list(space.neighbors({"resolution": 224})) == []


def test_multiplied_widths_are_rounded_and_listed_once():
    space = space_from_dict(
        {"base": "efficientnet_b0", "stages": {"width": {"multiply": [0.75, 0.76, 1, 1.25]}}}
    )
    assert space.decisions[0].values == (16, 24)  # 12 and 12.16 are rounded to 16
    assert space.decisions[4].values == (88, 112, 144)


def test_a_depth_offset_to_zero_is_ignored():
    space = space_from_dict({"base": "efficientnet_b0", "stages": {"depth": {"add": [-1, 0, 1]}}})
    assert space.decisions[0].values == (1, 2)


def test_adapting_changes_channels_classes_and_resolution_of_every_network():
    space = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8)
    spec = space.decode(space.sample(random.Random(0)))
    assert (spec.channels, spec.classes, spec.resolution) == (1, 10, 8)
    assert spec.cost().flops > 0


def test_adapting_below_the_total_stride_is_refused():
    with pytest.raises(SpecError, match="resolution: 16 is below the total stride 32"):
        load_space("mnasnet").adapt_to(channels=3, classes=10, resolution=16)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (preset("efficientnet_b1"), "resolution: differs from the base of space 'mnasnet'"),
        (
            ArchSpec((*B0.stages[:6], StageSpec(328, 1))),
            r"stages.6.width: 328 is not one of .*400\] of space 'mnasnet'",
        ),
        (
            ArchSpec((StageSpec(16, 1, expansion=5), *B0.stages[1:])),
            r"stages.0.expansion: 5 is not one of \[1, 3, 6\]",
        ),
        (
            ArchSpec((replace(B0.stages[0], kernel=7), *B0.stages[1:])),
            r"stages.0.kernel: 7 is not one of \[3, 5\]",
        ),
        (
            ArchSpec(B0.stages[:2]),
            "stages.2: the spec has only 3 blocks, all in the stages before",
        ),
        (
            ArchSpec((*B0.stages[:2], replace(B0.stages[2], stride=1), *B0.stages[3:])),
            "stages.2: block 4 has stride 1",
        ),
        (ArchSpec(B0.stages, classes=10), "classes: differs"),
        (
            ArchSpec((*B0.stages, StageSpec(320, 1), StageSpec(320, 1))),
            "stages: 1 more blocks than the stages have",
        ),
    ],
)
def test_a_spec_outside_the_space_is_refused_with_the_field(spec, message):
    space = load_space("mnasnet")
    with pytest.raises(SpecError, match=message):
        encode(space, spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": None}, "resolution: None is not one of"),
        ({"resolution": 17}, r"resolution: 17 is not one of \[16, 24\]"),
        ({"stages.9.kernel": 3}, "stages.9.kernel: is not a decision of space 'small'"),
    ],
)
def test_invalid_choices_are_refused(change, message):
    with pytest.raises(SpecError, match=message):
        SMALL.decode(SMALL.sample(random.Random(0)) | change)


def test_missing_choices_are_refused():
    choices = SMALL.sample(random.Random(0))
    del choices["resolution"]
    with pytest.raises(SpecError, match="resolution: missing; space 'small' decides it"):
        SMALL.decode(choices)


def bad_space(**fields):
    return {"base": "efficientnet_b0"} | fields


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bad_space(), "space 'custom': has no decisions"),
        (bad_space(stages={"kernel": []}), "stages.0.kernel: has no values"),
        (bad_space(stages={"kernel": [3, 3]}), r"stages.0.kernel: \[3, 3\] lists a value twice"),
        (bad_space(stages={"expansion": [1, 1.0]}), "stages.0.expansion: .* lists a value twice"),
        (bad_space(stages={"depth": {"add": [1, 1]}}), "stages.0.depth: .* lists a value twice"),
        (bad_space(stages={"depth": {"add": [-9]}}), "stages.0.depth: has no values"),
        (bad_space(stages={"kernel": [3, 4]}), "stages.0.kernel: 4 is even"),
        (bad_space(overrides={3: {"se": [2]}}), "stages.2.se: 2 is outside 0 to 1"),
        (bad_space(stages={"kernel": ["3"]}), "stages.0.kernel: '3' is not a whole number"),
        (bad_space(stages={"kernel": [3, True]}), "stages.0.kernel: True is not a whole number"),
        (bad_space(stages={"se": [math.nan]}), "stages.0.se: nan is not a finite number"),
        (bad_space(stages={"se": [10**400]}), "stages.0.se: 1000+... is outside"),
        (
            bad_space(stages={"kernel": 3}),
            "stages.0.kernel: 3 is not a way to write choices",
        ),
        (
            bad_space(stages={"kernle": [3]}),
            "stages.0.kernle: cannot be searched; did you mean 'kernel'",
        ),
        (bad_space(stages={"stride": [1]}), "stages.0.stride: cannot be searched"),
        (
            bad_space(stages={"depth": {"multiply": [1, 2]}}),
            "stages.0.depth: .* not a way to write",
        ),
        (bad_space(stages={"width": {"multiply": [0]}}), "stages.0.width: .*positive numbers"),
        (bad_space(stages={"width": {"multiply": [-1]}}), "stages.0.width: .*positive numbers"),
        (
            bad_space(stages={"width": {"multiply": [math.nan]}}),
            "stages.0.width: .*positive numbers",
        ),
        (
            bad_space(stages={"width": {"multiply": [math.inf]}}),
            "stages.0.width: .*positive numbers",
        ),
        (bad_space(stages={"width": {"multiply": 2}}), "stages.0.width: .* list of values"),
        (
            {"base": "resnet_50", "global": {"head_width": {"multiply": [1, 2]}}},
            "head_width: .* is not a way to write choices",
        ),
        (bad_space(stages={"width": {"add": [0.5]}}), "stages.0.width: .*whole numbers"),
        (bad_space(stages=[1]), r"stages: \[1\] is not a mapping"),
        (bad_space(stages=0), "stages: 0 is not a mapping"),
        (
            bad_space(overrides={9: {"kernel": [3]}}),
            "overrides: 9 is not a stage; the base has stages 1 to 7",
        ),
        (bad_space(overrides={"1": {"kernel": [3]}}), "overrides: '1' is not a stage"),
        (bad_space(overrides={1: [3]}), r"overrides.1: \[3\] is not a mapping"),
        (bad_space(layers={"depth": [1]}), "stages.0.layers.0.depth: cannot be searched"),
        (bad_space(layers=3), "layers: 3 is not a mapping"),
        (bad_space(overrides={1: {"layers": 3}}), "overrides.1.layers: 3 is not a mapping"),
        (bad_space(layers={"kernel": [3, 4]}), "stages.0.layers.0.kernel: 4 is even"),
        (
            bad_space(stages={"block": ["mbcnov"]}),
            "stages.0.block: 'mbcnov' is not one of .* did you mean 'mbconv'",
        ),
        (bad_space(overrides={2: {"block": ["identity"]}}), "stages.1.block: has no values"),
        (
            {
                "base": {"stages": [{"width": 8, "depth": 2}] * 2},
                "layers": {"block": ["mbconv", "identity"]},
            },
            "space 'custom': every layer may be an identity",
        ),
        (
            {
                "base": {"stages": [{"width": 8, "depth": 2}]},
                "stages": {"block": ["mbconv", "identity"]},
            },
            r"stages.0.block: 'identity': stages: \['identity'\] leaves every layer out",
        ),
        (
            bad_space(**{"global": {"resolution": [16]}}),
            "resolution: 16 is below the total stride 32",
        ),
        (bad_space(**{"global": {"classes": [10]}}), "classes: cannot be searched"),
        ({"base": "efficientnet_b0", "globla": {}}, "globla: unknown key; did you mean 'global'"),
        ({"stages": {"kernel": [3]}}, "base: missing"),
        ({"base": 3}, "base: spec: 3 is not a mapping"),
        ({"base": "efficientnet_b9"}, "base: preset: 'efficientnet_b9' is not .* did you mean"),
        ({"base": {"stages": [{"width": 0, "depth": 1}]}}, "base: stages.0.width: 0 is not"),
        (None, "a search space is a mapping"),
        ([], "a search space is a mapping"),
    ],
)
def test_an_invalid_space_is_refused_with_the_key(data, message):
    with pytest.raises(SpecError, match=f"^{message}"):
        space_from_dict(data)


def test_a_space_file_of_the_user_is_read(tmp_path):
    path = tmp_path / "mine ü.yaml"
    path.write_text(dump_yaml({"base": "efficientnet_b0", "stages": {"kernel": [3, 5, 7]}}))
    assert load_space(str(path)).size == 3**7


def test_error_in_a_space_file_has_its_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: efficientnet_b0\nstages: {kernel: [4]}")
    with pytest.raises(SpecError, match=r"mine.yaml: stages.0.kernel: 4 is even"):
        load_space(str(path))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("tinny", r"did you mean 'tiny'\?"), ("x" * 5000, ".*mnasnet"), ("a\0b", ".*mnasnet")],
)
def test_an_unknown_space_is_refused_with_the_included_ones(name, hint):
    with pytest.raises(SpecError, match=f"neither a file nor an included space; {hint}"):
        load_space(name)


def test_the_block_decision_of_a_layer_overrides_that_of_its_stage():
    base = {"stages": [{"width": 8, "depth": 2, "stride": 2}], "resolution": 16}
    layers = {
        "stages.0.layers.0.block": ("mbconv",),
        "stages.0.layers.1.block": ("conv", "identity"),
    }
    decisions = [
        Decision("stages.0.block", ("mbconv", "identity")),
        *(Decision(*item) for item in layers.items()),
    ]
    space = SearchSpace("layers", ArchSpec.from_dict(base), tuple(decisions))
    assert count_networks(space) == 2
    for choices in space.enumerate():
        spec = space.decode(choices)
        assert spec.stages[0].block == "mbconv"
        assert space.decode(encode(space, spec)) == spec


def test_a_network_outside_a_space_of_many_layers_is_refused_at_once():
    base = ArchSpec((StageSpec(8, 24),), stem_width=8, resolution=16)
    names = [f"stages.0.layers.{layer}.block" for layer in range(24)]
    space = SearchSpace(
        "deep",
        base,
        (
            Decision(names[0], ("mbconv",)),
            *(Decision(name, ("mbconv", "identity")) for name in names[1:]),
        ),
    )
    outside = replace(base, stages=(StageSpec(8, 12), StageSpec(16, 1)))
    with pytest.raises(SpecError, match=r"stages.0.width: 16 is not one of \[8\]"):
        encode(space, outside)


def test_a_space_that_searches_over_resolutions_cannot_be_adapted_to_one():
    space = space_from_dict({"base": "efficientnet_b0", "global": {"resolution": [192, 224]}})
    assert space.resolutions == (192, 224)
    assert space.adapt_to(channels=1, classes=10).resolutions == (192, 224)
    with pytest.raises(
        SpecError,
        match="resolution: 64 is requested, but space 'custom' searches over 192, 224; leave one",
    ):
        space.adapt_to(channels=3, classes=10, resolution=64)


def test_a_space_may_be_an_attribute_of_a_python_module(tmp_path, monkeypatch):
    (tmp_path / "my_spaces.py").write_text(
        "from phinas.space.search_spaces.loading import load_space\n"
        "MINE = load_space('tiny')\nOTHER = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_space("my_spaces:MINE") == load_space("tiny")
    with pytest.raises(SpecError, match="'my_spaces:OTHER' is a int; it must be"):
        load_space("my_spaces:OTHER")
    with pytest.raises(SpecError, match="has no attribute 'ABSENT'"):
        load_space("my_spaces:ABSENT")
    with pytest.raises(SpecError, match="No module named 'no_such_module'"):
        load_space("no_such_module:MINE")


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(YamlError, match="is a directory"):
        load_space(str(tmp_path))


def test_enumeration_varies_the_last_decision_fastest():
    first, second = itertools.islice(SMALL.enumerate(), 2)
    assert [name for name in first if first[name] != second[name]] == [SMALL.decisions[-1].name]


JOINT = {
    "base": {
        "stages": [{"width": 8, "depth": 1}, {"width": 16, "depth": 3, "stride": 2}],
        "resolution": 16,
    },
    "layers": {
        "op": [
            "identity",
            {"kernel": 3, "expansion": 3},
            {"name": "large", "kernel": 5, "expansion": 6},
        ]
    },
    "overrides": {1: {"layers": {"op": None}}},
}


def decisions_of(**changes):
    space = space_from_dict(JOINT | changes)
    return {decision.name: decision for decision in space.decisions}


def test_a_joint_choice_sets_several_fields():
    space = space_from_dict(JOINT)
    choices = {
        "stages.1.layers.0.op": "large",
        "stages.1.layers.1.op": "identity",
        "stages.1.layers.2.op": "kernel=3,expansion=3",
    }
    stages = space.decode(choices).stages[1:]
    assert [(stage.kernel, stage.expansion, stage.stride) for stage in stages] == [
        (5, 6, 2),
        (3, 3, 1),
    ]
    assert space.size == 2 * 3 * 3
    # The order of two layers matters only if both are there: 2 * (1 + 2 + 4).
    assert count_networks(space) == 14


def test_identity_is_left_out_of_a_joint_choice_where_the_size_changes():
    decisions = decisions_of()
    assert decisions["stages.1.layers.0.op"].values == ("kernel=3,expansion=3", "large")
    assert decisions["stages.1.layers.1.op"].values[0] == "identity"


def test_a_single_layer_may_have_other_choices_than_its_stage():
    override = {
        "overrides": {2: {"op": [{"kernel": 7}, {"kernel": 3}]}, 3: {"op": None, "kernel": [3, 5]}}
    }
    decisions = decisions_of(overrides={1: {"layers": {"op": None}}, 2: override})
    assert {name: decision.values for name, decision in decisions.items()} == {
        "stages.1.layers.0.op": ("kernel=3,expansion=3", "large"),
        "stages.1.layers.1.op": ("kernel=7", "kernel=3"),
        "stages.1.layers.2.kernel": (3, 5),
    }


def test_a_layer_may_have_choices_where_its_stage_has_none():
    decisions = decisions_of(layers={}, overrides={2: {"overrides": {3: {"se": [0, 0.25]}}}})
    assert list(decisions) == ["stages.1.layers.2.se"]


def test_a_joint_choice_of_a_stage_may_set_its_depth():
    sizes = [{"depth": 1, "width": 16}, {"depth": 3, "width": 8}]
    space = space_from_dict(JOINT | {"layers": {}, "overrides": {2: {"size": sizes}}})
    networks = [space.decode(choices) for choices in space.enumerate()]
    assert [(spec.stages[1].depth, spec.stages[1].width) for spec in networks] == [(1, 16), (3, 8)]
    assert [encode(space, spec) for spec in networks] == list(space.enumerate())


def test_the_joint_choices_of_a_network_are_found_again():
    space = space_from_dict(JOINT)
    for choices in space.enumerate():
        spec = space.decode(choices)
        assert space.decode(encode(space, spec)) == spec
    mixed = replace(spec, stages=(*spec.stages[:-1], replace(spec.stages[-1], expansion=3)))
    with pytest.raises(
        SpecError, match=r"stages.1: kernel=5, expansion=3 is none of the joint choices"
    ):
        encode(space, mixed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": {"op": ["idntity", {"kernel": 3}]}}, "did you mean 'identity'"),
        (
            {"layers": {"op": ["identity", "mbconv"]}},
            "op: cannot be searched; a joint choice lists",
        ),
        ({"layers": {"op": [{"kernel": 3}, {"kernel": 3}]}}, "lists a value twice"),
        ({"layers": {"op": [{"kernl": 3}]}}, "sets 'kernl', which is no field; did you mean"),
        ({"layers": {"op": [{"depth": 3}]}}, "sets 'depth', which is no field"),
        ({"layers": {"op": [{"kernel": 4}]}}, "'kernel=4': kernel: 4 is even"),
        ({"layers": {"op": [{"kernel": [3, 5]}]}}, r"kernel: \[3, 5\] is not a number"),
        ({"layers": {"op": [{"name": 3, "kernel": 3}]}}, "the name 3 of a value is not a word"),
        ({"layers": {"op": [{"name": "a"}]}}, "sets no field"),
        ({"layers": {"1x1": [{"kernel": 3}]}}, "'1x1' is not a word of letters"),
        (
            {"layers": {"op": [{"kernel": 3}], "kernel": [5]}},
            "kernel: sets 'kernel', as stages.1.layers.0.op does",
        ),
        ({"global": {"op": [{"resolution": 3}]}}, "a joint choice is for stages or layers"),
        (
            {"overrides": {2: {"overrides": {4: {"kernel": [3]}}}}},
            "overrides.2.overrides: 4 is not a layer; the stage has layers 1 to 3",
        ),
        ({"overrides": {2: {"overrides": {1: [3]}}}}, r"overrides.2.overrides.1: \[3\] is not a"),
        ({"overrides": {2: {"overrides": 3}}}, "overrides.2.overrides: 3 is not a mapping"),
    ],
)
def test_an_invalid_joint_choice_or_layer_override_is_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        space_from_dict(JOINT | changes)


def test_values_with_a_name_may_have_equal_fields():
    """As in a benchmark whose table has several names for one network."""
    names = [{"name": name, "block": "identity"} for name in ("none", "skip")]
    space = space_from_dict(JOINT | {"layers": {"op": [*names, {"kernel": 3}]}})
    assert (space.size, count_networks(space)) == (9, 3)
