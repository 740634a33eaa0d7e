"""Scaling as a person asks for it: grids and prices before any training, races on the stated law,
families by budgets.
"""

import json
from pathlib import Path

import pytest

from phinas.cli import cli
from phinas.errors import call
from phinas.space.cost import cost
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml, read_yaml

FLOPS = cost(preset("efficientnet_b0")).flops
B0 = ("scale", "--baseline", "efficientnet_b0")
LAW = (*B0, "--evaluator", "law", "--members", "6")


@pytest.fixture
def said(capsys):
    """Call the command and give its exit code, standard output and standard error."""

    def run(*words):
        code = call(cli, ["-q", *map(str, words)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def family(out):
    return {path.stem: read_yaml(path) for path in (out / "scaling" / "family").glob("b*.yaml")}


def results(out):
    facts = read_yaml(out / "scaling" / "coefficients.yaml")
    return {row["spec_id"]: (row["brief_accuracy"], row["accuracies"]) for row in facts["members"]}


def test_a_dry_run_shows_the_grid_and_the_price_and_writes_nothing(said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, told, _ = said(
        *B0, "--dry-run", "--json", "--seeds", "4", "--epochs", "20", "--members", "10"
    )
    facts = json.loads(told)
    assert code == 0
    assert facts["flops"] == FLOPS
    ratios = [row["ratio"] for row in facts["members"]]
    assert len(ratios) == len({row["spec_id"] for row in facts["members"]})
    assert all(ratio == pytest.approx(2, rel=0.03) for ratio in ratios)
    assert sum(row["trained"] for row in facts["members"]) == 10
    assert facts["full_grid_epochs"] == 10 * 4 * 20
    assert facts["epochs"] == 0.4 * facts["full_grid_epochs"]
    assert facts["trainings"] == 10 + (320 - 10 * 4) // 20
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_on_images_prices_the_race_in_time(said, tmp_path):
    (tmp_path / "tiny.yaml").write_text(dump_yaml(load_space("tiny").base.to_dict()))
    images = (
        "--data",
        "digits",
        "--upsample",
        "--set",
        "data.train_limit=100",
        "--set",
        "scaling.divisor=4",
    )
    call = (
        "scale",
        "--baseline",
        tmp_path / "tiny.yaml",
        *images,
        "--tolerance",
        "0.1",
        "--members",
        "4",
        "--epochs",
        "5",
    )
    code, told, _ = said(*call, "--dry-run", "--json")
    facts = json.loads(told)
    assert code == 0
    (stage,) = facts["plan"]["stages"]
    assert (stage["stage"], stage["epochs"], stage["trainings"]) == (
        "scaling",
        facts["epochs"],
        facts["trainings"],
    )
    assert stage["hours"] > 0


def test_the_papers_literal_grid_comes_with_a_warning_that_shows_what_it_compares(
    said, out, capsys
):
    words = (*LAW, "--constraint", "nominal")
    told = said(*words, "--dry-run")[1].splitlines()[-1]
    assert told.startswith(
        "warning: scaling.constraint: nominal compares networks of unequal cost: 108 triples mean "
        "65 networks"
    )
    assert "1.93 to 3.33 times" in told
    assert call(cli, [*map(str, words), "--out", str(out)]) == 0
    assert told.removeprefix("warning: ") in capsys.readouterr().err.replace("\n", " ")
    assert read_yaml(out / "scaling" / "coefficients.yaml")["slope"] == 0


def test_the_search_is_run_on_the_stated_law_without_images(said, out):
    code, told, _ = said(*LAW, "--out", out, "--json")
    assert code == 0
    found = json.loads(told)["coefficients"]
    assert 1.85 <= found["alpha"] * found["beta"] ** 2 * found["gamma"] ** 2 <= 2.4
    facts = read_yaml(out / "scaling" / "coefficients.yaml")
    assert facts["evaluator"] == "law"
    assert facts["epochs"] <= 0.4 * facts["full_grid_epochs"]
    assert sorted(family(out)) == [f"b{number}" for number in range(8)]
    assert Path(json.loads(told)["report"]).is_file()


def test_budgets_are_written_with_blanks_or_commas_and_each_is_met_by_the_family(said, out):
    assert said(*LAW, "--out", out, "--flops", "200M", "600M", "--seed", "3")[0] == 0
    rows, before = family(out), results(out)
    assert sorted(rows) == ["b-1", "b0", "b1"]
    assert rows["b-1"]["flops"] <= 200e6 < FLOPS < rows["b1"]["flops"] <= 600e6
    assert said("scale", out, "--flops", "0.25G,5e8,0.7G")[0] == 0
    rows = family(out)
    assert sorted(rows) == ["b-1", "b0", "b1", "b2"]
    assert rows["b-1"]["flops"] <= 250e6
    assert FLOPS < rows["b1"]["flops"] <= 500e6 < rows["b2"]["flops"] <= 700e6
    assert results(out) == before  # the race was not run again


def test_what_the_race_rests_on_may_not_change_once_it_is_run(said, out):
    said(*LAW, "--out", out)
    code, _, told = said("scale", out, "--members", "7")
    assert code == 2
    assert "scaling.members was 6 and is now 7" in told
    code, _, told = said("scale", out, "--data", "digits")
    assert code == 2
    assert "scale DIRECTORY takes data.source from the run" in told


def test_ones_own_function_may_measure_the_networks(said, out, tmp_path, monkeypatch):
    (tmp_path / "wide.py").write_text(
        "def accuracy(spec, budget, seed):\n    return min(1.0, 0.5 + spec.stages[-1].width / "
        "2000 + 1e-5 * (seed % 100))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert said(*B0, "--evaluator", "wide:accuracy", "--out", out, "--set", "run.workers=1")[0] == 0
    facts = read_yaml(out / "scaling" / "coefficients.yaml")
    widths = {row["spec_id"]: row["widths"][-1] for row in facts["members"]}
    winner = next(row for row in facts["members"] if row["winner"])
    assert winner["widths"][-1] == max(widths.values()) > preset("efficientnet_b0").stages[-1].width
    assert facts["evaluator"] == "wide:accuracy"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--evaluator", "lawn"),
            "scaling.evaluator: 'lawn' is none of proxy, law, package.module:function",
        ),
        (("--evaluator", "math:nothing"), "scaling.evaluator: 'math:nothing' can't be imported"),
        (
            ("--evaluator", "law", "--set", "scaling.alpha=[0.9, 2]"),
            "scaling.alpha.0: 0.9 is below 1",
        ),
        (("--evaluator", "law", "--tolerance", "0.0001"), "the nearest of all is at 2 times"),
        (("--evaluator", "law", "--flops", "500M", "300M"), "does not rise strictly"),
        (
            ("--evaluator", "law", "--flops", "many"),
            "'many' is not a list of numbers like 200M,400M or 2e8",
        ),
        (
            ("--evaluator", "law", "--flops", "1e8", "--params", "1e6"),
            "params: the family is made by flops already",
        ),
        (
            ("--data", "digits", "--resolution", "32"),
            "so gamma can't rise above 1; lower search.resolution, set data.upsample",
        ),
        (
            ("--evaluator", "proxy"),
            "data.source: missing; scaling trains networks: name the images with --data",
        ),
    ],
)
def test_what_can_not_be_scaled_is_told_before_anything_is_written(said, out, words, told):
    code, _, message = said(*B0, "--out", out, *words)
    assert code == 2
    assert told in message
    assert not out.exists()


def test_a_budget_that_no_phi_meets_says_how_near_the_family_comes_and_another_may_be_asked_for(
    said, out
):
    code, _, message = said(*LAW, "--out", out, "--flops", "1M")
    assert code == 2
    assert (
        "no phi meets 1M flops: the smallest network that these coefficients make of the baseline "
        "has" in message
    )
    assert said("scale", out, "--flops", "300M")[0] == 0
    assert family(out)["b-1"]["flops"] <= 300e6


def test_a_page_of_a_race_on_the_law_says_that_nothing_was_trained(said, out):
    said(*LAW, "--out", out)
    page = " ".join((out / "report" / "index.html").read_text().split())
    assert (
        page.count("the stated law of scaling_search/race/synthetic_accuracy.py, not of trainings")
        == 2
    )
    assert "trained way" not in page
    assert (
        "Accuracies are those of the stated law of scaling_search/race/synthetic_accuracy.py."
        in page
    )
    assert page.count("Nothing is trained in a run without images") == 1  # of the family


def test_a_family_by_given_coefficients_needs_no_images(said, out):
    assert (
        said(*B0, "--coefficients", "1.2", "1.1", "1.15", "--flops", "200M,600M", "--out", out)[0]
        == 0
    )
    rows = family(out)
    assert rows["b-1"]["flops"] <= 200e6 < FLOPS < rows["b1"]["flops"] <= 600e6
    facts = read_yaml(out / "scaling" / "coefficients.yaml")
    assert (facts["given"], facts["alpha"], facts["beta"], facts["gamma"]) == (True, 1.2, 1.1, 1.15)
    assert "given, not searched" in (out / "report" / "index.html").read_text()
