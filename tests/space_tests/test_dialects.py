"""Weights from and to timm and torchvision, held against the real models: same names, same shapes,
same outputs.

Norms get random statistics and affine parameters, or a norm taken for another would not be seen.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from phinas.space.blocks import build
from phinas.space.interchange.constructors import TOOLS, constructor_of
from phinas.space.interchange.library_models import NAMES, spec_of
from phinas.space.interchange.state_dict_maps import (
    DIALECTS,
    WeightsError,
    from_dialect,
    to_dialect,
)
from phinas.space.presets import preset
from phinas.space.spec import ACTIVATIONS, PADDINGS, ArchSpec, SpecError, StageSpec

QUICK = [
    "timm:efficientnet_b0",
    "timm:tf_efficientnet_b0",
    "timm:tf_efficientnetv2_b0",
    "timm:mobilenetv2_100",
    "timm:mobilenetv1_100",
    "timm:mnasnet_small",
    "timm:efficientnet_es",
    "timm:spnasnet_100",
    "torchvision:efficientnet_b0",
    "torchvision:mobilenet_v2",
    "torchvision:mnasnet0_5",
    "torchvision:resnet50",
]
THOROUGH = [
    "timm:tf_efficientnet_b1",
    "timm:efficientnet_lite0",
    "timm:efficientnetv2_s",
    "timm:efficientnetv2_rw_t",
    "timm:tf_efficientnetv2_b3",
    "timm:tf_efficientnetv2_s",
    "timm:mobilenetv2_120d",
    "timm:mnasnet_140",
    "timm:semnasnet_075",
    "timm:resnet50",
    "torchvision:efficientnet_v2_s",
    "torchvision:mnasnet1_3",
    "torchvision:wide_resnet50_2",
]
LARGE = [name for name in NAMES if name not in QUICK]
TOLERANCE = 1e-5


def slow(names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def randomised(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return model.eval()


def difference(one, other, spec, *sizes):
    """The largest difference of logits over the largest logit."""
    worst = 0.0
    for high, wide in sizes:
        images = torch.randn(
            2, spec.channels, high, wide, generator=torch.Generator().manual_seed(7)
        )
        with torch.inference_mode():
            given, expected = one(images), other(images)
        worst = max(worst, float((given - expected).abs().max() / expected.abs().max()))
    return worst


def loaded(model, tensors):
    """MNASNet refuses a state dict that does not tell its version, so the model's own is filled."""
    state = model.state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: t.shape for name, t in state.items()
    }
    state.update(tensors)
    model.load_state_dict(state)
    return model


@pytest.fixture
def real(timm, torchvision):
    def create(name, **arguments):
        tool, _, model = name.partition(":")
        torch.manual_seed(1)
        if tool == "timm":
            return timm.create_model(model, **arguments)
        return getattr(torchvision.models, model)(**arguments)

    return create


@pytest.mark.parametrize("name", QUICK + slow(THOROUGH))
def test_weights_of_a_real_model_give_its_outputs_here(name, real):
    spec, theirs = spec_of(name), randomised(real(name), 1)
    ours = build(spec).eval()
    ours.load_state_dict(from_dialect(theirs.state_dict(), spec))
    assert difference(ours, theirs, spec, (64, 64), (75, 52)) <= TOLERANCE


@pytest.mark.parametrize("name", [name for name in QUICK if "spnas" not in name] + slow(THOROUGH))
def test_weights_from_here_give_their_outputs_in_a_real_model(name, real):
    spec = spec_of(name)
    ours = randomised(build(spec), 2)
    theirs = loaded(real(name).eval(), to_dialect(ours.state_dict(), spec, name.partition(":")[0]))
    assert difference(theirs, ours, spec, (64, 64), (75, 52)) <= TOLERANCE


@pytest.mark.parametrize("name", slow(LARGE))
def test_every_tensor_of_a_real_model_has_a_place_here(name, real):
    spec = spec_of(name)
    with torch.device("meta"):
        theirs, ours = real(name), build(spec).state_dict()
    moved = from_dialect(theirs.state_dict(), spec)
    assert {key: tensor.shape for key, tensor in moved.items()} == {
        key: tensor.shape for key, tensor in ours.items()
    }
    back = to_dialect(ours, spec, name.partition(":")[0])
    assert {key: t.shape for key, t in back.items()} == {
        key: t.shape for key, t in theirs.state_dict().items()
    }
    norms = [module for module in theirs.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, round(norm.momentum, 9)) for norm in norms} == {
        (spec.bn_eps, spec.bn_momentum)
    }


# --- Any spec: the lines of Python that a tool's model is made with ---

widths = st.integers(1, 4).map(lambda eighth: 8 * eighth)
timm_stages = st.builds(
    StageSpec,
    width=widths,
    depth=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2, 2.5, 6]),
    se=st.sampled_from([0, 0.1, 0.25, 0.3]),
    skip=st.booleans(),
    block=st.sampled_from(["mbconv", "fused_mbconv", "separable", "conv"]),
    activation=st.sampled_from(["", *ACTIVATIONS]),
)
specs_for_timm = st.builds(
    ArchSpec,
    stages=st.lists(timm_stages, min_size=1, max_size=3).map(tuple),
    stem_width=widths,
    stem_kernel=st.sampled_from([1, 3, 5]),
    head_width=st.sampled_from([0, 20]),
    resolution=st.just(64),
    padding=st.sampled_from(PADDINGS),
    channels=st.sampled_from([1, 3]),
    classes=st.integers(2, 9),
    activation=st.sampled_from(ACTIVATIONS),
)


def mostly(usual, *others):
    return st.sampled_from([usual] * 12 + list(others))


efficientnet_stages = st.builds(
    StageSpec,
    width=widths,
    depth=st.integers(1, 3),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2, 3, 6]) | mostly(4, 1.3),
    se=mostly(0.25, 0, 0.3),
    block=st.sampled_from(["mbconv", "mbconv", "fused_mbconv", "conv"]),
).map(lambda stage: stage if stage.block == "mbconv" else replace(stage, se=0))
mobilenet_stages = st.builds(
    StageSpec,
    width=st.integers(3, 30),
    depth=st.integers(1, 2),
    kernel=mostly(3, 5),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2, 6]) | mostly(3, 1.3, 1.01),
    se=st.just(0),
    skip=mostly(True, False),
)
shared = {
    "resolution": st.just(64),
    "classes": st.integers(2, 9),
    "padding": mostly("symmetric", "same"),
}
specs_for_torchvision = st.builds(
    ArchSpec,
    stages=st.lists(efficientnet_stages, min_size=1, max_size=3).map(tuple),
    stem_width=widths,
    head_width=mostly(20, 0),
    **shared,
) | st.builds(
    lambda ends, **fields: ArchSpec(
        stem_width=ends[0], head_width=ends[1], activation="relu6", **fields
    ),
    ends=st.sampled_from([(32, 1280), (16, 1280), (10, 1280), (40, 1600)]),
    stages=st.lists(mobilenet_stages, min_size=1, max_size=3).map(tuple),
    **shared,
)


def rebuilt(spec, tool):
    scope = {}
    exec("\n".join(constructor_of(spec, tool).lines), scope)
    return scope["model"].eval()


def holds_or_is_refused(spec, tool):
    """Whether the tool could say the spec; then its model must give what ours gives, with the
    weights moved.
    """
    try:
        theirs = rebuilt(spec, tool)
    except SpecError:
        return False
    ours = randomised(build(spec), 3)
    loaded(theirs, to_dialect(ours.state_dict(), spec, tool))
    assert difference(theirs, ours, spec, (64, 64), (67, 50)) <= TOLERANCE
    back = from_dialect(theirs.state_dict(), spec)
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.state_dict().items())
    return True


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs_for_timm)
def test_any_spec_holds_in_timm_or_is_refused(spec, timm):
    holds_or_is_refused(spec, "timm")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs_for_torchvision)
def test_any_spec_holds_in_torchvision_or_is_refused(spec, torchvision):
    holds_or_is_refused(spec, "torchvision")


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        "mnasnet_a1",
        *slow(["efficientnet_v2_s", "mobilenet_v1", "mobilenet_v2", "mnasnet_b1", "resnet_50"]),
    ],
)
@pytest.mark.parametrize("tool", TOOLS)
def test_a_preset_holds_in_a_tool_or_is_refused(name, tool, timm, torchvision):
    sayable = tool == "timm" or name.startswith(
        ("efficientnet_b", "efficientnet_v2", "mobilenet_v2", "resnet")
    )
    assert holds_or_is_refused(preset(name), tool) == sayable


@pytest.mark.parametrize("width", [48, 80])
@pytest.mark.parametrize("tool", TOOLS)
def test_resnets_of_other_hidden_widths_hold(tool, width, timm, torchvision):
    stages = tuple(
        replace(stage, depth=1, expansion=256 / width) for stage in preset("resnet_50").stages
    )
    assert holds_or_is_refused(replace(preset("resnet_50"), stages=stages), tool)


def test_a_narrower_resnet_holds_in_timm_and_not_in_torchvision(timm, torchvision):
    stages = tuple(
        replace(stage, depth=1, width=stage.width // 2) for stage in preset("resnet_50").stages
    )
    spec = replace(preset("resnet_50"), stages=stages, channels=1, activation="silu")
    assert holds_or_is_refused(spec, "timm")
    with pytest.raises(SpecError, match="ResNet \\(channels: 1, and it has 3\\)"):
        constructor_of(spec, "torchvision")


# --- Spec and file may tell one network differently ---

SMALL = spec_of("timm:test_efficientnet")


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(3)
    return build(SMALL).state_dict()


def test_a_network_told_layer_by_layer_takes_the_same_file(timm):
    b0 = preset("efficientnet_b0")
    layers = []
    for stage in b0.stages:
        layers += [
            replace(stage, depth=1, stride=stage.stride if not index else 1)
            for index in range(stage.depth)
        ]
        layers.append(StageSpec(8, 1, block="identity"))
    layerwise = replace(b0, stages=tuple(layers))
    assert layerwise.spec_id == b0.spec_id
    with torch.device("meta"):
        theirs, ours = (
            timm.create_model("efficientnet_b0").state_dict(),
            build(layerwise).state_dict(),
        )
    moved = from_dialect(theirs, layerwise)
    assert {name: tensor.shape for name, tensor in moved.items()} == {
        name: tensor.shape for name, tensor in ours.items()
    }
    assert to_dialect(ours, layerwise, "timm").keys() == theirs.keys()


def test_our_own_names_are_a_dialect_too(small):
    moved = from_dialect(small, SMALL)
    assert all(moved[name] is small[name] for name in small)
    assert list(moved) == list(small)


def test_missing_counts_of_batches_are_zero(small):
    theirs = {
        name: t for name, t in to_dialect(small, SMALL, "timm").items() if "num_batches" not in name
    }
    moved = from_dialect(theirs, SMALL)
    assert moved.keys() == small.keys()
    assert moved["stem.norm.num_batches_tracked"] == 0


def test_only_one_dialect_knows_a_file():
    for tool, names in TOOLS.items():
        assert names
        for name in ("efficientnet_b0", "mobilenet_v2", "resnet_50"):
            with torch.device("meta"):
                state = to_dialect(build(preset(name)).state_dict(), preset(name), tool)
            assert sum(dialect.mark in state for dialect in DIALECTS.values()) == 1


# --- What is refused ---


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda state: without(state, "blocks.1.0.conv_exp.weight"),
            r"blocks.1.0.conv_exp.weight \(stages.2.0.expand.conv.weight\) is absent in the file "
            r"and \(64, 16, 3, 3\) in",
        ),
        (
            lambda state: state | {"bn1.running_var": torch.ones(3)},
            r"bn1.running_var \(stem.norm.running_var\) is \(3,\) in the file and \(24,\) in the "
            r"network: weights of another",
        ),
        (
            lambda state: state | {"conv_head.bias": torch.ones(256)},
            r"conv_head.bias is \(256,\) in the file and absent",
        ),
        (
            lambda state: (
                state
                | {"classifier.weight": torch.ones(10, 256), "classifier.bias": torch.ones(10)}
            ),
            "classifier: tells 10 classes apart and the spec has 1000; set classes: 10 in the spec",
        ),
        (
            lambda state: {
                name: tensor for name, tensor in state.items() if not name.startswith("blocks.4.")
            },
            "has 4 blocks .as timm's EfficientNet., the spec 5: weights of another spec",
        ),
        (
            lambda state: {f"module.{name}": t for name, t in state.items()},
            r"names of these tensors \(module.\S+, .*no network",
        ),
        (lambda _: {}, r"names of these tensors \(none, ...\)"),
    ],
    ids=["absent", "shape", "beyond", "classes", "blocks", "prefix", "empty"],
)
def test_weights_of_another_network_are_refused_by_name(spoil, told, small):
    with pytest.raises(WeightsError, match=told):
        from_dialect(spoil(to_dialect(small, SMALL, "timm")), SMALL)


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:mobilenet_v2",
        "torchvision:efficientnet_b0",
        "torchvision:mnasnet0_5",
        "timm:resnet26",
    ],
)
def test_a_file_of_another_family_is_refused(name):
    spec = spec_of(name)
    with torch.device("meta"):
        state = to_dialect(build(spec).state_dict(), spec, name.partition(":")[0])
    with pytest.raises(WeightsError, match="weights of another spec"):
        from_dialect(state, SMALL)


@pytest.mark.parametrize(
    ("spec", "tool", "told"),
    [
        (
            "mobilenet_v1",
            "torchvision",
            r"EfficientNet \(activation: 'relu6', and it has 'silu'\); MobileNetV2 \(stem_width",
        ),
        ("mnasnet_a1", "torchvision", r"MNASNet \(bn_eps: 0.001, and it has 1e-05\)"),
        ("efficientnet_b0", "keras", "tool: 'keras' is not one of timm, torchvision"),
    ],
)
def test_a_network_that_no_class_makes_is_refused_with_every_reason(spec, tool, told):
    with pytest.raises(SpecError, match=told):
        constructor_of(preset(spec), tool)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stem_stride": 1}, "stem_stride: 1, and it has 2"),
        ({"padding": "same"}, "padding: 'same', and it has 'symmetric'"),
        ({"channels": 1}, "channels: 1, and it has 3"),
        ({"head_width": 0}, "head_width: 0, and it has a head convolution"),
        ({"stages": (StageSpec(16, 1, se=0.5),)}, "stage 1: se 0.5, and it has 0.25"),
        (
            {"stages": (StageSpec(16, 1, se=0),)},
            "stage 1: it has MBConv with squeeze-and-excitation",
        ),
        ({"stages": (StageSpec(20, 1),)}, "stage 1: it has widths in multiples of 8"),
        (
            {"stages": (StageSpec(32, 1, skip=False),)},
            "stage 1: it has shortcuts wherever shapes agree",
        ),
        (
            {"stages": (StageSpec(16, 1, activation="relu"),)},
            "stage 1: activation 'relu', and it has 'silu' everywhere",
        ),
    ],
)
def test_what_torchvisions_efficientnet_cannot_be_told_is_refused(change, told):
    with pytest.raises(SpecError, match=rf"EfficientNet \({told}"):
        constructor_of(replace(preset("efficientnet_b0"), **change), "torchvision")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:tf_efficientnet_b00", "did you mean 'timm:tf_efficientnet_b0'?"),
        ("timm:efficientnetv2_rw_s", "can't be said in a spec: its first blocks have a 1x1"),
        ("keras:x", "is no network of timm or torchvision known here"),
    ],
)
def test_an_unknown_model_is_refused(name, told):
    with pytest.raises(SpecError) as caught:
        spec_of(name)
    assert told in str(caught.value)


def test_the_tag_of_weights_is_no_part_of_the_network():
    assert spec_of("timm:tf_efficientnet_b0.ns_jft_in1k") == spec_of("timm:tf_efficientnet_b0")
