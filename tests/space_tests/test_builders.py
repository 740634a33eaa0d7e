"""Tests of networks that a user's function builds: cost, identity, cache and error messages."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from phinas.space.builders.builder_function import is_builder
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.builders.meta_module import build_on_meta, structure_id
from phinas.space.builders.prices import BuilderPrices
from phinas.space.builders.resolution_model import flops_model
from phinas.space.builders.source_files import find_source_files
from phinas.space.builders.trace import trace
from phinas.space.network import network_from_dict
from phinas.space.presets import PRESETS, preset
from phinas.space.spec import SpecError

QUICK_PRESETS = ("efficientnet_b0", "mobilenet_v1", "resnet_18", "mnasnet_a1", "efficientnet_v2_b0")
NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, depth, width, classes, channels):
        super().__init__()
        self.depth = depth  # a factor that the network only stores
        size = max(8, round(16 * width / 8) * 8)
        layers = [nn.Conv2d(channels, size, 3, 2, 1), nn.BatchNorm2d(size), nn.ReLU()]
        for _ in range(max(1, round(2 * depth))):
            layers += [nn.Conv2d(size, size, 3, 1, 1), nn.BatchNorm2d(size), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(size, classes)

    def forward(self, images):
        return self.classifier(self.layers(images).mean((2, 3)))

def build(*, depth, width, resolution, classes, channels):
    return Net(depth, width, classes, channels)
"""


@pytest.fixture
def builder(tmp_path):
    """Function that writes a builder and returns its name."""

    def write(code: str, name: str = "net") -> str:
        path = tmp_path / f"{name}_{tmp_path.name.replace('-', '_')}.py"
        path.write_text(code)
        return f"{path}:build"

    return write


def make_network(reference: str, **values: object) -> BuiltNetwork:
    network = BuiltNetwork.of_builder(reference, resolution=32)
    return network.adapt(classes=10).with_factors(**values)


def traced_cost(name):
    spec = preset(name)
    module = build_on_meta(spec.build)
    traced = trace(module, channels=spec.channels, resolution=spec.resolution, classes=spec.classes)
    return spec, traced


@pytest.mark.parametrize("name", QUICK_PRESETS)
def test_traced_cost_is_the_closed_form_of_a_preset(name):
    spec, traced = traced_cost(name)
    assert traced.cost == spec.cost()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PRESETS if name not in QUICK_PRESETS])
def test_traced_cost_is_the_closed_form_of_every_preset(name):
    spec, traced = traced_cost(name)
    assert traced.cost == spec.cost()


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet_18"])
def test_flops_at_other_resolutions_follow_from_one_trace(name):
    spec, traced = traced_cost(name)
    model = flops_model(traced.flops_by_size, spec.resolution)
    for resolution in (33, 64, 127, 225, 301):
        assert model(resolution) == spec.adapt(resolution=resolution).cost().flops


def test_attention_is_counted():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 8, 8)
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            self.classifier = nn.Linear(16, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(images).flatten(2).transpose(1, 2)
            return self.classifier(self.layer(tokens).mean(1))

    cost = trace(build_on_meta(Attention), channels=3, resolution=32, classes=5).cost
    tokens, width = 16, 16
    patches = 3 * 8 * 8 * width * tokens
    projections = 4 * width * width * tokens
    products = 2 * tokens * tokens * width
    assert cost.flops == patches + projections + products + 2 * width * 32 * tokens + width * 5


def test_constructor_may_read_numbers_of_small_tensors():
    def build() -> nn.Module:
        rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
        return nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in rates))

    module = build_on_meta(build)
    assert isinstance(module, nn.Sequential)
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}


def test_building_on_meta_does_not_change_the_generator():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_on_meta(lambda: nn.Dropout(float(torch.rand(1))))
    assert torch.rand(1) == expected


def test_layers_of_other_settings_have_another_structure():
    ids = {structure_id(nn.Conv2d(8, 8, 3, stride)) for stride in (1, 2)}
    assert len(ids) == 2


def test_factors_that_round_to_one_module_are_one_network(builder):
    reference = builder(NETWORK)
    network = make_network(reference)
    assert make_network(reference, depth=1.1, width=1.2) == network
    assert len({network, make_network(reference, depth=1.1)}) == 1
    assert make_network(reference, depth=2.0) != network
    assert make_network(reference, resolution=48) != network


def test_fraction_that_the_forward_pass_uses_changes_the_cost(builder):
    code = NETWORK.replace("self.layers(images)", "self.layers(self.enlarge(images))").replace(
        "    def forward",
        "    def enlarge(self, images):\n"
        "        return nn.functional.interpolate(images, scale_factor=self.zoom)\n\n"
        "    def forward",
    )
    code = code.replace("self.depth = depth", "self.zoom = 1 + 0.5 * depth")
    reference = builder(code)
    costs = [make_network(reference, depth=depth).cost().flops for depth in (1.0, 1.2)]
    assert costs[0] < costs[1]


def test_cost_is_that_of_the_built_module(builder):
    network = make_network(builder(NETWORK), depth=2.0, width=1.5)
    module = network.build()
    assert network.cost().params == sum(p.numel() for p in module.parameters())
    with torch.no_grad():
        assert module.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_network_is_restored_from_plain_data_without_the_users_code(builder):
    network = make_network(builder(NETWORK), depth=2.0)
    restored = network_from_dict(network.to_dict() | {"builder": "nowhere/net.py:build"})
    assert isinstance(restored, BuiltNetwork)
    assert (restored.network_id, restored.cost()) == (network.network_id, network.cost())
    with pytest.raises(SpecError, match="no such file"):
        restored.build()


def test_changed_files_are_refused(builder):
    network = make_network(builder(NETWORK))
    data = network.to_dict() | {"source": "0" * 12}
    with pytest.raises(SpecError, match="its files have changed since this network was made"):
        network_from_dict(data).build()


def test_smallest_resolution_is_found(builder):
    code = NETWORK.replace("nn.Conv2d(channels, size, 3, 2, 1)", "nn.Conv2d(channels, size, 11)")
    assert make_network(builder(code)).min_resolution == 11


def test_prices_are_read_from_the_cache_directory(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PHINAS_CACHE_GB")
    reference = builder(NETWORK)
    arguments = make_network(reference).arguments
    first = BuilderPrices(reference)
    price = first.price(arguments)
    second = BuilderPrices(reference)
    assert second.price(arguments) == price
    assert (first.num_traces, second.num_traces) == (1, 0)
    assert list((tmp_path / "cache" / "builders").glob("*.jsonl"))


def test_prices_of_another_user_are_not_read(builder, tmp_path, monkeypatch, make_foreign):
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PHINAS_CACHE_GB")
    reference = builder(NETWORK)
    arguments = make_network(reference).arguments
    price = BuilderPrices(reference).price(arguments)
    (path,) = (tmp_path / "cache" / "builders").glob("*.jsonl")
    path.write_text(path.read_text().replace(f"[{price.cost.flops},", "[1,"))
    assert BuilderPrices(reference).price(arguments).cost.flops == 1
    make_foreign(path)
    assert BuilderPrices(reference).price(arguments) == price


def test_damaged_line_of_the_cache_is_ignored(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PHINAS_CACHE_GB")
    reference = builder(NETWORK)
    arguments = make_network(reference).arguments
    price = BuilderPrices(reference).price(arguments)
    (path,) = (tmp_path / "cache" / "builders").glob("*.jsonl")
    path.write_text(path.read_text() + '["price", "dep')
    assert BuilderPrices(reference).price(arguments) == price


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import not_a_package_of_anyone", "needs the package 'not_a_package_of_anyone'"),
        ("build = 1 / 0", "could not be imported .ZeroDivisionError"),
        ("pass", "has no function 'build'"),
        ("def build(depth, width): ...", "cannot be called as build"),
    ],
)
def test_function_that_cannot_be_used_is_refused(builder, code, message):
    with pytest.raises(SpecError, match=message):
        BuiltNetwork.of_builder(builder(code))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('too deep')", "raised ValueError: too deep"),
        ("import not_a_package_of_anyone", "needs the package 'not_a_package_of_anyone'"),
        ("return 3", "returned int and not a torch.nn.Module"),
        ("return nn.Conv2d(3, 8, 3)", r"has the shape \(1, 8, 30, 30\) for one image and not"),
        ("return Net(1, 1, 7, channels)", r"\(1, 7\) for one image and not \(1, 10\)"),
        ("return Net(1, 1, classes, 5)", "cannot process an image of 32 px"),
        ("return nn.Flatten()", "has the shape"),
    ],
)
def test_function_that_makes_no_network_is_refused(builder, body, message):
    code = f"{NETWORK}\ndef build(*, depth, width, resolution, classes, channels):\n    {body}\n"
    with pytest.raises(SpecError, match=message):
        make_network(builder(code)).cost()


def test_function_that_makes_other_networks_each_time_is_refused(builder):
    code = (
        f"{NETWORK}\nimport itertools\nCOUNTER = itertools.count(1)\n"
        "def build(*, depth, width, resolution, classes, channels):\n"
        "    return Net(next(COUNTER), 1, classes, channels)\n"
    )
    with pytest.raises(SpecError, match="made two different networks of depth=1"):
        make_network(builder(code)).check_repeatable()


def test_module_that_does_not_exist_is_refused():
    with pytest.raises(SpecError, match="there is no module 'no_such_module'"):
        BuiltNetwork.of_builder("no_such_module.net:build")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("package.module:build", True),
        ("folder/net.py:build", True),
        ("timm:efficientnet_b0", False),
        ("hf:name", False),
        ("efficientnet_b0", False),
        ("spec.yaml", False),
        ("runs/photos:b1", False),
    ],
)
def test_names_of_builders_are_recognized(source, expected):
    assert is_builder(source) is expected


def test_factors_are_limited(builder):
    network = make_network(builder(NETWORK))
    with pytest.raises(SpecError, match=r"depth: 200.0 is outside 0\.125 to 128"):
        network.scale(depth=200)
    assert network.scale(depth=1e-3, width=1e-3).arguments.depth == 0.125


def test_imported_files_of_the_user_are_found(tmp_path):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text("import torch\nimport numpy\nfrom .blocks import block\n")
    (package / "blocks.py").write_text("from mine import other\n")
    (package / "other.py").write_text("")
    (package / "unused.py").write_text("")
    sources = find_source_files(package / "net.py", tmp_path)
    assert set(sources.files) == {"mine/net.py", "mine/blocks.py", "mine/other.py"} | {
        "mine/__init__.py"
    }
    assert list(sources.packages) == ["numpy"]
    digest = sources.digest
    (package / "other.py").write_text("WIDTH = 3\n")
    assert find_source_files(package / "net.py", tmp_path).digest != digest


def test_describing_a_builder_imports_no_torch(builder):
    reference = builder("def build(*, depth, width, resolution, classes, channels): ...")
    code = (
        "import sys\n"
        "from phinas.space.builders.built_network import BuiltNetwork\n"
        f"BuiltNetwork.of_builder({reference!r}).scale(depth=2.0)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
