"""Tests of the closed-form peak activations, compared with the live values of the built network.

The reference uses no formula. It traces the built network with torch.fx on the meta device, gives
every value a buffer, frees a buffer after its last reader, and adds up the live buffers at each
step. An operation that space/cost.py assumes in place writes into the buffer of a value without a
later reader; without such a buffer the reference fails.
"""

import operator
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from phinas.space.cost import stage_costs
from phinas.space.presets import preset
from phinas.space.pytorch.conv_net import SameConv2d, SameMaxPool2d
from phinas.space.spec import BLOCKS, PADDINGS, ArchSpec, StageSpec

IN_PLACE = (
    nn.BatchNorm2d,
    nn.SiLU,
    nn.ReLU,
    nn.ReLU6,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Identity,
    nn.Dropout,
)
NEW_BUFFER = (nn.Conv2d, nn.MaxPool2d, nn.Linear)

stages = st.builds(
    StageSpec,
    width=st.integers(1, 24),
    depth=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 1.04, 2, 3.7, 6]),
    se=st.sampled_from([0, 0.03, 0.25, 1]),
    skip=st.booleans(),
    block=st.sampled_from([kind for kind in BLOCKS if kind != "identity"]),
)
identities = st.builds(
    StageSpec, width=st.integers(1, 24), depth=st.integers(1, 3), block=st.just("identity")
)
specs = st.builds(
    ArchSpec,
    stages=st.tuples(st.lists(stages | identities, max_size=3), stages).map(
        lambda pair: (*pair[0], pair[1])
    ),
    stem_width=st.integers(1, 16),
    stem_stride=st.sampled_from([1, 2]),
    stem_kernel=st.sampled_from([1, 3, 5]),
    stem_pool=st.booleans(),
    head_width=st.sampled_from([0, 1, 7, 32, 900]),
    resolution=st.integers(64, 79),
    channels=st.sampled_from([1, 3, 40]),
    classes=st.sampled_from([1, 10, 3000]),
    padding=st.sampled_from(PADDINGS),
)


class Tracer(fx.Tracer):
    """Traces a convolution with "same" padding as one step, without a buffer for padding."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SameConv2d | SameMaxPool2d) or super().is_leaf_module(
            m, module_qualified_name
        )


def trace(spec: ArchSpec) -> fx.GraphModule:
    """Trace the steps of `spec.build()` in their order, each with the shape of its result."""
    with torch.device("meta"):
        network = spec.build().eval()
        images = torch.zeros(1, spec.channels, spec.resolution, spec.resolution)
    module = fx.GraphModule(network, Tracer().trace(network))
    ShapeProp(module).propagate(images)
    return module


def works_in_place(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a step overwrites an operand: folded norms, activations, gates, additions."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        assert isinstance(layer, (*IN_PLACE, *NEW_BUFFER)), layer
        return isinstance(layer, IN_PLACE)
    if node.op == "call_function":
        assert node.target in (operator.mul, operator.add), node.target
        return True
    assert (node.op, node.target) in (("placeholder", "images"), ("call_method", "mean")), node
    return False


def iter_live_elements(spec: ArchSpec) -> Iterator[tuple[fx.Node, int]]:
    """Yield each step and its live elements: all that it or a later step reads, and its result."""
    module = trace(spec)
    steps = [node for node in module.graph.nodes if node.op != "output"]
    step_of = {node: index for index, node in enumerate(steps)}
    last_use = {
        node: max((step_of.get(user, len(steps)) for user in node.users), default=-1)
        for node in steps
    }
    buffer_of: dict[fx.Node, fx.Node] = {}  # for each value, the value whose memory it uses
    for step, node in enumerate(steps):
        if works_in_place(module, node):
            needed_buffers = {
                buffer for value, buffer in buffer_of.items() if last_use[value] > step
            }
            operands = [
                buffer_of[operand]
                for operand in node.all_input_nodes
                if shape(operand) == shape(node)
            ]
            free_buffers = [buffer for buffer in operands if buffer not in needed_buffers]
            is_identity = node.op == "call_module" and isinstance(
                module.get_submodule(str(node.target)), nn.Identity
            )
            assert free_buffers or is_identity, f"{node} overwrites a value that is read later"
            buffer_of[node] = (free_buffers or operands)[0]
        else:
            buffer_of[node] = node
        live_buffers = {
            buffer
            for value, buffer in buffer_of.items()
            if last_use[value] >= step or value is node
        }
        yield node, sum(shape(buffer).numel() for buffer in live_buffers)


def shape(node: fx.Node) -> torch.Size:
    return node.meta["tensor_meta"].shape


def stage_peaks(spec: ArchSpec) -> dict[str, int]:
    """Return the largest number of live elements in the stem, each stage and the head."""
    peaks = dict.fromkeys(["stem", *map(str, range(1, len(spec.stages) + 1)), "head"], 0)
    for node, live_elements in iter_live_elements(spec):
        module_paths = [name.split(".") for name in node.meta.get("nn_module_stack", {})]
        path = (
            max(module_paths, key=len)
            if module_paths
            else ["stem" if node.op == "placeholder" else "head"]
        )
        row = path[1] if path[0] == "stages" else path[0] if path[0] == "stem" else "head"
        peaks[row] = max(peaks[row], live_elements)
    return peaks


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "efficientnet_v2_s", "resnet_50", "mobilenet_v1", "mnasnet_a1"]
)
def test_peak_of_a_published_network_is_its_largest_number_of_live_elements(name):
    assert preset(name).cost().peak_activations == max(
        live_elements for _, live_elements in iter_live_elements(preset(name))
    )


@settings(max_examples=25, deadline=None)
@given(specs)
def test_peak_of_each_stage_is_its_largest_number_of_live_elements(spec):
    rows = {row.name: row.cost.peak_activations for row in stage_costs(spec)}
    assert rows == stage_peaks(spec)
    assert spec.cost().peak_activations == max(rows.values())


def test_peak_of_b0_is_where_the_first_expansion_is_reduced():
    # Stage 2, block 1: 16 channels become 96 at 112 px, and the depthwise convolution halves the
    # resolution.
    rows = stage_costs(preset("efficientnet_b0"))
    assert max(rows, key=lambda row: row.cost.peak_activations).name == "2"
    assert preset("efficientnet_b0").cost().peak_activations == 96 * 112**2 + 96 * 56**2


def test_a_shortcut_raises_the_peak_by_the_size_of_its_feature_map():
    stages = (StageSpec(8, 1, expansion=4, se=0), StageSpec(8, 1, expansion=4, se=0, skip=False))
    with_skip, without = (
        ArchSpec((stage,), stem_width=8, stem_stride=1, head_width=0, resolution=16)
        for stage in stages
    )
    assert with_skip.cost().peak_activations - without.cost().peak_activations == 8 * 16**2


def test_inference_bytes_are_those_of_the_parameters_and_the_peak():
    b0_cost = preset("efficientnet_b0").cost()
    assert b0_cost.inference_bytes() == 4 * (b0_cost.params + b0_cost.peak_activations)
    assert b0_cost.inference_bytes(bytes_per_element=1) * 4 == b0_cost.inference_bytes()
