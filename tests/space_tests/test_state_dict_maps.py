"""Tests of weights from and to timm and torchvision: names, shapes, outputs.

Batch norms have random statistics and parameters, so that swapped norms would be detected.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from phinas.space.interchange.constructors import LIBRARIES, find_constructor
from phinas.space.interchange.library_models import library_spec
from phinas.space.interchange.state_dict_maps import (
    STATE_DICT_NAMINGS,
    WeightsError,
    to_library_state_dict,
    to_phinas_state_dict,
)
from phinas.space.presets import preset
from phinas.space.spec import ACTIVATIONS, PADDINGS, ArchSpec, SpecError, StageSpec

FAST_MODELS = [
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
SLOW_MODELS = [
    "timm:efficientnet_lite0",
    "timm:efficientnetv2_rw_t",
    "timm:semnasnet_075",
    "torchvision:efficientnet_v2_s",
]
# all library models that are listed, and two of each family that is computed: with the batch norm
# of torch and of TensorFlow, below and above a bound
OTHER_MODELS = [
    "timm:efficientnet_b2",
    "timm:tf_efficientnet_b1",
    "timm:efficientnet_lite0",
    "timm:tf_efficientnet_lite1",
    "timm:efficientnetv2_s",
    "timm:tf_efficientnetv2_m",
    "timm:efficientnetv2_xl",
    "timm:tf_efficientnetv2_b3",
    "timm:efficientnetv2_rw_t",
    "timm:mnasnet_140",
    "timm:semnasnet_075",
    "timm:mobilenetv2_035",
    "timm:mobilenetv2_140",
    "timm:mobilenetv2_110d",
    "timm:mobilenetv2_120d",
    "timm:mobilenetv1_100h",
    "timm:mobilenetv1_125",
    "timm:resnet26",
    "timm:resnet50",
    "timm:resnet101",
    "timm:resnet152",
    "timm:wide_resnet50_2",
    "timm:wide_resnet101_2",
    "timm:test_efficientnet",
    "torchvision:efficientnet_b4",
    "torchvision:efficientnet_b5",
    "torchvision:efficientnet_v2_s",
    "torchvision:mnasnet0_75",
    "torchvision:mnasnet1_3",
    "torchvision:wide_resnet50_2",
]
TOLERANCE = 1e-5


def mark_slow(names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def randomize_norms(model, seed):
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
    """Return the largest difference of logits, divided by the largest logit."""
    max_difference = 0.0
    for height, width in sizes:
        images = torch.randn(
            2, spec.channels, height, width, generator=torch.Generator().manual_seed(7)
        )
        with torch.inference_mode():
            actual, expected = one(images), other(images)
        max_difference = max(
            max_difference, float((actual - expected).abs().max() / expected.abs().max())
        )
    return max_difference


def load_tensors(model, tensors):
    """Load tensors through the model's state dict, since MNASNet refuses one without a version."""
    state = model.state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: t.shape for name, t in state.items()
    }
    state.update(tensors)
    model.load_state_dict(state)
    return model


@pytest.fixture
def create_model(timm, torchvision):
    def create(name, **arguments):
        library, _, model = name.partition(":")
        torch.manual_seed(1)
        if library == "timm":
            return timm.create_model(model, **arguments)
        return getattr(torchvision.models, model)(**arguments)

    return create


@pytest.mark.parametrize("name", FAST_MODELS + mark_slow(SLOW_MODELS))
def test_weights_of_a_library_model_give_its_outputs(name, create_model):
    spec, library_model = library_spec(name), randomize_norms(create_model(name), 1)
    phinas_model = spec.build().eval()
    phinas_model.load_state_dict(to_phinas_state_dict(library_model.state_dict(), spec))
    assert difference(phinas_model, library_model, spec, (64, 64), (75, 52)) <= TOLERANCE


@pytest.mark.parametrize(
    "name", [name for name in FAST_MODELS if "spnas" not in name] + mark_slow(SLOW_MODELS)
)
def test_exported_weights_give_the_same_outputs_in_the_library_model(name, create_model):
    spec = library_spec(name)
    phinas_model = randomize_norms(spec.build(), 2)
    library_model = load_tensors(
        create_model(name).eval(),
        to_library_state_dict(phinas_model.state_dict(), spec, name.partition(":")[0]),
    )
    assert difference(library_model, phinas_model, spec, (64, 64), (75, 52)) <= TOLERANCE


@pytest.mark.parametrize("name", mark_slow(OTHER_MODELS))
def test_every_tensor_of_a_library_model_is_mapped(name, create_model):
    spec = library_spec(name)
    with torch.device("meta"):
        library_model, phinas_model = create_model(name), spec.build().state_dict()
    converted = to_phinas_state_dict(library_model.state_dict(), spec)
    assert {key: tensor.shape for key, tensor in converted.items()} == {
        key: tensor.shape for key, tensor in phinas_model.items()
    }
    converted_back = to_library_state_dict(phinas_model, spec, name.partition(":")[0])
    assert {key: t.shape for key, t in converted_back.items()} == {
        key: t.shape for key, t in library_model.state_dict().items()
    }
    norms = [module for module in library_model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, round(norm.momentum, 9)) for norm in norms} == {
        (spec.bn_eps, spec.bn_momentum)
    }


# --- the Python code that makes a model of a library ----------------------------------------------

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


def weighted_choice(common, *rare):
    return st.sampled_from([common] * 12 + list(rare))


efficientnet_stages = st.builds(
    StageSpec,
    width=widths,
    depth=st.integers(1, 3),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2, 3, 6]) | weighted_choice(4, 1.3),
    se=weighted_choice(0.25, 0, 0.3),
    block=st.sampled_from(["mbconv", "mbconv", "fused_mbconv", "conv"]),
).map(lambda stage: stage if stage.block == "mbconv" else replace(stage, se=0))
mobilenet_stages = st.builds(
    StageSpec,
    width=st.integers(3, 30),
    depth=st.integers(1, 2),
    kernel=weighted_choice(3, 5),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2, 6]) | weighted_choice(3, 1.3, 1.01),
    se=st.just(0),
    skip=weighted_choice(True, False),
)
shared = {
    "resolution": st.just(64),
    "classes": st.integers(2, 9),
    "padding": weighted_choice("symmetric", "same"),
}
specs_for_torchvision = st.builds(
    ArchSpec,
    stages=st.lists(efficientnet_stages, min_size=1, max_size=3).map(tuple),
    stem_width=widths,
    head_width=weighted_choice(20, 0),
    **shared,
) | st.builds(
    lambda ends, **fields: ArchSpec(
        stem_width=ends[0], head_width=ends[1], activation="relu6", **fields
    ),
    ends=st.sampled_from([(32, 1280), (16, 1280), (10, 1280), (40, 1600)]),
    stages=st.lists(mobilenet_stages, min_size=1, max_size=3).map(tuple),
    **shared,
)


def rebuild(spec, library):
    scope = {}
    exec("\n".join(find_constructor(spec, library).lines), scope)
    return scope["model"].eval()


def is_convertible(spec, library):
    """Return whether a library can build the network; if so, assert that converted weights give the
    same logits.
    """
    try:
        library_model = rebuild(spec, library)
    except SpecError:
        return False
    phinas_model = randomize_norms(spec.build(), 3)
    load_tensors(library_model, to_library_state_dict(phinas_model.state_dict(), spec, library))
    assert difference(library_model, phinas_model, spec, (64, 64), (67, 50)) <= TOLERANCE
    converted_back = to_phinas_state_dict(library_model.state_dict(), spec)
    assert all(
        torch.equal(converted_back[name], tensor)
        for name, tensor in phinas_model.state_dict().items()
    )
    return True


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs_for_timm)
def test_any_spec_is_the_same_network_in_timm_or_refused(spec, timm):
    is_convertible(spec, "timm")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs_for_torchvision)
def test_any_spec_is_the_same_network_in_torchvision_or_refused(spec, torchvision):
    is_convertible(spec, "torchvision")


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        "mnasnet_a1",
        *mark_slow(
            ["efficientnet_v2_s", "mobilenet_v1", "mobilenet_v2", "mnasnet_b1", "resnet_50"]
        ),
    ],
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_preset_is_the_same_network_in_a_library_or_refused(name, library, timm, torchvision):
    convertible = library == "timm" or name.startswith(
        ("efficientnet_b", "efficientnet_v2", "mobilenet_v2", "resnet")
    )
    assert is_convertible(preset(name), library) == convertible


@pytest.mark.parametrize("width", [48, 80])
@pytest.mark.parametrize("library", LIBRARIES)
def test_resnets_of_other_hidden_widths_are_supported(library, width, timm, torchvision):
    stages = tuple(
        replace(stage, depth=1, expansion=256 / width) for stage in preset("resnet_50").stages
    )
    assert is_convertible(replace(preset("resnet_50"), stages=stages), library)


def test_a_narrower_resnet_is_supported_by_timm_and_not_by_torchvision(timm, torchvision):
    stages = tuple(
        replace(stage, depth=1, width=stage.width // 2) for stage in preset("resnet_50").stages
    )
    spec = replace(preset("resnet_50"), stages=stages, channels=1, activation="silu")
    assert is_convertible(spec, "timm")
    with pytest.raises(SpecError, match="ResNet \\(channels: 1, the class has 3\\)"):
        find_constructor(spec, "torchvision")


# --- specs that group the blocks differently from the file ----------------------------------------

SMALL = library_spec("timm:test_efficientnet")


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(3)
    return SMALL.build().state_dict()


def test_a_spec_with_single_layer_stages_reads_the_same_file(timm):
    b0 = preset("efficientnet_b0")
    layers = []
    for stage in b0.stages:
        layers += [
            replace(stage, depth=1, stride=stage.stride if not index else 1)
            for index in range(stage.depth)
        ]
        layers.append(StageSpec(8, 1, block="identity"))
    layerwise = replace(b0, stages=tuple(layers))
    assert layerwise.network_id == b0.network_id
    with torch.device("meta"):
        library_model, phinas_model = (
            timm.create_model("efficientnet_b0").state_dict(),
            layerwise.build().state_dict(),
        )
    converted = to_phinas_state_dict(library_model, layerwise)
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in phinas_model.items()
    }
    assert to_library_state_dict(phinas_model, layerwise, "timm").keys() == library_model.keys()


def test_phinas_names_are_accepted_too(small):
    converted = to_phinas_state_dict(small, SMALL)
    assert all(converted[name] is small[name] for name in small)
    assert list(converted) == list(small)


def test_missing_batch_counts_are_zero(small):
    library_model = {
        name: t
        for name, t in to_library_state_dict(small, SMALL, "timm").items()
        if "num_batches" not in name
    }
    converted = to_phinas_state_dict(library_model, SMALL)
    assert converted.keys() == small.keys()
    assert converted["stem.norm.num_batches_tracked"] == 0


def test_only_one_naming_matches_a_file():
    for library, names in LIBRARIES.items():
        assert names
        for name in ("efficientnet_b0", "mobilenet_v2", "resnet_50"):
            with torch.device("meta"):
                state = to_library_state_dict(
                    preset(name).build().state_dict(), preset(name), library
                )
            assert sum(naming.marker_tensor in state for naming in STATE_DICT_NAMINGS.values()) == 1


# --- invalid input --------------------------------------------------------------------------------


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda state: without(state, "blocks.1.0.conv_exp.weight"),
            r"blocks.1.0.conv_exp.weight \(stages.2.0.expand.conv.weight\) is absent in the file "
            r"and \(64, 16, 3, 3\) in the network: the weights",
        ),
        (
            lambda state: state | {"bn1.running_var": torch.ones(3)},
            r"bn1.running_var \(stem.norm.running_var\) is \(3,\) in the file and \(24,\) in the "
            r"network: the weights belong to another",
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
            "classifier: has 10 classes, the spec has 1000; set classes: 10 in the spec",
        ),
        (
            lambda state: {
                name: tensor for name, tensor in state.items() if not name.startswith("blocks.4.")
            },
            "has 4 blocks .named as in timm's EfficientNet., the spec has 5: the weights belong to "
            "another spec",
        ),
        (
            lambda state: {f"module.{name}": t for name, t in state.items()},
            r"the tensor names \(module.\S+, .*no known naming",
        ),
        (lambda _: {}, r"the tensor names \(none, ...\)"),
    ],
    ids=["absent", "shape", "beyond", "classes", "blocks", "prefix", "empty"],
)
def test_weights_of_another_network_are_refused_with_the_tensor_name(damage, message, small):
    with pytest.raises(WeightsError, match=message):
        to_phinas_state_dict(damage(to_library_state_dict(small, SMALL, "timm")), SMALL)


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:mobilenet_v2",
        "torchvision:efficientnet_b0",
        "torchvision:mnasnet0_5",
        "timm:resnet26",
    ],
)
def test_weights_of_another_family_are_refused(name):
    spec = library_spec(name)
    with torch.device("meta"):
        state = to_library_state_dict(spec.build().state_dict(), spec, name.partition(":")[0])
    with pytest.raises(WeightsError, match="the weights belong to another spec"):
        to_phinas_state_dict(state, SMALL)


@pytest.mark.parametrize(
    ("spec", "library", "message"),
    [
        (
            "mobilenet_v1",
            "torchvision",
            r"EfficientNet \(activation: 'relu6', the class has 'silu'\); MobileNetV2 \(stem_width",
        ),
        ("mnasnet_a1", "torchvision", r"MNASNet \(bn_eps: 0.001, the class has 1e-05\)"),
        ("efficientnet_b0", "keras", "library: 'keras' is not one of timm, torchvision"),
    ],
)
def test_a_network_that_no_library_class_can_build_is_refused_with_all_reasons(
    spec, library, message
):
    with pytest.raises(SpecError, match=message):
        find_constructor(preset(spec), library)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_stride": 1}, "stem_stride: 1, the class has 2"),
        ({"padding": "same"}, "padding: 'same', the class has 'symmetric'"),
        ({"channels": 1}, "channels: 1, the class has 3"),
        ({"head_width": 0}, "head_width: 0, the class has a head convolution"),
        ({"stages": (StageSpec(16, 1, se=0.5),)}, "stage 1: se 0.5, the class has 0.25"),
        (
            {"stages": (StageSpec(16, 1, se=0),)},
            "stage 1: the class has MBConv with squeeze-and-excitation",
        ),
        ({"stages": (StageSpec(20, 1),)}, "stage 1: the class has widths in multiples of 8"),
        (
            {"stages": (StageSpec(32, 1, skip=False),)},
            "stage 1: the class has shortcuts wherever shapes agree",
        ),
        (
            {"stages": (StageSpec(16, 1, activation="relu"),)},
            "stage 1: activation 'relu', the class has 'silu' everywhere",
        ),
    ],
)
def test_a_spec_that_torchvisions_efficientnet_cannot_build_is_refused(change, message):
    with pytest.raises(SpecError, match=rf"EfficientNet \({message}"):
        find_constructor(replace(preset("efficientnet_b0"), **change), "torchvision")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:tf_efficientnet_b00", "did you mean 'timm:tf_efficientnet_b0'?"),
        ("timm:efficientnetv2_rw_s", "cannot be described by a spec: its first blocks have a 1x1"),
        ("keras:x", "is not a known network of timm or torchvision"),
    ],
)
def test_an_unknown_model_is_refused(name, message):
    with pytest.raises(SpecError) as error_info:
        library_spec(name)
    assert message in str(error_info.value)


def test_the_weights_tag_of_a_model_name_is_ignored():
    assert library_spec("timm:tf_efficientnet_b0.ns_jft_in1k") == library_spec(
        "timm:tf_efficientnet_b0"
    )
