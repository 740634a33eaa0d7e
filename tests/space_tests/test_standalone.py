"""Tests of stand-alone files: same network, no other library than torch, damage is detected."""

import ast
import contextlib
import hashlib
import importlib.util
import io
import json
import runpy
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from phinas.space.interchange.onnx_export import ExportError
from phinas.space.interchange.standalone import render, write_standalone
from phinas.space.presets import preset
from phinas.space.pytorch.conv_net import ConvNet
from phinas.space.spec import ACTIVATIONS, BLOCKS, PADDINGS, ArchSpec, StageSpec

stages = st.builds(
    StageSpec,
    width=st.integers(1, 12),
    depth=st.integers(1, 2),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 1.04, 2.5]),
    se=st.sampled_from([0, 0.25]),
    skip=st.booleans(),
    block=st.sampled_from([kind for kind in BLOCKS if kind != "identity"]),
    activation=st.sampled_from(["", *ACTIVATIONS]),
)
identities = st.builds(
    StageSpec, width=st.integers(1, 12), depth=st.just(1), block=st.just("identity")
)
specs = st.builds(
    ArchSpec,
    stages=st.tuples(st.lists(stages | identities, max_size=3), stages).map(
        lambda pair: (*pair[0], pair[1])
    ),
    stem_width=st.integers(1, 8),
    stem_stride=st.sampled_from([1, 2]),
    stem_kernel=st.sampled_from([1, 3]),
    stem_pool=st.booleans(),
    head_width=st.sampled_from([0, 8]),
    resolution=st.sampled_from([64, 67]),
    channels=st.sampled_from([1, 3]),
    classes=st.integers(1, 5),
    padding=st.sampled_from(PADDINGS),
    activation=st.sampled_from(ACTIVATIONS),
    dropout=st.sampled_from([0, 0.2]),
    drop_path=st.sampled_from([0, 0.5]),
)
# all kinds of blocks, with and without their optional parts
ALL_BLOCKS = ArchSpec(
    stages=(
        StageSpec(8, 2, expansion=1, block="fused_mbconv", se=0),
        StageSpec(8, 2, expansion=2, block="fused_mbconv", stride=2),
        StageSpec(8, 1, block="identity"),
        StageSpec(8, 2, expansion=1, activation="relu6"),
        StageSpec(12, 2, expansion=3, se=0, kernel=5),
        StageSpec(16, 2, expansion=2, block="bottleneck", stride=2),
        StageSpec(16, 1, expansion=2, block="bottleneck", skip=False, activation="hard_swish"),
        StageSpec(16, 1, block="basic", skip=False),
        StageSpec(20, 2, kernel=5, block="basic"),
        StageSpec(16, 1, block="separable"),
        StageSpec(8, 1, kernel=1, block="conv", activation="relu"),
    ),
    stem_width=8,
    stem_pool=True,
    head_width=0,
    resolution=33,
    classes=4,
    padding="same",
)
SMALL = ArchSpec(
    stages=(StageSpec(8, 2, expansion=2),), stem_width=8, head_width=16, resolution=16, classes=3
)


def build_with_random_norms(spec: ArchSpec) -> ConvNet:
    """Build a network of `spec` with random parameters and statistics in its batch norms."""
    model = spec.build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return model


def import_file(path: Path) -> ModuleType:
    """Import the module in a file."""
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def render_module(spec: ArchSpec) -> ModuleType:
    """Return the module of `spec`, without weights."""
    module = ModuleType("rendered")
    module.__file__ = "rendered.py"
    exec(compile(render(spec, name="rendered", sha256=""), module.__file__, "exec"), vars(module))
    return module


def run(
    path: Path, *, blocked_packages: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a file in an isolated Python process in which importing `blocked_packages` fails."""
    code = f"""
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked_packages!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
runpy.run_path({str(path)!r}, run_name="__main__")
"""
    return subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def run_in_process(path: Path) -> "subprocess.CompletedProcess[str]":
    """Run a file as the main program in this process, which saves the start of torch."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1  # a message means status 1
            stderr.write(f"{error.code}\n")
        except Exception:
            code = 1
            traceback.print_exc()
    return subprocess.CompletedProcess([str(path)], code, stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def check_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `write_standalone` run its file in this process. The file of `exported` runs in a new
    process, as it does for users.
    """
    monkeypatch.setattr(
        "phinas.space.interchange.standalone.subprocess.run",
        lambda command, **_: run_in_process(Path(command[-1])),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ConvNet]:
    """The file of ALL_BLOCKS and the network in it. Copy the file before changing it."""
    path = tmp_path_factory.mktemp("exported") / "every.py"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_with_random_norms(ALL_BLOCKS)
    assert write_standalone(model, ALL_BLOCKS, path) <= 1e-5
    return path, model


@pytest.fixture
def exported_copy(exported: tuple[Path, ConvNet], tmp_path: Path) -> Path:
    """A copy of the exported files that a test may change."""
    for suffix in (".py", ".safetensors"):
        (tmp_path / f"every{suffix}").write_bytes(exported[0].with_suffix(suffix).read_bytes())
    return tmp_path / "every.py"


@settings(max_examples=15, deadline=None)
@given(specs)
def test_file_of_any_spec_is_the_same_network_in_inference_and_in_training(spec):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = spec.build()
        torch.manual_seed(0)
        network = render_module(spec).build()
        expected, actual = model.state_dict(), network.state_dict()
        assert list(expected) == list(actual)
        # the random weights are the same
        assert all(torch.equal(expected[name], actual[name]) for name in expected)

        network.load_state_dict(build_with_random_norms(spec).state_dict())
        model.load_state_dict(network.state_dict())  # and in the other direction
        images = torch.randn(3, spec.channels, spec.resolution, spec.resolution)
        logits = []
        for each in (model, network):
            torch.manual_seed(1)  # for stochastic depth and dropout
            logits.append([each.train()(images), each.eval()(images)])
        for one, other in zip(*logits, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
        # in double precision the model uses torch's convolutions, like the file
        for each in (
            model.double(),
            network.double(),
        ):
            torch.manual_seed(2)
            each.train()(images.double()).square().sum().backward()
    for one, other in zip(model.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(
            other.grad, one.grad, rtol=1e-9, atol=1e-9 * float(one.grad.abs().max() + 1e-3)
        )


@pytest.mark.slow
@settings(max_examples=2, deadline=None)
@given(spec=specs)
def test_file_of_any_spec_gives_the_logits_of_the_model_in_isolation(spec, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "any_network.py"
    assert write_standalone(build_with_random_norms(spec), spec, path) <= 1e-4
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "any_network.py",
        "any_network.safetensors",
    ]


def test_file_without_preprocessing_imports_torch_and_the_standard_library_only(exported):
    imports = [
        node
        for node in ast.walk(ast.parse(exported[0].read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"torch"}


def test_file_runs_without_phinas_and_safetensors(exported):
    own_packages = ("phinas", "space", "training", "experiment", "nas", "scaling_search", "reports")
    result = run(
        exported[0],
        blocked_packages=(
            *own_packages,
            "safetensors",
            "jinja2",
            "timm",
            "torchvision",
            "yaml",
            "optuna",
        ),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("logits agree")


def test_loaded_network_gives_the_logits_of_the_model(exported):
    path, model = exported
    images = torch.randn(2, 3, 33, 33)
    network = import_file(path).load()
    assert not network.training
    with torch.inference_mode():
        torch.testing.assert_close(network(images), model.eval()(images), rtol=1e-4, atol=1e-5)


def test_network_of_the_file_can_be_fine_tuned_to_new_classes():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = render_module(replace(SMALL, dropout=0, drop_path=0)).build().train()
        network.classifier = nn.Linear(network.classifier.in_features, 2)
        images = torch.randn(8, 3, 16, 16)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        losses = []
        for _ in range(20):
            loss = nn.functional.cross_entropy(network(images), torch.arange(8) % 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert max(losses[-3:]) < 0.5 * losses[0]


def test_weights_file_is_a_safetensors_file_with_the_spec_in_its_header(exported):
    path, _ = exported
    weights = path.with_suffix(".safetensors")
    ALL_BLOCKS.build().load_state_dict(load_file(weights))
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    assert ArchSpec.from_dict(json.loads(metadata["phinas.spec"])) == ALL_BLOCKS
    assert metadata["phinas.network_id"] == ALL_BLOCKS.network_id == import_file(path).NETWORK_ID


@pytest.mark.usefixtures("check_in_process")
def test_export_leaves_the_model_unchanged(tmp_path):
    model = SMALL.build().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_standalone(model, SMALL, tmp_path / "small.py")
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_flipped_bit_in_the_weights_is_detected(exported_copy):
    weights = exported_copy.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    result = run_in_process(exported_copy)
    assert result.returncode == 1
    assert "sha256" in result.stderr
    with pytest.raises(ValueError, match="sha256"):
        import_file(exported_copy).load()


def test_missing_weights_give_a_one_line_error(exported_copy):
    exported_copy.with_suffix(".safetensors").unlink()
    result = run_in_process(exported_copy)
    assert result.returncode == 1
    assert "No such file" in result.stderr
    assert "Traceback" not in result.stderr


def test_changed_arithmetic_is_detected(exported_copy):
    text = exported_copy.read_text()
    exported_copy.write_text(
        text.replace("activation=nn.ReLU6", "activation=nn.ReLU").replace(
            "value=-math.inf", "value=9.0"
        )
    )
    result = run_in_process(exported_copy)
    assert result.returncode == 1
    assert "logits differ" in result.stderr


def test_other_weights_of_the_same_network_can_be_loaded(exported, tmp_path):
    path, _ = exported
    other = tmp_path / "other.safetensors"
    model = build_with_random_norms(ALL_BLOCKS)
    save_file(model.state_dict(), other)
    network = import_file(path).load(other)
    assert torch.equal(network.classifier.weight, model.classifier.weight)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:5],
        lambda content: content[:300],
        lambda content: content[:-4],
        lambda content: content + b"\0",
        lambda content: content.replace(b'"F32"', b'"F99"', 1),
        lambda content: content.replace(b'"F32"', b'"I64"', 1),
        lambda content: content.replace(b"data_offsets", b"data_0ffsets", 1),
        lambda content: content.replace(b'"shape":[8', b'"shape":[9', 1),
        lambda content: (2).to_bytes(8, "little") + b"[]",
        lambda content: (9).to_bytes(8, "little") + b'{"a": {}}',
    ],
)
def test_an_incomplete_safetensors_file_is_refused(damage, exported, tmp_path):
    path, _ = exported
    damaged_file = tmp_path / "broken.safetensors"
    damaged_file.write_bytes(damage(path.with_suffix(".safetensors").read_bytes()))
    with pytest.raises(ValueError, match=r"broken.safetensors: not a complete safetensors file"):
        import_file(path).load(damaged_file)


@pytest.mark.usefixtures("check_in_process")
def test_nothing_is_written_if_the_outputs_differ_from_the_models(tmp_path):
    with pytest.raises(ExportError, match="logits differ"):
        write_standalone(
            build_with_random_norms(replace(SMALL, activation="relu")), SMALL, tmp_path / "small.py"
        )
    with pytest.raises(ExportError, match="size mismatch"):
        write_standalone(replace(SMALL, head_width=8).build(), SMALL, tmp_path / "small.py")
    assert not list(tmp_path.iterdir())


def test_a_model_with_non_finite_logits_is_refused(tmp_path):
    model = SMALL.build()
    nn.init.constant_(model.classifier.bias, float("nan"))
    with pytest.raises(ExportError, match="not finite"):
        write_standalone(model, SMALL, tmp_path / "small.py")


@pytest.mark.usefixtures("check_in_process")
def test_an_earlier_export_is_overwritten(tmp_path):
    path = tmp_path / "small.py"
    path.write_text("")
    path.with_suffix(".safetensors").write_bytes(b"")
    write_standalone(SMALL.build(), SMALL, path)
    assert (
        hashlib.sha256(path.with_suffix(".safetensors").read_bytes()).hexdigest()
        == import_file(path).WEIGHTS_SHA256
    )


@pytest.mark.parametrize(
    "spec",
    [
        replace(ALL_BLOCKS, stages=ALL_BLOCKS.stages[:-5]),
        SMALL,
        preset("efficientnet_b0"),
        preset("efficientnet_b7"),
    ],
)
def test_file_passes_ruff(spec, tmp_path):
    pytest.importorskip("ruff")
    path = tmp_path / "network.py"
    path.write_text(render(spec, name="network", sha256="0" * 64))
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length=128", str(path)]
    for ruff_arguments in (
        ["check", "--select=A,ARG,B,C4,E,F,I,N,PERF,PIE,PTH,RUF,SIM,UP,W"],
        ["format", "--check"],
    ):
        result = subprocess.run(
            [*ruff, *ruff_arguments, *options], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_file_has_the_blocks_of_its_spec_and_no_other_code():
    plain = render(replace(SMALL, drop_path=0), name="plain", sha256="")
    assert "class MBConv" in plain
    for absent_text in (
        "FusedMBConv",
        "Bottleneck",
        "Same",
        "drop_path",
        "pool",
        "shortcut",
        "has_projection",
    ):
        assert absent_text not in plain
    for class_name in (
        "FusedMBConv",
        "Bottleneck",
        "Separable",
        "Conv",
        "SameConv2d",
        "SameMaxPool2d",
    ):
        assert f"class {class_name}(" in render(ALL_BLOCKS, name="every", sha256="")
    assert '"3": [],' in render(ALL_BLOCKS, name="every", sha256="")


def test_file_of_b0_states_its_id_cost_and_sizes():
    text = render(preset("efficientnet_b0"), name="b0", sha256="")
    for expected_text in (
        preset("efficientnet_b0").network_id,
        "385,814,752 multiply-adds",
        "5,288,548 parameters",
        "(N, 3, 224, 224)",
    ):
        assert expected_text in text
    assert (
        "(3, partial(MBConv, 192, expand=1152, kernel=5, squeeze=48, project=192, "
        "has_shortcut=True))," in text
    )
    assert len(text.splitlines()) < 250
