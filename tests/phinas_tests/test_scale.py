"""`phinas scale`: previews, races with the synthetic evaluator, and families from budgets."""

import json
import shutil
from pathlib import Path

import pytest

from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.run_dir import RunDir
from phinas.network_source import load_network
from phinas.scaling_search.family.family import read_family
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml

FLOPS = preset("efficientnet_b0").cost().flops
B0 = ("scale", "--baseline", "efficientnet_b0")
SYNTHETIC = (*B0, "--evaluator", "synthetic", "--max-grid-members", "6")


@pytest.fixture
def run_cli(capsys):
    """Run a command; returns its exit code, standard output and standard error."""

    def run(*arguments):
        code = run_command(cli, ["-q", *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.fixture(scope="module")
def synthetic_run(phinas_in_process, tmp_path_factory):
    """A finished run with the synthetic evaluator, and its result. Copy it before changing it."""
    directory = tmp_path_factory.mktemp("synthetic") / "run"
    result = phinas_in_process("-q", *SYNTHETIC, "--out", directory, "--json")
    assert result.returncode == 0, result.stderr
    return directory, json.loads(result.stdout)


def read_members(out):
    return {member.name: member for member in read_family(RunDir(out).family)}


def read_race(out):
    return CoefficientsFile.read(RunDir(out).coefficients).race


def read_scores(out):
    return {row.network_id: (row.short_run_score, row.scores) for row in read_race(out).members}


def test_dry_run_shows_the_grid_and_its_cost_and_writes_no_files(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, stdout, _ = run_cli(
        *B0, "--dry-run", "--json", "--seeds", "4", "--epochs", "20", "--max-grid-members", "10"
    )
    preview = json.loads(stdout)
    assert code == 0
    assert preview["flops"] == FLOPS
    ratios = [row["ratio"] for row in preview["members"]]
    assert len(ratios) == len({row["network_id"] for row in preview["members"]})
    assert all(ratio == pytest.approx(4, rel=0.03) for ratio in ratios)
    assert sum(row["trained"] for row in preview["members"]) == 10
    assert preview["full_grid_epochs"] == 10 * 4 * 20
    assert preview["epochs"] == 0.4 * preview["full_grid_epochs"]
    # 4 epochs of each network, then 16 more, then full trainings with other seeds
    assert preview["trainings"] == 10 + 10 + (320 - 10 * 4 - 10 * 16) // 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_dry_run_on_images_estimates_the_hours_of_the_race(run_cli, tmp_path):
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


def test_nominal_constraint_prints_a_warning_about_unequal_costs(run_cli, out, capsys):
    arguments = (*SYNTHETIC, "--constraint", "nominal")
    warning = run_cli(*arguments, "--dry-run")[1].splitlines()[-1]
    assert warning.startswith(
        "warning: scaling.constraint: nominal compares networks of different FLOPs: 108 triples "
        "round to 65 networks"
    )
    assert "1.93 to 3.33 times" in warning
    assert run_command(cli, [*map(str, arguments), "--out", str(out)]) == 0
    assert warning.removeprefix("warning: ") in capsys.readouterr().err.replace("\n", " ")
    assert read_race(out).slope == 0


def test_scaling_search_with_the_synthetic_evaluator_needs_no_images(synthetic_run):
    out, result = synthetic_run
    race = read_race(out)
    assert race.winner.ratio == pytest.approx(race.target_ratio, rel=race.tolerance)
    assert race.evaluator == "synthetic"
    assert race.epochs <= 0.4 * race.full_grid_epochs
    assert sorted(read_members(out)) == [f"b{number}" for number in range(8)]
    assert Path(result["report"]).is_file()


def test_the_result_has_intervals_and_the_name_of_the_best_compared_network(synthetic_run):
    out, result = synthetic_run
    coefficients, race = result["coefficients"], read_race(out)
    best = coefficients["best_network"]
    assert best["network_id"] == race.winner.network_id
    assert best["probability_of_best"] == race.winner.probability_of_best > 0
    assert load_network(f"{out}:{best['name']}").network_id == best["network_id"]
    for name, (low, high) in coefficients["intervals"].items():
        assert low <= coefficients[name] <= high


@pytest.mark.slow
def test_family_meets_budgets_that_are_separated_by_spaces_or_commas(run_cli, out):
    assert (
        run_cli(*SYNTHETIC, "--out", out, "--family-flops", "200M", "600M", "--seed", "3")[0] == 0
    )
    members, before = read_members(out), read_scores(out)
    assert sorted(members) == ["b-1", "b0", "b1"]
    assert members["b-1"].flops <= 200e6 < FLOPS < members["b1"].flops <= 600e6
    assert run_cli("scale", out, "--family-flops", "0.25G,6e8,0.7G")[0] == 0
    members = read_members(out)
    assert sorted(members) == ["b-1", "b0", "b1", "b2"]
    assert members["b-1"].flops <= 250e6
    assert FLOPS < members["b1"].flops <= 600e6 < members["b2"].flops <= 700e6
    assert read_scores(out) == before  # the race was not run again


def test_options_that_decide_race_results_cannot_change_after_the_race(run_cli, out, synthetic_run):
    shutil.copytree(synthetic_run[0], out)
    code, _, stderr = run_cli("scale", out, "--max-grid-members", "7")
    assert code == 2
    assert "--max-grid-members was 6 and is now 7" in stderr
    code, _, stderr = run_cli("scale", out, "--data", "digits")
    assert code == 2
    assert "--data: cannot be used with DIRECTORY" in stderr


def test_user_function_can_score_the_networks(run_cli, out, tmp_path, monkeypatch):
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
    race = read_race(out)
    widths = {row.network_id: row.widths[-1] for row in race.members}
    winner = race.winner
    assert winner.widths[-1] == max(widths.values()) > preset("efficientnet_b0").stages[-1].width
    assert race.evaluator == "wide:accuracy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--evaluator", "magic"),
            "--evaluator: 'magic' is not an evaluator; use proxy, synthetic or package",
        ),
        (("--evaluator", "math:nothing"), "--evaluator: 'math:nothing' cannot be imported"),
        (
            ("--evaluator", "synthetic", "--set", "scaling.alpha=[0.9, 2]"),
            "--set scaling.alpha: 0.9 is below 1",
        ),
        (("--evaluator", "synthetic", "--tolerance", "0.000001"), "the nearest has 4 times"),
        (
            ("--evaluator", "synthetic", "--family-flops", "500M", "300M"),
            "is not strictly increasing",
        ),
        (
            ("--evaluator", "synthetic", "--family-flops", "many"),
            "--family-flops: 'many' is not a list; use a list of numbers above 0",
        ),
        (
            ("--evaluator", "synthetic", "--family-flops", "1e8", "--family-params", "1e6"),
            "--family-params: cannot be combined with --family-flops",
        ),
        (
            ("--data", "digits", "--resolution", "32"),
            "is not below the image size (8 px); lower --resolution (such as 6), set --upsample",
        ),
        (
            ("--evaluator", "proxy"),
            "--data: is missing, but scaling trains networks; name the images with --data",
        ),
    ],
)
def test_wrong_scaling_options_are_an_error_before_a_file_is_written(
    run_cli, out, arguments, message
):
    code, _, stderr = run_cli(*B0, "--out", out, *arguments)
    assert code == 2
    assert message in stderr
    assert not out.exists()


def test_error_for_a_budget_that_no_phi_meets_has_the_smallest_cost_and_another_budget_works(
    run_cli, out
):
    without_resolution = ("--set", "scaling.gamma=[1.0, 1.0]", "--set", "scaling.tolerance=0.1")
    code, _, stderr = run_cli(*SYNTHETIC, *without_resolution, "--out", out, "--family-flops", "1M")
    assert code == 2
    assert (
        "no phi meets 1M flops: the smallest network that these coefficients make of the baseline "
        "has" in stderr
    )
    assert run_cli("scale", out, "--family-flops", "300M")[0] == 0
    assert read_members(out)["b-1"].flops <= 300e6


def test_report_of_a_synthetic_race_says_that_scores_are_not_from_trainings(synthetic_run):
    page = " ".join((synthetic_run[0] / "report" / "index.html").read_text().split())
    assert (
        page.count("cores of the scaling search come from the synthetic accuracy model, not from")
        == 2
    )
    assert "trained networks with" not in page
    assert "Scores come from the synthetic accuracy model." in page
    assert page.count("Networks are not trained in a run without images") == 1  # of the family


def test_family_with_user_coefficients_needs_no_images(run_cli, out):
    coefficients = ("--coefficients", "1.2", "1.1", "1.15")
    assert run_cli(*B0, *coefficients, "--family-flops", "200M,600M", "--out", out)[0] == 0
    members = read_members(out)
    assert members["b-1"].flops <= 200e6 < FLOPS < members["b1"].flops <= 600e6
    record = CoefficientsFile.read(RunDir(out).coefficients)
    assert record.race is None
    assert (record.alpha, record.beta, record.gamma) == (1.2, 1.1, 1.15)
    assert "user-supplied" in (out / "report" / "index.html").read_text()
