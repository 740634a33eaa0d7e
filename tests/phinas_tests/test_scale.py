"""Scaling as a person asks for it: grids and prices before any training, races on the stated law,
families by budgets.
"""

import json
import shutil
from pathlib import Path

import pytest

from phinas.cli import cli
from phinas.errors import run_command
from phinas.space.cost import network_cost
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml, read_yaml

FLOPS = network_cost(preset("efficientnet_b0")).flops
B0 = ("scale", "--baseline", "efficientnet_b0")
LAW = (*B0, "--evaluator", "synthetic", "--max-grid-members", "6")


@pytest.fixture
def run_cli(capsys):
    """Call the command and give its exit code, standard output and standard error."""

    def run(*arguments):
        code = run_command(cli, ["-q", *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.fixture(scope="module")
def law_run(phinas_in_process, tmp_path_factory):
    """A finished run on the stated law, and its result. Copy it before changing it."""
    directory = tmp_path_factory.mktemp("law") / "run"
    result = phinas_in_process("-q", *LAW, "--out", directory, "--json")
    assert result.returncode == 0, result.stderr
    return directory, json.loads(result.stdout)


def family(out):
    return {path.stem: read_yaml(path) for path in (out / "scaling" / "family").glob("b*.yaml")}


def results(out):
    record = read_yaml(out / "scaling" / "coefficients.yaml")
    return {
        row["spec_id"]: (row["short_run_accuracy"], row["accuracies"]) for row in record["members"]
    }


def test_a_dry_run_shows_the_grid_and_the_price_and_writes_nothing(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, stdout, _ = run_cli(
        *B0, "--dry-run", "--json", "--seeds", "4", "--epochs", "20", "--max-grid-members", "10"
    )
    preview = json.loads(stdout)
    assert code == 0
    assert preview["flops"] == FLOPS
    ratios = [row["ratio"] for row in preview["members"]]
    assert len(ratios) == len({row["spec_id"] for row in preview["members"]})
    assert all(ratio == pytest.approx(2, rel=0.03) for ratio in ratios)
    assert sum(row["trained"] for row in preview["members"]) == 10
    assert preview["full_grid_epochs"] == 10 * 4 * 20
    assert preview["epochs"] == 0.4 * preview["full_grid_epochs"]
    assert preview["trainings"] == 10 + (320 - 10 * 4) // 20
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_on_images_prices_the_race_in_time(run_cli, tmp_path):
    (tmp_path / "tiny.yaml").write_text(dump_yaml(load_space("tiny").base.to_dict()))
    images = (
        "--data",
        "digits",
        "--upsample",
        "--set",
        "data.max_train_images=100",
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
        "--max-grid-members",
        "4",
        "--epochs",
        "5",
    )
    code, stdout, _ = run_cli(*call, "--dry-run", "--json")
    preview = json.loads(stdout)
    assert code == 0
    (stage,) = preview["plan"]["stages"]
    assert (stage["stage"], stage["epochs"], stage["trainings"]) == (
        "scaling",
        preview["epochs"],
        preview["trainings"],
    )
    assert stage["hours"] > 0


def test_the_papers_literal_grid_comes_with_a_warning_that_shows_what_it_compares(
    run_cli, out, capsys
):
    arguments = (*LAW, "--constraint", "nominal")
    warning = run_cli(*arguments, "--dry-run")[1].splitlines()[-1]
    assert warning.startswith(
        "warning: scaling.constraint: nominal compares networks of unequal cost: 108 triples mean "
        "65 networks"
    )
    assert "1.93 to 3.33 times" in warning
    assert run_command(cli, [*map(str, arguments), "--out", str(out)]) == 0
    assert warning.removeprefix("warning: ") in capsys.readouterr().err.replace("\n", " ")
    assert read_yaml(out / "scaling" / "coefficients.yaml")["slope"] == 0


def test_the_search_is_run_on_the_stated_law_without_images(law_run):
    out, result = law_run
    coefficients = result["coefficients"]
    assert (
        1.85
        <= coefficients["alpha"] * coefficients["beta"] ** 2 * coefficients["gamma"] ** 2
        <= 2.4
    )
    record = read_yaml(out / "scaling" / "coefficients.yaml")
    assert record["evaluator"] == "synthetic"
    assert record["epochs"] <= 0.4 * record["full_grid_epochs"]
    assert sorted(family(out)) == [f"b{number}" for number in range(8)]
    assert Path(result["report"]).is_file()


@pytest.mark.slow
def test_budgets_are_written_with_blanks_or_commas_and_each_is_met_by_the_family(run_cli, out):
    assert run_cli(*LAW, "--out", out, "--flops", "200M", "600M", "--seed", "3")[0] == 0
    rows, before = family(out), results(out)
    assert sorted(rows) == ["b-1", "b0", "b1"]
    assert rows["b-1"]["flops"] <= 200e6 < FLOPS < rows["b1"]["flops"] <= 600e6
    assert run_cli("scale", out, "--flops", "0.25G,5e8,0.7G")[0] == 0
    rows = family(out)
    assert sorted(rows) == ["b-1", "b0", "b1", "b2"]
    assert rows["b-1"]["flops"] <= 250e6
    assert FLOPS < rows["b1"]["flops"] <= 500e6 < rows["b2"]["flops"] <= 700e6
    assert results(out) == before  # the race was not run again


def test_what_the_race_rests_on_may_not_change_once_it_is_run(run_cli, out, law_run):
    shutil.copytree(law_run[0], out)
    code, _, stderr = run_cli("scale", out, "--max-grid-members", "7")
    assert code == 2
    assert "scaling.max_grid_members was 6 and is now 7" in stderr
    code, _, stderr = run_cli("scale", out, "--data", "digits")
    assert code == 2
    assert "scale DIRECTORY takes data.source from the run" in stderr


def test_ones_own_function_may_measure_the_networks(run_cli, out, tmp_path, monkeypatch):
    (tmp_path / "wide.py").write_text(
        "def accuracy(spec, budget, seed):\n    return min(1.0, 0.5 + spec.stages[-1].width / "
        "2000 + 1e-5 * (seed % 100))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert (
        run_cli(*B0, "--evaluator", "wide:accuracy", "--out", out, "--set", "run.workers=1")[0] == 0
    )
    record = read_yaml(out / "scaling" / "coefficients.yaml")
    widths = {row["spec_id"]: row["widths"][-1] for row in record["members"]}
    winner = next(row for row in record["members"] if row["winner"])
    assert winner["widths"][-1] == max(widths.values()) > preset("efficientnet_b0").stages[-1].width
    assert record["evaluator"] == "wide:accuracy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--evaluator", "lawn"),
            "scaling.evaluator: 'lawn' is none of proxy, synthetic, package.module:function",
        ),
        (("--evaluator", "math:nothing"), "scaling.evaluator: 'math:nothing' can't be imported"),
        (
            ("--evaluator", "synthetic", "--set", "scaling.alpha=[0.9, 2]"),
            "scaling.alpha.0: 0.9 is below 1",
        ),
        (("--evaluator", "synthetic", "--tolerance", "0.0001"), "the nearest of all is at 2 times"),
        (("--evaluator", "synthetic", "--flops", "500M", "300M"), "does not rise strictly"),
        (
            ("--evaluator", "synthetic", "--flops", "many"),
            "'many' is not a list of numbers like 200M,400M or 2e8",
        ),
        (
            ("--evaluator", "synthetic", "--flops", "1e8", "--params", "1e6"),
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
def test_what_can_not_be_scaled_is_told_before_anything_is_written(
    run_cli, out, arguments, message
):
    code, _, stderr = run_cli(*B0, "--out", out, *arguments)
    assert code == 2
    assert message in stderr
    assert not out.exists()


def test_a_budget_that_no_phi_meets_says_how_near_the_family_comes_and_another_may_be_asked_for(
    run_cli, out
):
    code, _, stderr = run_cli(*LAW, "--out", out, "--flops", "1M")
    assert code == 2
    assert (
        "no phi meets 1M flops: the smallest network that these coefficients make of the baseline "
        "has" in stderr
    )
    assert run_cli("scale", out, "--flops", "300M")[0] == 0
    assert family(out)["b-1"]["flops"] <= 300e6


def test_a_page_of_a_race_on_the_law_says_that_nothing_was_trained(law_run):
    page = " ".join((law_run[0] / "report" / "index.html").read_text().split())
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


def test_a_family_by_given_coefficients_needs_no_images(run_cli, out):
    assert (
        run_cli(*B0, "--coefficients", "1.2", "1.1", "1.15", "--flops", "200M,600M", "--out", out)[
            0
        ]
        == 0
    )
    rows = family(out)
    assert rows["b-1"]["flops"] <= 200e6 < FLOPS < rows["b1"]["flops"] <= 600e6
    record = read_yaml(out / "scaling" / "coefficients.yaml")
    assert (record["user_supplied"], record["alpha"], record["beta"], record["gamma"]) == (
        True,
        1.2,
        1.1,
        1.15,
    )
    assert "given, not searched" in (out / "report" / "index.html").read_text()
