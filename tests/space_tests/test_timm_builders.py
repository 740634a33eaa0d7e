"""Tests of the builders of timm: exact at factors of 1, priced as fvcore counts, and
growing with depth and width.
"""

import subprocess
import sys

import pytest
import torch

from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.builders.meta_module import build_on_meta, count_params
from phinas.space.builders.prices import BuilderArguments, call_builder
from phinas.space.builders.resolution_model import flops_model
from phinas.space.builders.timm_builders import FAMILIES, timm_builder, timm_model_name
from phinas.space.network import network_from_dict
from phinas.space.spec import SpecError

NAMES = (
    *("convnext_atto", "regnety_002", "resnet18d", "resnext50_32x4d", "vit_tiny_patch16_224"),
    *("deit_tiny_distilled_patch16_224", "efficientvit_b0"),
)
QUICK_NAMES = ("convnext_atto", "regnety_002", "vit_tiny_patch16_224", "efficientvit_b0")
# fvcore also counts norms and pooling
COUNTED = {"conv", "linear", "matmul"}


def build_small(name, **factors):
    """The module with 10 classes for images of 64 px, without memory for its weights."""
    values = {"depth": 1.0, "width": 1.0, "resolution": 64, "classes": 10, "channels": 3}
    arguments = BuilderArguments(**values | factors)
    return build_on_meta(lambda: call_builder(f"timm:{name}", arguments))


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("name", [*NAMES, "efficientvit_l1"])
def test_factors_of_1_give_the_network_of_timm(timm, name):
    network = BuiltNetwork.of_builder(f"timm:{name}").adapt(classes=7, channels=1)
    original = build_on_meta(lambda: timm.create_model(name, num_classes=7, in_chans=1))
    assert shapes(build_on_meta(network.build)) == shapes(original)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK_NAMES else pytest.mark.slow)
        for name in (*NAMES, "efficientvit_l1")
    ],
)
def test_cost_is_the_count_of_fvcore(timm, name):
    from fvcore.nn import FlopCountAnalysis

    network = BuiltNetwork.of_builder(f"timm:{name}", resolution=48).adapt(classes=10)
    network = network.with_factors(depth=1.2, width=1.3)
    module = network.build().eval()
    for layer in module.modules():
        if hasattr(layer, "fused_attn"):
            layer.fused_attn = False  # fvcore does not count the kernel
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 48, 48)).shape == (2, 10)
    analysis = FlopCountAnalysis(module, torch.zeros(1, 3, 48, 48))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    flops = analysis.by_operator()
    assert flops.keys() <= COUNTED | {"batch_norm", "layer_norm", "adaptive_avg_pool2d"}
    assert network.cost().flops == sum(flops[operator] for operator in COUNTED)
    assert network.cost().params == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", QUICK_NAMES)
@pytest.mark.parametrize("dimension", ["depth", "width"])
def test_parameters_grow_with_each_factor(timm, name, dimension):
    factors = (0.5, 1.0, 1.1, 1.3, 2.0)
    params = [count_params(build_small(name, **{dimension: factor})) for factor in factors]
    assert params == sorted(params)
    assert params[0] < params[1] < params[-1]


def test_widths_of_a_transformer_are_whole_heads(timm):
    modules = [build_small("vit_tiny_patch16_224", width=width) for width in (0.1, 1.1, 1.2, 2)]
    assert [module.blocks[0].attn.num_heads for module in modules] == [1, 3, 4, 6]
    assert [module.embed_dim for module in modules] == [64, 192, 256, 384]


def test_resolution_of_a_transformer_grows_by_patches(timm):
    network = BuiltNetwork.of_builder("timm:vit_tiny_patch16_224").with_factors(depth=0.125)
    flops = {
        resolution: network.with_factors(resolution=resolution).cost().flops
        for resolution in (16, 17, 25, 32, 33)
    }
    assert flops[16] < flops[17] == flops[25] == flops[32] < flops[33]


def test_flops_of_a_transformer_at_other_resolutions_are_estimated_by_patches(timm):
    network = BuiltNetwork.of_builder("timm:vit_tiny_patch16_224").with_factors(depth=0.125)
    model = flops_model(network.flops_by_size(), 224)
    assert model(208) < model(209) == model(217) == model(224) < model(225)
    expected = network.with_factors(resolution=256).cost().flops
    assert model(256) == pytest.approx(expected, rel=0.05)


def test_transformer_processes_images_that_are_no_multiple_of_its_patch(timm):
    network = BuiltNetwork.of_builder("timm:vit_tiny_patch16_224", resolution=21)
    module = network.adapt(classes=10).with_factors(depth=0.125, width=0.3).build().eval()
    images = torch.zeros(2, 3, 21, 21)
    images[1, :, -1, -1] = 9.0  # the last pixel, which a crop would lose
    with torch.no_grad():
        one, other = module(images)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "resolution"), [("convnext_atto", 32), ("vit_tiny_patch16_224", 1), ("regnety_002", 1)]
)
def test_smallest_resolution_is_found(timm, name, resolution):
    network = BuiltNetwork.of_builder(f"timm:{name}", resolution=48).with_factors(depth=0.125)
    assert network.min_resolution == resolution


def test_stages_of_a_regnet_are_rounded_as_its_published_scaling(timm):
    module = build_small("regnety_002", depth=1.5, width=1.5)
    stages = [module.s1, module.s2, module.s3, module.s4]
    # 1, 1, 4, 7 blocks and 24, 56, 152, 368 channels in groups of 8, times 1.5
    assert [len(list(stage.children())) for stage in stages] == [2, 2, 6, 10]
    assert [stage.b1.conv3.conv.out_channels for stage in stages] == [32, 80, 224, 544]
    convolution = module.s1.b1.conv2.conv
    assert convolution.out_channels // convolution.groups == 16


def test_widths_and_depths_of_a_convnext_are_rounded_as_by_compound_scaling(timm):
    module = build_small("convnext_atto", depth=1.2, width=1.1)
    assert [len(stage.blocks) for stage in module.stages] == [3, 3, 8, 3]
    assert [stage["num_chs"] for stage in module.feature_info] == [48, 88, 176, 352]


def test_resolution_is_the_one_of_timm(timm):
    assert BuiltNetwork.of_builder("timm:vit_base_patch16_384").resolution == 384
    assert BuiltNetwork.of_builder("timm:convnext_atto").resolution == 224


def test_network_is_restored_from_plain_data(timm):
    network = BuiltNetwork.of_builder("timm:regnety_002.pycls_in1k", resolution=32)
    restored = network_from_dict(network.to_dict())
    assert isinstance(restored, BuiltNetwork)
    assert restored.builder == "timm:regnety_002"
    assert shapes(build_on_meta(restored.build)) == shapes(build_on_meta(network.build))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("timm:convnext_atto", "convnext_atto"),
        ("timm:convnext_atto.d2_in1k", "convnext_atto"),
        ("hf-hub:timm/convnext_atto.d2_in1k", "convnext_atto"),
        ("timm:resnet18d", "resnet18d"),
        ("timm:seresnext50_32x4d", "seresnext50_32x4d"),
        ("timm:resnet18", None),  # a spec describes it
        ("timm:resnetv2_50", None),
        ("timm:resnet50_gn", None),
        ("timm:regnetz_005", None),
        ("timm:efficientvit_m0", None),
        ("timm:swin_tiny_patch4_window7_224", None),
        ("torchvision:convnext_tiny", None),
        ("convnext_atto", None),
    ],
)
def test_names_of_supported_families_are_recognized(source, expected):
    assert timm_model_name(source) == expected


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("convnext_ato", "has no ConvNeXt 'convnext_ato'; did you mean 'convnext_atto'"),
        ("vit_99", "has no ViT and DeiT 'vit_99'; "),
        ("resnet50_clip", "timm:resnet50_clip: phinas cannot scale this network of timm by its"),
        ("vit_so400m_patch14_siglip_384", "cannot scale this network of timm by its arguments"),
    ],
)
def test_network_that_cannot_be_scaled_is_refused(timm, model, message):
    with pytest.raises(SpecError, match=message):
        timm_builder(model)


def test_missing_timm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "timm.models", raising=False)
    with pytest.raises(SpecError, match="timm:convnext_base: needs the package 'timm', which is"):
        BuiltNetwork.of_builder("timm:convnext_base")


def test_naming_a_network_of_timm_imports_neither_timm_nor_torch():
    code = (
        "import sys\n"
        "from phinas.space.builders.builder_function import is_builder\n"
        "assert is_builder('timm:convnext_atto')\n"
        "assert not {'timm', 'torch', 'torchvision'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_networks_of_a_family_are_scaled(timm, family):
    names = [name for part in family.modules for name in timm.list_models(module=part)]
    names = [name for name in names if timm_model_name(f"timm:{name}")]
    assert len(names) >= 7
    for name in names[::6]:
        small, large = (build_small(name, depth=f, width=f, resolution=224) for f in (0.5, 1.5))
        assert count_params(small) < count_params(large)
