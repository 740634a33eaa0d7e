"""The commands that come next after a run."""

import shlex
from pathlib import Path

import pytest

import phinas
from phinas.cli import cli
from phinas.experiment.artifacts.validation_file import MemberRecord, TestResult, ValidationFile
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.network_source import load_network
from phinas.next_commands import next_commands
from phinas.run_summary import RunSummary
from phinas.space.loading import load_spec


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a run"
    phinas.search(
        out=out,
        space="tiny",
        trials=3,
        evaluator="phinas.testing.functions:smooth",
        settings={"search.reference": "none", "run.executor": "inline", "search.finalists": 1},
        quiet=True,
    )
    return out


@pytest.fixture
def validation() -> ValidationFile:
    """The scores of three members, of which the second is the best."""
    members = [
        MemberRecord(
            name=f"b{number}",
            phi=float(number),
            network_id=f"network {number}",
            flops=1_000_000 * 2**number,
            params=1000,
            ratio=2.0**number,
            result=TestResult(
                scores=(score,),
                score=score,
                interval=(score - 0.03, score + 0.03),
                images=500,
                train_seconds=1.0,
                failure_reason="",
            ),
            skip=None,
            prediction=None,
        )
        for number, score in enumerate((0.787, 0.891, 0.879))
    ]
    return ValidationFile.model_construct(metric="accuracy", members=tuple(members))


def test_a_search_without_images_continues_with_scaling(searched: Path) -> None:
    summary = phinas.report(searched)
    commands = [shlex.split(row.command) for row in summary.next_commands]
    assert commands == [["phinas", "scale", str(searched)], ["phinas", "report", str(searched)]]
    assert summary.to_dict()["next_commands"][0]["command"] == shlex.join(commands[0])


def test_the_images_and_splits_of_a_run_are_those_of_the_next_training(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searched.parent)
    (tmp_path / "my photos").mkdir()
    data = {
        "source": str(tmp_path / "my photos"),
        "upsample": True,
        "group_by": r"(\d+)_",
        "test_fraction": 0.3,
        "max_train_images": 100,
    }
    config = Config.model_validate({"data": data})
    commands = [shlex.split(row.command) for row in next_commands(RunDir(searched), config, None)]
    fit = next(command for command in commands if command[1] == "fit")
    assert fit[2] == "a run:baseline"
    assert fit[fit.index("--data") + 1] == data["source"]
    assert fit[fit.index("--group-by") + 1] == data["group_by"]
    assert "--upsample" in fit
    assert "data.test_fraction=0.3" in fit
    assert not any("max_train_images" in argument for argument in fit)
    assert fit[fit.index("--out") + 1] == "a run-baseline"
    assert load_network(fit[2]) == load_spec(str(searched / "search" / "baseline.yaml"))
    assert next(command for command in commands if command[1] == "export")[2] == "a run-baseline"


def test_the_training_is_of_the_member_with_the_best_score_and_says_so(
    searched: Path, validation: ValidationFile
) -> None:
    config = Config.model_validate({"data": {"source": "digits"}})
    commands = next_commands(RunDir(searched), config, validation)
    fit = next(row for row in commands if " fit " in row.command)
    assert shlex.split(fit.command)[2] == f"{searched}:b1"
    assert (
        fit.purpose == "train b1, the member with the best score, by the recipe full (150 epochs)"
    )


def test_the_summary_names_the_best_member_where_it_is_neither_the_first_nor_the_last(
    searched: Path, validation: ValidationFile
) -> None:
    summary = RunSummary(searched, None, None, None, validation)
    assert summary.as_text() == (
        "accuracy on the test split: B0 78.7% to B2 87.9% at 4M FLOPs; the best is B1 with 89.1%"
    )


def test_every_next_command_exists(searched: Path) -> None:
    config = Config.model_validate({"data": {"source": "digits"}})
    names = {shlex.split(row.command)[1] for row in next_commands(RunDir(searched), config, None)}
    assert names == {"scale", "fit", "predict", "export", "report"}
    assert names - {"predict"} <= set(cli.commands)
