"""Tests of backbones: feature maps equal those of the full network, and can be trained."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from phinas.space.presets import preset
from phinas.space.pytorch.backbone import Backbone, build_backbone, feature_levels
from phinas.space.pytorch.conv_net import ConvNet
from phinas.space.spec import BLOCKS, PADDINGS, ArchSpec, SpecError, StageSpec

kinds = [kind for kind in BLOCKS if kind != "identity"]
stages = st.builds(
    StageSpec,
    width=st.integers(1, 12),
    depth=st.integers(1, 2),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2.5]),
    se=st.sampled_from([0, 0.25]),
    block=st.sampled_from(kinds),
)
identities = st.builds(
    StageSpec, width=st.integers(1, 12), depth=st.just(1), block=st.just("identity")
)
specs = st.builds(
    ArchSpec,
    stages=st.tuples(
        st.lists(stages | identities, max_size=3), stages, st.lists(identities, max_size=1)
    ).map(lambda parts: (*parts[0], parts[1], *parts[2])),
    stem_width=st.integers(1, 8),
    stem_stride=st.sampled_from([1, 2]),
    stem_pool=st.booleans(),
    head_width=st.sampled_from([0, 8]),
    resolution=st.just(64),
    padding=st.sampled_from(PADDINGS),
    classes=st.just(3),
)
SMALL = ArchSpec(
    stages=(
        StageSpec(6, 1, expansion=1),
        StageSpec(8, 2, stride=2),
        StageSpec(12, 1, stride=2),
        StageSpec(16, 1),
    ),
    stem_width=4,
    resolution=32,
    classes=3,
)


def maps_by_resolution(model: ConvNet, images: Tensor) -> dict[int, Tensor]:
    """Record the last feature map of each resolution in `model` with hooks, the largest first."""
    maps: dict[int, Tensor] = {}
    parts = [*model.stem, *(stage for stage in model.stages if len(stage))]
    for module in parts:
        module.register_forward_hook(
            lambda _module, _inputs, output: maps.update({output.shape[-1]: output})
        )
    with torch.inference_mode():
        model.eval()(images)
    return maps


@settings(max_examples=25, deadline=None)
@given(specs)
def test_maps_are_the_last_of_each_resolution_in_the_full_network(spec):
    model = spec.build()
    features = build_backbone(spec).eval()
    features.load_network_weights(model.state_dict())
    images = torch.randn(2, spec.channels, 64, 64)
    expected = maps_by_resolution(model, images)
    with torch.inference_mode():
        actual = features(images)
    assert features.reductions == tuple(64 // resolution for resolution in expected)
    assert features.widths == tuple(each.shape[1] for each in expected.values())
    assert all(
        torch.equal(one, other) for one, other in zip(actual, expected.values(), strict=True)
    )


@settings(max_examples=15, deadline=None)
@given(specs, st.integers(33, 70), st.integers(33, 70))
def test_map_size_is_the_ceiling_of_image_size_over_reduction(spec, height, width):
    features = build_backbone(spec).eval()
    with torch.inference_mode():
        shapes = [
            tuple(each.shape) for each in features(torch.randn(1, spec.channels, height, width))
        ]
    levels = zip(features.reductions, features.widths, strict=True)
    assert shapes == [
        (1, channels, -(-height // reduction), -(-width // reduction))
        for reduction, channels in levels
    ]


@settings(max_examples=10, deadline=None)
@given(specs, st.data())
def test_levels_select_maps_and_omit_later_modules(spec, data):
    model = spec.build().eval()
    backbone = Backbone(model, spec)
    levels = sorted(data.draw(st.sets(st.sampled_from(backbone.reductions), min_size=1)))
    partial = build_backbone(spec, levels=levels).eval()
    partial.load_network_weights(model.state_dict())
    images = torch.randn(1, spec.channels, 40, 40)
    all_maps = dict(zip(backbone.reductions, backbone(images), strict=True))
    assert partial.reductions == tuple(levels)
    assert all(
        torch.equal(one, all_maps[reduction])
        for one, reduction in zip(partial(images), levels, strict=True)
    )
    sum(each.sum() for each in partial.train()(torch.randn(3, spec.channels, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in partial.parameters())  # all are used


# presets that timm has too, with its names
TIMM_MODELS = {
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b7": "efficientnet_b7",
    "resnet_50": "resnet50",
    "mobilenet_v1": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    "mnasnet_a1": "semnasnet_100",
    "efficientnet_v2_s": "tf_efficientnetv2_s",
}


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_reductions_and_channels_are_those_of_timm(name, timm):
    with torch.device("meta"):
        feature_info = timm.create_model(TIMM_MODELS[name], features_only=True).feature_info
    levels = feature_levels(preset(name))
    assert [level.reduction for level in levels] == feature_info.reduction()
    assert [level.width for level in levels] == feature_info.channels()


class PyramidNet(nn.Module):
    """A feature pyramid (arXiv:1612.03144) on a backbone, with a logit for each pixel of the finest
    map.
    """

    def __init__(self, backbone: Backbone, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.lateral = nn.ModuleList(nn.Conv2d(each, width, 1) for each in backbone.widths)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        self.logit = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = [
            lateral(each) for lateral, each in zip(self.lateral, self.backbone(images), strict=True)
        ]
        merged = maps[-1]
        for finer in reversed(maps[:-1]):
            merged = finer + functional.interpolate(merged, size=finer.shape[2:], mode="nearest")
        return self.logit(functional.relu(self.smooth(merged)))


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", pytest.param("resnet_50", marks=pytest.mark.slow)]
)
def test_a_feature_pyramid_learns_a_dense_task_through_the_backbone(name):
    generator = torch.Generator().manual_seed(0)
    spec = replace(preset(name), drop_path=0, dropout=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PyramidNet(build_backbone(spec, levels=(4, 8, 16, 32)), width=16).train()
    # images have 36 x 44 px, which are no multiples of 32
    masks = torch.rand(2, 1, 9, 11, generator=generator).round()
    images = functional.interpolate(masks, scale_factor=4).expand(-1, 3, -1, -1) - 0.5
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = functional.binary_cross_entropy_with_logits(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in network.parameters()
    )
    assert network.backbone.stem.conv.weight.grad.abs().max() > 0


def test_backbone_has_the_tensor_names_of_the_network_without_head_and_classifier():
    state_dict = SMALL.build().state_dict()
    names = set(build_backbone(SMALL).state_dict())
    assert names == {name for name in state_dict if not name.startswith(("head.", "classifier."))}


def test_new_backbone_has_the_random_weights_of_the_full_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        state_dict = SMALL.build().state_dict()
        torch.manual_seed(3)
        backbone = build_backbone(SMALL).state_dict()
    assert all(torch.equal(tensor, state_dict[name]) for name, tensor in backbone.items())


def test_feature_map_before_the_pooling_of_a_stem_is_a_level():
    spec = replace(SMALL, stem_pool=True)
    assert [(level.reduction, level.width, level.module) for level in feature_levels(spec)] == [
        (2, 4, "stem"),
        (4, 6, "stages.1"),
        (8, 8, "stages.2"),
        (16, 16, "stages.4"),
    ]
    assert not hasattr(build_backbone(spec, levels=(2,)), "pool")


def test_features_compile_as_one_graph():
    features = build_backbone(SMALL, levels=(2, 8)).eval()
    compiled = torch.compile(features, backend="eager", fullgraph=True)
    images = torch.randn(1, 3, 40, 24)
    with torch.inference_mode():
        assert all(
            torch.equal(one, other)
            for one, other in zip(compiled(images), features(images), strict=True)
        )


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((4, 64), "levels: 64 is not an available reduction; this network has 2, 4, 8"),
        ((True,), "levels: True is not"),
        ((8, 4), r"levels: \[8, 4\] is not in ascending order; write \[4, 8\]"),
        ((4, 4), r"write \[4\]"),
        ((), "levels: .* is not a list of reductions; this network has 2, 4, 8"),
        (8, "levels: 8 is not a list"),
        ("8", "levels: '8' is not a list"),
    ],
)
def test_an_invalid_level_is_refused_with_the_available_ones(levels, message):
    with pytest.raises(SpecError, match=message):
        build_backbone(SMALL, levels=levels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: weights.pop("stages.2.1.project.norm.weight"),
            "stages.2.1.project.norm.weight is absent in the state dict",
        ),
        (
            lambda weights: weights.update({"neck.weight": torch.zeros(2)}),
            r"neck.weight is \(2,\) in the state dict and absent",
        ),
        (
            lambda weights: weights.update({"stem.conv.weight": torch.zeros(2)}),
            r"is \(2,\) in the state dict and \(4, 3, 3, 3\)",
        ),
    ],
)
def test_weights_of_another_network_are_refused_and_nothing_is_copied(change, message):
    features = build_backbone(SMALL)
    before = {name: tensor.clone() for name, tensor in features.state_dict().items()}
    weights = SMALL.build().state_dict()
    change(weights)
    with pytest.raises(SpecError, match=message):
        features.load_network_weights(weights)
    assert all(torch.equal(tensor, before[name]) for name, tensor in features.state_dict().items())
