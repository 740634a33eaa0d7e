"""`phinas describe`: a network told in a table, beside another, in other tools' numbers and as a
picture.
"""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from phinas.api.compare_networks import as_text as as_comparison
from phinas.api.describe import as_text, describe
from phinas.experiment.errors import InputError
from phinas.space.cost import cost
from phinas.space.flop_conventions import CONVENTIONS
from phinas.space.presets import PRESETS, preset
from phinas.space.spec import ArchSpec, StageSpec


@pytest.fixture
def every_kind(tmp_path: Path) -> str:
    """A spec file with every kind of block, a layer left out, a pooled stem and no head."""
    kinds = ("conv", "separable", "fused_mbconv", "mbconv", "bottleneck", "identity")
    stages = [
        StageSpec(8 + 8 * place, 1 + place % 2, block=kind) for place, kind in enumerate(kinds)
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
    facts = json.loads(phinas("describe", "efficientnet_b0", "--json").stdout)
    assert (facts["flops"], facts["params"], facts["activations"]) == (
        385_814_752,
        5_288_548,
        6_748_036,
    )
    assert sum(row["flops"] for row in facts["stages"]) == facts["flops"]
    assert max(row["peak_activations"] for row in facts["stages"]) == facts["peak_activations"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_published_network_is_told_with_its_source_in_lines_of_128(name: str) -> None:
    text = as_text(describe(name))
    assert max(map(len, text.splitlines())) <= 128
    assert "".join(describe(name)["published"]["source"].split()) in "".join(text.split())
    assert f"{cost(preset(name)).flops:,}" in text


def test_memory_is_told_in_megabytes() -> None:
    price = cost(preset("efficientnet_b0"))
    facts = describe("efficientnet_b0")
    assert facts["inference_bytes"] == 4 * (price.params + price.peak_activations)
    assert f"{facts['inference_bytes'] / 1e6:.2f} MB at least in float32" in as_text(facts)


def test_each_stage_is_told_by_its_kind_and_by_what_in_it_is_unusual(every_kind: str) -> None:
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
    assert "padded as TensorFlow does" in text


def test_fields_that_mean_nothing_to_a_block_are_left_out(every_kind: str) -> None:
    stages = {row["stage"]: row for row in describe(every_kind)["stages"]}
    assert {"expansion", "se", "skip"}.isdisjoint(stages["2"])
    assert {"expansion", "se", "skip"} <= set(stages["4"])
    assert {"kernel", "depth", "activation"}.isdisjoint(stages["6"])


def test_a_comparison_tells_how_many_times_the_second_costs_the_first(phinas) -> None:
    told = phinas("describe", "efficientnet_b0", "--compare", "efficientnet_v2_b0", "--json")
    facts = json.loads(told.stdout)
    first, second = facts["networks"]
    assert (first["name"], second["name"]) == ("efficientnet_b0", "efficientnet_v2_b0")
    for field in ("flops", "params", "activations", "peak_activations", "inference_bytes"):
        assert facts["ratios"][field] == second[field] / first[field]


@pytest.mark.parametrize(
    ("one", "other"), [("efficientnet_b7", "resnet_50"), ("mobilenet_v1", "efficientnet_v2_l")]
)
def test_a_comparison_sets_every_stage_of_both_networks_in_a_line_of_128(
    one: str, other: str
) -> None:
    facts = describe(one, compare=other)
    for side, network in enumerate(facts["networks"]):
        named = [pair["stages"][side] for pair in facts["pairs"] if pair["stages"][side]]
        assert named == [row["stage"] for row in network["stages"]]
    assert max(map(len, as_comparison(facts).splitlines())) <= 128


def test_a_comparison_says_in_what_two_stages_differ() -> None:
    facts = describe("efficientnet_b0", compare="efficientnet_b1")
    differ = {tuple(pair["stages"]): pair["differ"] for pair in facts["pairs"]}
    assert differ["stem", "stem"] == []
    assert differ["1", "1"] == ["depth"]
    line = next(line for line in as_comparison(facts).splitlines() if line.startswith("1 "))
    assert " | 1    2 x mbconv" in line


def test_networks_that_are_the_same_are_said_to_be(tmp_path: Path) -> None:
    again = tmp_path / "b0.yaml"
    again.write_text(preset("efficientnet_b0").to_yaml())
    facts = describe("efficientnet_b0", compare=str(again))
    assert facts["same"]
    assert "The same network" in as_comparison(facts)
    assert set(facts["ratios"].values()) == {1}


def test_other_tools_counts_stand_each_with_its_reason() -> None:
    facts = describe("efficientnet_b0", conventions=True)
    ours, *others = facts["conventions"]
    assert (ours["count"], ours["ratio"]) == (facts["flops"], 1)
    text = " ".join(as_text(facts).split())
    for row in others:
        assert f"{row['count']:,}" in text
    assert {row["name"] for row in facts["conventions"]} == set(CONVENTIONS)
    assert all(row["why"] for row in facts["conventions"])


def test_both_networks_of_a_comparison_are_verified(every_kind: str, phinas) -> None:
    told = phinas("describe", every_kind, "--compare", every_kind, "--verify")
    assert told.returncode == 0, told.stderr
    assert [line.split()[-1] for line in told.stdout.splitlines()[-2:]] == ["equal", "equal"]


def test_a_drawing_is_svg_or_png_by_its_name_in_a_directory_that_is_made(
    every_kind: str, tmp_path: Path
) -> None:
    for name in ("new/deeper/layout.svg", "new/LAYOUT.PNG"):
        facts = describe("efficientnet_b0", compare=every_kind, draw=tmp_path / name)
        assert facts["drawing"] == str(tmp_path / name)
    text = (tmp_path / "new/deeper/layout.svg").read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "efficientnet_b0" in text
    assert "Bottleneck" in text
    assert (tmp_path / "new/LAYOUT.PNG").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_same_network_is_the_same_drawing_to_the_byte(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        describe("efficientnet_b0", draw=tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_drawing_that_is_no_svg_or_png_is_refused_with_a_remedy(tmp_path: Path, phinas) -> None:
    told = phinas("describe", "efficientnet_b0", "--draw", tmp_path / "layout.pdf")
    assert told.returncode == 2
    assert "layout.pdf' ends in neither .svg nor .png" in told.stderr
    assert "try layout.svg" in told.stderr
    assert not list(tmp_path.iterdir())


def test_a_drawing_that_has_no_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a directory"):
        describe("efficientnet_b0", draw=tmp_path / "folder.svg")
    with pytest.raises(InputError, match="is no directory"):
        describe("efficientnet_b0", draw=tmp_path / "file" / "b0.svg")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_name_that_the_font_cannot_write_is_drawn_all_the_same(
    every_kind: str, tmp_path: Path
) -> None:
    strange = tmp_path / "\u7f51\u7edc $x_1$ <&>.yaml"
    Path(every_kind).rename(strange)
    describe(str(strange), draw=tmp_path / "strange.png")
    describe(str(strange), draw=tmp_path / "strange.svg")
    assert "\u7f51\u7edc $x_1$ &lt;&amp;&gt;" in (tmp_path / "strange.svg").read_text()


@pytest.mark.parametrize(("draw", "loaded"), [(False, []), (True, ["matplotlib", "numpy"])])
def test_describing_and_comparing_load_nothing_heavy_and_drawing_loads_no_torch(
    draw: bool, loaded: list[str], tmp_path: Path
) -> None:
    words = ["describe", "efficientnet_b0", "--compare", "resnet_50", "--conventions"]
    words += ["--draw", str(tmp_path / "both.svg")] * draw
    code = (
        "import sys\nfrom phinas.errors import call\nfrom phinas.cli import cli\nassert "
        f"call(cli, {words!r}) == 0\n"
        "heavy = ('torch', 'optuna', 'pandas', 'matplotlib', 'numpy', 'sklearn', 'pydantic', "
        "'scipy')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stderr.strip() == repr(loaded)
