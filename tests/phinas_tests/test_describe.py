"""`phinas describe`: the table of a network, comparison, counts of other tools, and drawing."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from phinas.api.describe import describe
from phinas.description.compare_networks import as_text as as_comparison
from phinas.description.describe_text import as_text
from phinas.description.space_description import as_text as space_as_text
from phinas.description.space_description import describe_space
from phinas.experiment.errors import InputError
from phinas.space.flop_conventions import CONVENTIONS
from phinas.space.presets import PRESETS, preset
from phinas.space.search_spaces.cardinality import count_networks
from phinas.space.search_spaces.cost_tables import CostTables
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec, StageSpec


@pytest.fixture
def every_kind(tmp_path: Path) -> str:
    """A spec file with every kind of block, a layer left out, a pooled stem and no head."""
    kinds = ("conv", "separable", "fused_mbconv", "mbconv", "bottleneck", "identity")
    stages = [
        StageSpec(8 + 8 * index, 1 + index % 2, block=kind) for index, kind in enumerate(kinds)
    ]
    stages += [StageSpec(48, 1, expansion=2, skip=False, activation="relu")]
    spec = ArchSpec(
        tuple(stages), stem_pool=True, head_width=0, resolution=32, classes=10, padding="same"
    )
    path = tmp_path / "every_kind.yaml"
    path.write_text(spec.to_yaml())
    return str(path)


def rows_of(text: str) -> dict[str, list[str]]:
    """Words of each line by its first."""
    return {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}


def test_describe_prints_the_published_cost_of_b0(phinas) -> None:
    network = json.loads(phinas("describe", "efficientnet_b0", "--json").stdout)
    assert (network["flops"], network["params"], network["activations"]) == (
        385_814_752,
        5_288_548,
        6_748_036,
    )
    assert sum(row["flops"] for row in network["stages"]) == network["flops"]
    assert max(row["peak_activations"] for row in network["stages"]) == network["peak_activations"]


@pytest.mark.parametrize("name", PRESETS)
def test_description_of_a_published_network_has_its_source_and_lines_of_at_most_128_characters(
    name: str,
) -> None:
    text = as_text(describe(name))
    assert max(map(len, text.splitlines())) <= 128
    assert "".join(describe(name).published.source.split()) in "".join(text.split())
    assert f"{preset(name).cost().flops:,}" in text


def test_memory_is_given_in_megabytes() -> None:
    total_cost = preset("efficientnet_b0").cost()
    network = describe("efficientnet_b0")
    assert network.inference_bytes == 4 * (total_cost.params + total_cost.peak_activations)
    assert f"{network.inference_bytes / 1e6:.2f} MB in float32" in as_text(network)


def test_stage_rows_show_the_block_and_its_deviations(every_kind: str) -> None:
    text = as_text(describe(every_kind))
    rows = rows_of(text)
    assert [rows[str(number)][0] for number in range(1, 6)] == [
        "conv",
        "separable",
        "fused_mbconv",
        "mbconv",
        "bottleneck",
    ]
    assert "1/6" in rows["5"]
    assert rows["6"][:3] == ["identity", "(left", "out)"]
    assert rows["7"][:4] == ["mbconv,", "relu,", "no", "shortcut"]
    assert rows["stem"][:4] == ["conv,", "3x3", "max", "pooling"]
    assert rows["head"][0] == "classifier"
    assert "padded as in TensorFlow" in text


def test_fields_without_effect_are_omitted(every_kind: str) -> None:
    stages = {row.stage: row.to_dict() for row in describe(every_kind).stages}
    assert {"expansion", "se", "skip"}.isdisjoint(stages["2"])
    assert {"expansion", "se", "skip"} <= set(stages["4"])
    assert {"kernel", "depth", "activation"}.isdisjoint(stages["6"])


def test_comparison_has_the_ratio_of_each_cost(phinas_in_process) -> None:
    result = phinas_in_process(
        "describe", "efficientnet_b0", "--compare", "efficientnet_v2_b0", "--json"
    )
    comparison = json.loads(result.stdout)
    first, second = comparison["networks"]
    assert (first["name"], second["name"]) == ("efficientnet_b0", "efficientnet_v2_b0")
    for field in ("flops", "params", "activations", "peak_activations", "inference_bytes"):
        assert comparison["ratios"][field] == second[field] / first[field]


@pytest.mark.parametrize(
    ("one", "other"), [("efficientnet_b7", "resnet_50"), ("mobilenet_v1", "efficientnet_v2_l")]
)
def test_comparison_has_every_stage_of_both_networks_in_lines_of_at_most_128_characters(
    one: str, other: str
) -> None:
    comparison = describe(one, compare=other)
    for side, network in enumerate(comparison.networks):
        paired = [pair.stages[side] for pair in comparison.pairs if pair.stages[side]]
        assert tuple(paired) == network.stages
    assert max(map(len, as_comparison(comparison).splitlines())) <= 128


def test_comparison_lists_the_differing_fields_of_two_stages() -> None:
    comparison = describe("efficientnet_b0", compare="efficientnet_b1")
    differing_fields = {
        tuple(pair.to_dict()["stages"]): pair.differing_fields for pair in comparison.pairs
    }
    assert differing_fields["stem", "stem"] == ()
    assert differing_fields["1", "1"] == ("depth",)
    line = next(line for line in as_comparison(comparison).splitlines() if line.startswith("1 "))
    assert "| 1 2 x mbconv" in " ".join(line.split())


def test_comparison_of_equal_networks_says_so(tmp_path: Path) -> None:
    copy = tmp_path / "b0.yaml"
    copy.write_text(preset("efficientnet_b0").to_yaml())
    network = describe("efficientnet_b0", compare=str(copy))
    assert network.same
    assert "Both compute the same function" in as_comparison(network)
    assert set(network.ratios.values()) == {1}


def test_counts_of_other_tools_are_explained() -> None:
    network = describe("efficientnet_b0", conventions=True)
    own_count, *other_counts = network.conventions
    assert (own_count.count, own_count.ratio) == (network.cost.flops, 1)
    text = " ".join(as_text(network).split())
    for row in other_counts:
        assert f"{row.count:,}" in text
    assert {row.name for row in network.conventions} == set(CONVENTIONS)
    assert all(row.difference for row in network.conventions)


def test_both_networks_of_a_comparison_are_verified(every_kind: str, phinas_in_process) -> None:
    result = phinas_in_process("describe", every_kind, "--compare", every_kind, "--verify")
    assert result.returncode == 0, result.stderr
    assert [line.split()[-1] for line in result.stdout.splitlines()[-2:]] == ["equal", "equal"]


def test_drawing_is_svg_or_png_in_a_directory_that_is_created(
    every_kind: str, tmp_path: Path
) -> None:
    for name in ("new/deeper/layout.svg", "new/LAYOUT.PNG"):
        network = describe("efficientnet_b0", compare=every_kind, draw=tmp_path / name)
        assert network.drawing == tmp_path / name
    text = (tmp_path / "new/deeper/layout.svg").read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "efficientnet_b0" in text
    assert "Bottleneck" in text
    assert (tmp_path / "new/LAYOUT.PNG").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(tmp_path.rglob("*.tmp"))


def test_drawing_is_byte_identical_for_the_same_network(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        describe("efficientnet_b0", draw=tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_other_drawing_format_is_refused_with_a_suggestion(
    tmp_path: Path, phinas_in_process
) -> None:
    result = phinas_in_process("describe", "efficientnet_b0", "--draw", tmp_path / "layout.pdf")
    assert result.returncode == 2
    assert "layout.pdf' ends in neither .svg nor .png" in result.stderr
    assert "try layout.svg" in result.stderr
    assert not list(tmp_path.iterdir())


def test_drawing_to_a_directory_or_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a directory"):
        describe("efficientnet_b0", draw=tmp_path / "folder.svg")
    with pytest.raises(InputError, match="is not a directory"):
        describe("efficientnet_b0", draw=tmp_path / "file" / "b0.svg")
    assert (tmp_path / "file").read_text() == "mine"


def test_name_with_characters_that_the_font_lacks_is_drawn(every_kind: str, tmp_path: Path) -> None:
    path = tmp_path / "\u7f51\u7edc $x_1$ <&>.yaml"
    Path(every_kind).rename(path)
    describe(str(path), draw=tmp_path / "strange.png")
    describe(str(path), draw=tmp_path / "strange.svg")
    assert "\u7f51\u7edc $x_1$ &lt;&amp;&gt;" in (tmp_path / "strange.svg").read_text()


@pytest.mark.parametrize(("draw", "loaded"), [(False, []), (True, ["matplotlib", "numpy"])])
def test_describing_loads_no_heavy_library_and_drawing_no_torch(
    draw: bool, loaded: list[str], tmp_path: Path
) -> None:
    arguments = ["describe", "efficientnet_b0", "--compare", "resnet_50", "--flop-conventions"]
    arguments += ["--draw", str(tmp_path / "both.svg")] * draw
    code = (
        "import sys\nfrom phinas.errors import run_command\nfrom phinas.cli import cli\nassert "
        f"run_command(cli, {arguments!r}) == 0\n"
        "heavy = ('torch', 'optuna', 'pandas', 'matplotlib', 'numpy', 'sklearn', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == repr(loaded)


SPACE = """
name: mine
base:
  resolution: 32
  classes: 10
  stages: [{width: 8, depth: 1}, {width: 16, depth: 4, stride: 2}]
overrides:
  2: {layers: {op: [identity, {kernel: 3, expansion: 3}, {name: large, kernel: 5, expansion: 6}]}}
"""


def test_search_space_is_described_with_its_size_costs_and_choices(phinas, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE)
    text = phinas("describe", "mine.yaml", cwd=tmp_path).stdout
    data = json.loads(phinas("describe", "mine.yaml", "--json", cwd=tmp_path).stdout)
    space = load_space(str(tmp_path / "mine.yaml"))
    assert (data["choices"], data["networks"]) == (2 * 3**3, count_networks(space))
    assert data["cost_ranges"]["flops"] == list(CostTables(space).cost_range("flops"))
    assert data["decisions"][0] == {
        "name": "stages.1.layers.0.op",
        "values": ["kernel=3,expansion=3", "large"],
        "fields": [{"kernel": 3, "expansion": 3}, {"kernel": 5, "expansion": 6}],
    }
    rows = [" ".join(line.split()) for line in text.splitlines()]
    layers = "identity; kernel=3,expansion=3; large (kernel=5,expansion=6)"
    assert f"stages.1.layers.1-3.op {layers}" in rows
    assert "54 sets of choices" in rows[0]


@pytest.mark.parametrize("name", SPACES)
def test_shipped_space_is_described_in_lines_of_at_most_128_characters(name: str) -> None:
    text = space_as_text(describe_space(name))
    assert text.startswith(f"{name}: a search space of ")
    assert max(map(len, text.splitlines())) <= 128


@pytest.mark.parametrize("option", ["--compare=efficientnet_b0", "--draw=a.svg", "--verify"])
def test_option_that_needs_a_network_is_refused_with_a_search_space(phinas, option: str) -> None:
    result = phinas("describe", "tiny", option)
    flag = option.partition("=")[0]
    assert result.returncode == 2
    assert f"{flag}: 'tiny' is a search space, and the option needs a network" in result.stderr
